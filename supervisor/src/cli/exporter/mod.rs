//! `metrics --listen`: answers Prometheus. A process of its own, so that no scrape takes a moment
//! of a primary's loop, except for the metrics themselves.
//!
//! Every scrape asks all apps. Scrapes at the same time, and within [`FRESH`], share one answer, so
//! that a crowd of clients asks no primary more often than one does.

mod help;
pub(crate) mod openmetrics;
pub(crate) mod scrape;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use systemd::notify::Notifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Semaphore};

use super::exit::{Exit, Failure};
use super::output;
use super::session::Session;
use super::targets::Targets;
use crate::home::Home;

/// How long an answer is given to further scrapes.
const FRESH: Duration = Duration::from_secs(1);
/// Connections at a time. Further ones wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// How long a connection may take, from its first byte to its last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before the next `accept` after one that failed, for example for want of
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the answer is (OpenMetrics 1.0, "Overall Structure").
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Serves until SIGTERM or SIGINT. `names`: which apps; none stand for all that run at the time of
/// each scrape.
pub(crate) fn serve(
    session: &mut Session,
    names: &[String],
    address: SocketAddr,
) -> Result<Exit, Failure> {
    // Names that no app can have are refused now, not at each scrape.
    let names = match names {
        [] => None,
        some => Some(Targets::resolve(session, some)?).filter(|targets| !targets.all),
    };
    let exporter = Exporter {
        home: session.home.clone(),
        names: names.map(|targets| targets.names),
        last: Mutex::default(),
    };
    let cannot = |error: io::Error| Failure::failed(format!("cannot listen on {address}: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .map_err(|error| Failure::failed(format!("cannot serve metrics: {error}")))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let whose = exporter.names.as_ref().map_or_else(|| "all apps".into(), |it| it.join(", "));
        session.out.line(format_args!("metrics of {whose}: http://{address}/metrics"));
        if !address.ip().is_loopback() {
            output::note("supervisor: everyone who reaches this address can read the metrics");
        }
        tell_manager();
        let ended = ends().map_err(cannot)?;
        tokio::select! {
            () = accept(listener, Arc::new(exporter)) => {}
            () = ended => {}
        }
        Ok(Exit::Done)
    })
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

async fn accept(listener: TcpListener, exporter: Arc<Exporter>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let exporter = Arc::clone(&exporter);
                tokio::spawn(async move {
                    let _place = place;
                    // A client that is too slow or breaks off loses its answer.
                    drop(
                        tokio::time::timeout(CONNECTION_TIMEOUT, converse(stream, exporter)).await,
                    );
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, exporter: Arc<Exporter>) {
    let answer = service_fn(move |request| {
        let exporter = Arc::clone(&exporter);
        async move { Ok::<_, Infallible>(exporter.answer(&request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // The client has gone, or sent no HTTP.
    drop(served.await);
}

/// What the connections share.
struct Exporter {
    home: Home,
    /// `None`: all apps.
    names: Option<Vec<String>>,
    /// The last answer, and when it was made. Locked while the next one is made.
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Exporter {
    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => match self.metrics().await {
                Ok(text) => response(StatusCode::OK, OPENMETRICS, text),
                Err(reason) => plain(StatusCode::INTERNAL_SERVER_ERROR, reason + "\n"),
            },
            "/" => plain(StatusCode::OK, "the metrics are at /metrics\n"),
            _ => plain(StatusCode::NOT_FOUND, "no such page; the metrics are at /metrics\n"),
        }
    }

    async fn metrics(self: &Arc<Self>) -> Result<Bytes, String> {
        let mut last = self.last.lock().await;
        if let Some((made, text)) = &*last
            && made.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let exporter = Arc::clone(self);
        let text = tokio::task::spawn_blocking(move || exporter.scrape())
            .await
            .map_err(|error| format!("cannot ask the apps: {error}"))??;
        let text = Bytes::from(text);
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }

    fn scrape(&self) -> Result<String, String> {
        let names = match &self.names {
            Some(names) => names.clone(),
            None => self.home.apps().map_err(|error| error.to_string())?,
        };
        let all = scrape::fetch_all(&self.home, &names, self.names.is_some());
        Ok(openmetrics::openmetrics(&all))
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, TEXT, text)
}

fn response(
    status: StatusCode,
    kind: &'static str,
    text: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
