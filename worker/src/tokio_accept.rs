//! Listeners for tokio: the same limits, and what `axum::serve` takes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::Worker;
use crate::limits::{Limits, Open};

/// A listener that takes no further connection while as many are open as may be
/// (`[shared.limits]`): they wait in its queue.
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
    /// The listener of this name or address, for tokio; with the feature `axum`, `axum::serve`
    /// takes it. It gets no new connections once [`Worker::drained`] is done:
    ///
    /// ```ignore
    /// let listener = worker.tokio_listener("8000")?;
    /// worker.ready()?;
    /// axum::serve(listener, app).with_graceful_shutdown(worker.drained()).await?;
    /// ```
    pub fn tokio_listener(&self, name_or_address: &str) -> io::Result<TokioListener> {
        let socket = crate::listener(name_or_address)?;
        socket.set_nonblocking(true)?;
        let limits = Arc::clone(&self.inner.limits);
        Ok(TokioListener { socket: TcpListener::from_std(socket)?, limits })
    }
}

impl TokioListener {
    /// The next connection. Nothing is lost if it is not awaited to its end.
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

    /// The address that is served.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket alone, for those who count by themselves.
    pub fn into_inner(self) -> TcpListener {
        self.socket
    }
}

impl TokioConnection {
    /// The stream, and what makes it count as open, for programs that need the stream itself.
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

/// What axum wants to know of a listener.
#[cfg(feature = "axum")]
mod axum {
    use std::net::SocketAddr;
    use std::time::Duration;

    use axum::extract::connect_info::Connected;
    use axum::serve::{IncomingStream, Listener};

    use super::{TokioConnection, TokioListener};

    /// How long a listener rests that cannot accept, for want of descriptors for example.
    const REST: Duration = Duration::from_secs(1);

    impl Listener for TokioListener {
        type Io = TokioConnection;
        type Addr = SocketAddr;

        async fn accept(&mut self) -> (TokioConnection, SocketAddr) {
            loop {
                match Self::accept(self).await {
                    Ok(accepted) => return accepted,
                    Err(error) => {
                        eprintln!("supervisor: a connection was not accepted: {error}");
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
