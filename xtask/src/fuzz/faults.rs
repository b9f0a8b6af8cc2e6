//! The planted faults that a fuzz target can see.

use crate::planted::what;

/// A fault that is compiled into the crates, to be switched on.
pub(crate) struct Fault {
    /// What `is_planted` is asked for. Those of the table of known failures are numbered by its rows (`planted.rs` in this
    /// folder's parent); 51 to 99 are planted for the fuzz targets alone, and no row has such a number.
    pub(crate) number: u16,
    pub(crate) what: &'static str,
    pub(crate) target: &'static str,
}

/// One of the table of known failures.
const fn known(number: u16) -> Fault {
    fault(number, what(number))
}

const fn fault(number: u16, what: &'static str) -> Fault {
    Fault { number, what, target: "whole_unit" }
}

const fn of(target: &'static str, number: u16, what: &'static str) -> Fault {
    Fault { number, what, target }
}

/// Every one of them.
pub(crate) const FAULTS: &[Fault] = &[
    known(1),
    known(101),
    known(2),
    known(4),
    known(5),
    known(6),
    known(106),
    known(7),
    known(9),
    known(10),
    known(11),
    known(13),
    known(114),
    known(22),
    known(23),
    known(24),
    known(124),
    known(25),
    known(125),
    known(26),
    known(27),
    known(127),
    known(29),
    known(129),
    known(229),
    Fault { target: "page_requests", ..known(121) },
    Fault { target: "page_requests", ..known(221) },
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
