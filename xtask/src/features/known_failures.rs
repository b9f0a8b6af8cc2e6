//! The table of known failures: where other emulations of VT-d have failed, as what is right.

/// What the tests of a row begin with; the number of the row follows in two digits.
pub(super) const PREFIX: &str = "known_failure_";

/// What is right, row 1 first.
pub(super) const ROWS: [&str; 29] = [
    "a binding equals the guest's entry after every sequence of changes, told by the old domain or by the new one",
    "P of an entry is looked at in every walk, whatever is cached and whatever else the entry holds",
    "a register access of any offset, size and alignment does no harm",
    "a PASID-IOTLB descriptor with any AM from 0 to 63 drops all of its range; type 2 refuses AM above MAMV",
    "a write sets the dirty bit before data moves, even behind a cached read; bits are set by compare and exchange",
    "PDTS, PASIDE and DTE are honoured: 46, 45 and 44",
    "every reserved bit of every entry faults, as the capabilities shown say; XD counts where it is enabled",
    "whether a first-stage address is canonical depends on FSPM alone",
    "scalable mode has its own fault codes, legacy mode keeps its own; an empty PASID-table entry is not present",
    "the fault record of a request with PASID has all 20 bits of it, whichever entry was at fault",
    "FPD of every entry read on the way counts, of those not present too",
    "TTM=11 blocks everything",
    "the invalidation queue can be switched off whatever its last descriptor was",
    "the queue goes on as soon as IQE is cleared, and IQERCD says why it stopped",
    "IQA is latched when the queue is switched on",
    "a descriptor's field is reserved only where its capability is not shown",
    "each entry is read once in a walk, into a copy",
    "nothing that a guest controls is asserted on",
    "state per PASID is bounded, freed with its binding, and found in a time that does not grow",
    "a guest cannot flood the VMM: what it is told is limited, and what it is not told is counted",
    "a page group response works with and without PASID; a page request is written whole",
    "a binding that the host refused is kept as failed, and tried again",
    "a reset succeeds while the host fails, and the failure is told",
    "IQH moves past a descriptor when it is done; a queue of any size wraps at its end",
    "DW is bit 11; the work of a tail is bounded by the size of the queue",
    "an invalidation that names the old domain reaches the binding on the host",
    "the ledger says what the host answered, whichever call failed",
    "an entry that changes while it is read does not tear",
    "a wait completes when every effect of what stands before it has come about",
];
