//! Every decoder of bytes that other programs wrote, as one function that a fuzzer can call with
//! anything. The function panics if the decoder does, or if one of these does not hold: any split
//! of the bytes gives the same messages; error messages are short and printable; a message that was
//! read can be written and read again.
//!
//! `tests/fuzz` calls these functions from libFuzzer. The black-box tests (`decoders.rs`) call each
//! for a second in every test run.

use std::path::Path;

use config::cpus::{CpuLimit, Cpus};
use ipc::bus::FromWorker as Said;
use ipc::bus::codec::Codec;
use ipc::bus::decode::Decoder as Bus;
use ipc::bus::event::Found;
use ipc::control::{Reply, Request};
use ipc::lines::{LineReader, to_line};
use ipc::node::{FromWorker, NodeReader, UserMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The name of a decoder, and its function.
pub type Decoder = (&'static str, fn(&[u8]));

/// All decoders. The seeds of each lie in `tests/fuzz/seeds/NAME`.
pub const ALL: [Decoder; 7] = [
    ("bus", bus),
    ("node", node),
    ("control", control),
    ("notify", notify),
    ("listen_fds", listen_fds),
    ("configuration", configuration),
    ("words", words),
];

/// The longest line here, in bytes. Small inputs never reach the real limit.
const LINE: usize = 2048;
/// The longest error message, in bytes.
const ERROR: usize = 500;

/// The channel of a Node worker. The first byte gives the size of the pieces in which the rest
/// arrives.
pub fn node(data: &[u8]) {
    let (piece, bytes) = cut(data);
    let heard = |piece: usize| {
        let mut reader = NodeReader::with_limit(LINE);
        let mut seen = Vec::new();
        for part in bytes.chunks(piece) {
            reader.push(part);
            loop {
                match reader.next_message() {
                    Ok(Some(message)) => seen.push(message),
                    Ok(None) => break,
                    Err(error) => return (seen, Some(error.to_string())),
                }
            }
        }
        (seen, None)
    };
    let whole = heard(usize::MAX);
    assert_eq!(whole, heard(piece), "in pieces of {piece}");
    let (messages, error) = whole;
    assert!(error.is_none_or(|text| text.len() < ERROR), "a long reason");
    for message in messages {
        match message {
            FromWorker::QueryServer { ask, .. } | FromWorker::Listening { ask } => {
                assert!(ask.key().starts_with(&ask.listener()) || ask.port == Some(0));
                if let Err(error) = ask.wanted() {
                    assert!(error.to_string().len() < ERROR, "a long reason");
                }
            }
            FromWorker::User(message) => one_line(&message),
            FromWorker::Handle { message, .. } => {
                if let FromWorker::User(message) = *message {
                    one_line(&message);
                }
            }
            _ => {}
        }
    }
}

fn one_line(message: &UserMessage) {
    assert!(!message.text().contains('\n'), "a message is one line");
    if let Ok(value) = message.value() {
        assert!(UserMessage::new(&value).value().is_ok(), "it can be sent again");
    }
}

/// What a decoder of the bus makes of bytes that arrive in pieces of this size: the messages and
/// the reason why it stopped. Each message must survive being written and read again. Messages are
/// compared as text, since a metric may be NaN.
macro_rules! heard {
    ($message:ty, $bytes:expr, $piece:expr) => {
        heard!($message, $bytes, $piece, Bus::default())
    };
    ($message:ty, $bytes:expr, $piece:expr, $decoder:expr) => {{
        let mut decoder: Bus<$message> = $decoder;
        let (mut seen, mut end) = (Vec::new(), None);
        for part in $bytes.chunks($piece) {
            decoder.push(part);
            while let Some(next) = decoder.next_message().transpose().filter(|_| end.is_none()) {
                match next {
                    Ok(message) => {
                        let (text, mut frame) = (format!("{message:?}"), Vec::new());
                        Codec::Frames.write(&message, &mut frame).expect("it was read");
                        let mut again = Bus::<$message>::default();
                        again.push(&frame);
                        let back = again.next_message().map(|back| format!("{back:?}"));
                        assert_eq!(back, Ok(format!("Some({text})")));
                        seen.push(text);
                    }
                    Err(error) => end = Some(error.to_string()),
                }
            }
        }
        assert!(decoder.held() <= $bytes.len(), "the decoder holds more than came");
        (seen, end)
    }};
}

/// The same through the function that copies no events, and whether it stopped.
fn found(bytes: &[u8], piece: usize) -> (Vec<String>, bool) {
    let mut decoder = Bus::<Said>::default();
    let mut seen = Vec::new();
    for part in bytes.chunks(piece) {
        decoder.push(part);
        loop {
            let message = match decoder.next_found() {
                Ok(Some(Found::Event(event))) => {
                    Said::Emit { topic: event.topic.to_owned(), data: event.json() }
                }
                Ok(Some(Found::Other(message))) => message,
                Ok(None) => break,
                Err(_) => return (seen, true),
            };
            seen.push(format!("{message:?}"));
        }
    }
    (seen, false)
}

/// The bus, both ends and both codecs. The first byte is a size as above.
pub fn bus(data: &[u8]) {
    let (piece, bytes) = cut(data);
    let said = heard!(ipc::bus::FromWorker, bytes, usize::MAX);
    assert_eq!(said, heard!(ipc::bus::FromWorker, bytes, piece), "in pieces of {piece}");
    let (found, ended) = found(bytes, piece);
    assert_eq!((&found, ended), (&said.0, said.1.is_some()), "events that were not copied");
    let heard = heard!(ipc::bus::ToWorker, bytes, usize::MAX);
    assert_eq!(heard, heard!(ipc::bus::ToWorker, bytes, piece), "in pieces of {piece}");
    // A decoder that goes on where another reader ended, perhaps in the middle of a message.
    for codec in [Codec::Frames, Codec::Lines] {
        let later = |piece: usize| heard!(ipc::bus::FromWorker, bytes, piece, Bus::resuming(codec));
        assert_eq!(later(usize::MAX), later(piece), "resumed, in pieces of {piece}");
    }
    for error in [said.1, heard.1].into_iter().flatten() {
        assert!(error.len() < ERROR, "a long reason: {error}");
    }
}

/// Requests to a primary, and its answers. The first byte is a size as above.
pub fn control(data: &[u8]) {
    let (piece, bytes) = cut(data);
    let request = |line: &[u8]| {
        let mut reader = LineReader::default();
        reader.push(line);
        let again = reader.next_message::<Request>();
        assert!(matches!(again, Ok(Some(_))), "{}: {again:?}", line.escape_ascii());
    };
    lines::<Request>(piece, bytes, request);
    lines::<Reply>(piece, bytes, |_| ());
}

fn lines<T: Serialize + DeserializeOwned>(piece: usize, bytes: &[u8], check: impl Fn(&[u8])) {
    let heard = |piece: usize| {
        let mut reader = LineReader::default();
        let mut seen = Vec::new();
        for part in bytes.chunks(piece) {
            reader.push(part);
            loop {
                match reader.next_message::<T>() {
                    Ok(Some(message)) => {
                        let line =
                            to_line(&message).expect("a message that was read can be written");
                        check(&line);
                        seen.push(line);
                    }
                    Ok(None) => break,
                    Err(error) => return (seen, Some(error.to_string())),
                }
            }
        }
        (seen, None)
    };
    assert_eq!(heard(usize::MAX), heard(piece), "in pieces of {piece}");
}

/// A datagram of sd_notify.
pub fn notify(data: &[u8]) {
    use systemd::notify::{Assignment, MAX_STATUS, parse};
    for said in parse(data).into_iter().flatten() {
        if let Assignment::Status(text) | Assignment::Unknown(text) = said {
            assert!(text.len() <= MAX_STATUS && !text.contains(char::is_control), "{text:?}");
        }
    }
}

/// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, with a zero byte between them. One that is missing is
/// not set.
pub fn listen_fds(data: &[u8]) {
    use systemd::listen::{FIRST_FD, MAX_FDS, taken_from_env};
    let text = String::from_utf8_lossy(data);
    let values: Vec<&str> = text.split('\0').collect();
    let names = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
    let variable = |name: &str| {
        let at = names.iter().position(|known| *known == name)?;
        values.get(at).map(|value| (*value).to_owned())
    };
    match taken_from_env(variable, 42) {
        Ok(taken) => {
            assert!(taken.len() <= MAX_FDS);
            let numbers: Vec<i32> = taken.iter().map(|(_, fd)| *fd).collect();
            assert!((FIRST_FD..).zip(&numbers).all(|(wanted, fd)| wanted == *fd), "{numbers:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A configuration file.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let cpus = Cpus { count: 4, limit: CpuLimit::Machine };
    for name in ["supervisor.toml", "supervisor.yaml", "supervisor.json"] {
        read_configuration(text, &Path::new("/app").join(name), &cpus);
    }
}

fn read_configuration(text: &str, path: &Path, cpus: &Cpus) {
    match config::parse(text, path, cpus) {
        Ok(specs) => {
            assert!(!specs.is_empty(), "a file without an app is no configuration");
            for spec in specs {
                let line = to_line(&Request::Reload { spec: Some(Box::new(spec)), pool: None });
                let mut reader = LineReader::default();
                reader.push(&line.expect("a spec can be sent"));
                let back = reader.next_message::<Request>();
                assert!(matches!(back, Ok(Some(Request::Reload { .. }))), "{back:?}");
            }
        }
        Err(report) => {
            assert!(!report.problems.is_empty(), "refused without a reason");
            let shown = report.to_string();
            let plain = |c: char| !c.is_control() || "\n\t".contains(c);
            assert!(shown.chars().all(plain), "{shown:?} could move a cursor");
        }
    }
}

/// Addresses, durations, names and other words of the command line and of configuration files.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(listen) = config::address::listen(text) {
        let again = config::address::named(&listen.name, &listen.address.to_string());
        assert_eq!(again.as_ref().map(|again| &again.address), Ok(&listen.address), "{text:?}");
    }
    if let Ok(duration) = config::units::duration(text) {
        assert!(duration <= config::units::MAX_DURATION);
    }
    if let Ok(words) = config::command::split(text) {
        assert!(!words.is_empty());
    }
    if let Ok((key, value)) = config::environment::pair(text) {
        assert!(!key.is_empty() && !format!("{key}{value}").contains('\0'));
    }
    if let Ok(instances) = text.parse::<config::spec::Instances>() {
        let cpus = Cpus { count: 4, limit: CpuLimit::Machine };
        assert!(instances.resolve(&cpus).count >= 1);
    }
    let name = config::name::from_command(&[text.to_owned()]);
    assert_eq!(config::name::check(&name), Ok(()), "{text:?} gives the name {name:?}");
    let _ = config::name::check(text);
    let _ = config::signal::number(text);
}

/// The size of the pieces, and the bytes to cut into them.
fn cut(data: &[u8]) -> (usize, &[u8]) {
    let Some((first, rest)) = data.split_first() else { return (1, data) };
    (usize::from(*first % 61) + 1, rest)
}
