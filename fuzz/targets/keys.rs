//! The fuzz target `keys`: libFuzzer's inputs for the check in `tests/fuzz/keys.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::fuzz::keys::check(input));
