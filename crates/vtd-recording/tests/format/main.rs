//! The format: lines and events, bad lines and their messages, and the shipped files.
#![cfg(test)]

mod events;
mod header;
mod input_output;
mod refusals;
mod shipped_files;
mod text;
mod writer;
