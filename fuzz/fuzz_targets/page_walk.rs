#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vtd_fuzzing::targets::page_walk(bytes));
