#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod audit;
pub mod format;
mod observed;
mod plain_walk;
pub mod recorder;
pub mod replay;
mod requests;
mod watched_memory;
