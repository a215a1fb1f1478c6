//! The messages from a worker, one line each. The decoder does not interpret a program's own
//! messages: they stay text until a caller asks for the value, so no JSON that Node can write is
//! nested too deeply.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::ask::ServerAsk;
use super::{MAX_INTERNAL, NodeError};

/// Marks a line of the protocol: its `cmd` begins with this and is longer.
const INTERNAL: &str = "NODE_";

/// How many characters of a faulty line a reason quotes.
const SHOWN: usize = 200;

/// One message from a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum FromWorker {
    /// The program's own message: `process.send`.
    User(UserMessage),
    /// A message that came with a descriptor.
    Handle {
        /// What the descriptor means to Node.
        kind: HandleKind,
        /// The message itself.
        message: Box<Self>,
    },
    /// The descriptor that the primary sent has arrived. Acknowledgements come in the order of
    /// sending.
    HandleAck,
    /// A `NODE_HANDLE` from the primary arrived without its descriptor. In the order of sending.
    HandleNack,
    /// The program is about to run.
    Online,
    /// The worker asks for an address.
    QueryServer {
        /// The number to use in the answer.
        seq: u64,
        /// The request.
        ask: Box<ServerAsk>,
    },
    /// The worker listens.
    Listening {
        /// The worker's request, but with the real port.
        ask: Box<ServerAsk>,
    },
    /// The worker has closed a server.
    Close {
        /// The key that the worker got for the server.
        key: String,
    },
    /// The worker is leaving by itself and waits for the answer.
    ExitedAfterDisconnect {
        /// The number to use in the answer.
        seq: u64,
    },
    /// The answer to a message from the primary.
    Ack {
        /// The `seq` of that message.
        ack: u64,
        /// Whether the worker took the connection.
        accepted: bool,
    },
    /// What the preload measured in the worker.
    Measured(Measured),
    /// A message of the protocol that this build does not know.
    Unknown {
        /// Its name, for display.
        what: String,
    },
}

/// What the preload measured in a worker since its last report.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Measured {
    /// The median delay of the event loop, in seconds.
    pub p50: f64,
    /// The 99th percentile of the delay, in seconds.
    pub p99: f64,
    /// The used heap in bytes.
    pub heap: u64,
}

/// A program's own message, as JSON text without a newline.
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

    /// The message as a value. Fails on JSON that Node allows and serde_json does not: half of a
    /// surrogate pair, more than 128 levels.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Whether it is `process.send('ready')`.
    pub fn is_ready(&self) -> bool {
        &*self.0 == "\"ready\""
    }

    /// Whether Node would take this for a message of the protocol. Such a message must not be sent.
    pub fn is_internal(&self) -> bool {
        command(&self.0).is_some()
    }
}

/// What a descriptor means to Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandleKind {
    /// A plain TCP or unix socket: listening, or a connection.
    #[serde(rename = "net.Native")]
    NetNative,
    /// A listening socket that becomes a `net.Server`.
    #[serde(rename = "net.Server")]
    NetServer,
    /// A connection that becomes a `net.Socket`.
    #[serde(rename = "net.Socket")]
    NetSocket,
    /// A plain UDP socket.
    #[serde(rename = "dgram.Native")]
    DgramNative,
    /// A UDP socket that becomes a `dgram.Socket`.
    #[serde(rename = "dgram.Socket")]
    DgramSocket,
}

/// Decodes one line, given without its newline.
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

/// A fast path for the two lines that come with every connection. A line in any other spelling
/// takes the slow path, with the same result.
fn answer(text: &str) -> Option<FromWorker> {
    /// Node's own lines of this kind have fewer than 80 bytes.
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
        // A message of another shape is not from the preload; the program may send what it likes.
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
        // No message of the protocol itself comes with a descriptor, so this one is not decoded.
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

/// The `cmd` of a line of the protocol; `None` for every other line, also if it is not JSON.
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
                        // As in JavaScript, the last of several equal keys counts.
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
