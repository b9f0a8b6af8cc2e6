//! What the types of an event leave open: alignments, sizes and ranges.
//!
//! Reader and writer ask here, so nothing is written that cannot be read.

use vtd_spec::{Gpa, Pasid};

use super::error::shortened;
use super::{
    Direction, DmaAnswer, Event, EventKind, FaultedRequest, FormatError, FormatVersion, Header,
    HostCall, HostCallKind, HostMode, Ignored, InterruptEntries, LONGEST_LINE, PageRange,
    RequestAccess, TranslationAnswer,
};

/// Checks an event that stands, or is to stand, at line `line` of a file of this version.
pub(super) fn check_event(
    line: u64,
    version: FormatVersion,
    event: &Event,
) -> Result<(), FormatError> {
    check_kind(line, version, event.kind())?;
    if version < FormatVersion::Two
        && let Some((field, found)) = event.word_of_version_2()
    {
        return Err(FormatError::WordNeedsVersion2 { line, field, found });
    }
    let rules = Rules { line };
    match event {
        Event::Mem { gpa, bytes } => {
            // Every line of more than these would be longer than a line may be.
            let expected = "a multiple of 64 from 64 to 524224";
            let fits = |length: usize| {
                length > 0 && length.is_multiple_of(64) && length < LONGEST_LINE / 2
            };
            rules.memory(*gpa, bytes, expected, fits)
        }
        Event::IommuWrite { gpa, bytes } => {
            rules.memory(*gpa, bytes, "1 to 64", |length| (1..=64).contains(&length))
        }
        Event::Zero { gpa } => rules.page("GPA", gpa.0),
        Event::Write { size, value, .. } | Event::Read { size, value, .. } => {
            rules.register(*size, *value)
        }
        Event::Dma { access, answer, .. } => {
            rules.access(*access, Execute::ReadsOnly)?;
            match answer {
                DmaAnswer::Translated { gpa, mask, .. } => rules.translation(*gpa, *mask),
                DmaAnswer::Fault => Ok(()),
            }
        }
        Event::Fault { pasid, access, address, request, .. } => {
            rules.fault(*pasid, *access, address.0, *request)
        }
        Event::Host(call) => rules.host_call(call),
        Event::Translate { access, answer, .. } => {
            rules.access_of_some_length(*access, Execute::AnyDirection)?;
            match answer {
                TranslationAnswer::Granted { gpa, mask, .. } => rules.translation(*gpa, *mask),
                TranslationAnswer::Nothing | TranslationAnswer::Fault => Ok(()),
            }
        }
        Event::Translated { access, .. } => rules.access(*access, Execute::ReadsOnly),
        Event::DeviceTlb { range, .. } => rules.page_range(*range),
        Event::PageRequest { address, group, .. } => {
            rules.page("ADDR", address.0)?;
            rules.group(*group)
        }
        Event::PageResponse { group, .. } => rules.group(*group),
        Event::InterruptEntries(InterruptEntries::Range { index, count }) => {
            let left = 0x1_0000 - u32::from(*index);
            let expected = "a number of entries, not 0, that end at index ffff or before";
            rules.number("COUNT", (*count).into(), expected, (1..=left).contains(count))
        }
        Event::Msi { .. }
        | Event::Assign { .. }
        | Event::Release { .. }
        | Event::HostFail
        | Event::Reset
        | Event::Endpoint { .. }
        | Event::DeviceTlbDone { .. }
        | Event::DeviceTlbTimeout { .. }
        | Event::Interrupt { .. }
        | Event::InterruptEntries(InterruptEntries::Everything)
        | Event::Renumber { .. } => Ok(()),
    }
}

/// Checks that a version has lines of this kind.
pub(super) fn check_kind(
    line: u64,
    version: FormatVersion,
    kind: EventKind,
) -> Result<(), FormatError> {
    if kind.since() <= version {
        return Ok(());
    }
    Err(FormatError::KindNeedsVersion2 { line, kind })
}

/// Checks that a version has lines of every kind that is not compared.
pub(super) fn check_ignored(
    line: u64,
    version: FormatVersion,
    ignored: Ignored,
) -> Result<(), FormatError> {
    ignored.kinds().find(|kind| kind.since() > version).map_or(Ok(()), |kind| {
        let found = kind.name().into();
        Err(FormatError::WordNeedsVersion2 { line, field: "ignore", found })
    })
}

/// Checks what the header says, at line `line`, about the host address width.
pub(super) fn check_host_address_width(line: u64, bits: u8) -> Result<(), FormatError> {
    let expected = "a width in bits, hexadecimal, of c to 34 (12 to 52)";
    Rules { line }.number("haw", bits.into(), expected, (12..=52).contains(&bits))
}

/// Checks that a header can be written; its lines start at 1.
pub(super) fn check_header(header: &Header) -> Result<(), FormatError> {
    if let Some(guest) = &header.guest
        && (guest.trim() != guest || guest.contains('\n'))
    {
        let expected = "one line without spaces around it";
        return Err(FormatError::Field {
            line: 2,
            field: "guest",
            found: shortened(guest),
            expected,
        });
    }
    let mut line = if header.guest.is_some() { 6 } else { 5 };
    if let Some(bits) = header.host_address_width {
        check_host_address_width(line, bits)?;
        line += 1;
    }
    check_ignored(line + u64::from(header.strict), header.format_version, header.ignore)
}

/// Which requests may ask to execute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Execute {
    ReadsOnly,
    AnyDirection,
}

struct Rules {
    line: u64,
}

impl Rules {
    fn number(
        &self,
        field: &'static str,
        number: u64,
        expected: &'static str,
        holds: bool,
    ) -> Result<(), FormatError> {
        if holds {
            return Ok(());
        }
        Err(FormatError::Field { line: self.line, field, found: format!("{number:x}"), expected })
    }

    fn page(&self, field: &'static str, address: u64) -> Result<(), FormatError> {
        self.number(field, address, "4 KiB aligned", address.is_multiple_of(0x1000))
    }

    fn memory(
        &self,
        gpa: Gpa,
        bytes: &[u8],
        expected: &'static str,
        fits: impl FnOnce(usize) -> bool,
    ) -> Result<(), FormatError> {
        let found = bytes.len();
        if !fits(found) {
            return Err(FormatError::Length { line: self.line, field: "BYTES", found, expected });
        }
        let last = u64::try_from(found - 1).ok().and_then(|last| gpa.checked_add(last));
        let expected = "an address whose bytes end within the address space";
        self.number("GPA", gpa.0, expected, last.is_some())
    }

    fn register(&self, size: u8, value: u64) -> Result<(), FormatError> {
        self.number("SIZE", size.into(), "1 to 8", (1..=8).contains(&size))?;
        let above = value.checked_shr(8 * u32::from(size)).unwrap_or(0);
        self.number("V", value, "a number of SIZE bytes", above == 0)
    }

    fn access(&self, access: RequestAccess, execute: Execute) -> Result<(), FormatError> {
        let refused = |expected| {
            let found = access.to_string();
            Err(FormatError::Field { line: self.line, field: "ACCESS", found, expected })
        };
        match access {
            RequestAccess { direction: Direction::Write, execute: true, .. }
                if execute == Execute::ReadsOnly =>
            {
                refused("a read, which alone can have `x`")
            }
            RequestAccess { direction: Direction::Write, zero_length: true, .. } => {
                refused("a read, which alone can have `z`")
            }
            _ => Ok(()),
        }
    }

    fn access_of_some_length(
        &self,
        access: RequestAccess,
        execute: Execute,
    ) -> Result<(), FormatError> {
        if access.zero_length {
            let (found, expected) = (access.to_string(), "an access without `z`");
            return Err(FormatError::Field { line: self.line, field: "ACCESS", found, expected });
        }
        self.access(access, execute)
    }

    fn fault(
        &self,
        pasid: Option<Pasid>,
        access: RequestAccess,
        address: u64,
        request: FaultedRequest,
    ) -> Result<(), FormatError> {
        let execute = match request {
            FaultedRequest::Untranslated | FaultedRequest::Translated => Execute::ReadsOnly,
            FaultedRequest::Translation
            | FaultedRequest::PageRequest
            | FaultedRequest::Interrupt => Execute::AnyDirection,
        };
        self.access_of_some_length(access, execute)?;
        if request != FaultedRequest::Interrupt {
            return Ok(());
        }
        if let Some(pasid) = pasid {
            let (found, expected) = (pasid.to_string(), "`-`, as an interrupt request has none");
            return Err(FormatError::Field { line: self.line, field: "PASID", found, expected });
        }
        self.number("ADDR", address, "the index of an interrupt, at most ffff", address <= 0xffff)
    }

    fn translation(&self, gpa: Gpa, mask: u64) -> Result<(), FormatError> {
        self.page("GPA", gpa.0)?;
        let expected = "a power of two less 1, at least fff";
        self.number("MASK", mask, expected, mask & mask.wrapping_add(1) == 0 && mask >= 0xfff)?;
        let expected = "a mask that ends within the address space";
        self.number("MASK", mask, expected, gpa.checked_add(mask).is_some())
    }

    fn group(&self, group: u16) -> Result<(), FormatError> {
        self.number("GROUP", group.into(), "a group of 9 bits, at most 1ff", group <= 0x1ff)
    }

    fn page_range(&self, range: PageRange) -> Result<(), FormatError> {
        match range {
            PageRange::Everything => Ok(()),
            PageRange::Pages { address, pages } => {
                self.page("ADDR", address.0)?;
                self.pages(address.0, pages)
            }
        }
    }

    fn pages(&self, first: u64, pages: u64) -> Result<(), FormatError> {
        let up_to_end = ((u64::MAX - first) >> 12) + 1;
        let expected = "a number of pages, not 0, that end within the address space";
        self.number("PAGES", pages, expected, (1..=up_to_end).contains(&pages))
    }

    fn host_call(&self, call: &HostCall) -> Result<(), FormatError> {
        match call.kind {
            HostCallKind::Bind { mode, .. } | HostCallKind::Replace { mode, .. } => match mode {
                HostMode::PassThrough => Ok(()),
                HostMode::FirstStage(stage) => self.page("TABLE", stage.table.0),
                HostMode::SecondStage { table, .. } => self.page("TABLE", table.0),
            },
            HostCallKind::Unbind => Ok(()),
            HostCallKind::Invalidate(range) => self.page_range(range),
            HostCallKind::Map { iova, gpa, pages, .. } => {
                self.page("IOVA", iova.0)?;
                self.page("GPA", gpa.0)?;
                self.pages(iova.0, pages)?;
                self.pages(gpa.0, pages)
            }
            HostCallKind::Unmap { iova, pages } => {
                self.page("IOVA", iova.0)?;
                self.pages(iova.0, pages)
            }
        }
    }
}
