//! Bindings of assigned devices: what the host is asked, and when.
#![cfg(test)]

#[path = "../guest/mod.rs"]
mod guest;

mod completion;
mod desired;
mod device;
mod host_call;
mod host_fault;
mod machine;
mod quota;
mod reconciliation;
mod reset;
mod stage_one;
