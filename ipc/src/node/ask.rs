//! A worker's request for an address, made when its program calls `listen` or `bind`, as Node
//! writes it. This module resolves and binds nothing. It refuses addresses that make no sense.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// libuv's flags: `UV_TCP_IPV6ONLY` and `UV_UDP_IPV6ONLY`, `UV_UDP_REUSEADDR`.
const IPV6_ONLY: i64 = 1;
const UDP_REUSE_ADDRESS: i64 = 4;

/// The body of `queryServer` and of `listening`. Node is loose about types (a backlog may be
/// `false`, a port a string), so a field that is not a number counts as absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerAsk {
    /// An IP address, the path of a unix socket, or absent for any address.
    #[serde(default)]
    pub address: Option<String>,
    /// The port; 0 means any; -1 means a unix socket.
    #[serde(default, deserialize_with = "number")]
    pub port: Option<i64>,
    /// The kind of address.
    #[serde(default)]
    pub address_type: AddressType,
    /// A descriptor that the program already has.
    #[serde(default, deserialize_with = "number")]
    pub fd: Option<i64>,
    /// Which of the worker's servers on this address, counted from 0.
    #[serde(default)]
    pub index: u64,
    /// libuv's bind flags.
    #[serde(default, deserialize_with = "number")]
    pub flags: Option<i64>,
    /// The requested backlog.
    #[serde(default, deserialize_with = "number")]
    pub backlog: Option<i64>,
    /// The server's data (the ticket keys of TLS). All workers get the first worker's data.
    #[serde(default)]
    pub data: Value,
    /// Whether all users may read from the unix socket.
    #[serde(default, deserialize_with = "truth")]
    pub readable_all: bool,
    /// Whether all users may write to the unix socket.
    #[serde(default, deserialize_with = "truth")]
    pub writable_all: bool,
}

/// The kind of an address, as Node writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressType {
    /// `4`: TCP, also when the program gave no address at all.
    Tcp4,
    /// `6`.
    Tcp6,
    /// `-1`.
    Unix,
    /// `"udp4"`.
    Udp4,
    /// `"udp6"`.
    Udp6,
    /// Absent: the program gave a descriptor.
    #[default]
    Descriptor,
}

/// A request, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A TCP address.
    Tcp {
        /// With port 0: any port, the same for every worker that asks with the same index.
        address: SocketAddr,
        /// Whether the socket leaves IPv4 out.
        v6only: bool,
        /// Whether the program gave no address. Then `0.0.0.0` serves where IPv6 is not available.
        any: bool,
    },
    /// A UDP address: one socket that all workers read from.
    Udp {
        /// As for TCP.
        address: SocketAddr,
        /// Whether the socket leaves IPv4 out.
        v6only: bool,
        /// Whether the program asked for SO_REUSEADDR.
        reuse_address: bool,
    },
    /// A unix socket.
    Unix {
        /// The absolute path.
        path: PathBuf,
        /// Whether all users may read from it.
        readable_all: bool,
        /// Whether all users may write to it.
        writable_all: bool,
    },
    /// A descriptor that the program says it was given.
    Descriptor {
        /// The descriptor's number in the worker.
        fd: i32,
        /// Whether it is a UDP socket.
        udp: bool,
    },
}

/// A request that cannot be met; the answer is EINVAL.
#[derive(Debug, thiserror::Error)]
#[error("the requested address cannot be served: {0}")]
pub struct Unservable(String);

impl ServerAsk {
    /// The key of the answer, as Node builds it. No two open servers of one worker share it.
    pub fn key(&self) -> String {
        format!("{}:{}", self.place(), self.index)
    }

    /// The key of the listener: requests with the same key get the same listener. With port 0 the
    /// key includes the index, since two servers of one worker get two ports.
    pub fn listener(&self) -> String {
        if self.port == Some(0) { self.key() } else { self.place() }
    }

    fn place(&self) -> String {
        let Self { address, port, address_type, fd, .. } = self;
        let address = address.as_deref().unwrap_or("null");
        let port = port.map_or_else(|| "null".into(), |port| port.to_string());
        let fd = fd.map_or_else(|| "undefined".into(), |fd| fd.to_string());
        format!("{address}:{port}:{address_type}:{fd}")
    }

    /// Decodes the request.
    pub fn wanted(&self) -> Result<Wanted, Unservable> {
        let udp = matches!(self.address_type, AddressType::Udp4 | AddressType::Udp6);
        if let Some(fd) = self.fd.filter(|fd| *fd >= i64::from(udp)) {
            let fd = i32::try_from(fd).map_err(|_| Unservable(format!("descriptor {fd}")))?;
            return Ok(Wanted::Descriptor { fd, udp });
        }
        let v6only = self.flags.unwrap_or(0) & IPV6_ONLY != 0;
        match self.address_type {
            AddressType::Unix => self.wanted_unix(),
            AddressType::Descriptor => Err(Unservable("no descriptor was named".into())),
            AddressType::Udp4 | AddressType::Udp6 => Ok(Wanted::Udp {
                address: self.socket_address()?,
                v6only,
                reuse_address: self.flags.unwrap_or(0) & UDP_REUSE_ADDRESS != 0,
            }),
            AddressType::Tcp4 | AddressType::Tcp6 => Ok(Wanted::Tcp {
                address: self.socket_address()?,
                v6only,
                any: self.address.as_deref().is_none_or(str::is_empty),
            }),
        }
    }

    fn wanted_unix(&self) -> Result<Wanted, Unservable> {
        match self.address.as_deref() {
            Some(path) if !path.is_empty() && !path.contains('\0') => Ok(Wanted::Unix {
                path: path.into(),
                readable_all: self.readable_all,
                writable_all: self.writable_all,
            }),
            _ => Err(Unservable("a unix socket without a path".into())),
        }
    }

    fn socket_address(&self) -> Result<SocketAddr, Unservable> {
        let port = self.port.unwrap_or(0);
        let port = u16::try_from(port).map_err(|_| Unservable(format!("port {port}")))?;
        let text = match self.address.as_deref() {
            None | Some("") if self.address_type == AddressType::Udp4 => "0.0.0.0",
            None | Some("") => "::",
            Some(text) => text,
        };
        let unreadable = || {
            let shown: String = text.chars().take(100).collect();
            Unservable(format!("`{shown}` is not an address (a zone must be a number)"))
        };
        if let Some((address, zone)) = text.split_once('%') {
            let address: Ipv6Addr = address.parse().map_err(|_| unreadable())?;
            let zone: u32 = zone.parse().map_err(|_| unreadable())?;
            return Ok(SocketAddrV6::new(address, port, 0, zone).into());
        }
        let address: IpAddr = text.parse().map_err(|_| unreadable())?;
        Ok(SocketAddr::new(address, port))
    }
}

impl fmt::Display for AddressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp4 => "4",
            Self::Tcp6 => "6",
            Self::Unix => "-1",
            Self::Udp4 => "udp4",
            Self::Udp6 => "udp6",
            Self::Descriptor => "null",
        })
    }
}

impl<'de> Deserialize<'de> for AddressType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::Descriptor),
            Value::String(text) if text == "udp4" => Ok(Self::Udp4),
            Value::String(text) if text == "udp6" => Ok(Self::Udp6),
            Value::Number(number) if number.as_i64() == Some(4) => Ok(Self::Tcp4),
            Value::Number(number) if number.as_i64() == Some(6) => Ok(Self::Tcp6),
            Value::Number(number) if number.as_i64() == Some(-1) => Ok(Self::Unix),
            _ => Err(serde::de::Error::custom("unknown addressType")),
        }
    }
}

impl Serialize for AddressType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tcp4 => serializer.serialize_i64(4),
            Self::Tcp6 => serializer.serialize_i64(6),
            Self::Unix => serializer.serialize_i64(-1),
            Self::Udp4 => serializer.serialize_str("udp4"),
            Self::Udp6 => serializer.serialize_str("udp6"),
            Self::Descriptor => serializer.serialize_none(),
        }
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => false,
        Value::Bool(truth) => truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(value: Value) -> ServerAsk {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn addresses_in_our_words() {
        let tcp = |address: &str, v6only, any| Wanted::Tcp {
            address: address.parse().unwrap(),
            v6only,
            any,
        };
        for (value, wanted) in [
            (json!({"port": 80, "addressType": 4}), tcp("[::]:80", false, true)),
            (
                json!({"address": "10.0.0.1", "port": 80, "addressType": 4}),
                tcp("10.0.0.1:80", false, false),
            ),
            (
                json!({"address": "::1", "port": 0, "addressType": 6, "flags": 1}),
                tcp("[::1]:0", true, false),
            ),
            (
                json!({"address": "fe80::1%3", "port": 0, "addressType": 6}),
                tcp("[fe80::1%3]:0", false, false),
            ),
            (
                json!({"address": "/run/x", "port": -1, "addressType": -1, "writableAll": true}),
                Wanted::Unix { path: "/run/x".into(), readable_all: false, writable_all: true },
            ),
            (
                json!({"address": "0.0.0.0", "port": "5353", "addressType": "udp4", "fd": -1,
                    "flags": 4}),
                Wanted::Udp {
                    address: "0.0.0.0:5353".parse().unwrap(),
                    v6only: false,
                    reuse_address: true,
                },
            ),
            (
                json!({"address": null, "port": null, "addressType": null, "fd": 3}),
                Wanted::Descriptor { fd: 3, udp: false },
            ),
        ] {
            assert_eq!(ask(value.clone()).wanted().unwrap(), wanted, "{value}");
        }
        for bad in [
            json!({"address": "localhost", "port": 80, "addressType": 4}),
            json!({"address": "fe80::1%eth0", "port": 80, "addressType": 6}),
            json!({"port": 70000, "addressType": 4}),
            json!({"addressType": -1, "port": -1}),
            json!({}),
        ] {
            assert!(ask(bad.clone()).wanted().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_servers_of_one_worker_share_a_listener_unless_the_port_is_any() {
        let of =
            |port: u16, index: u64| ask(json!({"port": port, "addressType": 4, "index": index}));
        assert_eq!(of(80, 0).listener(), of(80, 1).listener());
        assert_ne!(of(80, 0).key(), of(80, 1).key());
        assert_ne!(of(0, 0).listener(), of(0, 1).listener());
    }
}
