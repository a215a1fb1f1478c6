//! Reads the log files of an app: the last lines, or those of a time, over rotated files and over
//! several apps; and the events that were kept.

pub(crate) mod compressed;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod forward;
pub(crate) mod last;
pub(crate) mod line;
pub(crate) mod paths;
pub(crate) mod segment;
