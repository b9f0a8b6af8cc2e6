//! A guest with a block device: its memory, its tables and a driver.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use vtd::{RemappingUnit, Step, UnitConfig};
use vtd_recording::recorder::RecordedUnit;
use vtd_vfio_user::block::{BlockDevice, Disk};
use vtd_vfio_user::function::Function;
use vtd_vfio_user::guest_map::GuestMap;
use vtd_vfio_user::machine::TableMode;
use vtd_vfio_user::machine_unit::MachineUnit;
use vtd_vm_memory::VmMemory;

pub(crate) const COMMON: u64 = 0;
pub(crate) const ISR: u64 = 0x1000;
pub(crate) const DEVICE: u64 = 0x2000;
pub(crate) const NOTIFY: u64 = 0x3000;

pub(crate) const SECTORS: u64 = 0x2_0000;
const MEMORY: u64 = 4 << 20;

/// Version 1, access platform, ring reset; flush, segments, block size, queues; indirect descriptors.
pub(crate) const FEATURES: u64 = 0x103_1000_1244;
/// What virtio-queue does with its event index.
pub(crate) const EVENT_INDEX: u64 = 1 << 29;

/// Buffers of the driver.
pub(crate) const HEADER: u64 = 0x4_0000;
pub(crate) const STATUS: u64 = 0x4_1000;
pub(crate) const DATA: u64 = 0x5_0000;

pub(crate) const IN: u32 = 0;
pub(crate) const OUT: u32 = 1;
pub(crate) const FLUSH: u32 = 4;
pub(crate) const GET_ID: u32 = 8;

/// A descriptor: address, length, flags, next.
pub(crate) type Descriptor = (u64, u32, u16, u16);
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// What the unit does with the device's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    Off,
    /// Page `p` lies in page `0x100 + (p ^ 1)` of memory.
    Legacy,
}

pub(crate) struct Guest {
    pub(crate) unit: MachineUnit,
    pub(crate) device: BlockDevice,
    pub(crate) disk: NamedTempFile,
    memory: File,
    translation: Translation,
    /// The next index of each queue's driver ring.
    next: [u16; 2],
    tail: u64,
    waits: u64,
}

impl Guest {
    /// With a plain unit.
    pub(crate) fn new(translation: Translation) -> Self {
        Self::of(translation, |config| MachineUnit::Plain(RemappingUnit::new(config)))
    }

    /// With a unit that is recorded into `output`.
    pub(crate) fn recorded(output: impl Write + Send + 'static) -> Self {
        Self::of(Translation::Legacy, |config| {
            MachineUnit::Recorded(RecordedUnit::new(config, Some("a test"), output).unwrap())
        })
    }

    fn of(translation: Translation, unit: impl FnOnce(UnitConfig) -> MachineUnit) -> Self {
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(MEMORY).unwrap();
        let map = GuestMap::default();
        map.map(0, MEMORY, memory.try_clone().unwrap(), 0).unwrap();
        let capabilities = TableMode::Legacy.capabilities(false, false).unwrap();
        let space = Arc::new(VmMemory::new(map.memory().clone()));
        let unit = unit(UnitConfig::new(capabilities, space));
        let disk = NamedTempFile::new().unwrap();
        disk.as_file().set_len(SECTORS * 512).unwrap();
        let opened = Disk::open(disk.path()).unwrap();
        let mut device = BlockDevice::attach(&unit, "9.0".parse().unwrap(), opened).unwrap();
        device.memory().map(0, MEMORY, memory.try_clone().unwrap(), 0).unwrap();
        device.write_config(4, &[6, 0]);
        let mut guest =
            Self { unit, device, disk, memory, translation, next: [0; 2], tail: 0, waits: 0 };
        if translation == Translation::Legacy {
            guest.translate();
        }
        guest
    }

    /// Tables, the invalidation queue, and translation on.
    fn translate(&mut self) {
        let put = |at: u64, value: u64| self.memory.write_all_at(&value.to_le_bytes(), at).unwrap();
        put(0x1000, 0x2001);
        put(0x2000 + 0x48 * 16, 0x3001);
        put(0x2000 + 0x48 * 16 + 8, 1 << 8 | 1);
        put(0x3000, 0x4003);
        put(0x4000, 0x5003);
        for page in 0..0x100 {
            self.map(page, 3);
        }
        for (offset, size, value) in [
            (0x90, 8, 0x8000),
            (0x18, 4, 0x0400_0000),
            (0x20, 8, 0x1000),
            (0x18, 4, 0x4400_0000),
            (0x18, 4, 0x8400_0000),
        ] {
            self.unit.write(offset, size, value);
            self.step();
        }
        assert_eq!(self.unit.read(0x1c, 4), 0xc400_0000);
    }

    /// Page `page` of the device with these low bits; 0 for none. Not told to the unit.
    pub(crate) fn map(&self, page: u64, bits: u64) {
        let entry = if bits == 0 { 0 } else { 0x10_0000 + ((page ^ 1) << 12) | bits };
        self.memory.write_all_at(&entry.to_le_bytes(), 0x5000 + 8 * page).unwrap();
    }

    /// All translations of the unit are dropped.
    pub(crate) fn invalidate(&mut self) {
        self.waits += 1;
        for [low, high] in [[0x12, 0], [0x25 | self.waits << 32, 0x9000]] {
            for (at, value) in [(self.tail, low), (self.tail + 8, high)] {
                self.memory.write_all_at(&u64::to_le_bytes(value), 0x8000 + at).unwrap();
            }
            self.tail = (self.tail + 16) % 4096;
        }
        self.unit.write(0x88, 8, self.tail);
        let waits = self.waits;
        self.until("the wait is done", |guest| {
            guest.step();
            let mut bytes = [0; 4];
            guest.memory.read_exact_at(&mut bytes, 0x9000).unwrap();
            u64::from(u32::from_le_bytes(bytes)) == waits
        });
    }

    fn step(&self) {
        while self.unit.run() == Step::More {}
        while self.unit.take_effect().is_some() {}
    }

    /// How many faults the unit has recorded.
    pub(crate) fn faults(&self) -> u64 {
        let counts = self.unit.unit().counts();
        counts.faults_recorded + counts.faults_lost
    }

    fn place(&self, address: u64) -> u64 {
        match self.translation {
            Translation::Off => address,
            Translation::Legacy => 0x10_0000 + (address ^ 0x1000),
        }
    }

    /// Writes to memory as the device has it, a page at a time.
    pub(crate) fn store(&self, address: u64, bytes: &[u8]) {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = usize::try_from(4096 - at % 4096).unwrap().min(rest.len());
            self.memory.write_all_at(&rest[..length], self.place(at)).unwrap();
            (at, rest) = (at + length as u64, &rest[length..]);
        }
    }

    pub(crate) fn load(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut at = address;
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let (now, later) =
                rest.split_at_mut(rest.len().min(usize::try_from(4096 - at % 4096).unwrap()));
            self.memory.read_exact_at(now, self.place(at)).unwrap();
            at += now.len() as u64;
            rest = later;
        }
        bytes
    }

    fn load_u16(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.load(address, 2).try_into().unwrap())
    }

    /// A register of the BAR.
    pub(crate) fn read(&mut self, offset: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        self.device.read_bar(0, offset, &mut bytes[..size]);
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn write(&mut self, offset: u64, size: usize, value: u64) {
        self.device.write_bar(0, offset, &value.to_le_bytes()[..size]);
    }

    pub(crate) fn status(&mut self) -> u64 {
        self.read(COMMON + 0x14, 1)
    }

    /// Where a queue's descriptors, driver ring and device ring are.
    pub(crate) fn rings(queue: u16) -> [u64; 3] {
        [0, 0x1000, 0x2000].map(|ring| 0x1_0000 * (u64::from(queue) + 1) + ring)
    }

    /// Resets the device and sets it up, as a driver does. Whether it takes the features.
    pub(crate) fn negotiate(&mut self, features: u64) -> bool {
        self.write(COMMON + 0x14, 1, 0);
        assert_eq!(self.status(), 0);
        self.write(COMMON + 0x14, 1, 1);
        self.write(COMMON + 0x14, 1, 3);
        for window in [0, 1] {
            self.write(COMMON + 8, 4, window);
            self.write(COMMON + 0xc, 4, features >> (32 * window) & 0xffff_ffff);
        }
        self.write(COMMON + 0x14, 1, 0xb);
        self.status() & 8 != 0
    }

    pub(crate) fn enable_queue(&mut self, queue: u16, size: u16) {
        let [descriptors, driver_ring, device_ring] = Self::rings(queue);
        self.next[usize::from(queue)] = 0;
        self.store(driver_ring, &[0; 4096]);
        self.store(device_ring, &[0; 4096]);
        self.write(COMMON + 0x16, 2, queue.into());
        self.write(COMMON + 0x18, 2, size.into());
        self.write(COMMON + 0x1a, 2, u64::from(queue) + 1);
        self.write(COMMON + 0x20, 8, descriptors);
        self.write(COMMON + 0x28, 4, driver_ring & 0xffff_ffff);
        self.write(COMMON + 0x2c, 4, driver_ring >> 32);
        self.write(COMMON + 0x30, 8, device_ring);
        self.write(COMMON + 0x1c, 2, 1);
    }

    /// A driver with both queues.
    pub(crate) fn start(&mut self, features: u64) {
        assert!(self.negotiate(features));
        self.write(COMMON + 0x10, 2, 0);
        for queue in [0, 1] {
            self.enable_queue(queue, 256);
        }
        self.write(COMMON + 0x14, 1, 0xf);
        assert_eq!(self.status(), 0xf);
    }

    /// Writes descriptors from `first` on.
    pub(crate) fn describe(&self, queue: u16, first: u16, descriptors: &[Descriptor]) {
        let table = Self::rings(queue)[0];
        for (place, descriptor) in (u64::from(first)..).zip(descriptors) {
            self.store(table + 16 * place, &bytes_of(*descriptor));
        }
    }

    /// Makes a chain available, without telling the device.
    pub(crate) fn offer(&mut self, queue: u16, head: u16) {
        let ring = Self::rings(queue)[1];
        let next = self.next[usize::from(queue)];
        self.store(ring + 4 + 2 * u64::from(next % 256), &head.to_le_bytes());
        self.next[usize::from(queue)] = next.wrapping_add(1);
        self.store(ring + 2, &self.next[usize::from(queue)].to_le_bytes());
    }

    pub(crate) fn notify(&mut self, queue: u16) {
        self.write(NOTIFY + 4 * u64::from(queue), 2, queue.into());
    }

    /// How many chains the device has used.
    pub(crate) fn used(&self, queue: u16) -> u16 {
        self.load_u16(Self::rings(queue)[2] + 2)
    }

    /// Head and length of the last chain that was used.
    pub(crate) fn last_used(&self, queue: u16) -> (u32, u32) {
        let place = u64::from(self.used(queue).wrapping_sub(1) % 256);
        let element = self.load(Self::rings(queue)[2] + 4 + 8 * place, 8);
        let half = |at: usize| u32::from_le_bytes(element[at..at + 4].try_into().unwrap());
        (half(0), half(4))
    }

    /// Puts chain `head` into the queue and waits until it has been used.
    pub(crate) fn carry_out(&mut self, queue: u16, head: u16) {
        self.offer(queue, head);
        self.notify(queue);
        let next = self.next[usize::from(queue)];
        self.until("the request is done", |guest| guest.used(queue) == next);
    }

    pub(crate) fn put_header(&self, kind: u32, sector: u64) {
        self.store(HEADER, &kind.to_le_bytes());
        self.store(HEADER + 8, &sector.to_le_bytes());
        self.store(STATUS, &[0xff]);
    }

    /// Does a request with these data buffers (address and length): its status.
    pub(crate) fn request(
        &mut self,
        queue: u16,
        kind: u32,
        sector: u64,
        data: &[(u64, u32)],
    ) -> u8 {
        self.put_header(kind, sector);
        let flags = if matches!(kind, IN | GET_ID) { WRITE } else { 0 };
        let mut descriptors = vec![(HEADER, 16, NEXT, 1)];
        for (place, (address, length)) in data.iter().enumerate() {
            let next = u16::try_from(place).unwrap() + 2;
            descriptors.push((*address, *length, flags | NEXT, next));
        }
        descriptors.push((STATUS, 1, WRITE, 0));
        self.describe(queue, 0, &descriptors);
        self.carry_out(queue, 0);
        self.load(STATUS, 1)[0]
    }

    /// The disk's bytes, as the host has them.
    pub(crate) fn disk_bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.disk.as_file().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// What a vector's interrupts arrive at.
    pub(crate) fn listen(&mut self, vector: u32) -> Vector {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let event = File::from(OwnedFd::from(theirs));
        self.device.interrupts().assign(vector, [Some(event)].into_iter());
        Vector(ours)
    }

    /// Waits until something holds.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            let status = self.status();
            assert!(Instant::now() < deadline, "in vain, with status {status:#x}: {what}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until the device says that it needs a reset.
    pub(crate) fn until_broken(&mut self) {
        self.until("the device needs a reset", |guest| guest.status() & 0x40 != 0);
    }
}

/// The interrupts of a vector.
pub(crate) struct Vector(UnixStream);

impl Vector {
    /// Whether one arrives within a time, and takes it.
    pub(crate) fn arrives(&mut self, within: Duration) -> bool {
        self.0.set_read_timeout(Some(within)).unwrap();
        self.0.read_exact(&mut [0; 8]).is_ok()
    }
}

pub(crate) fn bytes_of((address, length, flags, next): Descriptor) -> Vec<u8> {
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed | 1);
    (0..length).map(|_| random.next().to_le_bytes()[3]).collect()
}

/// A small generator (xorshift), so that a failure can be run again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}
