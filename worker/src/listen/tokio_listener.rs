//! Listeners for tokio and for `axum::serve`, with the same limits.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::socket_activation;
use crate::state::limits::{Limits, Open};
use crate::worker::Worker;

/// A listener that accepts no connection while as many are open as `[shared.limits]` allows: they
/// wait in the socket's queue.
#[derive(Debug)]
pub struct TokioListener {
    socket: TcpListener,
    limits: Arc<Limits>,
}

/// A `TcpStream` that counts as one of the open connections until it is dropped.
#[derive(Debug)]
pub struct TokioConnection {
    stream: TcpStream,
    open: Open,
}

impl Worker {
    /// The listener of this name or address, for tokio. With the feature `axum`, `axum::serve`
    /// takes it. It gets no new connections once [`Worker::drained`] has completed:
    ///
    /// ```ignore
    /// let listener = worker.tokio_listener("8000")?;
    /// worker.ready()?;
    /// axum::serve(listener, app).with_graceful_shutdown(worker.drained()).await?;
    /// ```
    pub fn tokio_listener(&self, name_or_address: &str) -> io::Result<TokioListener> {
        let socket = socket_activation::listener(name_or_address)?;
        socket.set_nonblocking(true)?;
        let limits = Arc::clone(&self.client.state.limits);
        Ok(TokioListener { socket: TcpListener::from_std(socket)?, limits })
    }
}

impl TokioListener {
    /// The next connection. It is safe to drop the future before it completes.
    pub async fn accept(&self) -> io::Result<(TokioConnection, SocketAddr)> {
        poll_fn(|task| self.poll_accept(task)).await
    }

    fn poll_accept(
        &self,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<(TokioConnection, SocketAddr)>> {
        let Some(open) = self.limits.enter_or_wake(task.waker()) else { return Poll::Pending };
        let (stream, from) = ready!(self.socket.poll_accept(task))?;
        Poll::Ready(Ok((TokioConnection { stream, open }, from)))
    }

    /// The address of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket alone, without the limits.
    pub fn into_inner(self) -> TcpListener {
        self.socket
    }
}

impl TokioConnection {
    /// The stream, and the value that makes it count as open until it is dropped.
    pub fn into_parts(self) -> (TcpStream, Open) {
        (self.stream, self.open)
    }
}

impl Deref for TokioConnection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for TokioConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(task, bytes)
    }
}

impl AsyncWrite for TokioConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

/// The traits of axum.
#[cfg(feature = "axum")]
mod axum {
    use std::net::SocketAddr;
    use std::time::Duration;

    use axum::extract::connect_info::Connected;
    use axum::serve::{IncomingStream, Listener};

    use super::{TokioConnection, TokioListener};

    /// The pause after a failed accept, for example for want of descriptors. The failure lasts, so
    /// an immediate retry would spin.
    const REST: Duration = Duration::from_secs(1);

    impl Listener for TokioListener {
        type Io = TokioConnection;
        type Addr = SocketAddr;

        async fn accept(&mut self) -> (TokioConnection, SocketAddr) {
            loop {
                match Self::accept(self).await {
                    Ok(accepted) => return accepted,
                    Err(error) => {
                        eprintln!("supervisor: cannot accept a connection: {error}");
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        }

        fn local_addr(&self) -> std::io::Result<SocketAddr> {
            Self::local_addr(self)
        }
    }

    /// The client's address, for `Router::into_make_service_with_connect_info::<Client>()`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Client(pub SocketAddr);

    impl Connected<IncomingStream<'_, TokioListener>> for Client {
        fn connect_info(stream: IncomingStream<'_, TokioListener>) -> Self {
            Self(*stream.remote_addr())
        }
    }
}

#[cfg(feature = "axum")]
pub use self::axum::Client;
