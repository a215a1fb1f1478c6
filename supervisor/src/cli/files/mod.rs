//! Files that commands write and read: replaced atomically, checksummed, or followed.

pub(crate) mod atomic_file;
pub(crate) mod dump;
pub(crate) mod follow;
