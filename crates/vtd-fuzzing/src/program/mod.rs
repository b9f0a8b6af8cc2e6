//! Programs: what a guest, its devices, its VMM and its host do to a unit, one operation after the other.
//!
//! A program is a string of bytes, [`RECORD`] to an operation. Every string is a program, so a byte that changes changes one operation and
//! no other; [`Operation::encode`] is the inverse of [`Operation::decode`], so programs can be written by hand. Identifiers
//! come from [small pools](pools).

mod composite;
mod descriptor;
mod entry;
mod layout;
mod operation;
pub mod pools;
mod record;
mod register;
mod text;

pub use composite::{Composite, InterruptReuse, Reuse, Scope};
pub use entry::{Entry, table_of};
pub use layout::{lay_out, set_back, write_entry, write_entry_at};
pub use operation::{
    Bits, Edit, HostFailure, Lifecycle, Operation, Queued, RequestOperation, Table, Target,
};
pub use record::RECORD;

/// The operations that these bytes are. What is left at the end is ignored.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<Operation> {
    let (records, _) = bytes.as_chunks::<RECORD>();
    records.iter().map(|record| Operation::decode(*record)).collect()
}

/// The bytes of a program.
#[must_use]
pub fn encode(operations: &[Operation]) -> Vec<u8> {
    operations.iter().flat_map(|operation| operation.encode()).collect()
}
