//! A small client of an app's control socket. It sends one request and reads the final answer, or
//! the notices one after the other, each within a time limit.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::control::{AppStatus, Notice, NoticeKind, Reply, Request};
use ipc::lines::{LineReader, to_line};

use crate::wait::uninterrupted;

/// One connection.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    reader: LineReader,
    /// Notices that came before the final answer.
    pub notices: Vec<Notice>,
    /// Why nothing more came.
    end: String,
}

impl Control {
    /// Connects and sends a request.
    pub fn ask(socket: &Path, request: &Request) -> Self {
        let stream = UnixStream::connect(socket)
            .unwrap_or_else(|e| panic!("connect to {}: {e}", socket.display()));
        Self::over(stream, request)
    }

    /// Sends a request over a connection.
    pub fn over(mut stream: UnixStream, request: &Request) -> Self {
        stream.write_all(&to_line(request).expect("a request is JSON")).expect("send a request");
        Self { stream, reader: LineReader::default(), notices: Vec::new(), end: String::new() }
    }

    /// The final answer.
    pub fn answer(&mut self, limit: Duration) -> Reply {
        let end = Instant::now() + limit;
        loop {
            match self.next(end) {
                Some(Reply::Notice(notice)) => self.notices.push(notice),
                Some(reply) => return reply,
                None => panic!(
                    "no final answer within {limit:?} ({}); notices: {:#?}",
                    self.end, self.notices
                ),
            }
        }
    }

    /// The next notice of a subscription. `None` if none came in time, or the primary is gone.
    pub fn notice(&mut self, limit: Duration) -> Option<Notice> {
        match self.next(Instant::now() + limit)? {
            Reply::Notice(notice) => Some(notice),
            other => panic!("a subscription answered {other:?}"),
        }
    }

    /// The notices that have come: all until none comes for a moment.
    pub fn come(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.notice(Duration::from_millis(100))).collect()
    }

    /// The next notice of this kind. Panics if none comes in time.
    pub fn notice_of(&mut self, kind: NoticeKind, limit: Duration) -> Notice {
        let end = Instant::now() + limit;
        let mut others = Vec::new();
        while let Some(notice) = self.notice(end.saturating_duration_since(Instant::now())) {
            if notice.event == kind {
                return notice;
            }
            others.push(notice.message);
        }
        panic!("no {kind:?} within {limit:?}, but: {others:#?}");
    }

    fn next(&mut self, end: Instant) -> Option<Reply> {
        let mut bytes = [0; 16 << 10];
        loop {
            if let Some(reply) = self.reader.next_message().expect("the primary speaks JSON lines")
            {
                return Some(reply);
            }
            let left = end.saturating_duration_since(Instant::now());
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .expect("set a timeout");
            match uninterrupted(|| self.stream.read(&mut bytes)) {
                Ok(0) => {
                    "the connection was closed".clone_into(&mut self.end);
                    return None;
                }
                Err(error) => {
                    self.end = error.to_string();
                    return None;
                }
                Ok(n) => self.reader.push(&bytes[..n]),
            }
        }
    }
}

/// Asks for the status of an app.
pub fn status(socket: &Path) -> AppStatus {
    status_in(Control::ask(socket, &Request::Status))
}

/// The same for an app that may be just starting: `None` if no primary listens on the socket.
pub fn status_if_listening(socket: &Path) -> Option<AppStatus> {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return None;
        }
        Err(error) => panic!("connect to {}: {error}", socket.display()),
    };
    Some(status_in(Control::over(stream, &Request::Status)))
}

fn status_in(mut control: Control) -> AppStatus {
    match control.answer(Duration::from_secs(10)) {
        Reply::Status(status) => *status,
        other => panic!("asked for the status, got {other:?}"),
    }
}
