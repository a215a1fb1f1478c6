//! What a request is answered with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::access::{Access, Entry, parameter};
use super::gather::Gathered;
use super::model::{event, json};
use super::stream::stream;
use super::{actions, assets};
use crate::cli::http::{Lasting, Page, plain, response};

/// Pages that are open at a time.
const STREAMS: usize = 128;
/// Commands that run at a time.
const COMMANDS: usize = 8;
/// How long a client may take to send what it wants done.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

const JSON: &str = "application/json";

/// What every answer says: run nothing but our own files, tell no other site, keep nothing.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The first event of a stream.
#[derive(Serialize)]
struct Hello<'a> {
    version: &'static str,
    actions: bool,
    csrf: &'a str,
    /// The clock of this machine, in milliseconds since 1970: that of the browser may differ.
    now: u64,
}

/// The dashboard as a site.
#[derive(Debug)]
pub(super) struct Site {
    gathered: Arc<Gathered>,
    access: Access,
    allow_actions: bool,
    streams: Arc<Semaphore>,
    commands: Arc<Semaphore>,
    last_command: AtomicU64,
}

impl Site {
    pub(super) fn new(gathered: Arc<Gathered>, access: Access, allow_actions: bool) -> Self {
        Self {
            gathered,
            access,
            allow_actions,
            streams: Arc::new(Semaphore::new(STREAMS)),
            commands: Arc::new(Semaphore::new(COMMANDS)),
            last_command: AtomicU64::new(0),
        }
    }

    /// The answer to a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, lasting: &Lasting) -> Page {
        let mut page = self.page(request, lasting).await;
        for (name, value) in HEADERS {
            page.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        page
    }

    async fn page(&self, request: Request<Incoming>, lasting: &Lasting) -> Page {
        if !self.access.knows_host(request.headers()) {
            return plain(
                StatusCode::FORBIDDEN,
                "the dashboard does not know itself by this name: use an IP address or localhost, \
                 or start it with --host NAME\n",
            );
        }
        let path = request.uri().path();
        if path == "/actions" {
            return match *request.method() {
                Method::POST => self.act(request).await,
                _ => not_allowed("POST"),
            };
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed("GET");
        }
        if let Some(page) = assets::asset(path) {
            return page;
        }
        let query = request.uri().query();
        if path == "/"
            && let Some(given) = parameter(query, "token")
        {
            return self.enter(given);
        }
        let entered = self.access.entry(request.headers()).is_some();
        match (path, entered) {
            ("/", true) => assets::index(),
            ("/", false) => assets::entrance(false),
            (_, false) => plain(StatusCode::UNAUTHORIZED, "the token is missing\n"),
            ("/events", true) => self.stream(parameter(query, "app"), lasting),
            ("/history", true) => {
                let hour = parameter(query, "app").and_then(|app| self.gathered.hour(app));
                hour.map_or_else(no_such_app, |hour| response(StatusCode::OK, JSON, hour))
            }
            _ => plain(StatusCode::NOT_FOUND, "no such page\n"),
        }
    }

    /// Gives the cookie for the token, and sends the browser to the page, so that the token does
    /// not stay in its address line.
    fn enter(&self, given: &str) -> Page {
        let cookie = self.access.cookie_for(given).map(HeaderValue::try_from);
        match cookie {
            Some(Ok(cookie)) => {
                let mut page = plain(StatusCode::SEE_OTHER, "");
                page.headers_mut().insert(SET_COOKIE, cookie);
                page.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
                page
            }
            Some(Err(_)) | None => assets::entrance(true),
        }
    }

    /// Begins a stream. `app`: whose log it has.
    fn stream(&self, app: Option<&str>, lasting: &Lasting) -> Page {
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            return busy("too many pages are open: close some\n");
        };
        let log = match app.filter(|app| self.gathered.has(app)).map(|app| self.gathered.log(app)) {
            None => None,
            Some(Ok(log)) => Some(log),
            Some(Err(failure)) => return busy(failure.reason + "\n"),
        };
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION"),
            actions: self.allow_actions,
            csrf: self.access.csrf(),
            now: crate::sys::clock::unix_ms(),
        };
        let mut first = String::new();
        event(&mut first, "hello", &json(&hello));
        let (sender, body) = Channel::<Bytes>::new(1);
        let held = lasting.hold();
        let gathered = Arc::clone(&self.gathered);
        tokio::task::spawn_local(async move {
            let (_place, _held) = (place, held);
            stream(gathered, log, first, sender).await;
        });
        let mut page = Response::new(body.boxed_unsync());
        let kind = HeaderValue::from_static("text/event-stream");
        page.headers_mut().insert(CONTENT_TYPE, kind);
        page
    }

    /// Runs a command, if this dashboard may.
    async fn act(&self, request: Request<Incoming>) -> Page {
        let (head, body) = request.into_parts();
        let Some(entry) = self.access.entry(&head.headers) else {
            return plain(StatusCode::UNAUTHORIZED, "the token is missing\n");
        };
        if let Some(refusal) = self.refusal(entry, &head.headers) {
            return plain(StatusCode::FORBIDDEN, refusal);
        }
        let body = Limited::new(body, actions::MAX_BYTES).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "this is too long\n"),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "this takes too long\n"),
        };
        let action = match actions::parse(&body) {
            Ok(action) => action,
            Err(why) => return plain(StatusCode::BAD_REQUEST, why + "\n"),
        };
        if !self.gathered.has(&action.app) {
            return no_such_app();
        }
        let Ok(place) = Arc::clone(&self.commands).try_acquire_owned() else {
            return busy("too many commands run: wait for them\n");
        };
        let id = self.last_command.fetch_add(1, Ordering::Relaxed) + 1;
        self.gathered.run(id, action, Arc::new(place));
        response(StatusCode::ACCEPTED, JSON, format!("{{\"id\":{id}}}"))
    }

    fn refusal(&self, entry: Entry, headers: &hyper::HeaderMap) -> Option<&'static str> {
        if !self.allow_actions {
            return Some("this dashboard only shows: start it with --allow-actions to act\n");
        }
        (!self.access.is_ours(entry, headers))
            .then_some("this request does not come from a page of this dashboard\n")
    }
}

fn not_allowed(method: &'static str) -> Page {
    let mut page = plain(StatusCode::METHOD_NOT_ALLOWED, format!("use {method}\n"));
    page.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    page
}

fn no_such_app() -> Page {
    plain(StatusCode::NOT_FOUND, "this dashboard shows no such app\n")
}

fn busy(why: impl Into<Bytes>) -> Page {
    let mut page = plain(StatusCode::SERVICE_UNAVAILABLE, why);
    page.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    page
}
