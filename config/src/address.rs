//! Addresses to listen on, and the patterns of addresses that interception leaves alone.
//!
//! Refuses port 0 (a reload must find the same listener again), host names other than `localhost`
//! (a name may mean another address tomorrow) and unix sockets without an absolute path.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::name;
use crate::spec::{AddressPattern, ListenAddress, ListenSpec};

/// The longest path that fits a `sockaddr_un`.
const MAX_UNIX_PATH: usize = 107;

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// In none of the known forms.
    #[error("the address {0:?} is not understood: use PORT, IP:PORT, [IPV6]:PORT or unix:/PATH")]
    NotUnderstood(String),
    /// A host name.
    #[error("the host {0:?} is not looked up: write its IP address (only \"localhost\" is known)")]
    HostName(String),
    /// An IPv6 address without brackets: nothing shows where its port begins.
    #[error("the address {0:?} needs brackets around its IPv6 part: [IPV6]:PORT")]
    NoBrackets(String),
    /// An IP address alone.
    #[error("the address {0:?} has no port: write {0}:PORT")]
    NoPort(String),
    /// Not 1 to 65535.
    #[error("the port {0:?} is not a number from 1 to 65535")]
    BadPort(String),
    /// Port 0, which stands for any free port.
    #[error("port 0 means another port at every start: choose one from 1 to 65535")]
    PortZero,
    /// A unix socket with a relative path.
    #[error("the path of a unix socket must be absolute, and {0:?} is not")]
    RelativePath(String),
    /// A path that is too long for the kernel.
    #[error("the path of a unix socket has at most {MAX_UNIX_PATH} bytes, and {0:?} has {1}")]
    LongPath(String, usize),
    /// A path that no file can have.
    #[error("{0:?} cannot be the path of a unix socket")]
    BadPath(String),
    /// A wrong name in the `NAME=` before an address.
    #[error("{0}")]
    BadName(String),
    /// A pattern that would turn interception off.
    #[error("{0:?} means every address: use intercept = false for that")]
    EveryAddress(String),
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if text.starts_with('/') {
            return unix(text);
        }
        let (host, port) = split(text)?;
        let ip = match host {
            "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => ip(host)?,
        };
        match number(port)? {
            0 => Err(AddressError::PortZero),
            port => Ok(Self::Tcp(SocketAddr::new(ip, port))),
        }
    }
}

/// The host and the port of `HOST:PORT`, `:PORT` or `PORT`.
fn split(text: &str) -> Result<(&str, &str), AddressError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::NoBrackets(text.to_owned()));
    }
    if text.parse::<Ipv4Addr>().is_ok() || text.ends_with(']') {
        return Err(AddressError::NoPort(text.to_owned()));
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') && !host.starts_with('[') => {
            Err(AddressError::NoBrackets(text.to_owned()))
        }
        Some(parts) => Ok(parts),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => Ok(("", text)),
        None => Err(AddressError::NotUnderstood(text.to_owned())),
    }
}

fn ip(host: &str) -> Result<IpAddr, AddressError> {
    if let Some(inside) = host.strip_prefix('[') {
        return inside
            .strip_suffix(']')
            .and_then(|inside| inside.parse::<Ipv6Addr>().ok())
            .map(IpAddr::V6)
            .ok_or_else(|| AddressError::NotUnderstood(host.to_owned()));
    }
    host.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| {
        let name = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if name && host.contains(|c: char| c.is_ascii_alphabetic()) {
            AddressError::HostName(host.to_owned())
        } else {
            AddressError::NotUnderstood(host.to_owned())
        }
    })
}

fn number(port: &str) -> Result<u16, AddressError> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|_| digits).ok_or_else(|| AddressError::BadPort(port.to_owned()))
}

fn unix(path: &str) -> Result<ListenAddress, AddressError> {
    let own = || path.to_owned();
    if !path.starts_with('/') {
        return Err(AddressError::RelativePath(own()));
    }
    if path.contains('\0') || path.ends_with('/') {
        return Err(AddressError::BadPath(own()));
    }
    if path.len() > MAX_UNIX_PATH {
        return Err(AddressError::LongPath(own(), path.len()));
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

/// An address with an optional `NAME=` before it. The default name is the port, or the stem of a
/// unix socket's path.
pub fn listen(text: &str) -> Result<ListenSpec, AddressError> {
    let text = text.trim();
    // A path may contain "=", a name cannot contain "/" or ":".
    match text.split_once('=') {
        Some((name, address)) if !name.contains(['/', ':']) => named(name.trim(), address),
        _ => {
            let address = text.parse()?;
            Ok(ListenSpec { name: default_name(&address), address })
        }
    }
}

/// The listener called `name` on the address `text`.
pub fn named(name: &str, text: &str) -> Result<ListenSpec, AddressError> {
    name::part(name).map_err(AddressError::BadName)?;
    Ok(ListenSpec { name: name.to_owned(), address: text.parse()? })
}

fn default_name(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.port().to_string(),
        ListenAddress::Unix(path) => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            name::sanitised(&stem)
        }
    }
}

/// The index of the first listener that has the name or the address of an earlier one, and a
/// message about it.
pub fn duplicate(listen: &[ListenSpec]) -> Option<(usize, String)> {
    listen.iter().enumerate().find_map(|(index, this)| {
        let earlier = &listen[..index];
        if earlier.iter().any(|other| other.address == this.address) {
            return Some((index, format!("{} is listed twice", this.address)));
        }
        let other = earlier.iter().find(|other| other.name == this.name)?;
        Some((
            index,
            format!(
                "{} and {} are both called {:?}: give one a name of its own, NAME={}",
                other.address, this.address, this.name, this.address
            ),
        ))
    })
}

impl FromStr for AddressPattern {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (host, port) = split(text)?;
        let ip = match host {
            "" | "*" => None,
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host => Some(ip(host)?),
        };
        let port = match port {
            "*" => None,
            port => match number(port)? {
                0 => return Err(AddressError::PortZero),
                port => Some(port),
            },
        };
        match (ip, port) {
            (None, None) => Err(AddressError::EveryAddress(text.to_owned())),
            (ip, port) => Ok(Self { ip, port }),
        }
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            None => f.write_str(":")?,
        }
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, name, address) in [
            ("8000", "8000", "0.0.0.0:8000"),
            (":8000", "8000", "0.0.0.0:8000"),
            ("*:8000", "8000", "0.0.0.0:8000"),
            ("127.0.0.1:8000", "8000", "127.0.0.1:8000"),
            ("[::1]:8000", "8000", "[::1]:8000"),
            ("[::]:8000", "8000", "[::]:8000"),
            ("localhost:8000", "8000", "127.0.0.1:8000"),
            ("web=8000", "web", "0.0.0.0:8000"),
            ("all=:1", "all", "0.0.0.0:1"),
            ("unix:/run/app.sock", "app", "unix:/run/app.sock"),
            ("/run/a=b.sock", "a-b", "unix:/run/a=b.sock"),
            ("api=/run/app.sock", "api", "unix:/run/app.sock"),
        ] {
            let found = listen(text).unwrap();
            assert_eq!((found.name.as_str(), found.address.to_string().as_str()), (name, address));
            assert_eq!(found.address.to_string().parse(), Ok(found.address));
        }
    }

    #[test]
    fn refusals() {
        let long = format!("/{}", "x".repeat(107));
        for (text, expected) in [
            (
                "",
                r#"the address "" is not understood: use PORT, IP:PORT, [IPV6]:PORT or unix:/PATH"#,
            ),
            (
                "web",
                r#"the address "web" is not understood: use PORT, IP:PORT, [IPV6]:PORT or unix:/PATH"#,
            ),
            ("0", "port 0 means another port at every start: choose one from 1 to 65535"),
            ("127.0.0.1:0", "port 0 means another port at every start: choose one from 1 to 65535"),
            ("65536", r#"the port "65536" is not a number from 1 to 65535"#),
            (":+80", r#"the port "+80" is not a number from 1 to 65535"#),
            ("127.0.0.1:", r#"the port "" is not a number from 1 to 65535"#),
            ("127.0.0.1", r#"the address "127.0.0.1" has no port: write 127.0.0.1:PORT"#),
            ("[::1]", r#"the address "[::1]" has no port: write [::1]:PORT"#),
            ("::1", r#"the address "::1" needs brackets around its IPv6 part: [IPV6]:PORT"#),
            (
                "fe80::1:x:80",
                r#"the address "fe80::1:x:80" needs brackets around its IPv6 part: [IPV6]:PORT"#,
            ),
            (
                "[zebra]:80",
                r#"the address "[zebra]" is not understood: use PORT, IP:PORT, [IPV6]:PORT or unix:/PATH"#,
            ),
            (
                "example.com:80",
                r#"the host "example.com" is not looked up: write its IP address (only "localhost" is known)"#,
            ),
            (
                "300.1.1.1:80",
                r#"the address "300.1.1.1" is not understood: use PORT, IP:PORT, [IPV6]:PORT or unix:/PATH"#,
            ),
            (
                "unix:app.sock",
                r#"the path of a unix socket must be absolute, and "app.sock" is not"#,
            ),
            ("unix:/run/", r#""/run/" cannot be the path of a unix socket"#),
            ("a b=80", r#"the name "a b" contains " ": use letters, digits, ".", "_" and "-""#),
            ("=80", r#"the name is empty: use letters, digits, ".", "_" and "-""#),
        ] {
            assert_eq!(listen(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(listen(&long).unwrap_err().to_string().ends_with("has 108"));
    }

    #[test]
    fn duplicates() {
        let specs = |texts: &[&str]| texts.iter().map(|t| listen(t).unwrap()).collect::<Vec<_>>();
        assert_eq!(duplicate(&specs(&["80", "81"])), None);
        assert_eq!(
            duplicate(&specs(&["80", "a=80"])),
            Some((1, "0.0.0.0:80 is listed twice".to_owned()))
        );
        assert_eq!(
            duplicate(&specs(&["80", "[::1]:80"])),
            Some((
                1,
                "0.0.0.0:80 and [::1]:80 are both called \"80\": give one a name of its own, \
                 NAME=[::1]:80"
                    .to_owned()
            ))
        );
    }

    #[test]
    fn patterns() {
        for (text, shown) in [
            (":9229", ":9229"),
            ("9229", ":9229"),
            ("*:9229", ":9229"),
            ("127.0.0.1:*", "127.0.0.1:*"),
            ("localhost:9229", "127.0.0.1:9229"),
            ("[::1]:*", "[::1]:*"),
        ] {
            assert_eq!(text.parse::<AddressPattern>().unwrap().to_string(), shown);
        }
        for text in ["*:*", ":*", "", "web", "::1", "1.2.3.4", ":0", "host:1"] {
            assert!(text.parse::<AddressPattern>().is_err(), "{text}");
        }
    }
}
