//! Links: each speaks one contract with one worker. Bytes and descriptors in, words out; commands
//! in, packets out. No link reads or writes a socket, looks at a clock or decides anything.

pub(crate) mod node;
