//! Recordings as text, and what reading them gives.

use vtd_recording::format::{Event, FormatError, Header, Reader, Writer};

pub(crate) const HEADER: &str = "# vtd-recording 1\n# cap 1\n# ecap 2\n# ver 10\n";

pub(crate) const HEADER_2: &str = "# vtd-recording 2\n# cap 1\n# ecap 2\n# ver 10\n";

/// The same bits on every run (xorshift64).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.next() % choices.len() as u64).expect("an index")]
    }
}

pub(crate) fn events(text: &[u8]) -> Result<Vec<Event>, FormatError> {
    Reader::new(text)?.map(|item| item.map(|(_, event)| event)).collect()
}

pub(crate) fn written(header: &Header, events: &[Event]) -> Result<Vec<u8>, FormatError> {
    let mut writer = Writer::new(Vec::new(), header)?;
    events.iter().try_for_each(|event| writer.write(event))?;
    writer.finish()
}

/// The message of a file that must be refused.
pub(crate) fn refusal(text: &[u8]) -> String {
    match events(text) {
        Ok(events) => format!("taken as {events:?}"),
        Err(error) => error.to_string(),
    }
}
