//! Second-stage and legacy tables of assigned devices: what is mapped on the host, and when.
#![cfg(test)]

#[path = "../guest/mod.rs"]
mod guest;

mod entries;
mod failure;
mod invalidation;
mod machine;
mod restore;
mod unending;
