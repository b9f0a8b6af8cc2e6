//! Recordings made up line by line: a guest that changes its tables and tells of it, and devices with planted answers.

use std::collections::BTreeMap;

use vtd_recording::audit::{Audit, AuditReport};
use vtd_recording::format::Reader;

/// ESRTPS, MAMV 12, PSI, one fault record; SAGAW 39 and 48 bits, 2 MiB and 1 GiB pages; no caching mode.
pub(crate) const CAP: u64 = 0x818c_008c_222f_0606;
/// QI, DT, PT, NEST, PRS, SRS, NWFS, 20 bits of PASID, PASID, SMTS, SSADS, SSTS, FSTS, SMPWCS, RPS; IRO at f0.
pub(crate) const ECAP: u64 = 0x0003_e99a_a400_0f46;
/// Without scalable mode.
pub(crate) const LEGACY_ECAP: u64 = 0xf46;

/// Where the queue lies, and what waits write to.
const QUEUE: u64 = 0x8000;
const STATUS: u64 = 0x9000;

/// A recording that is made up.
#[derive(Clone)]
pub(crate) struct Story {
    text: String,
    lines: u64,
    memory: BTreeMap<u64, [u64; 8]>,
    tail: u64,
    descriptor_bytes: u64,
    waits: u32,
}

impl Story {
    /// A unit after power-on.
    pub(crate) fn new(cap: u64, ecap: u64) -> Self {
        let text = format!("# vtd-recording 2\n# cap {cap:x}\n# ecap {ecap:x}\n# ver 10\n");
        let (memory, lines) = (BTreeMap::new(), 4);
        Self { text, lines, memory, tail: 0, descriptor_bytes: 32, waits: 0 }
    }

    /// Scalable mode, translation on, with a queue of 256-bit descriptors. Device 00:03.0 has these PASIDs, each with pages
    /// 5000 and 6000 at 777000 and 778000, and 20_0000 to 3f_ffff at 80_0000:
    /// 5 on the first stage (domain 7, tables from 10_0000), 6 on the second (domain 8, from 20_0000), 7 on both (domain 9, from
    /// 30_0000, and from 40_0000 where everything up to 1 GiB is itself), 9 passes through (domain a). 0, that of requests
    /// without PASID, has the table of 5 and domain 7.
    pub(crate) fn scalable() -> Self {
        Self::scalable_with(CAP)
    }

    pub(crate) fn scalable_with(cap: u64) -> Self {
        let mut story = Self::new(cap, ECAP);
        story.set_all(&[
            (0x1000, 0x2001),
            // DTE, PASIDE.
            (0x2300, 0x1_000d),
            (0x1_0000, 0x1_1001),
        ]);
        story.pasid(0, [0x41, 7, 0x10_0000]);
        story.pasid(5, [0x41, 7, 0x10_0000]);
        story.pasid(6, [0x20_0089, 8, 0]);
        story.pasid(7, [0x40_00c9, 9, 0x30_0000]);
        story.pasid(9, [0x101, 0xa, 0]);
        story.first_stage(0x10_0000);
        story.second_stage(0x20_0000);
        story.first_stage(0x30_0000);
        story.set_all(&[(0x40_0000, 0x40_1003), (0x40_1000, 0x83)]);
        story.start(0x1400, true);
        story
    }

    /// Legacy mode: device 00:03.0 has the second-stage table at 20_0000 and domain 8, 00:03.1 the same and domain 9.
    pub(crate) fn legacy() -> Self {
        let mut story = Self::new(CAP, LEGACY_ECAP);
        story.descriptor_bytes = 16;
        story.set_all(&[
            (0x1000, 0x2001),
            (0x2180, 0x20_0001),
            (0x2188, 0x802),
            (0x2190, 0x20_0001),
            (0x2198, 0x902),
        ]);
        story.second_stage(0x20_0000);
        story.start(0x1000, false);
        story
    }

    fn start(&mut self, root: u64, wide: bool) {
        self.write(0x20, 8, root);
        self.write(0x18, 4, 0x4000_0000);
        self.read(0x1c, 4, 0x4000_0000);
        self.write(0x90, 8, QUEUE | u64::from(wide) << 11);
        self.write(0x18, 4, 0x400_0000);
        self.read(0x1c, 4, 0x4400_0000);
        self.write(0x18, 4, 0x8400_0000);
        self.read(0x1c, 4, 0xc400_0000);
    }

    /// The entry of a PASID: its first three qwords.
    pub(crate) fn pasid(&mut self, pasid: u64, words: [u64; 3]) {
        let place = 0x1_1000 + 64 * pasid;
        self.set_all(&[(place, words[0]), (place + 8, words[1]), (place + 16, words[2])]);
    }

    /// Tables of a first stage of four levels, one page each from `table` on.
    pub(crate) fn first_stage(&mut self, table: u64) {
        self.set_all(&[
            (table, table + 0x1027),
            (table + 0x1000, table + 0x2027),
            (table + 0x2000, table + 0x3027),
            (table + 0x2008, 0x80_00e7),
            (table + 0x3028, 0x77_7067),
            (table + 0x3030, 0x77_8067),
        ]);
    }

    /// The same of a second stage.
    pub(crate) fn second_stage(&mut self, table: u64) {
        self.set_all(&[
            (table, table + 0x1003),
            (table + 0x1000, table + 0x2003),
            (table + 0x2000, table + 0x3003),
            (table + 0x2008, 0x80_0083),
            (table + 0x3028, 0x77_7003),
            (table + 0x3030, 0x77_8003),
        ]);
    }

    /// A line; its number.
    pub(crate) fn line(&mut self, line: &str) -> u64 {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1;
        self.lines
    }

    pub(crate) fn write(&mut self, offset: u64, size: u8, value: u64) -> u64 {
        self.line(&format!("write {offset:x} {size} {value:x}"))
    }

    pub(crate) fn read(&mut self, offset: u64, size: u8, value: u64) -> u64 {
        self.line(&format!("read {offset:x} {size} {value:x}"))
    }

    /// The guest writes a qword.
    pub(crate) fn set(&mut self, place: u64, value: u64) {
        let start = place & !63;
        let line = self.memory.entry(start).or_default();
        line[usize::try_from((place - start) / 8).unwrap()] = value;
        let bytes = line.iter().flat_map(|word| word.to_le_bytes());
        let bytes: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        self.line(&format!("mem {start:x} {bytes}"));
    }

    pub(crate) fn set_all(&mut self, values: &[(u64, u64)]) {
        values.iter().for_each(|(place, value)| self.set(*place, *value));
    }

    /// The guest puts a descriptor into the queue.
    pub(crate) fn queue(&mut self, [qw0, qw1]: [u64; 2]) {
        let place = QUEUE + self.tail;
        self.set_all(&[(place, qw0), (place + 8, qw1)]);
        let next = self.tail + self.descriptor_bytes;
        self.tail = if next == 0x1000 { 0 } else { next };
    }

    /// … and a wait with a status; what it writes.
    pub(crate) fn queue_wait(&mut self) -> u32 {
        self.waits += 1;
        self.queue([u64::from(self.waits) << 32 | 0x25, STATUS]);
        self.waits
    }

    /// The guest tells the unit of what is in the queue.
    pub(crate) fn ring(&mut self) -> u64 {
        self.write(0x88, 8, self.tail)
    }

    /// The unit has done everything before a wait.
    pub(crate) fn status(&mut self, wait: u32) -> u64 {
        let bytes: String = wait.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        self.line(&format!("iommu-write {STATUS:x} {bytes}"))
    }

    /// The guest has this invalidated and waits for it.
    pub(crate) fn invalidate(&mut self, descriptors: &[[u64; 2]]) {
        descriptors.iter().for_each(|descriptor| self.queue(*descriptor));
        let wait = self.queue_wait();
        self.ring();
        self.status(wait);
    }

    /// What the audit finds. The made-up recording has to be one that can be read.
    pub(crate) fn audit(&self) -> AuditReport {
        audit(&self.text)
    }
}

/// What the audit finds in a recording.
pub(crate) fn audit(text: &str) -> AuditReport {
    let reader = Reader::new(text.as_bytes()).unwrap();
    let mut audit = Audit::new(reader.header(), 10).unwrap();
    for line in reader {
        let (line, event) = line.unwrap();
        audit.take(line, &event);
    }
    audit.into_report()
}

/// Requests, answers stale but allowed, violations, and requests that were not judged.
pub(crate) fn figures(report: &AuditReport) -> [u64; 4] {
    [report.requests, report.stale, report.violations, report.unjudged]
}

/// Type 1 for 00:03.0, with a function mask.
pub(crate) fn context_cache(domain: u64, function_mask: u64) -> [u64; 2] {
    [0x31 | domain << 16 | 0x18 << 32 | function_mask << 48, 0]
}

/// Type 2: of pages from an address.
pub(crate) fn iotlb_pages(domain: u64, address: u64, mask: u64) -> [u64; 2] {
    [0x32 | domain << 16, address | mask]
}

/// Type 2: of a domain.
pub(crate) fn iotlb_domain(domain: u64) -> [u64; 2] {
    [0x22 | domain << 16, 0]
}

/// Type 2: of everything.
pub(crate) const IOTLB: [u64; 2] = [0x12, 0];

/// Type 6: of a PASID.
pub(crate) fn pasid_iotlb(domain: u64, pasid: u64) -> [u64; 2] {
    [0x26 | domain << 16 | pasid << 32, 0]
}

/// Type 6: of pages of a PASID.
pub(crate) fn pasid_iotlb_pages(domain: u64, pasid: u64, address: u64, mask: u64) -> [u64; 2] {
    [0x36 | domain << 16 | pasid << 32, address | mask]
}

/// Type 7: of a PASID.
pub(crate) fn pasid_cache(domain: u64, pasid: u64) -> [u64; 2] {
    [0x17 | domain << 16 | pasid << 32, 0]
}

/// Type 7: of a domain.
pub(crate) fn pasid_cache_domain(domain: u64) -> [u64; 2] {
    [0x07 | domain << 16, 0]
}

/// Type 7: of everything.
pub(crate) const PASID_CACHE: [u64; 2] = [0x37, 0];

/// A device makes a request, the guest changes its tables and has something invalidated, and the unit goes on with what it held:
/// before the guest has been told that it is done, which is allowed, and after. Whether that is found.
pub(crate) fn is_found(
    mut story: Story,
    request: &str,
    change: impl FnOnce(&mut Story),
    invalidation: &[[u64; 2]],
) -> bool {
    let valid_until = story.line(request);
    assert_eq!(figures(&story.audit()), [1, 0, 0, 0], "{request} is what the tables say");
    change(&mut story);
    invalidation.iter().for_each(|descriptor| story.queue(*descriptor));
    let wait = story.queue_wait();
    let asked = story.ring();
    let mut meanwhile = story.clone();
    meanwhile.line(request);
    assert_eq!(figures(&meanwhile.audit()), [2, 1, 0, 0], "{request}: the guest knows nothing yet");
    let done = story.status(wait);
    let line = story.line(request);
    let report = story.audit();
    match figures(&report) {
        [2, 1, 0, 0] => false,
        [2, 0, 1, 0] => {
            let [found] = &report.uses[..] else { panic!("{report:#?}") };
            assert_eq!((found.line, found.request.as_str()), (line, request));
            assert_eq!(found.valid_until, Some(valid_until), "{found:?}");
            assert_eq!((found.asked, found.done), (Some(asked), Some(done)), "{found:?}");
            true
        }
        other => panic!("{request}: {other:?} {report:#?}"),
    }
}
