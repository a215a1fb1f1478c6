//! A probe by HTTP: one GET, and what its answer says. HTTP/1.0 is asked for, so that no server
//! sends the body in chunks or keeps the connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use config::spec::StatusRange;

use super::time_limit::span;

/// Bytes of the head and of the body that are read.
const MOST_HEAD: usize = 32 << 10;
const MOST_BODY: usize = 64 << 10;
const MOST_HEADERS: usize = 128;

/// What is asked, and which answer is a success.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) host: String,
    pub(super) status: StatusRange,
    /// What the body must contain.
    pub(super) body: Option<String>,
}

/// Asks. An error is a lower-case sentence about the worker.
pub(super) fn ask(
    mut stream: TcpStream,
    wanted: &Wanted,
    until: Instant,
    time: Duration,
) -> Result<(), String> {
    let Wanted { path, host, .. } = wanted;
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: supervisor-probe\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(left(until))).map_err(|error| error.to_string())?;
    stream.write_all(request.as_bytes()).map_err(|error| format!("cannot ask it: {error}"))?;
    let mut answer = Answer::default();
    loop {
        let verdict = answer.verdict(wanted);
        if let Some(verdict) = verdict {
            return verdict;
        }
        let mut space = [0; 4096];
        let read =
            stream.set_read_timeout(Some(left(until))).and_then(|()| stream.read(&mut space));
        match read {
            Ok(0) => answer.ended = true,
            Ok(length) => answer.bytes.extend(&space[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_late(&error) => return Err(answer.late(time)),
            Err(error) => return Err(format!("cannot read its answer: {error}")),
        }
    }
}

/// A timeout of zero would be none.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_micros(1))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What has come of an answer.
#[derive(Debug, Default)]
struct Answer {
    bytes: Vec<u8>,
    ended: bool,
}

impl Answer {
    /// What the answer says, if enough of it has come.
    fn verdict(&self, wanted: &Wanted) -> Option<Result<(), String>> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let length = match head.parse(&self.bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.ended => {
                return Some(Err(match self.bytes.is_empty() {
                    true => "it closed the connection without an answer".to_owned(),
                    false => "it closed the connection within its answer".to_owned(),
                }));
            }
            Ok(httparse::Status::Partial) if self.bytes.len() <= MOST_HEAD => return None,
            Ok(httparse::Status::Partial) => {
                return Some(Err(format!("its answer has a head above {MOST_HEAD} bytes")));
            }
            Err(error) => return Some(Err(format!("its answer is no HTTP: {error}"))),
        };
        let status = head.code.unwrap_or_default();
        if !wanted.status.contains(status) {
            return Some(Err(format!("HTTP status {status}")));
        }
        let Some(text) = &wanted.body else { return Some(Ok(())) };
        let body = &self.bytes[length..];
        let body = &body[..body.len().min(MOST_BODY)];
        if contains(body, text.as_bytes()) {
            return Some(Ok(()));
        }
        let announced =
            head.headers.iter().find(|it| it.name.eq_ignore_ascii_case("content-length"));
        let announced = announced.and_then(|it| std::str::from_utf8(it.value).ok()?.parse().ok());
        let is_whole = announced.is_some_and(|announced: usize| body.len() >= announced);
        let is_all = self.ended || is_whole || body.len() >= MOST_BODY;
        is_all.then(|| Err(format!("HTTP status {status}, and its body does not contain {text:?}")))
    }

    fn late(&self, time: Duration) -> String {
        match self.bytes.is_empty() {
            true => format!("no answer within {}", span(time)),
            false => format!("no whole answer within {}", span(time)),
        }
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(body: Option<&str>) -> Wanted {
        let body = body.map(str::to_owned);
        Wanted { path: "/".into(), host: "x".into(), status: StatusRange::default(), body }
    }

    fn verdict(text: &str, ended: bool, body: Option<&str>) -> Option<Result<(), String>> {
        Answer { bytes: text.as_bytes().to_vec(), ended }.verdict(&wanted(body))
    }

    #[test]
    fn the_status_decides_as_soon_as_the_head_is_there() {
        assert_eq!(verdict("HTTP/1.1 200 O", false, None), None);
        assert_eq!(verdict("HTTP/1.1 200 OK\r\n\r\n", false, None), Some(Ok(())));
        let failed = verdict("HTTP/1.1 503 Down\r\n\r\n", false, None);
        assert_eq!(failed, Some(Err("HTTP status 503".to_owned())));
    }

    #[test]
    fn the_body_decides_when_it_is_there_or_cannot_be_any_more() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let why = || Some(Err("HTTP status 200, and its body does not contain \"ok\"".to_owned()));
        assert_eq!(verdict(&format!("{head}ab"), false, Some("ok")), None);
        assert_eq!(verdict(&format!("{head}abok"), false, Some("ok")), Some(Ok(())));
        assert_eq!(verdict(&format!("{head}abcde"), false, Some("ok")), why());
        assert_eq!(verdict("HTTP/1.1 200 OK\r\n\r\nno", false, Some("ok")), None);
        assert_eq!(verdict("HTTP/1.1 200 OK\r\n\r\nno", true, Some("ok")), why());
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MOST_BODY));
        assert_eq!(verdict(&long, false, Some("ok")), why());
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let why = |text, ended| verdict(text, ended, None).unwrap().unwrap_err();
        assert_eq!(why("", true), "it closed the connection without an answer");
        assert_eq!(why("HTTP/1.1 200", true), "it closed the connection within its answer");
        assert!(why("SSH-2.0\r\n\r\n", false).starts_with("its answer is no HTTP: "));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MOST_HEAD));
        assert_eq!(why(&long, false), "its answer has a head above 32768 bytes");
    }
}
