//! A blocking client of the control socket of an app: it sends one request, and receives notices
//! and one final reply.
//!
//! A deadline holds even if the primary hangs. A connection that ends without a final reply is an
//! error, never a success.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc::control::{FailureKind, Notice, Reply, Request};
use ipc::lines::{LineError, LineReader, to_line};
use serde_json::value::RawValue;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::home::{AppFiles, Home, HomeError};

/// How long the primary may take to accept a connection, and to read a request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it is tried to reach a primary that has no room for another client, and how often.
const BUSY_TIMEOUT: Duration = Duration::from_secs(8);
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// How a status begins, as a primary writes it.
const STATUS: &str = r#"{"reply":"status","#;
/// How soon a primary refuses a request whose outcome the client does not wait for.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(100);

/// A connection to one app's primary.
#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    /// Where it is connected to; empty for a connection that was open already.
    path: PathBuf,
    stream: UnixStream,
    reader: LineReader,
    /// The log of the primary, for messages.
    log: PathBuf,
}

/// Why there is no final reply.
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

/// What came of the wait for the next reply.
enum Next {
    Reply(Reply),
    /// The primary closed the connection.
    End,
    /// The time limit passed.
    Late,
}

impl Client {
    /// Connects to the primary of `name`. Fails if no primary accepts within two seconds.
    pub(crate) fn connect(home: &Home, name: &str) -> Result<Self, ClientError> {
        // Nearly every primary has the run folder of this environment. To read the record, which
        // says so, takes longer than the whole question for the status.
        let mut files = home.usual_files(name);
        let mut opened = open(&files, name);
        if opened.is_err() {
            let recorded = home.files(name);
            if recorded != files {
                opened = open(&recorded, name);
                files = recorded;
            }
        }
        let stream = opened?;
        let path = files.socket()?.to_owned();
        Ok(Self { path, ..Self::from_stream(stream, name, home.primary_log(name)) })
    }

    /// Connects anew, to a primary that had no room for another client.
    fn connect_again(&mut self) -> io::Result<()> {
        self.stream = UnixStream::connect(&self.path)?;
        self.reader = LineReader::default();
        Ok(())
    }

    /// A client of a connection that is open already.
    fn from_stream(stream: UnixStream, name: &str, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path: PathBuf::new(),
            stream,
            reader: LineReader::default(),
            log,
        }
    }

    /// Sends a request, passes every notice to `on_notice`, and returns the final reply. `timeout`
    /// is for all of that. Without it there is no limit here, because the primary limits each
    /// request.
    pub(crate) fn ask(
        &mut self,
        request: &Request,
        timeout: Option<Duration>,
        mut on_notice: impl FnMut(&Notice),
    ) -> Result<Reply, ClientError> {
        let continues = |notice: &Notice| {
            on_notice(notice);
            ControlFlow::Continue(())
        };
        self.ask_until(request, timeout, continues)?.ok_or_else(|| self.ended())
    }

    /// Like [`Self::ask`], until `on_notice` breaks: then there is no reply.
    pub(crate) fn ask_until(
        &mut self,
        request: &Request,
        timeout: Option<Duration>,
        mut on_notice: impl FnMut(&Notice) -> ControlFlow<()>,
    ) -> Result<Option<Reply>, ClientError> {
        let until = timeout.map(|after| (Instant::now() + after, after));
        let give_up = Instant::now() + timeout.map_or(BUSY_TIMEOUT, |t| t.min(BUSY_TIMEOUT));
        loop {
            let Some(reply) = self.ask_once(request, until, &mut on_notice)? else {
                return Ok(None);
            };
            if !self.tries_again(&reply, give_up)? {
                return Ok(Some(reply));
            }
        }
    }

    /// Connects anew after a while, if the primary had no room for us and `give_up` is not over.
    fn tries_again(&mut self, reply: &Reply, give_up: Instant) -> Result<bool, ClientError> {
        let is_busy = matches!(reply, Reply::Failed { kind: FailureKind::Busy, .. });
        if !is_busy || Instant::now() + BUSY_PAUSE > give_up {
            return Ok(false);
        }
        std::thread::park_timeout(BUSY_PAUSE);
        self.connect_again()
            .map_err(|source| ClientError::Io { name: self.name.clone(), source })?;
        Ok(true)
    }

    fn ask_once(
        &mut self,
        request: &Request,
        until: Option<(Instant, Duration)>,
        mut on_notice: impl FnMut(&Notice) -> ControlFlow<()>,
    ) -> Result<Option<Reply>, ClientError> {
        if let Err(error) = self.send(request, until) {
            if !matches!(error, ClientError::Ended { .. }) {
                return Err(error);
            }
            // The primary may have sent a reason before it closed the connection.
            return match self.next_reply(Some(Instant::now() + CONNECT_TIMEOUT)) {
                Ok(Next::Reply(reply @ Reply::Failed { .. })) => Ok(Some(reply)),
                _ => Err(error),
            };
        }
        loop {
            match self.next_reply(until.map(|(at, _)| at))? {
                Next::Reply(Reply::Notice(notice)) => {
                    if on_notice(&notice).is_break() {
                        return Ok(None);
                    }
                }
                Next::Reply(reply) => return Ok(Some(reply)),
                Next::End => return Err(self.ended()),
                Next::Late => {
                    let after = until.map_or(Duration::ZERO, |(_, after)| after);
                    return Err(ClientError::TimedOut { name: self.name.clone(), after });
                }
            }
        }
    }

    /// Passes every notice from now on to `on_notice`, until that breaks or the connection ends.
    /// After each `interval` without a reply it calls `on_interval`, which may break as well. The
    /// answer, if the primary refuses.
    pub(crate) fn subscribe(
        &mut self,
        interval: Duration,
        mut on_interval: impl FnMut() -> ControlFlow<()>,
        mut on_notice: impl FnMut(&Notice) -> ControlFlow<()>,
    ) -> Result<Option<Reply>, ClientError> {
        let give_up = Instant::now() + BUSY_TIMEOUT;
        self.begin(&Request::Subscribe)?;
        loop {
            let flow = match self.next_reply(Some(Instant::now() + interval))? {
                Next::Reply(Reply::Notice(notice)) => on_notice(&notice),
                Next::Reply(reply @ Reply::Failed { .. }) => {
                    if !self.tries_again(&reply, give_up)? {
                        return Ok(Some(reply));
                    }
                    self.begin(&Request::Subscribe)?;
                    ControlFlow::Continue(())
                }
                Next::Reply(_) => ControlFlow::Continue(()),
                Next::Late => on_interval(),
                Next::End => return Ok(None),
            };
            if flow.is_break() {
                return Ok(None);
            }
        }
    }

    /// Sends a request and does not wait for what comes of it. The answer, if the primary refuses
    /// the request at once.
    pub(crate) fn tell(&mut self, request: &Request) -> Result<Option<Reply>, ClientError> {
        let give_up = Instant::now() + BUSY_TIMEOUT;
        loop {
            self.begin(request)?;
            match self.next_reply(Some(Instant::now() + REFUSAL_TIMEOUT))? {
                Next::Reply(reply @ Reply::Failed { .. }) => {
                    if !self.tries_again(&reply, give_up)? {
                        return Ok(Some(reply));
                    }
                }
                Next::Reply(_) | Next::End | Next::Late => return Ok(None),
            }
        }
    }

    /// Sends a request. A primary that has closed the connection has said why: that is read later.
    fn begin(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.send(request, None) {
            Err(ClientError::Ended { .. }) => Ok(()),
            sent => sent,
        }
    }

    /// Sends a request. `until` is the deadline, and the time limit that it comes from.
    fn send(
        &mut self,
        request: &Request,
        until: Option<(Instant, Duration)>,
    ) -> Result<(), ClientError> {
        let line = to_line(request).map_err(|source| self.malformed(source))?;
        let limit = until.map_or(CONNECT_TIMEOUT, |(_, after)| after.min(CONNECT_TIMEOUT));
        let sent = self
            .stream
            .set_write_timeout(Some(limit.max(Duration::from_millis(1))))
            .and_then(|()| self.stream.write_all(&line));
        sent.map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => {
                ClientError::TimedOut { name: self.name.clone(), after: limit }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.ended(),
            _ => ClientError::Io { name: self.name.clone(), source },
        })
    }

    /// Waits for the next reply until `until`, or without limit.
    fn next_reply(&mut self, until: Option<Instant>) -> Result<Next, ClientError> {
        loop {
            match self.reader.next_message::<Box<RawValue>>() {
                Ok(Some(value)) => match read_reply(value.get()) {
                    Ok(Some(reply)) => return Ok(Next::Reply(reply)),
                    Ok(None) => continue,
                    Err(source) => return Err(self.malformed(source.into())),
                },
                Ok(None) => {}
                Err(source) => return Err(self.malformed(source)),
            }
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Next::Late);
            }
            let mut bytes = [0; 16 * 1024];
            let got =
                self.stream.set_read_timeout(left).and_then(|()| self.stream.read(&mut bytes));
            match got {
                Ok(0) => return Ok(Next::End),
                Ok(count) => self.reader.push(&bytes[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Ok(Next::End),
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

/// Connects to the control socket of the app `name`.
fn open(files: &AppFiles, name: &str) -> Result<UnixStream, ClientError> {
    let path = files.socket()?;
    let failed = |source| ClientError::Io { name: name.to_owned(), source };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // The send timeout is also how long the kernel waits for room in a full accept queue.
    socket.set_write_timeout(Some(CONNECT_TIMEOUT)).map_err(failed)?;
    if let Err(source) = SockAddr::unix(path).and_then(|address| socket.connect(&address)) {
        let name = name.to_owned();
        return Err(match source.kind() {
            io::ErrorKind::NotFound if !files.lock().exists() => ClientError::NoSuchApp(name),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NobodyListens { path: path.to_owned(), source }
            }
            io::ErrorKind::PermissionDenied => {
                ClientError::NotPermitted { name, path: path.to_owned(), source }
            }
            io::ErrorKind::WouldBlock => ClientError::TimedOut { name, after: CONNECT_TIMEOUT },
            _ => ClientError::Io { name, source },
        });
    }
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// The reply in `text`; `None` if it is a notice of a kind that this version does not know.
fn read_reply(text: &str) -> Result<Option<Reply>, serde_json::Error> {
    // serde copies a tagged message whole before it reads it. The status, for which each command
    // asks every app, is read as it stands.
    if text.starts_with(STATUS)
        && let Ok(status) = serde_json::from_str(text)
    {
        return Ok(Some(Reply::Status(status)));
    }
    match serde_json::from_str(text) {
        Ok(reply) => Ok(Some(reply)),
        Err(error) => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) if value["reply"] == "notice" => Ok(None),
            Ok(_) | Err(_) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// A client whose primary reads one line and then writes the pieces of `answer`.
    fn client_of(answer: Vec<&'static [u8]>) -> (Client, thread::JoinHandle<String>) {
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
        (Client::from_stream(ours, "web", "/logs/web/primary.log".into()), primary)
    }

    #[test]
    fn notices_come_before_the_final_reply() {
        let (mut client, primary) = client_of(vec![
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
        assert_eq!(reply, Reply::done("two"));
        assert_eq!(notices, ["one"]);
        assert_eq!(primary.join().unwrap(), "{\"request\":\"stop\",\"fast\":true}\n");
    }

    #[test]
    fn an_end_without_a_reply_is_an_error() {
        let (mut client, _primary) = client_of(vec![b"{\"reply\":\"do"]);
        let error = client.ask(&Request::Status, None, |_| {}).unwrap_err();
        let expected = "the primary of web ended while answering; see /logs/web/primary.log";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_deadline_holds_if_the_primary_is_silent() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut client = Client::from_stream(ours, "web", PathBuf::new());
        let asked = client.ask(&Request::Status, Some(Duration::from_millis(30)), |_| {});
        let error = asked.unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }));
        assert_eq!(error.to_string(), "the primary of web did not answer within 30ms");
    }

    #[test]
    fn a_malformed_reply_is_named() {
        let (mut client, _primary) = client_of(vec![b"hello\n"]);
        let error = client.ask(&Request::Status, None, |_| {}).unwrap_err();
        assert!(error.to_string().starts_with("cannot understand the primary of web: malformed"));
    }

    #[test]
    fn a_subscription_ends_with_the_connection_or_on_demand() {
        let line = b"{\"reply\":\"notice\",\"event\":\"warning\",\"message\":\"m\"}\n";
        let minute = Duration::from_secs(60);
        for stop_at in [1, 9] {
            let (mut client, _primary) = client_of(vec![line, line]);
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

        drop(std::os::unix::net::UnixListener::bind(home.files("web").socket().unwrap()).unwrap());
        let error = Client::connect(&home, "web").unwrap_err();
        assert!(matches!(error, ClientError::NobodyListens { .. }), "{error}");

        // A primary that accepts nothing; its queue holds one connection.
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(home.files("full").socket().unwrap()).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let _first = Client::connect(&home, "full").unwrap();
        let error = Client::connect(&home, "full").unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    }
}
