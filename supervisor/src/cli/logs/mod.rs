//! Reads the log files of an app: the last lines, or those of a time, over rotated files and over
//! several apps; and the events that were kept.

pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod forward;
pub(crate) mod last;
pub(crate) mod line;
pub(crate) mod paths;
pub(crate) mod segment;

/// Which of the two logs of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Stream {
    /// What it is called in JSON, there and in the output of the foreground.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }
}
