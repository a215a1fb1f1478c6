//! A primary for tests: a thread that holds the lock, listens on the socket and answers as told.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use config::spec::AppSpec;
use ipc::control::{AppStatus, Reply, Request, Status};
use ipc::lines::{LineReader, to_line};

use super::Session;
use super::output::Out;
use super::probe::from_record;
use crate::home::{Home, Record, RecordedWorker};

/// A session with a home of its own.
pub(crate) fn session(folder: &Path) -> Session {
    let home = Home::under(folder);
    home.prepare().unwrap();
    Session { home, out: Out::stdout() }
}

pub(crate) fn spec(name: &str) -> AppSpec {
    AppSpec::new(name, vec!["true".into()], "/".into())
}

pub(crate) fn status(name: &str, status: Status) -> AppStatus {
    let worker = RecordedWorker { pid: 5, start_time: 1, slot: 0, generation: 1 };
    let record = Record { primary_pid: 4, workers: vec![worker], spec: spec(name) };
    let mut app = from_record(name, &record, status, "");
    app.reason = None;
    if status == Status::Stopped || status == Status::Errored {
        app.workers[0].pid = None;
    } else {
        app.ready = 1;
    }
    app
}

/// What it was asked, in order.
#[derive(Debug)]
pub(crate) struct Fake {
    asked: Arc<Mutex<Vec<Request>>>,
    thread: JoinHandle<()>,
}

impl Fake {
    /// Answers each request by what `answer` returns (nothing: it hangs up), until one is answered
    /// after which `is_last` holds; then it ends in order.
    pub(crate) fn primary(
        home: &Home,
        name: &str,
        is_last: impl Fn(&Request) -> bool + Send + 'static,
        mut answer: impl FnMut(&Request) -> Vec<Reply> + Send + 'static,
    ) -> Self {
        let lock = home.take_lock(name).unwrap().expect("the name is free");
        let socket = home.socket(name).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let lock_path = home.lock(name);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = LineReader::default();
                let mut bytes = [0; 4096];
                let request: Request = loop {
                    if let Some(request) = reader.next_message().unwrap() {
                        break request;
                    }
                    let count = stream.read(&mut bytes).unwrap();
                    assert!(count > 0, "a command connects and says nothing");
                    reader.push(&bytes[..count]);
                };
                seen.lock().unwrap().push(request.clone());
                for reply in answer(&request) {
                    // A command that does not wait is gone.
                    let _ = stream.write_all(&to_line(&reply).unwrap());
                }
                if is_last(&request) {
                    break;
                }
            }
            fs::remove_file(socket).unwrap();
            fs::remove_file(lock_path).unwrap();
            drop(lock);
        });
        Self { asked, thread }
    }

    /// What it was asked, after its end.
    pub(crate) fn end(self) -> Vec<Request> {
        self.thread.join().unwrap();
        self.asked.lock().unwrap().clone()
    }
}

pub(crate) fn done(message: &str) -> Vec<Reply> {
    vec![Reply::Done { message: message.to_owned() }]
}
