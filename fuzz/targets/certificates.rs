//! The fuzz target `certificates`: libFuzzer's inputs for the check in `tests/fuzz/certificates.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::fuzz::certificates::check(input));
