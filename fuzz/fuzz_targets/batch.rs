//! See `checks::batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entra_reprocess_fuzz::checks::batch(data));
