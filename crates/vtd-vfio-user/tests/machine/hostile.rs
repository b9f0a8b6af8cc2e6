//! Garbage from the guest and from the other end of the connection.

use std::io::Write;
use std::os::unix::net::UnixStream;

use vtd_vfio_user::machine::{Machine, MachineEvent};

use crate::vmm::{BAR, CONFIG, Vmm, config};

/// xorshift.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn no_access_of_the_guest_does_harm() {
    let mut vmm = Vmm::new();
    vmm.enable();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..4000 {
        let [choice, offset, value] = [numbers.next(), numbers.next(), numbers.next()];
        let region = if choice & 1 == 0 { BAR } else { CONFIG };
        let size = [1, 2, 3, 4, 8, 16][(choice >> 8) as usize % 6];
        let offset = offset % 0x1004;
        let mut bytes = [value; 2].map(u64::to_le_bytes).concat();
        let client = if choice >> 16 & 1 == 0 { &mut vmm.unit } else { &mut vmm.endpoint };
        match choice >> 1 & 3 {
            0 => client.region_read(region, offset, &mut bytes[..size]).unwrap(),
            _ => client.region_write(region, offset, &bytes[..size]).unwrap(),
        }
    }
    vmm.unit.reset().unwrap();
    vmm.endpoint.reset().unwrap();
    // It is as good as new.
    vmm.tail_is_zero();
    vmm.enable();
    vmm.end();
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    for name in ["unit.sock", "endpoint-5.0.sock"] {
        for garbage in [vec![0; 16], vec![0xff; 64], b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![1]] {
            let folder = tempfile::tempdir().unwrap();
            let running = Machine::new(config(&folder)).unwrap().start().unwrap();
            let stop = running.stopper();
            let mut stream = UnixStream::connect(folder.path().join(name)).unwrap();
            stream.write_all(&garbage).unwrap();
            drop(stream);
            let mut left = 0;
            running.wait(|event| {
                if let MachineEvent::Left { .. } = event {
                    left += 1;
                    stop.send(MachineEvent::Stop).unwrap();
                }
            });
            assert_eq!(left, 1, "{name}");
            assert!(!folder.path().join(name).exists());
        }
    }
}
