//! The fuzz target `signatures`: libFuzzer's inputs for the check in `tests/fuzz/signatures.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::fuzz::signatures::check(input));
