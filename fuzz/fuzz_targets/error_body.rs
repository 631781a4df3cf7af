//! See `checks::error_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entra_reprocess_fuzz::checks::error_body(data));
