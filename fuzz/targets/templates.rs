//! The fuzz target `templates`: libFuzzer's inputs for the check in `tests/fuzz/text_language.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_fuzz::fuzz::text_language::check(input));
