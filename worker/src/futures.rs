//! The same for tokio: draining and calls as futures.

use ipc::bus::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::Worker;
use crate::calls::{Call, CallError, read};

impl Worker {
    /// Done when the worker drains.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        self.on_drain(move || {
            // Nobody waits any more.
            let _ = sender.send(());
        });
        async move {
            if receiver.await.is_err() {
                // The worker was dropped before it drained.
                std::future::pending::<()>().await;
            }
        }
    }

    /// As [`Worker::call_with`], without a thread that waits.
    pub async fn call_async<A: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<A, CallError> {
        let (sender, receiver) = oneshot::channel();
        let waiter = Box::new(move |answer| {
            // Nobody waits any more.
            let _ = sender.send(answer);
        });
        self.ask(call, Json::of(data)?, waiter)?;
        read(receiver.await.unwrap_or(None))
    }
}
