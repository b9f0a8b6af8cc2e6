//! The text format of recordings, versions 1 and 2: a [`Header`], then one [`Event`] a line.
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
//!
//! Version 2 has every line of version 1. [`Header::format_version`] says which one a file is: a file of version 1 in which
//! something of version 2 stands is not read, and the writer does not make one. A new header is of version 1, so that what
//! version 1 can say stays readable for its readers; [`Event::since`] tells what a line needs.

mod access;
mod error;
mod event;
mod fields;
mod header;
mod hexadecimal;
mod host_call;
mod lines;
mod page_range;
mod parse;
mod reader;
mod rules;
mod text;
mod version;
mod writer;

pub use access::{Direction, Grant, PageAccess, Permissions, RequestAccess};
pub use error::FormatError;
pub use event::{
    DmaAnswer, Event, EventKind, FaultedRequest, InterruptAnswer, InterruptEntries, PasidScope,
    TranslatedAnswer, TranslationAnswer,
};
pub use header::{Header, Ignored};
pub use host_call::{HostCall, HostCallKind, HostMode};
pub use lines::LONGEST_LINE;
pub use page_range::PageRange;
pub use reader::Reader;
pub use version::FormatVersion;
pub use writer::Writer;
