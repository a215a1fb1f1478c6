//! The primary's side of Node's own `cluster` protocol: the codec. This module opens no sockets.
//!
//! The channel is a unix stream socket with one JSON value per line. A line whose `cmd` begins with
//! `NODE_` belongs to the protocol; every other line is the program's own (`process.send`). A
//! descriptor travels beside a `NODE_HANDLE` line. Node 18 to 24 speak the protocol in this form.
//!
//! The decoder fails, and the caller must close the channel, on a line beyond the limit, text that
//! is not UTF-8, a line that is not JSON, and a message of the protocol without a required field.
//! It reports messages that it does not know and skips them, as Node itself does, because a newer
//! Node may send more.

mod ask;
mod hear;
mod say;

pub use ask::{AddressType, ServerAsk, Unservable, Wanted};
pub use hear::{FromWorker, HandleKind, Measured, UserMessage};
pub use say::{HANDLE_ACK, HANDLE_NACK, Sockname, ToWorker};

/// The longest line, unless the reader was made with another limit: 16 MiB. Node has no limit of
/// its own; this one limits how much a worker can make its primary hold.
pub const MAX_LINE: usize = 16 << 20;

/// The longest line of the protocol itself: 256 KiB. (Node's own are a few hundred bytes; a message
/// that comes with a descriptor counts too.)
pub const MAX_INTERNAL: usize = 256 << 10;

/// How much buffer space the reader keeps after a long line, in bytes.
const KEPT: usize = 64 << 10;

/// Why a line could not be read. The caller must close the channel.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No newline within the limit.
    #[error("a line is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("a line is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("a line is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// A message of the protocol is malformed.
    #[error("a {what} message is malformed: {why}")]
    Misshapen {
        /// Which message.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Collects a worker's bytes until they form whole lines.
#[derive(Debug)]
pub struct NodeReader {
    buffer: Vec<u8>,
    /// The bytes before this index have been read.
    start: usize,
    /// No newline is in the bytes before this index.
    scanned: usize,
    limit: usize,
}

impl Default for NodeReader {
    fn default() -> Self {
        Self::with_limit(MAX_LINE)
    }
}

impl NodeReader {
    /// A reader that refuses lines of more than `limit` bytes, newline included.
    pub fn with_limit(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Adds received bytes, split anywhere. The caller must then call `next_message` until it gives
    /// `None`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message. `None` means that more bytes are needed. Skips empty lines.
    pub fn next_message(&mut self) -> Result<Option<FromWorker>, NodeError> {
        loop {
            let Some(at) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') else {
                self.compact();
                let too_long = self.buffer.len() >= self.limit;
                return if too_long { Err(self.too_long()) } else { Ok(None) };
            };
            let end = self.scanned + at;
            let begin = std::mem::replace(&mut self.start, end + 1);
            self.scanned = self.start;
            if end - begin >= self.limit {
                return Err(self.too_long());
            }
            let line = &self.buffer[begin..end];
            if !line.iter().all(u8::is_ascii_whitespace) {
                return hear::read(line).map(Some);
            }
        }
    }

    /// Whether the reader holds bytes of an unfinished line.
    pub fn is_partial(&self) -> bool {
        self.start < self.buffer.len()
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.scanned = self.buffer.len();
        if self.buffer.capacity() > 4 * KEPT && self.buffer.len() < KEPT {
            self.buffer.shrink_to(KEPT);
        }
    }

    fn too_long(&self) -> NodeError {
        NodeError::TooLong { limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn heard(bytes: &[u8]) -> Result<Vec<FromWorker>, NodeError> {
        let mut reader = NodeReader::default();
        reader.push(bytes);
        let mut messages = Vec::new();
        while let Some(message) = reader.next_message()? {
            messages.push(message);
        }
        Ok(messages)
    }

    fn one(value: &Value) -> FromWorker {
        heard(format!("{value}\n").as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn a_line_past_the_limit_is_refused_with_and_without_its_end() {
        let mut reader = NodeReader::with_limit(8);
        reader.push(b"123456\n1234567\n");
        assert!(matches!(reader.next_message(), Ok(Some(FromWorker::User(_)))));
        assert!(matches!(reader.next_message(), Ok(Some(FromWorker::User(_)))));
        reader.push(b"12345678\n");
        assert!(matches!(reader.next_message(), Err(NodeError::TooLong { limit: 8 })));
        let mut reader = NodeReader::with_limit(8);
        reader.push(b"1234567");
        assert!(matches!(reader.next_message(), Ok(None)));
        reader.push(b"8");
        assert!(matches!(reader.next_message(), Err(NodeError::TooLong { limit: 8 })));
    }

    #[test]
    fn what_a_worker_of_node_20_says_when_it_listens() {
        let lines = concat!(
            r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#,
            "\n",
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"#,
            r#""port":8000,"addressType":4,"backlog":false,"seq":1}"#,
            "\n",
            r#"{"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,"address":null,"#,
            r#""port":8000,"addressType":4,"backlog":false,"seq":2}"#,
            "\n",
            r#"{"cmd":"NODE_CLUSTER","ack":3,"accepted":true,"seq":3}"#,
            "\n",
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            "\n",
        );
        let messages = heard(lines.as_bytes()).unwrap();
        assert_eq!(messages[0], FromWorker::Online);
        let FromWorker::QueryServer { seq: 1, ask } = &messages[1] else {
            panic!("{:?}", messages[1])
        };
        assert_eq!(ask.key(), "null:8000:4:undefined:0");
        assert_eq!(
            ask.wanted().unwrap(),
            Wanted::Tcp { address: "[::]:8000".parse().unwrap(), v6only: false, any: true }
        );
        assert!(matches!(&messages[2], FromWorker::Listening { ask } if ask.port == Some(8000)));
        assert_eq!(messages[3], FromWorker::Ack { ack: 3, accepted: true });
        assert_eq!(messages[4], FromWorker::HandleAck);
    }

    #[test]
    fn the_programs_own_messages_stay_as_they_are() {
        for text in [
            "\"ready\"",
            "null",
            "12",
            "[1,2]",
            r#"{"cmd":"NODE_"}"#,
            r#"{"cmd":["NODE_HANDLE"]}"#,
            r#"{"deep":{"cmd":"NODE_CLUSTER"}}"#,
            r#""\ud800 alone""#,
            r#"{"a":"\ud800","type":"NODE_ENV"}"#,
            r#"{"\ud800":1,"cmd":"NODE_ENV"}"#,
        ] {
            let messages = heard(format!("{text}\n").as_bytes()).unwrap();
            assert!(
                matches!(&messages[..], [FromWorker::User(m)] if m.text() == text),
                "{messages:?}"
            );
        }
        let deep = format!("{}{}\n", "[".repeat(5000), "]".repeat(5000));
        assert!(matches!(&heard(deep.as_bytes()).unwrap()[..], [FromWorker::User(_)]));
    }

    #[test]
    fn handles_and_unknown_words() {
        let said = one(&json!({"cmd": "NODE_HANDLE", "type": "net.Socket",
            "msg": {"hello": 1}, "key": "6::::0"}));
        let FromWorker::Handle { kind: HandleKind::NetSocket, message } = said else {
            panic!("{said:?}")
        };
        assert_eq!(*message, FromWorker::User(UserMessage::new(&json!({"hello": 1}))));
        let said = one(&json!({"cmd": "NODE_HANDLE", "type": "net.Native",
            "msg": {"cmd": "NODE_CLUSTER", "act": "newconn"}}));
        assert!(matches!(said, FromWorker::Handle { message, .. }
            if matches!(*message, FromWorker::Unknown { .. })));
        assert!(matches!(
            one(&json!({"cmd": "NODE_CLUSTER", "act": "dance"})),
            FromWorker::Unknown { what } if what == "act `dance`"
        ));
        assert!(matches!(
            one(&json!({"cmd": "NODE_DEBUG_ENABLED"})),
            FromWorker::Unknown { what } if what == "command `NODE_DEBUG_ENABLED`"
        ));
    }

    #[test]
    fn what_ends_a_channel() {
        assert!(matches!(heard(b"{\"a\":\n"), Err(NodeError::NotJson(_))));
        assert!(matches!(heard(b"\"\xff\"\n"), Err(NodeError::NotUtf8)));
        for bad in [
            json!({"cmd": "NODE_CLUSTER", "act": "queryServer", "port": 1}),
            json!({"cmd": "NODE_CLUSTER", "act": "close"}),
            json!({"cmd": "NODE_CLUSTER", "ack": -1}),
            json!({"cmd": "NODE_CLUSTER"}),
            json!({"cmd": "NODE_HANDLE", "type": "net.Socket"}),
            json!({"cmd": "NODE_HANDLE", "type": "tea.Pot", "msg": 1}),
            json!({"cmd": "NODE_CLUSTER", "act": "close", "key": "k".repeat(MAX_INTERNAL)}),
        ] {
            let error = heard(format!("{bad}\n").as_bytes()).unwrap_err();
            assert!(matches!(error, NodeError::Misshapen { .. }), "{error}");
            assert!(error.to_string().len() < 400, "{error}");
        }
    }

    fn a_message() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<String>().prop_map(Value::from),
            prop::collection::vec(any::<i32>(), 0..50).prop_map(Value::from),
            (any::<u16>(), 0u64..4).prop_map(|(port, index)| json!({
                "cmd": "NODE_CLUSTER", "act": "queryServer", "seq": index, "index": index,
                "address": "127.0.0.1", "port": port, "addressType": 4})),
            any::<u64>()
                .prop_map(|ack| json!({"cmd": "NODE_CLUSTER", "ack": ack, "accepted": true})),
            Just(json!({"cmd": "NODE_HANDLE_NACK"})),
            any::<String>().prop_map(|text| json!({
                "cmd": "NODE_HANDLE", "type": "dgram.Native", "msg": {"cmd": text}})),
        ]
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            values in prop::collection::vec(a_message(), 0..8),
            cuts in prop::collection::vec(1usize..60, 0..64),
        ) {
            let bytes: String = values.iter().map(|value| format!("{value}\n")).collect();
            let whole = heard(bytes.as_bytes()).expect("what was written");
            prop_assert_eq!(whole.len(), values.len());
            let mut reader = NodeReader::default();
            let mut seen = Vec::new();
            let mut rest = bytes.as_bytes();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                reader.push(now);
                rest = later;
                while let Some(message) = reader.next_message().expect("what was written") {
                    seen.push(message);
                }
            }
            prop_assert_eq!(seen, whole);
            prop_assert!(!reader.is_partial());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = heard(&bytes);
        }

        #[test]
        fn nearly_right_never_panics(
            value in a_message(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = format!("{value}\n").into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = heard(&bytes);
        }
    }
}
