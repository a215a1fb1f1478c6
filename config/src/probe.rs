//! How a probe is written: `http:/healthz`, `http:8080/healthz`, `tcp`, `tcp:8080`,
//! `command:./check`.
//!
//! Refuses an address of another machine or program: a probe asks the worker itself.

use std::fmt;
use std::str::FromStr;

use crate::command;
use crate::spec::{ProbeAsk, StatusRange};

/// The forms, for messages.
const FORMS: &str = "use \"http:/PATH\", \"http:PORT/PATH\", \"tcp\", \"tcp:PORT\" or \
                     \"command:COMMAND\"";
/// The longest path of a probe.
const MOST_PATH: usize = 1024;

impl FromStr for ProbeAsk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "http" if rest.starts_with("//") => {
                Err(format!("a probe asks the worker itself, at one of its addresses: {FORMS}"))
            }
            "http" => {
                let (port, path) = match rest.find('/') {
                    Some(at) => rest.split_at(at),
                    None => (rest, "/"),
                };
                let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
                if !is_plain || path.len() > MOST_PATH {
                    return Err(format!(
                        "the path of a probe has at most {MOST_PATH} characters of ASCII, and no \
                         spaces"
                    ));
                }
                Ok(Self::Http { port: self::port(port)?, path: path.to_owned() })
            }
            "tcp" => Ok(Self::Tcp { port: port(rest)? }),
            "command" => match command::split(rest) {
                Ok(command) => Ok(Self::Command { command }),
                Err(error) => Err(error.to_string()),
            },
            _ => Err(format!("{text:?} is no probe: {FORMS}")),
        }
    }
}

/// `None`: no port is named.
fn port(text: &str) -> Result<Option<u16>, String> {
    match text {
        "" => Ok(None),
        _ => match text.parse() {
            Ok(0) | Err(_) => Err(format!("{text:?} is no port: {FORMS}")),
            Ok(port) => Ok(Some(port)),
        },
    }
}

impl fmt::Display for ProbeAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { port: None, path } => write!(f, "http:{path}"),
            Self::Http { port: Some(port), path } => write!(f, "http:{port}{path}"),
            Self::Tcp { port: None } => write!(f, "tcp"),
            Self::Tcp { port: Some(port) } => write!(f, "tcp:{port}"),
            Self::Command { command } => {
                // Only a NUL byte cannot be quoted, and no configuration has one.
                let words = shlex::try_join(command.iter().map(String::as_str));
                write!(f, "command:{}", words.unwrap_or_default())
            }
        }
    }
}

impl FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no range of statuses: use \"200\" or \"200-399\"");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.trim().parse().map_err(|_| wrong());
        let (first, last): (u16, u16) = (status(first)?, status(last)?);
        if first < 100 || last > 599 || first > last {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for text in
            ["http:/healthz", "http:8080/", "tcp", "tcp:8080", "command:./check --slot 'a b' ''"]
        {
            let ask: ProbeAsk = text.parse().unwrap();
            assert_eq!(ask.to_string(), text);
        }
        let bare: ProbeAsk = "http".parse().unwrap();
        assert_eq!(bare, ProbeAsk::Http { port: None, path: "/".to_owned() });
    }

    #[test]
    fn what_is_no_probe_is_refused_with_the_forms() {
        for text in ["", "https:/x", "tcp:0", "tcp:x", "http:99999/", "/healthz"] {
            let why = text.parse::<ProbeAsk>().unwrap_err();
            assert!(why.contains("\"http:PORT/PATH\""), "{text}: {why}");
        }
        assert!("http://other:80/".parse::<ProbeAsk>().unwrap_err().contains("the worker itself"));
        assert!("http:/a b".parse::<ProbeAsk>().unwrap_err().contains("no spaces"));
        assert_eq!("command:".parse::<ProbeAsk>().unwrap_err(), "the command is empty");
    }

    #[test]
    fn a_range_is_one_status_or_two() {
        let range: StatusRange = "204".parse().unwrap();
        assert!(range.contains(204) && !range.contains(200));
        assert_eq!("200-399".parse(), Ok(StatusRange::default()));
        assert_eq!(StatusRange::default().to_string(), "200-399");
        for text in ["", "2xx", "399-200", "99", "200-600"] {
            assert!(text.parse::<StatusRange>().is_err(), "{text}");
        }
    }
}
