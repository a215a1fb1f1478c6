//! Which of the two pipes of a worker.

/// Which of a worker's two pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}
