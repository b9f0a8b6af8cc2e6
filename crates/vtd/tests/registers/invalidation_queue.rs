//! IQA, IQERCD, ICS and the invalidation event.

use crate::guest::{self, Guest, INVALIDATION_DATA};

// feature: 3.queue: address latched (IQA)
#[test]
fn iqa_is_latched_when_the_queue_goes_on() {
    let mut guest = Guest::new();
    guest.enable();
    assert!(guest.invalidate(&[]));
    // Another base, another width: not before QIE goes off and on.
    guest.write(0x90, 8, 0xa000);
    assert!(guest.invalidate(&[guest::PASID_GLOBAL]));
    assert!(guest.invalidate(&[guest::PASID_GLOBAL]));
    guest.command(0x8000_0000);
    guest.put(0xa000, &[0x77_0000_0025, guest::STATUS]);
    guest.write(0x88, 8, 0x10);
    guest.command(0x8400_0000);
    assert_eq!(guest.get(guest::STATUS), 0x77);
    assert_eq!(guest.read(0x80, 8), 0x10);
}

// feature: 3.queue: errors stop it (IQE, IQERCD)
#[test]
fn iqercd_keeps_its_value_until_the_next_error() {
    let mut guest = Guest::new();
    guest.enable();
    guest.ring(&[[0; 4]]);
    assert_eq!(guest.read(0xb0, 8), 3);
    guest.put(guest::QUEUE, &[0x11]);
    guest.write(0x34, 4, 0x10);
    assert!(guest.invalidate(&[]));
    assert_eq!(guest.read(0xb0, 8), 3);
    guest.ring(&[[0x01, 0, 0, 0]]);
    assert_eq!(guest.read(0xb0, 8), 4);
}

// feature: 3.descriptors: wait: status, interrupt, fence (type 5)
#[test]
fn invalidation_event_rules() {
    let mut guest = Guest::new();
    guest.enable();
    let interrupt = [0x15, 0, 0, 0];
    guest.ring(&[interrupt]);
    assert_eq!(guest.interrupts(), [INVALIDATION_DATA]);
    assert_eq!((guest.read(0x9c, 4), guest.read(0xa0, 4)), (1, 0));
    // IWC is set already: no new event.
    guest.ring(&[interrupt, interrupt]);
    assert_eq!(guest.interrupts(), [0; 0]);
    // Only a one clears it.
    for (written, left) in [(0, 1), (0xffff_fffe, 1), (1, 0)] {
        guest.write(0x9c, 4, written);
        assert_eq!(guest.read(0x9c, 4), left);
    }
    // Masked: held, sent when the mask goes.
    guest.write(0xa0, 4, 0x8000_0000);
    guest.ring(&[interrupt]);
    assert_eq!((guest.read(0x9c, 4), guest.read(0xa0, 4)), (1, 0xc000_0000));
    guest.write(0xa0, 4, 0);
    assert_eq!(guest.interrupts(), [INVALIDATION_DATA]);
    assert_eq!(guest.read(0xa0, 4), 0);
    guest.write(0x9c, 4, 1);
    // Held, then IWC is cleared: nothing is sent.
    guest.write(0xa0, 4, 0x8000_0000);
    guest.ring(&[interrupt]);
    guest.write(0x9c, 4, 1);
    assert_eq!(guest.read(0xa0, 4), 0x8000_0000);
    guest.write(0xa0, 4, 0);
    assert_eq!(guest.interrupts(), [0; 0]);
}
