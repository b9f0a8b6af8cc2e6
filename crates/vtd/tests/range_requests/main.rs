//! Range requests: context-cache invalidations, and PASID-cache invalidations but by PASID. One walk serves all that are in the queue.
#![cfg(test)]

#[path = "../guest/mod.rs"]
mod guest;

mod bounds;
mod equal_calls;
mod machine;
mod meanwhile;
mod one_walk;
