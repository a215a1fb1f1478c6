//! Why a call has no answer.

use std::io;

use ipc::bus::ErrorKind;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The handler returned an error or panicked.
    #[error("the handler failed: {0}")]
    Failed(String),
    /// Nobody answered before the deadline.
    #[error("no answer in time: {0}")]
    TimedOut(String),
    /// The worker that worked on the call died before it answered.
    #[error("{0}")]
    Died(String),
    /// Too many calls wait already.
    #[error("too many calls: {0}")]
    Full(String),
    /// No worker ever belonged to a pool of this name.
    #[error("{0}")]
    NoPool(String),
    /// The supervisor dropped the answer because this worker reads too slowly, or the supervisor's
    /// primary died while the call was under way.
    #[error("{0}")]
    Lost(String),
    /// There is no supervisor, or its channel has ended, and this worker does not serve the topic
    /// itself.
    #[error("there is no supervisor to relay the call, and this worker does not serve it")]
    Alone,
    /// The data of the request or of the answer is not what the program expects.
    #[error("the data is not of the expected type: {0}")]
    Data(#[from] serde_json::Error),
    /// The client could not send the request.
    #[error("cannot send the request: {0}")]
    Io(#[from] io::Error),
}

impl CallError {
    /// The error for what the supervisor reports.
    pub(crate) fn of((kind, message): (ErrorKind, String)) -> Self {
        match kind {
            ErrorKind::Failed => Self::Failed(message),
            ErrorKind::TimedOut => Self::TimedOut(message),
            ErrorKind::Died => Self::Died(message),
            ErrorKind::Full => Self::Full(message),
            ErrorKind::NoPool => Self::NoPool(message),
            ErrorKind::Lost => Self::Lost(message),
        }
    }
}
