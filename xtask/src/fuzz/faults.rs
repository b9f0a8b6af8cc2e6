//! The planted faults that a fuzz target can see.

/// A fault that is compiled into the crates, to be switched on.
pub(crate) struct Fault {
    /// What `is_planted` is asked for. Those of the table of known failures are numbered by its rows (`planted.rs` in this
    /// folder's parent); 51 to 99 are planted for the fuzz targets alone, and no row has such a number.
    pub(crate) number: u16,
    pub(crate) what: &'static str,
    pub(crate) target: &'static str,
}

const fn fault(number: u16, what: &'static str) -> Fault {
    Fault { number, what, target: "whole_unit" }
}

const fn of(target: &'static str, number: u16, what: &'static str) -> Fault {
    Fault { number, what, target }
}

/// Every one of them.
pub(crate) const FAULTS: &[Fault] = &[
    fault(1, "an entry that replaced another is not stored"),
    fault(101, "a context-cache invalidation leaves PASID entries cached"),
    fault(2, "P=0 is ignored where other fields are stale"),
    fault(4, "AM is a shift of 32 bits"),
    fault(5, "a write hits what a read has filled, without D"),
    fault(6, "PDTS is ignored"),
    fault(106, "PASIDE is ignored"),
    fault(7, "reserved bits of PASID entries are ignored"),
    fault(9, "a zeroed PASID entry is 5b"),
    fault(10, "no PASID in faults of directory and entry"),
    fault(11, "FPD of the PASID directory is ignored"),
    fault(13, "the queue closes behind a wait only"),
    fault(114, "IQERCD reads 0"),
    fault(22, "a failed bind counts as bound"),
    fault(23, "a host failure during reset ends the process"),
    fault(24, "IQH is ahead of what is done"),
    fault(124, "a queue is read past its end"),
    fault(25, "DW at another bit"),
    fault(125, "a tail past the end is not noticed"),
    fault(26, "the held domain does not lead to a binding"),
    fault(27, "a slot is freed though the unbind failed"),
    fault(127, "the ledger is ahead of the host's answer"),
    fault(29, "a PASID-cache descriptor's host calls come after the wait"),
    fault(129, "a wait completes whatever is still under way"),
    fault(229, "a wait completes before the devices have answered"),
    of("page_requests", 121, "only half of a page request is written"),
    of("page_requests", 221, "PRO is not honoured"),
    fault(51, "P of a first-stage entry is ignored"),
    fault(52, "the dirty bit of the second stage is lost"),
    fault(53, "the dirty bit of the first stage is lost"),
    fault(54, "a reset forgets unbinds"),
    fault(55, "a wait survives a reset"),
    fault(56, "a wait is over when it is fetched"),
    fault(57, "a translation walked before an invalidation is entered after it"),
    fault(76, "a PASID entry read before an invalidation is entered after it"),
    fault(58, "an invalidation by page leaves large pages"),
    fault(59, "a cursor survives a reset"),
    fault(60, "a PASID-cache invalidation is done for one device"),
    fault(61, "translations of legacy mode outlive invalidations"),
    fault(62, "a context-cache invalidation of a device leaves its caches"),
    fault(63, "IM is ignored"),
    fault(64, "SIRTP leaves the interrupt entry cache"),
    fault(65, "nested translations outlive an invalidation by page"),
    of("page_requests", 66, "PPR is not set"),
    of("page_requests", 67, "the tail of the page request queue does not wrap"),
    of("page_requests", 68, "nobody answers a page request that was refused"),
    fault(69, "a page request leaves what is cached of its page"),
    fault(70, "a release forgets unbinds"),
    fault(71, "what is cached of a device that is renumbered stays"),
    fault(72, "SRTP leaves the caches"),
    fault(73, "bindings stay when translation goes off"),
    fault(75, "each side of a pair is filtered by its own domain"),
    fault(77, "what a failed replace has left is not unbound"),
    fault(78, "IQH moves past what has stopped the queue"),
    fault(83, "SRE is ignored"),
    fault(85, "write permission of the last second-stage entry alone counts"),
    fault(86, "U/S of the last first-stage entry alone counts"),
];
