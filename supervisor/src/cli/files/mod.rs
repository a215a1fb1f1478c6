//! Files that commands write and read: replaced atomically, checksummed, followed, or emptied.

pub(crate) mod atomic_file;
pub(crate) mod dump;
pub(crate) mod follow;
pub(crate) mod logs;
pub(crate) mod secret_file;
pub(crate) mod tail;
