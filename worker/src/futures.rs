//! The same for tokio: listeners that `axum::serve` takes, draining and calls as futures.

use std::io;

use ipc::bus::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::Worker;
use crate::calls::{Call, CallError, read};

impl Worker {
    /// The listener of this name or address, for tokio. It gets no new connections once
    /// [`Worker::drained`] is done:
    ///
    /// ```ignore
    /// let listener = worker.tokio_listener("8000")?;
    /// worker.ready()?;
    /// axum::serve(listener, app).with_graceful_shutdown(worker.drained()).await?;
    /// ```
    pub fn tokio_listener(&self, name_or_address: &str) -> io::Result<TcpListener> {
        let socket = crate::listener(name_or_address)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    }

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
