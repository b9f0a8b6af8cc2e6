//! Lines of a recording from arbitrary bytes, and what has to hold of them: reading never panics and names the line that is
//! wrong, and what is read is written and read again as the same.

use vtd_recording::format::{Event, FormatError, Header, Reader, Writer};

/// The lines before the first event.
const HEADERS: [&str; 2] = [
    "# vtd-recording 1\n# cap 1\n# ecap 2\n# ver 10\n",
    "# vtd-recording 2\n# cap 1\n# ecap 2\n# ver 10\n",
];

/// The words of the format: a line of these reaches further than one of any letters.
const WORDS: [&str; 80] = [
    "zero",
    "write",
    "read",
    "dma",
    "fault",
    "iommu-write",
    "msi",
    "assign",
    "release",
    "host",
    "host-fail",
    "reset",
    "translate",
    "translated",
    "endpoint",
    "device-tlb",
    "device-tlb-done",
    "device-tlb-timeout",
    "page-request",
    "page-response",
    "interrupt",
    "interrupt-entries",
    "renumber",
    "bind",
    "replace",
    "unbind",
    "invalidate",
    "map",
    "unmap",
    "fs4",
    "fs5",
    "ss3",
    "ss4",
    "ss5",
    "pt",
    "sre",
    "wpe",
    "eafe",
    "reason",
    "translation",
    "none",
    "ok",
    "later",
    "last",
    "blocked",
    "all",
    "u",
    "g",
    "-",
    "*",
    "r",
    "w",
    "rw",
    "rx",
    "rp",
    "rz",
    "wx",
    "wp",
    "wz",
    "rwxp",
    "-x",
    "00:03.0",
    "ff:1f.7",
    "0",
    "1",
    "4",
    "8",
    "f",
    "fff",
    "1000",
    "1fffff",
    "1ff",
    "200",
    "ffff",
    "10000",
    "10001",
    "fffff",
    "fffffffffffff000",
    "ffffffffffffffff",
    "10000000000000",
];

/// How many lines were read and how many refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that are events.
    pub read: u64,
    /// Lines that are not.
    pub refused: u64,
}

/// Takes each byte as a word, ff and above the words as the end of a line; each line is read alone, in both versions.
///
/// # Panics
/// Where a line that is read is written as something else, or an error names another line.
#[must_use]
pub fn words(bytes: &[u8]) -> Counts {
    let mut counts = Counts::default();
    let is_end = |byte: &u8| usize::from(*byte) >= 3 * WORDS.len();
    for line in bytes.split(is_end).filter(|line| !line.is_empty()) {
        let words = line.iter().filter_map(|byte| WORDS.get(usize::from(*byte) % WORDS.len()));
        let line = words.copied().collect::<Vec<_>>().join(" ");
        check(line.as_bytes(), &mut counts);
    }
    counts
}

/// Takes the bytes as they are, behind the header of either version.
///
/// # Panics
/// As [`words`].
#[must_use]
pub fn letters(bytes: &[u8]) -> Counts {
    let mut counts = Counts::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        check(line, &mut counts);
    }
    counts
}

/// Takes the bytes as a whole file. What is read is written and read again as the same, and nothing is read past an error.
///
/// # Panics
/// Where it is not, or an error names a line that the file does not have.
pub fn file(bytes: &[u8]) {
    match read(bytes) {
        Ok((header, events)) => match write(&header, &events).as_deref().map(read) {
            Ok(Ok((_, copied))) if copied == events => {}
            other => wrong("recording parser: written and read again", bytes, &other),
        },
        Err(error) => {
            let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
            if error.line() > lines {
                wrong("recording parser: no such line", bytes, &error);
            }
        }
    }
}

/// What the property found to be wrong.
#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, line: &[u8], value: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {:?}: {value:?}", String::from_utf8_lossy(line))
}

fn check(line: &[u8], counts: &mut Counts) {
    let mut by_version = Vec::new();
    for header in HEADERS {
        // The last line shows that nothing of the line before is left.
        let text = [header.as_bytes(), line, b"\nreset\n"].concat();
        let event = match read(&text) {
            Ok((header, events)) => {
                let copy = write(&header, &events);
                let again = copy.as_deref().map(read);
                match again {
                    Ok(Ok((_, copied))) if copied == events => {}
                    other => wrong("written and read again", line, &other),
                }
                counts.read += 1;
                Some(events)
            }
            Err(error) if error.line() == 5 => {
                counts.refused += 1;
                None
            }
            Err(error) => wrong("the wrong line", line, &error),
        };
        by_version.push(event);
    }
    if let [Some(one), two] = by_version.as_slice()
        && two.as_ref() != Some(one)
    {
        wrong("version 2 reads it as something else", line, &(one, two));
    }
}

fn read(text: &[u8]) -> Result<(Header, Vec<Event>), FormatError> {
    let reader = Reader::new(text)?;
    let header = reader.header().clone();
    let events = reader.map(|item| item.map(|(_, event)| event)).collect::<Result<_, _>>()?;
    Ok((header, events))
}

fn write(header: &Header, events: &[Event]) -> Result<Vec<u8>, FormatError> {
    let mut writer = Writer::new(Vec::new(), header)?;
    events.iter().try_for_each(|event| writer.write(event))?;
    writer.finish()
}
