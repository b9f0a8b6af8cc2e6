//! Small memories of tables for the walks: mostly valid ones with a few changes, or raw bytes.

use std::sync::Arc;

use arbitrary::{Arbitrary, Result, Unstructured};
use vtd_spec::Capabilities;

use crate::program::{Edit, Operation, RECORD, lay_out, write_entry};
use crate::small_memory::SmallMemory;
use crate::whole_unit::Setup;

/// Memory of tables, and the capabilities that they are read with.
#[derive(Debug)]
pub struct TableImage {
    /// CAP and ECAP.
    pub registers: (u64, u64),
    /// The same, decoded.
    pub capabilities: Capabilities,
    /// The tables.
    pub memory: Arc<SmallMemory>,
    /// The root table address register.
    pub root: u64,
}

/// How an image differs from a valid one.
#[derive(Debug, Arbitrary)]
enum Changes {
    /// By records of edits and of qwords that are written, 16 bytes each.
    Edits,
    /// By bytes, written over the tables from a page on.
    Raw { page: u8 },
}

thread_local! {
    static MEMORY: Arc<SmallMemory> = Arc::new(SmallMemory::default());
}

impl TableImage {
    /// The image that is left of these bytes.
    ///
    /// # Errors
    /// There are too few.
    pub fn take(input: &mut Unstructured<'_>) -> Result<Self> {
        let number = u8::arbitrary(input)?;
        let is_legacy = u8::arbitrary(input)? % 4 == 3;
        let setup = Setup { capabilities: number % Setup::CAPABILITIES, ..Setup::default() };
        let registers = setup.registers();
        let capabilities = Capabilities::new(registers.0, registers.1);
        let capabilities = capabilities.map_err(|_| arbitrary::Error::IncorrectFormat)?;
        let memory = MEMORY.with(Arc::clone);
        memory.clear();
        lay_out(&memory);
        let changes = Changes::arbitrary(input)?;
        let rest = input.bytes(input.len())?;
        match changes {
            Changes::Edits => {
                let (records, _) = rest.as_chunks::<RECORD>();
                records.iter().take(64).for_each(|record| change(&memory, *record, is_legacy));
            }
            Changes::Raw { page } => {
                let first = 0x1000 * (1 + u64::from(page) % 22);
                let (qwords, _) = rest.as_chunks::<8>();
                for (place, qword) in (first..).step_by(8).zip(qwords) {
                    memory.put(place, u64::from_le_bytes(*qword));
                }
            }
        }
        memory.take_changes(&mut Vec::new());
        let root = 0x1000 | if is_legacy { 0 } else { 0x400 };
        Ok(Self { registers, capabilities, memory, root })
    }

    /// The model's unit over these tables, translating.
    #[must_use]
    pub fn model(&self) -> vtd_model::Unit {
        let (cap, ecap) = self.registers;
        let mut unit = vtd_model::Unit::new(vtd_model::Capabilities::new(cap, ecap));
        unit.translation = true;
        unit.root = self.root;
        unit
    }
}

/// A record is an edit, or a composite operation's edit, or a qword; other operations are no change of memory.
fn change(memory: &SmallMemory, record: [u8; RECORD], is_legacy: bool) {
    match Operation::decode(record) {
        Operation::Edit(edit) | Operation::Remap { edit, .. } => write_entry(memory, &edit),
        // In the table that its PASID is looked up in.
        Operation::Rebind { edit, pasid, .. } => {
            let number = crate::program::pools::of(&crate::program::pools::PASIDS, pasid);
            let (table, index) = crate::program::table_of(number);
            write_entry(memory, &Edit { table, index, ..edit });
        }
        Operation::Store { place, value } => memory.put(u64::from(place) * 8, value),
        // Bits of context entries that tell legacy from scalable mode.
        Operation::Queue(queued) if is_legacy => {
            let edit = Edit {
                index: queued.granularity,
                kind: queued.mask,
                domain: queued.domain,
                bits: crate::program::Bits(0x7f),
                ..Edit::usual(crate::program::Table::Context(queued.source))
            };
            write_entry(memory, &edit);
        }
        _ => {}
    }
}
