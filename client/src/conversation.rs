//! One request over one connection: its notices and its final reply, as JSON, with deadlines that
//! hold even if the primary hangs.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::lines::{LineReader, to_line};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::Error;

/// How long a primary may take to accept a connection and to read a request.
const CONNECT: Duration = Duration::from_secs(2);

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Conversation {
    name: String,
    stream: UnixStream,
    reader: LineReader,
}

impl Conversation {
    /// Sends a request.
    pub(crate) fn begin(
        name: &str,
        path: &Path,
        request: &Value,
        until: Option<Instant>,
    ) -> Result<Self, Error> {
        let line = to_line(request)
            .map_err(|error| Error::new("usage", format!("cannot send the request: {error}")))?;
        let limit = until.map_or(CONNECT, |at| left(at).min(CONNECT));
        let mut stream = connect(path, limit).map_err(|error| failure(name, &error))?;
        if let Err(error) = stream.write_all(&line) {
            // A primary that has closed the connection may have said why: that is read later.
            let closed = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
            if !closed.contains(&error.kind()) {
                return Err(failure(name, &error));
            }
        }
        Ok(Self { name: name.to_owned(), stream, reader: LineReader::default() })
    }

    /// The next answer. `None`: the primary has ended the conversation.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> Result<Option<Value>, Error> {
        loop {
            let whole = self.reader.next_message().map_err(|error| {
                Error::lost(format!("cannot understand the primary of {}: {error}", self.name))
            })?;
            if whole.is_some() {
                return Ok(whole);
            }
            // Notices may come without a pause.
            if until.is_some_and(|at| at <= Instant::now()) {
                return Err(failure(&self.name, &io::ErrorKind::TimedOut.into()));
            }
            let mut bytes = [0; 16 * 1024];
            let read = self
                .stream
                .set_read_timeout(until.map(left))
                .and_then(|()| self.stream.read(&mut bytes));
            match read {
                Ok(0) => return Ok(None),
                Ok(count) => self.reader.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(failure(&self.name, &error)),
            }
        }
    }
}

/// The time that is left. 0 would mean that there is no limit.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Also how long the kernel waits for room in a full accept queue.
    socket.set_write_timeout(Some(limit))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

fn failure(name: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::new("timed-out", format!("{name} did not answer in time"))
        }
        io::ErrorKind::PermissionDenied => {
            Error::new("not-permitted", format!("this user may not control {name}: {error}"))
        }
        _ => Error::lost(format!("cannot talk to the primary of {name}: {error}")),
    }
}
