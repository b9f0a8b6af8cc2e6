//! What a driver finds, and the steps by which it takes the device.

use vtd_vfio_user::block::Disk;
use vtd_vfio_user::function::Function;

use crate::guest::{
    COMMON, DATA, DEVICE, EVENT_INDEX, FEATURES, Guest, IN, ISR, NOTIFY, SECTORS, Translation,
};

/// A capability: its place and its bytes.
fn virtio_capabilities(guest: &mut Guest) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = [0];
    guest.device.read_config(0x34, &mut at);
    while at[0] != 0 {
        let place = u64::from(at[0]);
        let mut bytes = [0; 20];
        guest.device.read_config(place, &mut bytes);
        if bytes[0] == 9 {
            found.push((place, bytes[..bytes[2].into()].to_vec()));
        }
        at[0] = bytes[1];
    }
    found
}

#[test]
fn the_configuration_space_says_where_everything_is() {
    let mut guest = Guest::new(Translation::Off);
    let mut bytes = [0; 4];
    guest.device.read_config(0, &mut bytes);
    assert_eq!(bytes, [0xf4, 0x1a, 0x42, 0x10]);
    let found = virtio_capabilities(&mut guest);
    let places: Vec<_> = found
        .iter()
        .map(|(_, bytes)| {
            let dword = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            (bytes[3], bytes[4], u64::from(dword(8)), dword(12))
        })
        .collect();
    assert_eq!(
        places,
        [(1, 0, COMMON, 0x3c), (3, 0, ISR, 1), (4, 0, DEVICE, 64), (2, 0, NOTIFY, 8), (5, 0, 0, 0)]
    );
    assert_eq!(found[3].1[16..], [4, 0, 0, 0]);
}

#[test]
fn the_window_in_the_configuration_space_reaches_the_registers() {
    let mut guest = Guest::new(Translation::Off);
    let (window, _) = virtio_capabilities(&mut guest)[4];
    let aim = |guest: &mut Guest, bar: u8, offset: u64, length: u32| {
        guest.device.write_config(window + 4, &[bar]);
        guest.device.write_config(window + 8, &offset.to_le_bytes()[..4]);
        guest.device.write_config(window + 12, &length.to_le_bytes());
    };
    let read = |guest: &mut Guest| {
        let mut bytes = [0; 4];
        guest.device.read_config(window + 16, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    aim(&mut guest, 0, DEVICE, 4);
    assert_eq!(u64::from(read(&mut guest)), SECTORS);
    aim(&mut guest, 0, COMMON + 0x14, 1);
    guest.device.write_config(window + 16, &[3, 9, 9, 9]);
    assert_eq!(guest.status(), 3);
    assert_eq!(read(&mut guest), 3);
    // Nowhere: another BAR, past the end, not aligned, a length that there is not.
    for (bar, offset, length) in [(1, 0x14, 1), (0, 0x4000, 4), (0, 0x13, 2), (0, 0x14, 3)] {
        aim(&mut guest, bar, offset, length);
        guest.device.write_config(window + 16, &[0; 4]);
        assert_eq!(guest.status(), 3);
        assert_eq!(read(&mut guest), 0);
    }
}

#[test]
fn the_device_is_offered_as_it_is() {
    let mut guest = Guest::new(Translation::Off);
    for (window, expected) in
        [(0, (FEATURES | EVENT_INDEX) & 0xffff_ffff), (1, FEATURES >> 32), (2, 0)]
    {
        guest.write(COMMON, 4, window);
        assert_eq!(guest.read(COMMON + 4, 4), expected);
    }
    assert_eq!(guest.read(COMMON + 0x12, 2), 2);
    for (queue, size) in [(0, 256), (1, 256), (2, 0), (0xffff, 0)] {
        guest.write(COMMON + 0x16, 2, queue);
        assert_eq!(guest.read(COMMON + 0x18, 2), size);
        assert_eq!(guest.read(COMMON + 0x1a, 2), 0xffff);
        assert_eq!(guest.read(COMMON + 0x1c, 2), 0);
        let offset = if size > 0 { queue } else { 0 };
        assert_eq!(guest.read(COMMON + 0x1e, 2), offset);
    }
    assert_eq!(guest.read(DEVICE, 8), SECTORS);
    assert_eq!(guest.read(DEVICE + 0xc, 4), 254);
    assert_eq!(guest.read(DEVICE + 0x14, 4), 512);
    assert_eq!(guest.read(DEVICE + 0x22, 2), 2);
    // The end of the BAR, and a read that runs over the end of a structure.
    assert_eq!(guest.read(0x3ff8, 8), 0);
    assert_eq!(guest.read(COMMON + 0x3a, 8), 0);
}

#[test]
fn a_driver_has_to_take_version_1_and_access_platform() {
    let mut guest = Guest::new(Translation::Off);
    let (version_1, access_platform) = (1 << 32, 1 << 33);
    assert!(guest.negotiate(version_1 | access_platform));
    for features in
        [0, version_1, access_platform, FEATURES | 1 << 34, FEATURES | 1, FEATURES | 1 << 63]
    {
        assert!(!guest.negotiate(features), "{features:#x}");
        // Without that nothing runs.
        guest.enable_queue(0, 256);
        guest.write(COMMON + 0x14, 1, 0xf);
        guest.offer(0, 0);
        guest.notify(0);
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(guest.used(0), 0);
        assert_eq!(guest.status() & 0x48, 0);
    }
    // What has been agreed on stays.
    assert!(guest.negotiate(FEATURES));
    guest.write(COMMON + 8, 4, 1);
    guest.write(COMMON + 0xc, 4, 0);
    assert_eq!(guest.read(COMMON + 0xc, 4), FEATURES >> 32);
}

#[test]
fn a_vector_that_is_not_there_is_refused() {
    let mut guest = Guest::new(Translation::Off);
    for (asked, given) in [(0, 0), (2, 2), (3, 0xffff), (1, 1), (0xffff, 0xffff)] {
        guest.write(COMMON + 0x10, 2, asked);
        assert_eq!(guest.read(COMMON + 0x10, 2), given);
        guest.write(COMMON + 0x1a, 2, asked);
        assert_eq!(guest.read(COMMON + 0x1a, 2), given);
    }
}

#[test]
fn a_queue_that_no_queue_can_be_needs_a_reset() {
    for (offset, size, value) in [
        (0x18, 2, 0),
        (0x18, 2, 3),
        (0x18, 2, 512),
        (0x20, 8, 0x1_0008),
        (0x28, 8, 0x1_1001),
        (0x30, 8, 0x1_2002),
    ] {
        let mut guest = Guest::new(Translation::Off);
        assert!(guest.negotiate(FEATURES));
        guest.write(COMMON + 0x18, 2, 16);
        for (register, value) in [(0x20, 0x1_0000), (0x28, 0x1_1000), (0x30, 0x1_2000)] {
            guest.write(COMMON + register, 8, value);
        }
        guest.write(COMMON + offset, size, value);
        guest.write(COMMON + 0x1c, 2, 1);
        assert_eq!(guest.status() & 0x40, 0);
        guest.write(COMMON + 0x14, 1, 0xf);
        assert_eq!(guest.status(), 0x4f);
        guest.start(FEATURES);
        assert_eq!(guest.request(0, IN, 0, &[(DATA, 512)]), 0);
    }
}

#[test]
fn a_file_that_is_no_disk_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    assert!(Disk::open(&path).unwrap_err().to_string().contains("disk: No such file"));
    assert!(Disk::open(folder.path()).unwrap_err().to_string().contains("directory"));
    for size in [0, 511, 513] {
        std::fs::write(&path, vec![0; size]).unwrap();
        let error = Disk::open(&path).unwrap_err().to_string();
        assert!(error.contains("whole sectors") && error.contains(&size.to_string()), "{error}");
    }
    std::fs::write(&path, [0; 1024]).unwrap();
    assert_eq!(Disk::open(&path).unwrap().sectors(), 2);
}
