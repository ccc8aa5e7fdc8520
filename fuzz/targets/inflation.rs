//! The fuzz target `inflation`: libFuzzer's inputs for the check in `tests/fuzz/inflation.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::fuzz::inflation::check(input));
