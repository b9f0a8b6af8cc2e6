//! The model held against the reference in raw integers, row by row.

#![allow(clippy::type_complexity, reason = "rows of tables")]

mod accessed_dirty;
mod desired;
mod device_tlbs;
mod fault_codes;
mod guest;
mod interrupts;
mod oracle;
mod page_requests;
mod queue;
mod registers;
mod reserved_bits;
