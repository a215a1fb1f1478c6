//! The blocking end of an app's control socket: one request, its notices, its final answer.
//!
//! Every deadline is kept, however stuck the primary is. A connection that ends without a final
//! answer is an error and never counts as success.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc::control::{Notice, Reply, Request};
use ipc::lines::{LineError, LineReader, to_line};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::home::{Home, HomeError};

/// The most time that the primary may take to accept, and to read a request.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection to one app's primary.
#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    stream: UnixStream,
    reader: LineReader,
    log: PathBuf,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no app is called \"{0}\": \"supervisor list\" shows all apps")]
    NoSuchApp(String),
    #[error("no primary listens on {} ({source})", path.display())]
    NobodyListens { path: PathBuf, source: io::Error },
    #[error(
        "this user may not control {name}: cannot connect to {} ({source}); run the command as the \
         user that started it", path.display()
    )]
    NotPermitted { name: String, path: PathBuf, source: io::Error },
    #[error("cannot talk to the primary of {name}: {source}")]
    Io { name: String, source: io::Error },
    #[error("the primary of {name} did not answer within {}", humantime::format_duration(*after))]
    TimedOut { name: String, after: Duration },
    #[error("the primary of {name} ended while answering; see {}", log.display())]
    Ended { name: String, log: PathBuf },
    #[error("cannot understand the primary of {name}: {source}; is it another version?")]
    Malformed { name: String, source: LineError },
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// What the attempt to read one line found.
enum Line {
    Reply(Reply),
    End,
    Late,
}

impl Client {
    /// Connects to the primary of `name`.
    pub(crate) fn connect(home: &Home, name: &str) -> Result<Self, ClientError> {
        let path = home.socket(name)?;
        let failed = |source| ClientError::Io { name: name.to_owned(), source };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        // The send timeout is also how long the kernel waits for room in a full accept queue.
        socket.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        if let Err(source) = SockAddr::unix(&path).and_then(|address| socket.connect(&address)) {
            let name = name.to_owned();
            return Err(match source.kind() {
                io::ErrorKind::NotFound if !home.lock(&name).exists() => {
                    ClientError::NoSuchApp(name)
                }
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NobodyListens { path, source }
                }
                io::ErrorKind::PermissionDenied => ClientError::NotPermitted { name, path, source },
                io::ErrorKind::WouldBlock => ClientError::TimedOut { name, after: PATIENCE },
                _ => ClientError::Io { name, source },
            });
        }
        let stream = UnixStream::from(OwnedFd::from(socket));
        Ok(Self::over(stream, name, home.primary_log(name)))
    }

    /// Uses a connection that exists already.
    fn over(stream: UnixStream, name: &str, log: PathBuf) -> Self {
        Self { name: name.to_owned(), stream, reader: LineReader::default(), log }
    }

    /// Sends a request, passes every notice to `on_notice`, and returns the final answer.
    /// `deadline` bounds the whole exchange. With `None` the client waits for as long as the
    /// primary takes; the primary itself bounds each request.
    pub(crate) fn ask(
        &mut self,
        request: &Request,
        deadline: Option<Duration>,
        mut on_notice: impl FnMut(&Notice),
    ) -> Result<Reply, ClientError> {
        let until = deadline.map(|after| (Instant::now() + after, after));
        if let Err(error) = self.send(request, until) {
            if !matches!(error, ClientError::Ended { .. }) {
                return Err(error);
            }
            // The primary may have written the reason before it hung up.
            return match self.next_line(Some(Instant::now() + PATIENCE)) {
                Ok(Line::Reply(reply @ Reply::Failed { .. })) => Ok(reply),
                _ => Err(error),
            };
        }
        loop {
            match self.next_line(until.map(|(at, _)| at))? {
                Line::Reply(Reply::Notice(notice)) => on_notice(&notice),
                Line::Reply(reply) => return Ok(reply),
                Line::End => return Err(self.ended()),
                Line::Late => {
                    let after = until.map_or(Duration::ZERO, |(_, after)| after);
                    return Err(ClientError::TimedOut { name: self.name.clone(), after });
                }
            }
        }
    }

    /// Subscribes to all notices, until `on_notice` breaks or the connection ends. After each
    /// `tick` without a line, the client calls `on_tick`, which may break too.
    pub(crate) fn subscribe(
        &mut self,
        tick: Duration,
        mut on_tick: impl FnMut() -> ControlFlow<()>,
        mut on_notice: impl FnMut(&Notice) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        self.send(&Request::Subscribe, None)?;
        loop {
            let flow = match self.next_line(Some(Instant::now() + tick))? {
                Line::Reply(Reply::Notice(notice)) => on_notice(&notice),
                Line::Reply(_) => ControlFlow::Continue(()),
                Line::Late => on_tick(),
                Line::End => return Ok(()),
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    /// Sends a request and does not wait for an answer.
    pub(crate) fn tell(&mut self, request: &Request) -> Result<(), ClientError> {
        self.send(request, None)
    }

    fn send(
        &mut self,
        request: &Request,
        until: Option<(Instant, Duration)>,
    ) -> Result<(), ClientError> {
        let line = to_line(request).map_err(|source| self.malformed(source))?;
        let patience = until.map_or(PATIENCE, |(_, after)| after.min(PATIENCE));
        let sent = self
            .stream
            .set_write_timeout(Some(patience.max(Duration::from_millis(1))))
            .and_then(|()| self.stream.write_all(&line));
        sent.map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => {
                ClientError::TimedOut { name: self.name.clone(), after: patience }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.ended(),
            _ => ClientError::Io { name: self.name.clone(), source },
        })
    }

    fn next_line(&mut self, until: Option<Instant>) -> Result<Line, ClientError> {
        loop {
            match self.reader.next_message::<serde_json::Value>() {
                Ok(Some(value)) => match understand(value) {
                    Ok(Some(reply)) => return Ok(Line::Reply(reply)),
                    Ok(None) => continue,
                    Err(source) => return Err(self.malformed(source.into())),
                },
                Ok(None) => {}
                Err(source) => return Err(self.malformed(source)),
            }
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Line::Late);
            }
            let mut bytes = [0; 16 * 1024];
            let got =
                self.stream.set_read_timeout(left).and_then(|()| self.stream.read(&mut bytes));
            match got {
                Ok(0) => return Ok(Line::End),
                Ok(count) => self.reader.push(&bytes[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Ok(Line::End),
                    _ => return Err(ClientError::Io { name: self.name.clone(), source: error }),
                },
            }
        }
    }

    fn ended(&self) -> ClientError {
        ClientError::Ended { name: self.name.clone(), log: self.log.clone() }
    }

    fn malformed(&self, source: LineError) -> ClientError {
        ClientError::Malformed { name: self.name.clone(), source }
    }
}

/// A reply, or `None` for a notice of a kind that this version does not know.
fn understand(value: serde_json::Value) -> Result<Option<Reply>, serde_json::Error> {
    let is_notice = value.get("reply").and_then(|reply| reply.as_str()) == Some("notice");
    match serde_json::from_value(value) {
        Ok(reply) => Ok(Some(reply)),
        Err(_) if is_notice => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// A client of a fake primary that reads one line and then writes `answer` in pieces.
    fn facing(answer: Vec<&'static [u8]>) -> (Client, thread::JoinHandle<String>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let primary = thread::spawn(move || {
            let mut asked = Vec::new();
            let mut byte = [0];
            while byte[0] != b'\n' && theirs.read(&mut byte).unwrap() == 1 {
                asked.push(byte[0]);
            }
            for piece in answer {
                theirs.write_all(piece).unwrap();
            }
            String::from_utf8(asked).unwrap()
        });
        (Client::over(ours, "web", "/logs/web/primary.log".into()), primary)
    }

    #[test]
    fn notices_come_before_the_final_answer() {
        let (mut client, primary) = facing(vec![
            b"{\"reply\":\"notice\",\"event\":\"worker-ready\",\"mess",
            b"age\":\"one\"}\n{\"reply\":\"notice\",\"event\":\"from-the-future\",\"message\":\"x\"}",
            b"\n{\"reply\":\"done\",\"message\":\"two\",\"more\":1}\n",
        ]);
        let mut notices = Vec::new();
        let reply = client
            .ask(&Request::Stop { fast: true }, Some(Duration::from_secs(20)), |notice| {
                notices.push(notice.message.clone());
            })
            .unwrap();
        assert_eq!(reply, Reply::Done { message: "two".into() });
        assert_eq!(notices, ["one"]);
        assert_eq!(primary.join().unwrap(), "{\"request\":\"stop\",\"fast\":true}\n");
    }

    #[test]
    fn an_end_without_an_answer_is_an_error() {
        let (mut client, _primary) = facing(vec![b"{\"reply\":\"do"]);
        let error = client.ask(&Request::Status, None, |_| {}).unwrap_err();
        let expected = "the primary of web ended while answering; see /logs/web/primary.log";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_silent_primary_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut client = Client::over(ours, "web", PathBuf::new());
        let asked = client.ask(&Request::Status, Some(Duration::from_millis(30)), |_| {});
        let error = asked.unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }));
        assert_eq!(error.to_string(), "the primary of web did not answer within 30ms");
    }

    #[test]
    fn garbage_is_named() {
        let (mut client, _primary) = facing(vec![b"hello\n"]);
        let error = client.ask(&Request::Status, None, |_| {}).unwrap_err();
        assert!(error.to_string().starts_with("cannot understand the primary of web: malformed"));
    }

    #[test]
    fn a_subscription_ends_with_the_connection_or_on_demand() {
        let line = b"{\"reply\":\"notice\",\"event\":\"warning\",\"message\":\"m\"}\n";
        let minute = Duration::from_secs(60);
        for stop_at in [1, 9] {
            let (mut client, _primary) = facing(vec![line, line]);
            let mut seen = 0;
            client
                .subscribe(
                    minute,
                    || ControlFlow::Continue(()),
                    |_| {
                        seen += 1;
                        if seen == stop_at {
                            ControlFlow::Break(())
                        } else {
                            ControlFlow::Continue(())
                        }
                    },
                )
                .unwrap();
            assert_eq!(seen, stop_at.min(2));
        }
    }

    #[test]
    fn absent_refused_and_full() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let error = Client::connect(&home, "web").unwrap_err();
        assert!(matches!(error, ClientError::NoSuchApp(_)), "{error}");

        drop(std::os::unix::net::UnixListener::bind(home.socket("web").unwrap()).unwrap());
        let error = Client::connect(&home, "web").unwrap_err();
        assert!(matches!(error, ClientError::NobodyListens { .. }), "{error}");

        // A primary that accepts no connection, and whose queue of one is full.
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(home.socket("full").unwrap()).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let _first = Client::connect(&home, "full").unwrap();
        let error = Client::connect(&home, "full").unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    }
}
