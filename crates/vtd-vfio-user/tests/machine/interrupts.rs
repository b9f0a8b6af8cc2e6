//! The unit's own interrupts, as messages to the VMM.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use vtd_vfio_user::machine::Machine;

use crate::vmm::config;

fn message(id: u16, command: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(id.to_le_bytes());
    bytes.extend(command.to_le_bytes());
    bytes.extend(u32::try_from(16 + body.len()).unwrap().to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

fn receive(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes).unwrap();
    let size = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    bytes.resize(size, 0);
    stream.read_exact(&mut bytes[16..]).unwrap();
    bytes
}

/// A register write: region, offset, four bytes.
fn write(id: u16, offset: u64, value: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(offset.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    body.extend(4_u32.to_le_bytes());
    body.extend(value.to_le_bytes());
    message(id, 10, &body)
}

#[test]
fn an_event_is_a_write_through_the_vmm() {
    let folder = tempfile::tempdir().unwrap();
    let running = Machine::new(config(&folder)).unwrap().start().unwrap();
    let mut vmm = UnixStream::connect(folder.path().join("unit.sock")).unwrap();
    // Version 0.1.
    let mut version = vec![0, 0, 1, 0];
    version.extend(b"{\"capabilities\":{}}\0");
    vmm.write_all(&message(0, 1, &version)).unwrap();
    assert_eq!(receive(&mut vmm)[2], 1);
    // IEDATA, IEADDR, IECTL unmasked; then the queue is enabled with an unaligned tail of a queue that is not there: the fault event.
    let registers = [
        (0x3c, 0x77),
        (0x40, 0xfee0_1000),
        (0x38, 0),
        (0x90, 0x800),
        (0x18, 0x0400_0000),
        (0x88, 0x10),
    ];
    let mut interrupts = Vec::new();
    for (id, (offset, value)) in (1..).zip(registers) {
        vmm.write_all(&write(id, offset, value)).unwrap();
        loop {
            let answer = receive(&mut vmm);
            match answer[2] {
                12 => interrupts.push(answer),
                command => {
                    assert_eq!((u16::from(answer[0]), command), (id, 10));
                    break;
                }
            }
        }
    }
    let interrupt = interrupts.pop().unwrap_or_else(|| receive(&mut vmm));
    assert!(interrupts.is_empty());
    assert_eq!(interrupt[2..12], [12, 0, 36, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        interrupt[16..],
        [0, 0x10, 0xe0, 0xfe, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0x77, 0, 0, 0]
    );
    // Its answer is not passed on: what comes next is the answer to the next write. The same interrupt refused is counted.
    for (flags, next) in [(1_u8, 100_u16), (0x21, 101)] {
        let mut answer = interrupt[..16].to_vec();
        answer[4..12].copy_from_slice(&[16, 0, 0, 0, flags, 0, 0, 0]);
        vmm.write_all(&answer).unwrap();
        vmm.write_all(&write(next, 0x18, 0x0400_0000)).unwrap();
        assert_eq!(u16::from(receive(&mut vmm)[0]), next);
    }
    drop(vmm);
    let stop = running.stopper();
    stop.send(vtd_vfio_user::machine::MachineEvent::Stop).unwrap();
    assert_eq!(running.wait(|_| {}).interrupts, (1, 1, 0));
}
