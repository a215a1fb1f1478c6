//! `metrics --otlp`: pushes the metrics to a collector of OpenTelemetry by OTLP/HTTP. A process of
//! its own, as the exporter is: if the collector hangs, no primary notices.

mod endpoint;
mod exchange;
mod message;
mod pairs;
mod queue;
mod starts;

use std::future::pending;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::HeaderMap;
use prost::Message;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use self::endpoint::Endpoint;
use self::message::{Key, Origin, messages};
use self::queue::{Batch, Next, Outcome, Queue};
use self::starts::Starts;
use super::scrape;
use crate::cli::exit::{Exit, Failure};
use crate::cli::http::serve_until_ended;
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::targets::Targets;
use crate::cli::trial::values::between;
use crate::home::Home;
use crate::sys::{clock, procfs};

/// How long what waits may take to be sent after SIGTERM.
const LAST: Duration = Duration::from_secs(5);
/// Threads for what may block: asking the apps, and looking the host up.
const THREADS: usize = 4;

/// The part of the command line that is about pushing.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Push to this collector by OTLP/HTTP until the command is stopped: http://HOST:4318. Headers
    /// are read from OTEL_EXPORTER_OTLP_HEADERS, too.
    #[arg(long, value_name = "URL", conflicts_with_all = ["json", "openmetrics", "listen"])]
    pub(crate) otlp: Option<String>,
    /// How often to push, between 1 s and 1 h.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = interval, requires = "otlp")]
    pub(crate) interval: Duration,
    /// Send the headers in this file, one "Name: value" a line, which only its owner can read.
    #[arg(long, value_name = "FILE", requires = "otlp")]
    pub(crate) otlp_headers: Option<PathBuf>,
}

fn interval(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_secs(1), Duration::from_secs(3600))
}

/// Pushes until SIGTERM or SIGINT. `names`: which apps; none stand for all that run at the time of
/// each look.
pub(crate) fn push(
    session: &mut Session,
    names: &[String],
    url: &str,
    args: &Args,
) -> Result<Exit, Failure> {
    let endpoint = Endpoint::parse(url)?;
    let headers = pairs::headers(args.otlp_headers.as_deref(), |name| std::env::var_os(name))?;
    let attributes = pairs::attributes(|name| std::env::var_os(name))?;
    let names = Targets::named(session, names)?;
    let host = procfs::host_name()
        .map_err(|error| Failure::io("cannot read the name of this machine", &error))?;
    let folder = session.home.run().display().to_string();
    let whose = names.as_ref().map_or_else(|| "all apps".into(), |names| names.join(", "));
    let every = humantime::format_duration(args.interval);
    session
        .out
        .line(format_args!("metrics of {whose}: pushed to {} every {every}", endpoint.url()));
    if !headers.is_empty() && !endpoint.is_local() {
        output::note(
            "supervisor: the headers go over the network without encryption; a collector on this \
             machine could send the metrics on with https",
        );
    }
    let source = Source {
        home: session.home.clone(),
        names,
        origin: Origin { host, folder, attributes },
        starts: Mutex::new(Starts::new()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .build()
        .map_err(|error| Failure::io("cannot push metrics", &error))?;
    let pusher = Pusher {
        queue: Queue::new(clock::now(), fastrand::Rng::new()),
        target: Arc::new((endpoint, headers)),
        sending: None,
    };
    let exit = runtime.block_on(pusher.run(Arc::new(source), args.interval));
    // A look-up of the host may still block.
    runtime.shutdown_background();
    exit
}

/// Where the metrics come from.
struct Source {
    home: Home,
    /// `None`: all apps.
    names: Option<Vec<String>>,
    origin: Origin,
    starts: Mutex<Starts<Key>>,
}

impl Source {
    /// Asks the apps. Blocks.
    fn look(&self) -> Result<Vec<Batch>, String> {
        let names = match &self.names {
            Some(names) => names.clone(),
            None => self.home.apps().map_err(|error| error.to_string())?,
        };
        let all = scrape::fetch_all(&self.home, &names, self.names.is_some());
        let now = clock::unix_ms().saturating_mul(1_000_000);
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let made = messages(&all, &self.origin, &mut starts, now);
        made.into_iter()
            .map(|message| {
                let body = compressed(&message.request.encode_to_vec())
                    .map_err(|error| format!("cannot compress the metrics: {error}"))?;
                Ok(Batch { body: body.into(), points: message.points })
            })
            .collect()
    }
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// What the loop has.
struct Pusher {
    queue: Queue,
    target: Arc<(Endpoint, HeaderMap)>,
    /// The request under way.
    sending: Option<JoinHandle<Outcome>>,
}

impl Pusher {
    async fn run(mut self, source: Arc<Source>, interval: Duration) -> Result<Exit, Failure> {
        let ended = serve_until_ended()?;
        tokio::pin!(ended);
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut looking = None;
        loop {
            let due = self.send();
            tokio::select! {
                () = &mut ended => break,
                _ = tick.tick(), if looking.is_none() => {
                    let source = Arc::clone(&source);
                    looking = Some(tokio::task::spawn_blocking(move || source.look()));
                }
                batches = result(&mut looking) => self.take(batches),
                outcome = result(&mut self.sending) => self.answered(outcome),
                () = pause(due) => {}
            }
        }
        self.finish().await;
        Ok(Exit::Done)
    }

    /// Sends what is due. Returns how long there is nothing to send.
    fn send(&mut self) -> Option<Duration> {
        let now = clock::now();
        match self.queue.next(now) {
            Next::Idle => None,
            Next::Wait(due) => Some(due.since(now)),
            Next::Send(batch) => {
                let target = Arc::clone(&self.target);
                self.sending = Some(tokio::spawn(async move {
                    exchange::exchange(&target.0, &target.1, batch.body).await
                }));
                None
            }
        }
    }

    fn take(&mut self, batches: Result<Result<Vec<Batch>, String>, String>) {
        match batches.and_then(|batches| batches) {
            Ok(batches) => batches.into_iter().for_each(|batch| say(self.queue.push(batch))),
            Err(why) => say(Some(format!("cannot ask the apps: {why}"))),
        }
    }

    fn answered(&mut self, outcome: Result<Outcome, String>) {
        let outcome = outcome.unwrap_or_else(|why| Outcome::Later { why, after: None });
        say(self.queue.answered(outcome, clock::now()));
    }

    /// Sends what waits, for a moment, and says what was not sent. A pause does not outlive the
    /// process, so it ends: the collector may be back.
    async fn finish(&mut self) {
        self.queue.hurry(clock::now());
        let rest = async {
            while self.send().is_none() && self.sending.is_some() {
                let outcome = result(&mut self.sending).await;
                self.answered(outcome);
            }
        };
        // What is left is reported below.
        let _ = tokio::time::timeout(LAST, rest).await;
        let (left, totals) = (self.queue.len(), self.queue.totals);
        if left > 0 || totals.refused > 0 || totals.dropped > 0 {
            say(Some(format!(
                "ends: the collector took {} data points and refused {}, {} were dropped; \
                 requests that were not sent: {left}",
                totals.accepted, totals.refused, totals.dropped
            )));
        }
    }
}

/// The result of a task, if there is one; it is taken out then. Never, if there is none.
async fn result<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, String> {
    let Some(running) = task else { return pending().await };
    let result = running.await.map_err(|error| format!("a task ended: {error}"));
    *task = None;
    result
}

async fn pause(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => pending().await,
    }
}

fn say(text: Option<String>) {
    if let Some(text) = text {
        output::note(format_args!("supervisor: metrics: {text}"));
    }
}
