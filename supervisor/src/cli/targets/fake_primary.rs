//! A primary for tests: a thread that holds the lock, listens on the socket, and sends the replies
//! of the test.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use config::spec::AppSpec;
use ipc::control::{AppStatus, Reply, Request, Status};
use ipc::lines::{LineReader, to_line};

use super::recorded;
use crate::cli::output::Stdout;
use crate::cli::session::Session;
use crate::home::{Home, Record, RecordedWorker};

/// A session whose home is `folder`.
pub(crate) fn session(folder: &Path) -> Session {
    let home = Home::under(folder);
    home.prepare().unwrap();
    Session { home, out: Stdout::new() }
}

/// The spec of an app that runs `true`.
pub(crate) fn spec(name: &str) -> AppSpec {
    AppSpec::new(name, vec!["true".into()], "/".into())
}

/// The status of an app with one worker.
pub(crate) fn status(name: &str, status: Status) -> AppStatus {
    let worker = RecordedWorker { pid: 5, start_time: 1, slot: 0, generation: 1 };
    let record = Record::new(4, vec![worker], spec(name));
    let mut app = recorded::status(name, &record, status, "");
    app.reason = None;
    if status == Status::Stopped || status == Status::Errored {
        app.workers[0].pid = None;
    } else {
        app.ready = 1;
    }
    app
}

/// The thread, and the requests that it got, in order.
#[derive(Debug)]
pub(crate) struct FakePrimary {
    requests: Arc<Mutex<Vec<Request>>>,
    thread: JoinHandle<()>,
}

impl FakePrimary {
    /// Sends the replies that `answer` returns for each request, and closes the connection. After
    /// the first request for which `is_last` holds it removes its files and ends.
    pub(crate) fn start(
        home: &Home,
        name: &str,
        is_last: impl Fn(&Request) -> bool + Send + 'static,
        mut answer: impl FnMut(&Request) -> Vec<Reply> + Send + 'static,
    ) -> Self {
        let files = home.files(name);
        let lock = files.take_lock().unwrap().expect("the name is free");
        let socket = files.socket().unwrap().to_owned();
        let listener = UnixListener::bind(&socket).unwrap();
        let lock_path = files.lock().to_owned();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
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
                    assert!(count > 0, "a command connects and sends no request");
                    reader.push(&bytes[..count]);
                };
                seen.lock().unwrap().push(request.clone());
                for reply in answer(&request) {
                    // A command with --no-wait has closed its end.
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
        Self { requests, thread }
    }

    /// Waits for the end of the thread, and returns the requests.
    pub(crate) fn end(self) -> Vec<Request> {
        self.thread.join().unwrap();
        self.requests.lock().unwrap().clone()
    }
}

/// The replies to a request that succeeds.
pub(crate) fn done(message: &str) -> Vec<Reply> {
    vec![Reply::done(message)]
}
