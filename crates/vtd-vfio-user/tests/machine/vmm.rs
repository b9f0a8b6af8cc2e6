//! A tiny VMM with a tiny guest: two megabytes of memory in a file, a unit and one endpoint at 00:05.0.
//!
//! Memory: root table 1000, contexts 2000, queue 8000, wait status 9000, page request queue A000, PASID directory 10000, PASID
//! table 11000 (PASID 0 and 5 through the first-stage table at 20000, PASID 6 absent). The table maps page n of the addresses
//! from 0 on to 100000 + n pages for n from 0 to 15, but for what a test changes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vfio_user::Client;
use vtd_vfio_user::machine::{Machine, MachineConfig, MachineEvent, MachineSummary, TableMode};

/// BAR 0, configuration space.
pub(crate) const BAR: u32 = 0;
pub(crate) const CONFIG: u32 = 7;

pub(crate) const CHANNEL: u64 = 0x100;
/// Bits of COMMAND.
pub(crate) const WITH_PASID: u32 = 1 << 4;
pub(crate) const WRITABLE: u32 = 1 << 7;
pub(crate) const PAGE_REQUESTS: u32 = 1 << 8;
pub(crate) const REPEAT: u32 = 1 << 9;

/// A job's registers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Job {
    pub(crate) command: u32,
    pub(crate) pasid: u32,
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) pattern: u64,
}

pub(crate) struct Vmm {
    memory: File,
    pub(crate) unit: Client,
    pub(crate) endpoint: Client,
    folder: TempDir,
    running: std::thread::JoinHandle<MachineSummary>,
    stop: std::sync::mpsc::Sender<MachineEvent>,
    tail: u64,
    waits: u32,
}

/// A machine with first-stage tables and an endpoint.
pub(crate) fn config(folder: &TempDir) -> MachineConfig {
    MachineConfig {
        folder: folder.path().to_owned(),
        capabilities: TableMode::FirstStage.capabilities(true, true).unwrap(),
        unit: "4.0".parse().unwrap(),
        endpoints: vec!["5.0".parse().unwrap()],
        page_requests: true,
        blocks: Vec::new(),
        recording: None,
        log: None,
    }
}

impl Vmm {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder);
        Self::of(folder, config)
    }

    pub(crate) fn of(folder: TempDir, config: MachineConfig) -> Self {
        let running = Machine::new(config).unwrap().start().unwrap();
        let stop = running.stopper();
        let running = std::thread::spawn(move || running.wait(|_| {}));
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(2 << 20).unwrap();
        let connect = |name: &str| {
            let mut client = Client::new(&folder.path().join(name)).unwrap();
            client.dma_map(0, 0, 2 << 20, memory.as_raw_fd()).unwrap();
            client
        };
        let (unit, endpoint) = (connect("unit.sock"), connect("endpoint-5.0.sock"));
        Self { memory, unit, endpoint, folder, running, stop, tail: 0, waits: 0 }
    }

    /// Ends the machine.
    pub(crate) fn end(self) -> MachineSummary {
        self.end_and_keep().0
    }

    /// Ends the machine, and keeps its folder.
    pub(crate) fn end_and_keep(self) -> (MachineSummary, TempDir) {
        self.stop.send(MachineEvent::Stop).unwrap();
        (self.running.join().unwrap(), self.folder)
    }

    pub(crate) fn store(&self, address: u64, values: &[u64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.memory.write_all_at(&bytes, address).unwrap();
    }

    pub(crate) fn load(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, address).unwrap();
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn set_register(&mut self, offset: u64, bytes: &[u8]) {
        self.unit.region_write(BAR, offset, bytes).unwrap();
    }

    pub(crate) fn unit_register(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.unit.region_read(BAR, offset, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// Tables, queue, page request queue and translation; the endpoint's bus master, ATS, PRI and PASID.
    pub(crate) fn enable(&mut self) {
        self.store(0x1000, &[0x2001, 0]);
        // DTE, PASIDE, PRE; one page of PASID directory; RID_PASID 0.
        self.store(0x2000 + 0x28 * 32, &[0x1001d, 0, 0, 0]);
        self.store(0x10000, &[0x11001]);
        for pasid in [0, 5] {
            self.store(0x11000 + 64 * pasid, &[0x41, 7, 0x20000, 0, 0, 0, 0, 0]);
        }
        self.store(0x20000, &[0x21027]);
        self.store(0x21000, &[0x22027]);
        self.store(0x22000, &[0x23027]);
        for page in 0..16 {
            self.map(page, 7);
        }
        // 256-bit descriptors, one page of them; the page request queue; scalable mode.
        self.set_register(0x90, &0x8800_u64.to_le_bytes());
        self.set_register(0x18, &0x0400_0000_u32.to_le_bytes());
        self.set_register(0xd0, &0xa000_u64.to_le_bytes());
        self.set_register(0x20, &0x1400_u64.to_le_bytes());
        self.set_register(0x18, &0x4400_0000_u32.to_le_bytes());
        self.set_register(0x18, &0x8400_0000_u32.to_le_bytes());
        self.until("translation is on", |vmm| vmm.unit_register(0x1c) == 0xc400_0000);
        self.enable_endpoint(0x06);
        for (id, offset, value) in [(0x0f_u16, 6, 0x8000_u16), (0x13, 4, 1), (0x1b, 6, 7)] {
            let at = self.extended_capability(id) + offset;
            self.endpoint.region_write(CONFIG, at, &value.to_le_bytes()).unwrap();
        }
        assert_eq!(self.register(0x0c), 0xf);
    }

    /// The unit has been reset, and its queue with it.
    pub(crate) fn tail_is_zero(&mut self) {
        self.tail = 0;
    }

    /// The command register of the endpoint.
    pub(crate) fn enable_endpoint(&mut self, command: u16) {
        self.endpoint.region_write(CONFIG, 4, &command.to_le_bytes()).unwrap();
    }

    fn extended_capability(&mut self, id: u16) -> u64 {
        let mut at = 0x100;
        loop {
            let mut bytes = [0; 4];
            self.endpoint.region_read(CONFIG, at, &mut bytes).unwrap();
            let header = u32::from_le_bytes(bytes);
            if header & 0xffff == u32::from(id) {
                return at;
            }
            at = u64::from(header >> 20);
            assert_ne!(at, 0, "no extended capability {id:x}");
        }
    }

    /// Page `page` of the table with these low bits; 0 for none.
    pub(crate) fn map(&self, page: u64, bits: u64) {
        let entry = if bits == 0 { 0 } else { 0x10_0000 + (page << 12) | 0x60 | bits };
        self.store(0x23000 + 8 * page, &[entry]);
    }

    /// Puts descriptors into the queue and waits until they are done.
    pub(crate) fn invalidate(&mut self, descriptors: &[[u64; 2]]) {
        self.waits += 1;
        let wait = [0x25 | u64::from(self.waits) << 32, 0x9000];
        for [low, high] in descriptors.iter().chain([&wait]) {
            self.store(0x8000 + self.tail, &[*low, *high, 0, 0]);
            self.tail = (self.tail + 32) % 4096;
        }
        self.set_register(0x88, &self.tail.to_le_bytes());
        let waits = u64::from(self.waits);
        self.until("the wait is done", |vmm| vmm.load(0x9000) & 0xffff_ffff == waits);
    }

    /// Type 6 for page `page` of PASID 5 and of PASID 0, and types 8 and 3.
    pub(crate) fn invalidate_page(&mut self, page: u64) {
        self.invalidate(&[
            [0x36 | 7 << 16 | 5 << 32, page << 12],
            [0x36 | 7 << 16, page << 12],
            [0x08 | 0x28 << 16 | 5 << 32, page << 12],
            [0x03 | 0x28 << 32, page << 12],
        ]);
    }

    pub(crate) fn register(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.endpoint.region_read(BAR, offset, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// A 64-bit register of channel 0.
    pub(crate) fn figure(&mut self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.endpoint.region_read(BAR, CHANNEL + offset, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Starts a job on channel 0.
    pub(crate) fn start(&mut self, job: Job) {
        let bar = |vmm: &mut Self, offset, bytes: &[u8]| {
            vmm.endpoint.region_write(BAR, CHANNEL + offset, bytes).unwrap();
        };
        bar(self, 0x08, &job.pasid.to_le_bytes());
        bar(self, 0x10, &job.address.to_le_bytes());
        bar(self, 0x18, &job.length.to_le_bytes());
        bar(self, 0x20, &job.pattern.to_le_bytes());
        bar(self, 0x00, &job.command.to_le_bytes());
    }

    /// Ends a repeating job.
    pub(crate) fn stop(&mut self) -> u32 {
        self.endpoint.region_write(BAR, CHANNEL + 0x0c, &1_u32.to_le_bytes()).unwrap();
        self.finish()
    }

    /// Waits until channel 0 has done its job: RESULT and CODE.
    pub(crate) fn finish(&mut self) -> u32 {
        self.until("the job is done", |vmm| vmm.register(CHANNEL + 4) & 0xff == 2);
        self.register(CHANNEL + 4) >> 8
    }

    /// Does a job on channel 0: RESULT in 7:0 and CODE in 15:8.
    pub(crate) fn job(&mut self, job: Job) -> u32 {
        self.start(job);
        self.finish()
    }

    /// Waits until something holds.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited for this in vain: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
