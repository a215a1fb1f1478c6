//! Serves HTTP in a process of its own until SIGTERM or SIGINT: bounded connections, times and
//! requests. A connection has one request, which goes to the handler of the caller.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use systemd::notify::Notifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, oneshot};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;

/// How long a connection may take, from its first byte to its last, unless it is [`Lasting`].
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the line and the headers of a request.
const HEADER_BYTES: usize = 16 * 1024;
/// How long to wait before the next `accept` after one that failed, for example for want of
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// What a handler answers.
pub(crate) type Page = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Server {
    runtime: Runtime,
    listener: TcpListener,
    /// Where it listens, with the port that the kernel chose if none was asked for.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Listens. `activity` is for messages: "serve metrics". Blocking work of the handlers is done
    /// by at most `threads` threads.
    pub(crate) fn listen(
        address: SocketAddr,
        activity: &str,
        threads: usize,
    ) -> Result<Self, Failure> {
        let cannot =
            |error: io::Error| Failure::failed(format!("cannot listen on {address}: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(threads)
            .build()
            .map_err(|error| Failure::failed(format!("cannot {activity}: {error}")))?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        Ok(Self { runtime, listener, address })
    }

    /// Answers requests with what `handle` makes of them, until SIGTERM or SIGINT. At most
    /// `connections` at a time; further ones wait in the kernel's queue.
    pub(crate) fn run<F, A>(self, connections: usize, handle: F) -> Result<Exit, Failure>
    where
        F: Fn(Request<Incoming>, Lasting) -> A + Clone + 'static,
        A: Future<Output = Page> + 'static,
    {
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&self.runtime, async {
            let ended = serve_until_ended()?;
            tokio::select! {
                () = accept(self.listener, connections, handle) => {}
                () = ended => {}
            }
            Ok(Exit::Done)
        })
    }
}

/// Makes the connection of a request last: a stream ends when its sender decides, not after the 30
/// seconds of other connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lasting(Arc<Mutex<Option<oneshot::Receiver<()>>>>);

impl Lasting {
    /// The connection lasts until the returned value is dropped, or its client leaves.
    pub(crate) fn hold(&self) -> oneshot::Sender<()> {
        let (held, dropped) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(dropped);
        held
    }

    fn take(&self) -> Option<oneshot::Receiver<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Tells the service manager that this process serves. What is returned completes when the process
/// is to end.
pub(crate) fn serve_until_ended() -> Result<impl Future<Output = ()>, Failure> {
    let ended =
        ends().map_err(|error| Failure::io("cannot handle the signals of this process", &error))?;
    tell_manager();
    Ok(ended)
}

/// Tells the service manager that started this process, if there is one, that it serves.
fn tell_manager() {
    let told = Notifier::from_env().and_then(|manager| match manager {
        Some(manager) => manager.send("READY=1"),
        None => Ok(()),
    });
    if let Err(error) = told {
        output::note(format_args!("supervisor: cannot notify the service manager: {error}"));
    }
}

/// Completes with SIGTERM or SIGINT.
fn ends() -> io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

async fn accept<F, A>(listener: TcpListener, connections: usize, handle: F)
where
    F: Fn(Request<Incoming>, Lasting) -> A + Clone + 'static,
    A: Future<Output = Page> + 'static,
{
    let places = Arc::new(Semaphore::new(connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let handle = handle.clone();
                tokio::task::spawn_local(async move {
                    let _place = place;
                    converse(stream, handle).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn converse<F, A>(stream: TcpStream, handle: F)
where
    F: Fn(Request<Incoming>, Lasting) -> A + Clone + 'static,
    A: Future<Output = Page> + 'static,
{
    let lasting = Lasting::default();
    let answer = service_fn(|request| {
        let page = handle(request, lasting.clone());
        async move { Ok::<_, Infallible>(page.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(served);
    // A client that is too slow or breaks off loses its answer, and so does one that sent no HTTP.
    if tokio::time::timeout(CONNECTION_TIMEOUT, &mut served).await.is_err()
        && let Some(dropped) = lasting.take()
    {
        tokio::select! {
            _ = served => {}
            _ = dropped => {}
        }
    }
}

/// An answer of plain text.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Page {
    response(status, TEXT, text)
}

/// An answer of this kind (Content-Type).
pub(crate) fn response(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Page {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Reads where to listen: PORT (on 127.0.0.1), IP:PORT or [IPV6]:PORT.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.contains(':') { text.to_owned() } else { format!("127.0.0.1:{text}") };
    whole.parse().map_err(|_| "expected PORT, IP:PORT or [IPV6]:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        assert_eq!(address("9617"), Ok(SocketAddr::from(([127, 0, 0, 1], 9617))));
        assert_eq!(address("[::]:1").map(|a| a.is_ipv6()), Ok(true));
        for bad in ["", "x", "localhost:1", "1.2.3.4", "70000"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
