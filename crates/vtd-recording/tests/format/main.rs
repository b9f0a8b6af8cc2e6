//! The format: lines and events, bad lines and their messages, and the shipped files.
#![cfg(test)]

mod events;
mod header;
mod input_output;
mod refusals;
mod round_trip;
mod shipped_files;
mod text;
mod version_2;
mod version_2_refusals;
mod writer;
