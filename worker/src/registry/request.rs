//! A request to this worker, and the way of its answer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use ipc::bus::{ErrorKind, FromWorker, Json, Peer};
use serde::de::DeserializeOwned;

use crate::channel::message::{check, truncated};
use crate::state::pending_calls::OnAnswer;

/// A request of another worker, or of a person who triggers an action.
#[derive(Debug)]
pub struct Request {
    /// The topic.
    pub topic: String,
    /// The caller: a worker, or a person (worker 0).
    pub from: Peer,
    /// Nobody waits for the answer after this.
    pub deadline: Instant,
    pub(crate) data: Json,
    pub(crate) reply: Reply,
}

impl Request {
    /// The data as a value.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.data.read()
    }
}

/// Sends messages to the supervisor. The client does; a request keeps it alive until its answer is
/// out.
pub(crate) trait Sender: Send + Sync {
    fn send(&self, message: &FromWorker, urgent: bool) -> io::Result<()>;
}

/// Where the answer goes.
pub(crate) enum Reply {
    /// To the supervisor, under this number.
    Supervisor { client: Arc<dyn Sender>, id: u64 },
    /// To a caller in this process: there is no supervisor.
    Local(OnAnswer),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Supervisor { .. } => "Supervisor",
            Self::Local(_) => "Local",
        })
    }
}

impl Reply {
    pub(crate) fn answer(self, answer: Result<Json, String>) {
        match self {
            Self::Local(on_answer) => {
                on_answer(Some(answer.map_err(|message| (ErrorKind::Failed, message))));
            }
            Self::Supervisor { client, id } => {
                let mut message = match answer {
                    Ok(data) => FromWorker::Answer { id, data },
                    Err(message) => FromWorker::Fail { id, message: truncated(message) },
                };
                if let Err(error) = check(&message) {
                    message = FromWorker::Fail { id, message: error.to_string() };
                }
                // If the channel has ended, the supervisor tells the caller.
                let _ = client.send(&message, true);
            }
        }
    }
}
