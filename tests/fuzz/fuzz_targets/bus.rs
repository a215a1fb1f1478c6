//! See the function of this name in `tests/src/decoders.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decoder_fuzz::decoders::bus(data));
