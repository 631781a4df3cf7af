//! See `checks::challenge`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entra_reprocess_fuzz::checks::challenge(data));
