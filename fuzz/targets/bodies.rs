//! The fuzz target `bodies`: libFuzzer's inputs for the check in `tests/fuzz/bodies.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::fuzz::bodies::check(input));
