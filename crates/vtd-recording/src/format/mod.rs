//! The text format of recordings, version 1: a [`Header`], then one [`Event`] a line.
//!
//! Numbers are hexadecimal without a prefix, except the size of a register access. Where the format
//! leaves room, [`Reader`] takes more than [`Writer`] gives:
//!
//! - Fields stand apart by any number of spaces or tabs, lines may end in CR LF, the last one may lack its end, and empty
//!   lines mean nothing. The writer puts one space and LF.
//! - Digits may be upper case and start with zeros. The writer uses neither.
//! - The flags of a first-stage binding come in any order. The writer's is `sre`, `wpe`, `eafe`.
//! - Header lines come in any order before the first event. From there on every `#` line is a comment.
//!   Comments are skipped, so copying a recording loses them.
//!
//! A file without these liberties is written again byte for byte.

mod error;
mod event;
mod fields;
mod header;
mod hexadecimal;
mod host_call;
mod lines;
mod parse;
mod reader;
mod rules;
mod text;
mod writer;

pub use error::FormatError;
pub use event::{Direction, DmaAnswer, Event, EventKind, Permissions};
pub use header::{Header, Ignored};
pub use host_call::{HostCall, HostCallKind, HostRange};
pub use lines::LONGEST_LINE;
pub use reader::Reader;
pub use writer::Writer;

/// The version of the format that this module reads and writes.
pub const VERSION: u64 = 1;
