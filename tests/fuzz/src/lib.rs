//! The decoders as the tests know them, for libFuzzer.

#[path = "../../src/decoders.rs"]
pub mod decoders;
