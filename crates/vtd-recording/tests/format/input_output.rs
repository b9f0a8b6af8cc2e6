//! Input and output that fail.

use std::error::Error;
use std::io::{self, BufReader, Read};

use vtd_recording::format::{FormatError, Header, Reader, Writer};

use crate::text::HEADER;

/// Input and output that fail, as a full disk does.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("unplugged"))
    }
}

impl io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("full"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::Error::other("full"))
    }
}

#[test]
fn failures_of_input_and_output_keep_their_source() {
    let source = |error: FormatError| {
        (error.to_string(), error.source().map(ToString::to_string).unwrap_or_default())
    };
    let input = HEADER.as_bytes().chain(BufReader::new(Broken));
    let read = Reader::new(input).map(|_| ()).map_err(source);
    assert_eq!(read, Err(("line 5: the recording cannot be read".into(), "unplugged".into())));
    let write = Writer::new(Broken, &Header::new(1, 2, 0x10)).map(|_| ()).map_err(source);
    assert_eq!(write, Err(("line 1: the recording cannot be written".into(), "full".into())));
}
