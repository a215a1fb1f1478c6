//! The messages from the primary to a worker, one line each.

use std::net::SocketAddr;

use serde::Serialize;
use serde_json::Value;

use super::hear::{HandleKind, UserMessage};

/// A worker's descriptor has arrived. The primary must send this exactly once per descriptor: Node
/// exits over an acknowledgement that it did not wait for.
pub const HANDLE_ACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n";
/// A worker's `NODE_HANDLE` arrived without its descriptor.
pub const HANDLE_NACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n";

/// One message to a worker.
#[derive(Debug, Clone, Copy)]
pub enum ToWorker<'a> {
    /// The answer to `queryServer`. With a descriptor beside it, the worker accepts by itself;
    /// without one it waits for `NewConn`.
    Reply {
        /// The `seq` of the request.
        ack: u64,
        /// 0, or a negative errno.
        errno: i32,
        /// The key of the server from now on.
        key: &'a str,
        /// The `data` of the first worker that asked.
        data: &'a Value,
        /// The served address, for TCP without a descriptor.
        sockname: Option<&'a Sockname>,
    },
    /// A connection, with its descriptor beside it.
    NewConn {
        /// The key of the server that gets it.
        key: &'a str,
    },
    /// Close all servers, finish and leave.
    Disconnect,
    /// The answer to `exitedAfterDisconnect`.
    Acknowledge {
        /// The `seq` of the request.
        ack: u64,
    },
    /// For our preload: end each kept connection with its next response, or no longer. Without it
    /// Node passes it over.
    EndKept {
        /// Whether they end.
        ends: bool,
    },
    /// A message for the program.
    User(&'a UserMessage),
}

/// An address as Node writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sockname {
    address: String,
    family: &'static str,
    port: u16,
}

impl From<SocketAddr> for Sockname {
    fn from(address: SocketAddr) -> Self {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        Self { address: address.ip().to_string(), family, port: address.port() }
    }
}

/// The usual length of the lines that go with every connection, in bytes.
const USUAL: usize = 192;

#[derive(Serialize)]
struct Cluster<'a> {
    cmd: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockname: Option<&'a Sockname>,
    seq: u64,
}

/// A message for our preload.
#[derive(Serialize)]
struct Ours {
    cmd: &'static str,
    drain: bool,
}

impl ToWorker<'_> {
    /// The message as a line, newline included. `seq` is the number of the message; `EndKept` and
    /// `User` do not use it.
    pub fn line(&self, seq: u64) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = Vec::with_capacity(USUAL);
        self.write(seq, &mut line)?;
        line.push(b'\n');
        Ok(line)
    }

    /// The message as a line that goes with a descriptor.
    pub fn line_with_handle(
        &self,
        seq: u64,
        kind: HandleKind,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = Vec::with_capacity(USUAL);
        line.extend_from_slice(b"{\"cmd\":\"NODE_HANDLE\",\"type\":");
        serde_json::to_writer(&mut line, &kind)?;
        line.extend_from_slice(b",\"msg\":");
        self.write(seq, &mut line)?;
        line.extend_from_slice(b"}\n");
        Ok(line)
    }

    fn write(&self, seq: u64, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let empty = Cluster {
            cmd: "NODE_CLUSTER",
            act: None,
            ack: None,
            errno: None,
            key: None,
            data: None,
            sockname: None,
            seq,
        };
        let message = match *self {
            ToWorker::User(message) => {
                line.extend_from_slice(message.text().as_bytes());
                return Ok(());
            }
            ToWorker::EndKept { ends } => {
                return serde_json::to_writer(line, &Ours { cmd: "NODE_SUPERVISOR", drain: ends });
            }
            ToWorker::Reply { ack, errno, key, data, sockname } => Cluster {
                ack: Some(ack),
                errno: Some(errno),
                key: Some(key),
                data: Some(data),
                sockname,
                ..empty
            },
            ToWorker::NewConn { key } => Cluster { act: Some("newconn"), key: Some(key), ..empty },
            ToWorker::Disconnect => Cluster { act: Some("disconnect"), ..empty },
            ToWorker::Acknowledge { ack } => Cluster { ack: Some(ack), ..empty },
        };
        serde_json::to_writer(line, &message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(line: &[u8]) -> Value {
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn in_nodes_words() {
        let sockname = Sockname::from("127.0.0.1:8000".parse::<SocketAddr>().unwrap());
        let reply = ToWorker::Reply {
            ack: 4,
            errno: 0,
            key: "k",
            data: &Value::Null,
            sockname: Some(&sockname),
        };
        assert_eq!(
            value(&reply.line(9).unwrap()),
            json!({"cmd": "NODE_CLUSTER", "ack": 4, "errno": 0, "key": "k", "data": null, "seq": 9,
                "sockname": {"address": "127.0.0.1", "family": "IPv4", "port": 8000}})
        );
        let line = ToWorker::NewConn { key: "k" }.line_with_handle(5, HandleKind::NetNative);
        assert_eq!(
            value(&line.unwrap()),
            json!({"cmd": "NODE_HANDLE", "type": "net.Native",
                "msg": {"cmd": "NODE_CLUSTER", "act": "newconn", "key": "k", "seq": 5}})
        );
        assert_eq!(
            value(&ToWorker::EndKept { ends: true }.line(0).unwrap()),
            json!({"cmd": "NODE_SUPERVISOR", "drain": true})
        );
        let text = UserMessage::new(&json!("two\nlines"));
        assert_eq!(value(&ToWorker::User(&text).line(0).unwrap()), json!("two\nlines"));
    }
}
