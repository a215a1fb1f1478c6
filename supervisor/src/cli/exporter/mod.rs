//! `metrics --listen` and `metrics --otlp`: metrics for Prometheus and for collectors of
//! OpenTelemetry.
//!
//! `--listen` answers Prometheus. A process of its own, so that no scrape takes a moment
//! of a primary's loop, except for the metrics themselves.
//!
//! Every scrape asks all apps. Scrapes at the same time, and within [`FRESH`], share one answer, so
//! that a crowd of clients asks no primary more often than one does.

mod help;
pub(crate) mod openmetrics;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
pub(crate) mod scrape;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::Mutex;

use super::exit::{Exit, Failure};
use super::http::{Page, Server, plain, response};
use super::output;
use super::session::Session;
use super::targets::Targets;
use crate::home::Home;

/// How long an answer is given to further scrapes.
const FRESH: Duration = Duration::from_secs(1);
/// Connections at a time. Further ones wait in the kernel's queue.
const CONNECTIONS: usize = 32;

/// What the answer is (OpenMetrics 1.0, "Overall Structure").
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The same for clients that ask for the format from before OpenMetrics.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until SIGTERM or SIGINT. `names`: which apps; none stand for all that run at the time of
/// each scrape.
pub(crate) fn serve(
    session: &mut Session,
    names: &[String],
    address: SocketAddr,
) -> Result<Exit, Failure> {
    // Names that no app can have are refused now, not at each scrape.
    let names = Targets::named(session, names)?;
    let whose = names.as_ref().map_or_else(|| "all apps".into(), |names| names.join(", "));
    let exporter = Exporter { home: session.home.clone(), names, last: Mutex::default() };
    let exporter = Arc::new(exporter);
    // One look at the apps at a time.
    let server = Server::listen(address, "serve metrics", 1)?;
    let address = server.address;
    session.out.line(format_args!("metrics of {whose}: http://{address}/metrics"));
    if !address.ip().is_loopback() {
        output::note("supervisor: everyone who reaches this address can read the metrics");
    }
    server.run(CONNECTIONS, move |request, _| {
        let exporter = Arc::clone(&exporter);
        async move { exporter.answer(&request).await }
    })
}

/// What the connections share.
struct Exporter {
    home: Home,
    /// `None`: all apps.
    names: Option<Vec<String>>,
    /// The last answer, and when it was made. Locked while the next one is made.
    last: Mutex<Option<(Instant, Answer)>>,
}

/// The metrics in both formats.
#[derive(Debug, Clone)]
struct Answer {
    openmetrics: Bytes,
    classic: Bytes,
}

impl Exporter {
    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Page {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => match self.metrics().await {
                Ok(answer) if wants_classic(request.headers()) => {
                    response(StatusCode::OK, CLASSIC, answer.classic)
                }
                Ok(answer) => response(StatusCode::OK, OPENMETRICS, answer.openmetrics),
                Err(reason) => plain(StatusCode::INTERNAL_SERVER_ERROR, reason + "\n"),
            },
            "/" => plain(StatusCode::OK, "the metrics are at /metrics\n"),
            _ => plain(StatusCode::NOT_FOUND, "no such page; the metrics are at /metrics\n"),
        }
    }

    async fn metrics(self: &Arc<Self>) -> Result<Answer, String> {
        let mut last = self.last.lock().await;
        if let Some((made, answer)) = &*last
            && made.elapsed() < FRESH
        {
            return Ok(answer.clone());
        }
        let exporter = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || exporter.scrape())
            .await
            .map_err(|error| format!("cannot ask the apps: {error}"))??;
        *last = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }

    fn scrape(&self) -> Result<Answer, String> {
        let names = match &self.names {
            Some(names) => names.clone(),
            None => self.home.apps().map_err(|error| error.to_string())?,
        };
        let all = scrape::fetch_all(&self.home, &names, self.names.is_some());
        Ok(Answer {
            openmetrics: openmetrics::openmetrics(&all).into(),
            classic: openmetrics::classic(&all).into(),
        })
    }
}

/// Whether a client asks for the classic format and cannot read OpenMetrics.
fn wants_classic(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = values.flat_map(|value| value.split(','));
    let names = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let names: Vec<&str> = names.collect();
    names.contains(&"text/plain") && !names.contains(&"application/openmetrics-text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_client_can_read() {
        let of = |accept: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            wants_classic(&headers)
        };
        // Prometheus from 2.5 on, one from before it, curl, and a client that says nothing.
        assert!(!of(&[
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        ]));
        assert!(of(&["application/vnd.google.protobuf;q=0.7, text/plain;version=0.0.4;q=0.3"]));
        assert!(!of(&["*/*"]));
        assert!(!of(&[]));
        assert!(!of(&["text/plain", "application/openmetrics-text"]));
    }
}
