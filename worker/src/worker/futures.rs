//! Draining and calls as futures, for tokio.

use ipc::bus::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::calls::{Call, result};
use super::handle::Worker;
use crate::call_error::CallError;

impl Worker {
    /// Completes when the worker drains.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        self.on_drain(move || {
            // The program may have dropped the future.
            let _ = sender.send(());
        });
        async move {
            if receiver.await.is_err() {
                // The program dropped the worker before it drained.
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
        let on_answer = Box::new(move |answer| {
            // The program may have dropped the future.
            let _ = sender.send(answer);
        });
        self.start_call(call, Json::of(data)?, on_answer)?;
        result(receiver.await.unwrap_or(None))
    }
}
