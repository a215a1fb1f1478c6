//! What a worker says, one line each. A program's own messages are not taken apart: they stay text
//! until somebody wants to look into one, so nothing that is JSON to Node is too deep for us.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::ask::ServerAsk;
use super::{MAX_INTERNAL, NodeError};

/// What marks a line of the protocol: its `cmd` begins with this and is longer.
const INTERNAL: &str = "NODE_";

/// The most that is shown of what was wrong with a line.
const SHOWN: usize = 200;

/// One message of a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum FromWorker {
    /// The program's own: `process.send`.
    User(UserMessage),
    /// A message with a descriptor beside it.
    Handle {
        /// What the descriptor is to Node.
        kind: HandleKind,
        /// The message itself.
        message: Box<Self>,
    },
    /// The descriptor we sent has arrived. In the order of sending.
    HandleAck,
    /// A `NODE_HANDLE` of ours arrived without its descriptor. In the order of sending.
    HandleNack,
    /// The program is about to run.
    Online,
    /// It wants an address.
    QueryServer {
        /// To be named in the answer.
        seq: u64,
        /// Which.
        ask: Box<ServerAsk>,
    },
    /// It listens.
    Listening {
        /// What it had asked for, but `port` is the real one.
        ask: Box<ServerAsk>,
    },
    /// It has closed a server.
    Close {
        /// The key it was given.
        key: String,
    },
    /// It is leaving of its own accord and waits for the answer.
    ExitedAfterDisconnect {
        /// To be named in the answer.
        seq: u64,
    },
    /// The answer to one of our messages.
    Ack {
        /// The `seq` of that message.
        ack: u64,
        /// Whether it took the connection.
        accepted: bool,
    },
    /// What our preload measured in it.
    Measured(Measured),
    /// A word of the protocol that we do not know.
    Unknown {
        /// Which, for people.
        what: String,
    },
}

/// What our preload measured in a worker since it last told.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Measured {
    /// Half of the looks at the event loop came no later than this, in seconds.
    pub p50: f64,
    /// 99 of 100 did.
    pub p99: f64,
    /// Bytes of the heap in use.
    pub heap: u64,
}

/// A message of the program's own, as JSON text without a newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserMessage(Box<str>);

impl UserMessage {
    /// A message to send.
    pub fn new(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// The JSON text, on one line.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The message as a value. Fails on what Node allows and we cannot hold: a half of a surrogate
    /// pair, more than 128 levels.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Whether it is `process.send('ready')`.
    pub fn is_ready(&self) -> bool {
        &*self.0 == "\"ready\""
    }

    /// Whether Node would take it for a message of the protocol. Such a one must not be sent.
    pub fn is_internal(&self) -> bool {
        command(&self.0).is_some()
    }
}

/// What a descriptor is to Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandleKind {
    /// A TCP or unix socket as such: a listening one or a connection.
    #[serde(rename = "net.Native")]
    NetNative,
    /// A listening socket, to become a `net.Server`.
    #[serde(rename = "net.Server")]
    NetServer,
    /// A connection, to become a `net.Socket`.
    #[serde(rename = "net.Socket")]
    NetSocket,
    /// A UDP socket as such.
    #[serde(rename = "dgram.Native")]
    DgramNative,
    /// A UDP socket, to become a `dgram.Socket`.
    #[serde(rename = "dgram.Socket")]
    DgramSocket,
}

/// One line, its newline taken off.
pub(super) fn read(line: &[u8]) -> Result<FromWorker, NodeError> {
    let text = std::str::from_utf8(line).map_err(|_| NodeError::NotUtf8)?.trim();
    if let Some(answer) = answer(text) {
        return Ok(answer);
    }
    let Some(cmd) = command(text) else {
        serde_json::from_str::<IgnoredAny>(text).map_err(NodeError::NotJson)?;
        return Ok(FromWorker::User(UserMessage(text.into())));
    };
    if text.len() > MAX_INTERNAL {
        let why = format!("it is longer than {MAX_INTERNAL} bytes");
        return Err(NodeError::Misshapen { what: "protocol", why });
    }
    read_internal(&cmd, shaped("protocol", text.parse())?)
}

/// The two lines that come with every connection, without detours. Whatever is written otherwise
/// goes the long way, to the same end.
fn answer(text: &str) -> Option<FromWorker> {
    /// Those of Node have less than 80 bytes.
    const SHORT: usize = 200;
    #[derive(Deserialize)]
    struct Answer<'a> {
        cmd: &'a str,
        ack: u64,
        #[serde(default)]
        accepted: Option<bool>,
        #[serde(rename = "act", default)]
        _act: Option<&'a str>,
        #[serde(rename = "seq", default)]
        _seq: Option<u64>,
        #[serde(rename = "key", default)]
        _key: Option<&'a str>,
    }
    if text == r#"{"cmd":"NODE_HANDLE_ACK"}"# {
        return Some(FromWorker::HandleAck);
    }
    if text.len() > SHORT || !text.contains(r#""ack":"#) {
        return None;
    }
    let Answer { cmd, ack, accepted, .. } = serde_json::from_str(text).ok()?;
    (cmd == "NODE_CLUSTER").then(|| FromWorker::Ack { ack, accepted: accepted.unwrap_or(false) })
}

fn read_internal(cmd: &str, value: Value) -> Result<FromWorker, NodeError> {
    match cmd {
        "NODE_CLUSTER" => read_cluster(value),
        "NODE_HANDLE" => read_handle(value),
        // Whoever says it otherwise is not our preload, and may say what it likes.
        "NODE_SUPERVISOR" => Ok(match serde_json::from_value(value) {
            Ok(measured) => FromWorker::Measured(measured),
            Err(_) => FromWorker::Unknown { what: "measurements that are none".to_owned() },
        }),
        "NODE_HANDLE_ACK" => Ok(FromWorker::HandleAck),
        "NODE_HANDLE_NACK" => Ok(FromWorker::HandleNack),
        other => Ok(FromWorker::Unknown { what: format!("command `{}`", shown(other)) }),
    }
}

fn read_handle(value: Value) -> Result<FromWorker, NodeError> {
    #[derive(Deserialize)]
    struct Wrapped {
        r#type: HandleKind,
        msg: Option<Value>,
    }
    let Wrapped { r#type: kind, msg } = field("NODE_HANDLE", value)?;
    let msg = msg.ok_or_else(|| missing("NODE_HANDLE", "msg"))?;
    let message = match msg.get("cmd").and_then(Value::as_str).filter(|cmd| is_internal(cmd)) {
        // Nothing of the protocol's own comes with a descriptor, so it is not looked into.
        Some(cmd) => FromWorker::Unknown { what: format!("{} with a descriptor", shown(cmd)) },
        None => FromWorker::User(UserMessage::new(&msg)),
    };
    Ok(FromWorker::Handle { kind, message: Box::new(message) })
}

fn read_cluster(value: Value) -> Result<FromWorker, NodeError> {
    #[derive(Deserialize)]
    struct Head {
        act: Option<String>,
        seq: Option<u64>,
        ack: Option<u64>,
        #[serde(default)]
        accepted: Option<bool>,
        key: Option<String>,
    }
    let head: Head = field("NODE_CLUSTER", value.clone())?;
    if let Some(ack) = head.ack {
        return Ok(FromWorker::Ack { ack, accepted: head.accepted.unwrap_or(false) });
    }
    let act = head.act.ok_or_else(|| missing("NODE_CLUSTER", "act"))?;
    Ok(match act.as_str() {
        "online" => FromWorker::Online,
        "queryServer" => {
            let seq = head.seq.ok_or_else(|| missing("queryServer", "seq"))?;
            FromWorker::QueryServer { seq, ask: field("queryServer", value)? }
        }
        "listening" => FromWorker::Listening { ask: field("listening", value)? },
        "close" => FromWorker::Close { key: head.key.ok_or_else(|| missing("close", "key"))? },
        "exitedAfterDisconnect" => FromWorker::ExitedAfterDisconnect {
            seq: head.seq.ok_or_else(|| missing("exitedAfterDisconnect", "seq"))?,
        },
        other => FromWorker::Unknown { what: format!("act `{}`", shown(other)) },
    })
}

fn field<T: DeserializeOwned>(what: &'static str, value: Value) -> Result<T, NodeError> {
    shaped(what, serde_json::from_value(value))
}

fn shaped<T>(what: &'static str, read: Result<T, serde_json::Error>) -> Result<T, NodeError> {
    read.map_err(|error| NodeError::Misshapen { what, why: shown(&error.to_string()) })
}

fn missing(what: &'static str, field: &str) -> NodeError {
    NodeError::Misshapen { what, why: format!("`{field}` is missing") }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

fn is_internal(cmd: &str) -> bool {
    cmd.len() > INTERNAL.len() && cmd.starts_with(INTERNAL)
}

/// The `cmd` of a line of the protocol; `None` for everything else, what is not JSON included.
fn command(text: &str) -> Option<String> {
    if !text.starts_with('{') || !text.contains(INTERNAL) {
        return None;
    }
    let Command(cmd) = serde_json::from_str(text).ok()?;
    cmd.filter(|cmd| is_internal(cmd))
}

/// The text of a value's `cmd`, found without building the value.
struct Command(Option<String>);

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Command, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "cmd" {
                        // As in JavaScript, the last of several counts.
                        found = map.next_value::<Text>()?.0;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Command(found))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A string, or anything else.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(text.into())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
