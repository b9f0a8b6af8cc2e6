//! What a recording says about itself before its first event.

use std::fmt;

use super::error::shortened;
use super::fields::Fields;
use super::{EventKind, FormatError, FormatVersion, hexadecimal, rules};

/// The header of a recording: where it comes from, what unit it is of, and how it is to be compared.
///
/// Its `Display` is the lines that [`Writer`](super::Writer) starts with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Header {
    /// `# vtd-recording V`: the version of the format. Version 1 unless something else is wanted.
    pub format_version: FormatVersion,
    /// `# guest: TEXT`: the guest, in words.
    pub guest: Option<String>,
    /// `# cap V`: the capability register that the unit showed.
    pub cap: u64,
    /// `# ecap V`: the extended capability register that the unit showed.
    pub ecap: u64,
    /// `# ver V`: the version register that the unit showed.
    pub version: u32,
    /// `# haw N`: the host address width in bits, 12 to 52. In the file it is hexadecimal, as every number
    /// that the format does not call decimal: 48 bits are `# haw 30`. Digits that are no width in hexadecimal and one in
    /// decimal (35 to 52) are taken as decimal. `None` means what CAP says, MGAW + 1.
    pub host_address_width: Option<u8>,
    /// `# strict`: a conformance vector. Every answer is the architecture's.
    pub strict: bool,
    /// `# ignore KIND…`: lines of these kinds are not compared.
    pub ignore: Ignored,
}

/// The kinds of lines that are not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ignored {
    /// `fault` lines.
    pub fault: bool,
    /// `msi` lines.
    pub msi: bool,
    /// `host` lines.
    pub host: bool,
    /// `iommu-write` lines.
    pub iommu_write: bool,
    /// `device-tlb` lines.
    pub device_tlb: bool,
    /// `page-response` lines.
    pub page_response: bool,
    /// `interrupt-entries` lines.
    pub interrupt_entries: bool,
}

impl Header {
    /// The header of a recording, of version 1, of a unit that shows these registers, with nothing else said.
    #[must_use]
    pub fn new(cap: u64, ecap: u64, version: u32) -> Self {
        Self {
            format_version: FormatVersion::One,
            guest: None,
            cap,
            ecap,
            version,
            host_address_width: None,
            strict: false,
            ignore: Ignored::default(),
        }
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# vtd-recording {}", self.format_version)?;
        if let Some(guest) = &self.guest {
            writeln!(f, "# guest: {guest}")?;
        }
        writeln!(f, "# cap {:x}", self.cap)?;
        writeln!(f, "# ecap {:x}", self.ecap)?;
        writeln!(f, "# ver {:x}", self.version)?;
        if let Some(bits) = self.host_address_width {
            writeln!(f, "# haw {bits:x}")?;
        }
        if self.strict {
            writeln!(f, "# strict")?;
        }
        if self.ignore != Ignored::default() {
            writeln!(f, "# ignore{}", self.ignore)?;
        }
        Ok(())
    }
}

impl Ignored {
    /// Whether lines of this kind are not compared.
    #[must_use]
    pub const fn contains(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Fault => self.fault,
            EventKind::Msi => self.msi,
            EventKind::Host => self.host,
            EventKind::IommuWrite => self.iommu_write,
            EventKind::DeviceTlb => self.device_tlb,
            EventKind::PageResponse => self.page_response,
            EventKind::InterruptEntries => self.interrupt_entries,
            _ => false,
        }
    }

    /// Adds a kind; `None` where it is always compared.
    fn insert(&mut self, kind: EventKind) -> Option<()> {
        *match kind {
            EventKind::Fault => &mut self.fault,
            EventKind::Msi => &mut self.msi,
            EventKind::Host => &mut self.host,
            EventKind::IommuWrite => &mut self.iommu_write,
            EventKind::DeviceTlb => &mut self.device_tlb,
            EventKind::PageResponse => &mut self.page_response,
            EventKind::InterruptEntries => &mut self.interrupt_entries,
            _ => return None,
        } = true;
        Some(())
    }

    /// The kinds, in the order in which the writer names them.
    pub(super) fn kinds(self) -> impl Iterator<Item = EventKind> {
        [
            EventKind::Fault,
            EventKind::Msi,
            EventKind::Host,
            EventKind::IommuWrite,
            EventKind::DeviceTlb,
            EventKind::PageResponse,
            EventKind::InterruptEntries,
        ]
        .into_iter()
        .filter(move |kind| self.contains(*kind))
    }
}

impl fmt::Display for Ignored {
    /// The kinds, each with a space before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kinds().try_for_each(|kind| write!(f, " {kind}"))
    }
}

/// A header while its lines come in.
pub(super) struct HeaderLines {
    format_version: FormatVersion,
    guest: Option<String>,
    cap: Option<u64>,
    ecap: Option<u64>,
    version: Option<u32>,
    host_address_width: Option<u8>,
    strict: Option<()>,
    ignore: Option<Ignored>,
    /// The last of the lines that say what the unit can do: cap, ecap and haw.
    capabilities_line: u64,
}

impl HeaderLines {
    /// The last of the lines `# cap`, `# ecap` and `# haw` so far.
    pub(super) fn capabilities_line(&self) -> u64 {
        self.capabilities_line
    }

    /// Takes the first line of a file.
    pub(super) fn start(text: &str) -> Result<Self, FormatError> {
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some("#") || words.next() != Some("vtd-recording") {
            return Err(FormatError::NotARecording { found: shortened(text.trim()) });
        }
        let version = words.next().unwrap_or_default();
        let format_version = hexadecimal::number(version)
            .and_then(FormatVersion::from_number)
            .ok_or_else(|| FormatError::UnsupportedVersion { found: shortened(version) })?;
        match words.next() {
            Some(word) => Err(FormatError::ExtraField { line: 1, found: shortened(word) }),
            None => Ok(Self {
                format_version,
                guest: None,
                cap: None,
                ecap: None,
                version: None,
                host_address_width: None,
                strict: None,
                ignore: None,
                capabilities_line: 0,
            }),
        }
    }

    /// Takes a later line: what follows its `#`. Most of what it does not know is a comment.
    pub(super) fn take(&mut self, line: u64, text: &str) -> Result<(), FormatError> {
        if let Some(guest) = text.trim().strip_prefix("guest:") {
            return set(&mut self.guest, line, "guest:", guest.trim().to_owned());
        }
        let mut fields = Fields::new(line, text);
        let name = fields.next();
        if matches!(name, Some("cap" | "ecap" | "haw")) {
            self.capabilities_line = line;
        }
        match name {
            Some("cap") => set(&mut self.cap, line, "cap", fields.u64("cap")?)?,
            Some("ecap") => set(&mut self.ecap, line, "ecap", fields.u64("ecap")?)?,
            Some("ver") => set(&mut self.version, line, "ver", fields.u32("ver")?)?,
            Some("haw") => {
                let bits = in_either_base(fields.u8("haw")?);
                rules::check_host_address_width(line, bits)?;
                set(&mut self.host_address_width, line, "haw", bits)?;
            }
            Some("strict") => set(&mut self.strict, line, "strict", ())?,
            Some("ignore") => {
                let ignored = ignored(&mut fields)?;
                rules::check_ignored(line, self.format_version, ignored)?;
                set(&mut self.ignore, line, "ignore", ignored)?;
            }
            _ => return Ok(()),
        }
        fields.end()
    }

    /// The header, where the first event stands at `line` or the file ends there.
    pub(super) fn finish(self, line: u64) -> Result<Header, FormatError> {
        let missing = |name| FormatError::MissingHeader { line, name };
        Ok(Header {
            format_version: self.format_version,
            guest: self.guest,
            cap: self.cap.ok_or_else(|| missing("cap"))?,
            ecap: self.ecap.ok_or_else(|| missing("ecap"))?,
            version: self.version.ok_or_else(|| missing("ver"))?,
            host_address_width: self.host_address_width,
            strict: self.strict.is_some(),
            ignore: self.ignore.unwrap_or_default(),
        })
    }
}

fn set<T>(
    place: &mut Option<T>,
    line: u64,
    name: &'static str,
    value: T,
) -> Result<(), FormatError> {
    match place.replace(value) {
        Some(_) => Err(FormatError::RepeatedHeader { line, name }),
        None => Ok(()),
    }
}

fn ignored(fields: &mut Fields<'_>) -> Result<Ignored, FormatError> {
    let expected = "`fault`, `msi`, `host`, `iommu-write`, `device-tlb`, `page-response` or `interrupt-entries`";
    let mut ignored = Ignored::default();
    let mut insert = |word| ignored.insert(EventKind::from_name(word)?);
    fields.word("ignore", expected, &mut insert)?;
    while let Some(word) = fields.next() {
        insert(word).ok_or_else(|| fields.error("ignore", word, expected))?;
    }
    Ok(ignored)
}

/// A width that was read as hexadecimal digits, or the decimal number of the same digits where only that is a width.
fn in_either_base(bits: u8) -> u8 {
    let (tens, ones) = (bits >> 4, bits & 0xf);
    let decimal = tens * 10 + ones;
    if bits > 52 && tens <= 9 && ones <= 9 && decimal <= 52 { decimal } else { bits }
}
