//! Links. Each link speaks one worker protocol with one worker: bytes and descriptors go in and
//! words come out; commands go in and packets come out. A link reads and writes no socket, reads no
//! clock, and decides nothing.

pub(crate) mod node;
