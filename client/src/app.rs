//! One app: its status, its notices, and what can be asked of it.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use config::change::SpecChange;
use ipc::control::{AppStatus, Method, Notice, Reply, Request};
use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::{Ask, Error};

/// How long a primary may take to tell the status.
const STATUS: Duration = Duration::from_secs(10);
/// For how long it is tried to reach a primary that has no room for another client, and how often.
const BUSY: Duration = Duration::from_secs(8);
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// One app. Each method sends one request.
#[derive(Debug, Clone)]
pub struct App {
    name: String,
    path: PathBuf,
}

/// A request succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Done {
    /// One line for display.
    pub message: String,
    /// Connections with a request in flight that were cut on the way.
    pub cut: u32,
}

/// What happens in an app, from the call of [`App::notices`] on. Ends when the primary ends.
#[derive(Debug)]
pub struct Notices {
    /// `None`: it is over.
    conversation: Option<Conversation>,
    longest: Option<Duration>,
}

impl App {
    pub(crate) fn new(name: String, path: PathBuf) -> Self {
        Self { name, path }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `supervisor list --json` shows of it.
    ///
    /// # Errors
    ///
    /// `lost`: its primary does not run. `timed-out`: it did not answer within 10 seconds. See
    /// [`Error::kind`] for others, also with the other methods.
    pub fn status(&self) -> Result<AppStatus, Error> {
        match self.ask(&Request::Status, Ask::new().within(STATUS))? {
            Reply::Status(status) => Ok(*status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Replaces all workers without losing a connection. Returns when the new ones serve.
    ///
    /// # Errors
    ///
    /// `rolled-back`: the new workers failed, and the old ones serve on.
    pub fn reload(&self, ask: Ask<'_>) -> Result<Done, Error> {
        self.configure(Method::Rolling { pool: None }, ask)
    }

    /// Stops all workers, and then starts new ones.
    ///
    /// # Errors
    ///
    /// The new workers failed.
    pub fn restart(&self, ask: Ask<'_>) -> Result<Done, Error> {
        self.configure(Method::Hard, ask)
    }

    /// Reads the app's file again and brings the result to the workers by this method.
    ///
    /// # Errors
    ///
    /// The file is wrong, or the method failed; then everything is as before.
    pub fn configure(&self, method: Method, ask: Ask<'_>) -> Result<Done, Error> {
        self.done(&Request::Configure { change: SpecChange::default(), method }, ask)
    }

    /// Changes the number of workers.
    ///
    /// # Errors
    ///
    /// `usage`: the app cannot have that many workers.
    pub fn scale(&self, workers: u16, ask: Ask<'_>) -> Result<Done, Error> {
        self.done(&Request::Scale { wanted: workers, because: String::new(), pool: None }, ask)
    }

    /// Starts the workers of a stopped or errored app. For a new app see
    /// [`Control::start`](crate::Control::start).
    ///
    /// # Errors
    ///
    /// The workers failed.
    pub fn start(&self, ask: Ask<'_>) -> Result<Done, Error> {
        self.done(&Request::Start, ask)
    }

    /// Stops the workers and keeps the app.
    ///
    /// # Errors
    ///
    /// See [`Error::kind`].
    pub fn stop(&self, ask: Ask<'_>) -> Result<Done, Error> {
        self.done(&Request::Stop { fast: false }, ask)
    }

    /// Stops the workers and ends the app's primary.
    ///
    /// # Errors
    ///
    /// See [`Error::kind`].
    pub fn delete(&self, ask: Ask<'_>) -> Result<Done, Error> {
        self.done(&Request::Delete { fast: false }, ask)
    }

    /// Yields every notice from now on. `longest` is the longest wait for the next one, after which
    /// the iterator yields an error of the kind `timed-out` and ends. Notices of a kind that this
    /// build does not know are passed over.
    ///
    /// # Errors
    ///
    /// The request cannot be sent. If the primary refuses it, the iterator yields the error.
    pub fn notices(&self, longest: Option<Duration>) -> Result<Notices, Error> {
        let subscribe = json!({ "request": "subscribe" });
        let conversation = Conversation::begin(&self.name, &self.path, &subscribe, None)?;
        Ok(Notices { conversation: Some(conversation), longest })
    }

    /// Sends any request and returns its final reply, which is not `Failed`.
    ///
    /// # Errors
    ///
    /// The primary answered with `Failed`, or there is no reply that this build understands.
    pub fn ask(&self, request: &Request, ask: Ask<'_>) -> Result<Reply, Error> {
        let request = serde_json::to_value(request)
            .map_err(|error| Error::new("usage", format!("cannot send the request: {error}")))?;
        let reply = self.ask_json(&request, ask)?;
        serde_json::from_value(reply).map_err(|error| {
            let reason = format!("cannot understand the primary of {}: {error}", self.name);
            Error::new("not-understood", reason)
        })
    }

    /// The same with a request of docs/api.md as JSON, and its reply: for requests and fields that
    /// this build does not know.
    ///
    /// # Errors
    ///
    /// The primary answered with `failed`, or there is no reply.
    pub fn ask_json(&self, request: &Value, ask: Ask<'_>) -> Result<Value, Error> {
        let Ask { limit, mut on_notice } = ask;
        let begun = Instant::now();
        let until = limit.and_then(|limit| begun.checked_add(limit));
        loop {
            let reply = self.ask_once(request, until, &mut on_notice)?;
            if reply["reply"] != "failed" {
                return Ok(reply);
            }
            let give_up = until.map_or(begun + BUSY, |until| until.min(begun + BUSY));
            if reply["kind"] != "busy" || Instant::now() + BUSY_PAUSE > give_up {
                return Err(Error::told(&reply));
            }
            thread::park_timeout(BUSY_PAUSE);
        }
    }

    fn ask_once(
        &self,
        request: &Value,
        until: Option<Instant>,
        on_notice: &mut Option<&mut dyn FnMut(&Notice)>,
    ) -> Result<Value, Error> {
        let mut conversation = Conversation::begin(&self.name, &self.path, request, until)?;
        while let Some(answer) = conversation.next(until)? {
            if answer["reply"] != "notice" {
                return Ok(answer);
            }
            if let (Some(tell), Some(notice)) = (on_notice.as_mut(), notice(answer)) {
                tell(&notice);
            }
        }
        Err(Error::lost(format!("the primary of {} ended without a reply", self.name)))
    }

    fn done(&self, request: &Request, ask: Ask<'_>) -> Result<Done, Error> {
        match self.ask(request, ask)? {
            Reply::Done { message, cut, .. } => Ok(Done { message, cut }),
            other => Err(self.unexpected(&other)),
        }
    }

    fn unexpected(&self, reply: &Reply) -> Error {
        let text = serde_json::to_value(reply).unwrap_or_default();
        let word = text["reply"].as_str().unwrap_or_default();
        Error::lost(format!("the primary of {} answered with {word:?}", self.name))
    }
}

impl Iterator for Notices {
    type Item = Result<Notice, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let until = self.longest.and_then(|longest| Instant::now().checked_add(longest));
        loop {
            let next = self.conversation.as_mut()?.next(until);
            let failed = match next {
                Ok(Some(answer)) if answer["reply"] == "notice" => match notice(answer) {
                    Some(notice) => return Some(Ok(notice)),
                    None => continue,
                },
                Ok(Some(answer)) => Some(Err(Error::told(&answer))),
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            };
            self.conversation = None;
            return failed;
        }
    }
}

/// The notice in an answer. `None`: this build does not know its kind.
fn notice(answer: Value) -> Option<Notice> {
    serde_json::from_value(answer).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::{BalanceStatus, BusRequest, Contract, HealthVerdict, Status, WorkerState};

    /// An app whose primary answers one request after the other with these bytes, and ends each
    /// connection. The thread returns the requests.
    fn app_of(answers: &[&str]) -> (App, tempfile::TempDir, thread::JoinHandle<Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let answers: Vec<String> = answers.iter().map(|text| (*text).to_owned()).collect();
        let primary = thread::spawn(move || {
            let answer = |text: String| {
                let (stream, _) = listener.accept().unwrap();
                let mut asked = String::new();
                BufReader::new(&stream).read_line(&mut asked).unwrap();
                for piece in text.as_bytes().chunks(7) {
                    // The client may have left.
                    drop((&stream).write_all(piece));
                }
                asked
            };
            answers.into_iter().map(answer).collect()
        });
        (App::new("web".to_owned(), path), folder, primary)
    }

    #[test]
    fn notices_come_before_the_reply_and_unknown_ones_are_passed_over() {
        let (app, _folder, primary) = app_of(&[concat!(
            r#"{"reply":"notice","event":"worker-ready","message":"one","new":1}"#,
            "\n",
            r#"{"reply":"notice","event":"from-the-future","message":"x"}"#,
            "\n\n",
            r#"{"reply":"done","message":"two","cut":3,"more":true}"#,
            "\n"
        )]);
        let mut seen = Vec::new();
        let mut keep = |notice: &Notice| seen.push(notice.message.clone());
        let done = app.reload(Ask::new().on_notice(&mut keep)).unwrap();
        assert_eq!((done.message.as_str(), done.cut, seen), ("two", 3, vec!["one".to_owned()]));
        let asked: Value = serde_json::from_str(&primary.join().unwrap()[0]).unwrap();
        assert_eq!(
            (&asked["request"], &asked["method"]["method"]),
            (&json!("configure"), &json!("rolling"))
        );
    }

    #[test]
    fn a_failure_has_its_kind_even_a_new_one() {
        let (app, _folder, _primary) = app_of(&[
            "{\"reply\":\"failed\",\"kind\":\"eaten\",\"reason\":\"why\",\"last_lines\":[\"a\"]}\n",
        ]);
        let error = app.stop(Ask::new()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), ("eaten", "why"));
        assert_eq!(error.last_lines(), ["a"]);
    }

    #[test]
    fn what_a_later_build_says_can_be_read() {
        let answers: Vec<String> = include_str!("../golden/from-the-future.jsonl")
            .lines()
            .map(|line| format!("{line}\n"))
            .collect();
        let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
        let (app, _folder, _primary) = app_of(&answers);
        let status = app.status().unwrap();
        assert_eq!((status.name.as_str(), status.status), ("web", Status::Unknown));
        assert_eq!(status.balance, BalanceStatus::Other("by-moon".to_owned()));
        let tide = Some(BalanceStatus::Other("by-tide".to_owned()));
        assert_eq!((status.ready, &status.listeners[0].balance), (1, &tide));
        let worker = &status.workers[0];
        assert_eq!((worker.pid, worker.state), (Some(7201), WorkerState::Unknown));
        assert_eq!(worker.contract, [Contract::Intercept, Contract::Unknown]);
        let verdict = worker.liveness.as_ref().map(|health| health.verdict);
        assert_eq!(verdict, Some(HealthVerdict::Unknown));
        match app.ask(&Request::Bus(BusRequest::Metrics), Ask::new()).unwrap() {
            Reply::Metrics { metrics, .. } => {
                assert_eq!((metrics.len(), metrics[0].value), (1, 2.0))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(app.stop(Ask::new()).unwrap_err().kind(), "eaten");
    }

    #[test]
    fn without_a_reply_nothing_has_succeeded() {
        let notice = "{\"reply\":\"notice\",\"event\":\"scaled\",\"message\":\"x\"}\n";
        let (app, _folder, primary) = app_of(&[notice, "", "{\"reply\":\"do", "nonsense\n"]);
        for _ in 0..4 {
            assert_eq!(app.stop(Ask::new()).unwrap_err().kind(), "lost");
        }
        primary.join().unwrap();
        // The primary has ended.
        assert_eq!(app.status().unwrap_err().kind(), "lost");
    }

    #[test]
    fn a_busy_primary_is_asked_again() {
        let busy = "{\"reply\":\"failed\",\"kind\":\"busy\",\"reason\":\"full\"}\n";
        let (app, _folder, _primary) =
            app_of(&[busy, "{\"reply\":\"done\",\"message\":\"x\"}\n", busy]);
        assert_eq!(app.stop(Ask::new()).unwrap().message, "x");
        let short = Ask::new().within(Duration::from_millis(100));
        assert_eq!(app.stop(short).unwrap_err().kind(), "busy");
    }

    #[test]
    fn time_limits_hold_for_a_primary_that_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let app = App::new("web".to_owned(), path);
        let short = Duration::from_millis(50);
        assert_eq!(app.stop(Ask::new().within(short)).unwrap_err().kind(), "timed-out");
        let mut notices = app.notices(Some(short)).unwrap();
        assert_eq!(notices.next().unwrap().unwrap_err().kind(), "timed-out");
        assert!(notices.next().is_none());
    }
}
