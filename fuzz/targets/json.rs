//! The fuzz target `json`: libFuzzer's inputs for the check in `tests/fuzz/json.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::fuzz::json::check(input));
