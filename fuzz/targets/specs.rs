//! The fuzz target `specs`: libFuzzer's inputs for the check in `tests/fuzz/spec_text.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::fuzz::spec_text::check(input));
