//! See `checks::retry_after`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entra_reprocess_fuzz::checks::retry_after(data));
