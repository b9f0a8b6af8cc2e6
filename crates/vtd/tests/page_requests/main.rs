//! Page requests and their responses.
#![cfg(test)]

#[path = "../guest/mod.rs"]
mod guest;

mod blocked;
mod event;
mod hostile;
mod machine;
mod queue;
mod responses;
mod saved;
mod threads;
