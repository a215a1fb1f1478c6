//! The decoders of the tests, for libFuzzer.

#[path = "../../src/decoders.rs"]
pub mod decoders;
