//! What the types of an event leave open: alignments, sizes and ranges.
//!
//! Reader and writer ask here, so nothing is written that cannot be read.

use vtd_spec::{Binding, Gpa};

use super::error::shortened;
use super::{
    DmaAnswer, Event, FormatError, Header, HostCall, HostCallKind, HostRange, LONGEST_LINE,
};

/// Checks an event that stands, or is to stand, at line `line`.
pub(super) fn check_event(line: u64, event: &Event) -> Result<(), FormatError> {
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
        Event::Dma { answer: DmaAnswer::Translated { gpa, mask, .. }, .. } => {
            rules.page("GPA", gpa.0)?;
            let expected = "a power of two less 1, at least fff";
            rules.number(
                "MASK",
                *mask,
                expected,
                mask & mask.wrapping_add(1) == 0 && *mask >= 0xfff,
            )?;
            let expected = "a mask that ends within the address space";
            rules.number("MASK", *mask, expected, gpa.checked_add(*mask).is_some())
        }
        Event::Host(call) => rules.host_call(call),
        Event::Dma { answer: DmaAnswer::Fault, .. }
        | Event::Fault { .. }
        | Event::Msi { .. }
        | Event::Assign { .. }
        | Event::Release { .. }
        | Event::HostFail
        | Event::Reset => Ok(()),
    }
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
    header.host_address_width.map_or(Ok(()), |bits| {
        check_host_address_width(if header.guest.is_some() { 6 } else { 5 }, bits)
    })
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

    fn host_call(&self, call: &HostCall) -> Result<(), FormatError> {
        match call.kind {
            HostCallKind::Bind { binding, .. } | HostCallKind::Replace { binding, .. } => {
                match binding {
                    Binding::PassThrough => Ok(()),
                    Binding::FirstStage(stage) => self.page("TABLE", stage.table.0),
                    // A binding of a later version of the types has no line in this version of the format.
                    other => Err(FormatError::Field {
                        line: self.line,
                        field: "MODE",
                        found: shortened(&other.to_string()),
                        expected: "`fs4`, `fs5` or `pt`",
                    }),
                }
            }
            HostCallKind::Unbind | HostCallKind::Invalidate(HostRange::Everything) => Ok(()),
            HostCallKind::Invalidate(HostRange::Pages { address, pages }) => {
                self.page("ADDR", address.0)?;
                let up_to_end = ((u64::MAX - address.0) >> 12) + 1;
                let expected = "a number of pages, not 0, that end within the address space";
                self.number("PAGES", pages, expected, (1..=up_to_end).contains(&pages))
            }
        }
    }
}
