//! A call that came to this worker, and the way its answer goes.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use ipc::bus::{ErrorKind, FromWorker, Json, Peer};
use serde::de::DeserializeOwned;

use crate::bus::{Inner, fits, short};
use crate::calls::Waiter;

/// A call to this worker.
#[derive(Debug)]
pub struct Request {
    /// The topic.
    pub topic: String,
    /// Who asks.
    pub from: Peer,
    /// Nobody waits for the answer after this.
    pub deadline: Instant,
    pub(crate) data: Json,
    pub(crate) reply: Reply,
}

impl Request {
    /// The question as a value.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.data.read()
    }
}

/// Where the answer goes.
pub(crate) enum Reply {
    Bus { inner: Arc<Inner>, id: u64 },
    Here(Waiter),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bus { .. } => "Bus",
            Self::Here(_) => "Here",
        })
    }
}

impl Reply {
    pub(crate) fn give(self, answer: Result<Json, String>) {
        match self {
            Self::Here(waiter) => {
                waiter(Some(answer.map_err(|message| (ErrorKind::Failed, message))));
            }
            Self::Bus { inner, id } => {
                let mut message = match answer {
                    Ok(data) => FromWorker::Answer { id, data },
                    Err(message) => FromWorker::Fail { id, message: short(message) },
                };
                if let Err(error) = fits(&message) {
                    message = FromWorker::Fail { id, message: error.to_string() };
                }
                // A caller behind a closed channel hears of the end from the supervisor.
                let _ = inner.say(&message, true);
            }
        }
    }
}
