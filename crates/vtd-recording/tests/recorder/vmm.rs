//! A VMM around a recorded unit, and a corpus for it to work on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vtd::host::{FailingHost, HostDevice, ModelHost};
use vtd::memory::SparseMemory;
use vtd::spec::{Capabilities, Gpa, Iova, PageRequest, Pasid, SourceId};
use vtd::{Access, Attachment, DeviceId, DmaError, ResetKind, TranslationRequest, UnitConfig};
use vtd_recording::format::{
    Direction, DmaAnswer, Event, Header, Permissions, Reader, RequestAccess,
};
use vtd_recording::recorder::RecordedUnit;

use crate::card::Card;
use crate::output::Output;

pub(crate) const CAP: u64 = 0x81d2_008c_222f_0686;
pub(crate) const ECAP: u64 = 0x3_c998_0000_0f46;
/// The device of most tests.
pub(crate) const DEVICE: SourceId = SourceId(0x18);

/// A VMM around a recorded unit.
pub(crate) struct Vmm {
    pub(crate) memory: Arc<SparseMemory>,
    pub(crate) host: Arc<FailingHost<ModelHost>>,
    pub(crate) unit: RecordedUnit,
    pub(crate) devices: BTreeMap<SourceId, (DeviceId, Attachment)>,
    /// Of emulated devices with device TLBs.
    pub(crate) cards: BTreeMap<SourceId, Arc<Card>>,
    /// `host-fail` lines before the input to come.
    pub(crate) failing: u64,
    pub(crate) output: Output,
}

impl Vmm {
    pub(crate) fn new(header: &Header) -> Self {
        let mut caps = Capabilities::new(header.cap, header.ecap).unwrap();
        if let Some(bits) = header.host_address_width {
            caps = caps.with_host_address_width(bits).unwrap();
        }
        let memory = Arc::new(SparseMemory::zero_filled());
        let host = Arc::new(FailingHost::new(ModelHost::new()));
        let mut config = UnitConfig::new(caps, memory.clone());
        config.version = header.version;
        config.host = Some(host.clone());
        let output = Output::default();
        let (version, guest) = (header.format_version, header.guest.as_deref());
        let unit = RecordedUnit::in_version(version, config, guest, output.clone()).unwrap();
        let (devices, cards) = (BTreeMap::new(), BTreeMap::new());
        Self { memory, host, unit, devices, cards, failing: 0, output }
    }

    /// Does what a line of a recording says; what a request came to.
    pub(crate) fn perform(&mut self, event: &Event) -> Option<Event> {
        let mut answered = None;
        match event {
            Event::Mem { gpa, bytes } => self.memory.write_bytes(*gpa, bytes).unwrap(),
            Event::Zero { gpa } => self.memory.fill_zero_page(*gpa),
            Event::Write { offset, size, value } => self.unit.write(*offset, *size, *value),
            Event::Read { offset, size, .. } => drop(self.unit.read(*offset, *size)),
            Event::Reset => self.unit.reset(ResetKind::PowerOn),
            Event::HostFail => {
                self.failing += 1;
                self.host.fail_nth(self.failing);
                return None;
            }
            Event::Assign { source_id } => self.assign(*source_id),
            Event::Release { source_id } => {
                let (device, _) = self.devices.remove(source_id).unwrap();
                self.cards.remove(source_id);
                self.unit.release(device).unwrap();
            }
            Event::Dma { source_id, pasid, access, iova, .. } => {
                let emulated = |(_, attachment)| attachment == Attachment::Emulated;
                if self.devices.get(source_id).is_none_or(|device| emulated(*device)) {
                    let answer = self.request((*source_id, *pasid), *access, *iova);
                    let (source_id, pasid) = (*source_id, *pasid);
                    let (access, iova) = (*access, *iova);
                    answered = Some(Event::Dma { source_id, pasid, access, iova, answer });
                }
            }
            Event::Translate { source_id, pasid, access, iova, .. } => {
                let mut request = TranslationRequest::READ_WRITE;
                request.no_write = access.direction == Direction::Read;
                request.execute = access.execute;
                request.privileged = access.privileged;
                let device = self.emulate(*source_id);
                let dma = self.unit.dma(device, *pasid).unwrap();
                dma.with_guard(|guard| {
                    let _answer = guard.translation_request(*iova, request);
                });
            }
            Event::Translated { source_id, pasid, access, address, .. } => {
                let device = self.emulate(*source_id);
                let dma = self.unit.dma(device, *pasid).unwrap();
                dma.with_guard(|guard| {
                    let _answer = guard.translated(*address, asked(*access));
                });
            }
            Event::Endpoint { source_id, later } => self.give_card(*source_id, *later),
            Event::DeviceTlbDone { source_id } => {
                let (device, card) = (self.devices[source_id].0, &self.cards[source_id]);
                self.unit.device_tlb_invalidated(device, card.take_oldest()).unwrap();
            }
            Event::DeviceTlbTimeout { source_id } => {
                self.unit.expire_device_tlb(self.devices[source_id].0).unwrap();
            }
            Event::PageRequest { source_id, pasid, access, address, group, last } => {
                let request = PageRequest {
                    source_id: *source_id,
                    pasid: *pasid,
                    address: *address,
                    read: access.read,
                    write: access.write,
                    execute: access.execute,
                    privileged: access.privileged,
                    last_in_group: *last,
                    group_index: *group,
                };
                let device = match self.devices.get(source_id) {
                    Some((device, _)) => *device,
                    None => self.emulate(*source_id),
                };
                let _queued_or_refused = self.unit.page_request(device, request);
            }
            Event::Interrupt { source_id, address, data, .. } => {
                let _answer = self.unit.remap_interrupt(*source_id, *address, *data);
            }
            Event::Renumber { source_id, new } => {
                self.emulate(*source_id);
                // One that came about by a DMA alone gives way.
                if let Some((other, _)) = self.devices.remove(new) {
                    self.unit.release(other).unwrap();
                    let _left = self.unit.run();
                }
                let device = self.devices.remove(source_id).unwrap();
                self.unit.renumber(device.0, *new).unwrap();
                self.devices.insert(*new, device);
                if let Some(card) = self.cards.remove(source_id) {
                    self.cards.insert(*new, card);
                }
            }
            _ => return None,
        }
        self.failing = 0;
        while self.unit.take_effect().is_some() {}
        answered
    }

    fn give_card(&mut self, source_id: SourceId, later: bool) {
        let card = Arc::clone(self.cards.entry(source_id).or_default());
        card.later.store(later, Ordering::Relaxed);
        match self.devices.get(&source_id) {
            Some((device, _)) => self.unit.set_endpoint(*device, card).unwrap(),
            None => {
                let device = self.unit.attach_endpoint(source_id, card).unwrap();
                self.devices.insert(source_id, (device, Attachment::Emulated));
            }
        }
    }

    fn assign(&mut self, source_id: SourceId) {
        if let Some((emulated, _)) = self.devices.remove(&source_id) {
            self.unit.release(emulated).unwrap();
        }
        // A device that was renumbered keeps its name.
        let attachments: Vec<_> =
            self.devices.values().map(|(_, attachment)| *attachment).collect();
        let mut names =
            (0..).map(|generation: u64| HostDevice(generation << 16 | u64::from(source_id.0)));
        let is_free = |name: &HostDevice| !attachments.contains(&Attachment::Assigned(*name));
        let host_device = names.find(is_free).unwrap();
        self.host.inner().add_device(host_device);
        let attachment = Attachment::Assigned(host_device);
        let device = self.unit.attach(source_id, attachment).unwrap();
        self.devices.insert(source_id, (device, attachment));
    }

    fn emulate(&mut self, source_id: SourceId) -> DeviceId {
        let attach = || {
            let device = self.unit.attach(source_id, Attachment::Emulated).unwrap();
            (device, Attachment::Emulated)
        };
        self.devices.entry(source_id).or_insert_with(attach).0
    }

    fn request(
        &mut self,
        (source_id, pasid): (SourceId, Option<Pasid>),
        access: RequestAccess,
        iova: Iova,
    ) -> DmaAnswer {
        let device = self.emulate(source_id);
        let (direction, access) = (access.direction, asked(access));
        self.unit.dma(device, pasid).unwrap().with_guard(|guard| {
            match guard.translate(iova, access) {
                Ok(found) => {
                    assert!(access.zero_length || found.granted().allows(access));
                    let permissions = match direction {
                        Direction::Read => Permissions::Read,
                        Direction::Write => Permissions::Write,
                    };
                    let gpa = found.address().page();
                    DmaAnswer::Translated { gpa, mask: 0xfff, permissions }
                }
                Err(DmaError::Fault(_) | DmaError::Blocked | DmaError::Interrupt) => {
                    DmaAnswer::Fault
                }
                Err(other) => panic!("{other} for {iova:x}"),
            }
        })
    }
}

fn asked(access: RequestAccess) -> Access {
    let mut asked = if access.direction == Direction::Write { Access::WRITE } else { Access::READ };
    asked.execute = access.execute;
    asked.privileged = access.privileged;
    asked.zero_length = access.zero_length;
    asked
}

/// A unit over memory of its own whose guest has made a queue at 8000, with waits that write 1 and 2 to 9000 in it. What
/// that took is no longer in the output.
pub(crate) fn with_queue() -> Vmm {
    let vmm = Vmm::new(&Header::new(CAP, ECAP, 0x10));
    for (gpa, value) in
        [(0x8000, 0x1_0000_0025), (0x8008, 0x9000), (0x8020, 0x2_0000_0025), (0x8028, 0x9000)]
    {
        vmm.memory.write_u64(Gpa(gpa), value).unwrap();
    }
    vmm.unit.write(0x90, 8, 0x8800);
    vmm.unit.write(0x18, 4, 0x400_0000);
    assert_eq!(vmm.output.news().len(), 4 + 2);
    vmm
}

/// The line of memory that holds the queue of [`with_queue`], where its first wait writes a number.
pub(crate) fn queue_line(first: u64) -> String {
    format!("mem 8000 25000000{first:02x}0000000090{}", "0".repeat(21))
}

pub(crate) fn corpus(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(folder);
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "rec"))
        .map(|file| (file.display().to_string(), fs::read_to_string(&file).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Everything that a recording says.
pub(crate) fn events(text: &str) -> (Header, Vec<Event>) {
    let reader = Reader::new(text.as_bytes()).unwrap();
    let header = reader.header().clone();
    (header, reader.map(|event| event.unwrap().1).collect())
}

/// Does what a recording says; the new recording, and the requests in it as the VMM saw them answered.
pub(crate) fn record(text: &str) -> (String, Vec<Event>) {
    let (header, events) = events(text);
    let mut vmm = Vmm::new(&header);
    let answered = events.iter().filter_map(|event| vmm.perform(event)).collect();
    assert_eq!(vmm.unit.finish().unwrap().notes, 0);
    (vmm.output.text(), answered)
}

pub(crate) fn is_memory(event: &Event) -> bool {
    matches!(event, Event::Mem { .. } | Event::Zero { .. })
}
