//! The link alone: bytes in, words and packets out. No process and no socket.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use ipc::node::MAX_LINE;
use proptest::prelude::*;
use serde_json::json;

use crate::protocol::node::*;

fn a_file() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

fn hear(link: &mut NodeLink, value: &Value) -> Result<Vec<Word>, LinkError> {
    hear_with(link, value, Vec::new())
}

fn hear_with(
    link: &mut NodeLink,
    value: &Value,
    fds: Vec<OwnedFd>,
) -> Result<Vec<Word>, LinkError> {
    let mut words = Vec::new();
    link.take(&line(value), fds, &mut words).map(|()| words)
}

fn query(seq: u64, port: u16, index: u64) -> Value {
    json!({"cmd": "NODE_CLUSTER", "act": "queryServer", "seq": seq, "index": index,
        "address": null, "port": port, "addressType": 4, "data": {"ticketKeys": "aa"}})
}

/// Writes the next packet whole: its message, and the number of its descriptor.
fn written(link: &mut NodeLink) -> Option<(Value, Option<RawFd>)> {
    let Packet { bytes, fd } = link.next_packet()?;
    let end = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    let message = serde_json::from_slice(&bytes[..end]).unwrap();
    let fd = fd.map(|fd| fd.as_raw_fd());
    link.wrote(end);
    Some((message, fd))
}

/// A link whose worker waits for connections on ports 80 and 81.
fn serving() -> NodeLink {
    let mut link = NodeLink::default();
    for (seq, port) in [(0, 80), (1, 81)] {
        hear(&mut link, &query(seq, port, 0)).unwrap();
        let address = SocketAddr::from(([0; 8], port));
        link.reply_round_robin(seq, None, Some(address)).unwrap();
        written(&mut link).unwrap();
    }
    link
}

const KEY: &str = "null:80:4:undefined:0";

#[test]
fn a_request_is_answered_once() {
    let mut link = NodeLink::default();
    let words = hear(&mut link, &query(7, 80, 0)).unwrap();
    assert!(matches!(&words[..], [Word::Query { seq: 7, again: false, .. }]));
    let words = hear(&mut link, &query(8, 80, 1)).unwrap();
    assert!(matches!(&words[..], [Word::Query { seq: 8, again: true, .. }]));

    let fd = a_file();
    let number = fd.as_raw_fd();
    link.reply_shared(7, None, fd).unwrap();
    assert_eq!(
        written(&mut link).unwrap(),
        (
            json!({"cmd": "NODE_HANDLE", "type": "net.Native", "msg": {"cmd": "NODE_CLUSTER",
                "ack": 7, "errno": 0, "key": KEY, "data": {"ticketKeys": "aa"}, "seq": 0}}),
            Some(number)
        )
    );
    link.reply_error(8, Some(&json!("first")), 98).unwrap();
    assert_eq!(
        written(&mut link).unwrap(),
        (
            json!({"cmd": "NODE_CLUSTER", "ack": 8, "errno": -98, "data": "first", "seq": 1,
                "key": "null:80:4:undefined:1"}),
            None
        )
    );
    assert!(matches!(link.reply_error(8, None, 98), Err(LinkError::NotAsked)));
    assert!(!link.takes(KEY));
    hear(&mut link, &json!({"cmd": "NODE_HANDLE_ACK"})).unwrap();

    let mut listening = query(9, 80, 0);
    listening["act"] = "listening".into();
    let words = hear(&mut link, &listening).unwrap();
    assert!(matches!(&words[..], [Word::Listening { key: Some(key), .. }] if key == KEY));
    let close = json!({"cmd": "NODE_CLUSTER", "act": "close", "key": KEY});
    assert!(matches!(&hear(&mut link, &close).unwrap()[..], [Word::Closed { .. }]));
    assert!(hear(&mut link, &close).unwrap().is_empty());
}

#[test]
fn listening_on_any_port_is_matched_to_its_request() {
    let mut link = NodeLink::default();
    hear(&mut link, &query(0, 0, 0)).unwrap();
    link.reply_round_robin(0, None, Some("127.0.0.1:4711".parse().unwrap())).unwrap();
    let mut listening = query(1, 4711, 0);
    listening["act"] = "listening".into();
    let words = hear(&mut link, &listening).unwrap();
    let [Word::Listening { key: Some(key), ask }] = &words[..] else { panic!("{words:?}") };
    assert_eq!((key.as_str(), ask.port), ("null:0:4:undefined:0", Some(4711)));
}

#[test]
fn a_connection_is_kept_until_it_is_taken() {
    let mut link = serving();
    for id in 0..5 {
        link.newconn(HandOffId(id), KEY, a_file()).unwrap();
    }
    let seqs: Vec<Value> =
        (0..4).map(|_| written(&mut link).unwrap().0["msg"]["seq"].clone()).collect();
    for _ in 0..2 {
        assert!(hear(&mut link, &json!({"cmd": "NODE_HANDLE_ACK"})).unwrap().is_empty());
    }
    let words = hear(&mut link, &json!({"cmd": "NODE_HANDLE_NACK"})).unwrap();
    assert!(matches!(&words[..], [Word::Refused { id: HandOffId(2), .. }]));
    let ack = |seq: &Value, accepted: bool| json!({"cmd": "NODE_CLUSTER", "ack": seq, "accepted": accepted});
    let words = hear(&mut link, &ack(&seqs[0], true)).unwrap();
    assert!(matches!(&words[..], [Word::Accepted { id: HandOffId(0) }]));
    assert_eq!(link.pending(), 3);
    let back: Vec<_> = link.take_back().into_iter().map(|it| (it.id.0, it.arrived)).collect();
    assert_eq!(back, [(1, true), (3, false), (4, false)]);
    assert!(link.next_packet().is_none());
    assert!(matches!(hear(&mut link, &ack(&seqs[1], true)), Err(LinkError::AnsweredUnasked)));
}

#[test]
fn unsent_connections_can_be_taken_back() {
    let mut link = serving();
    link.send(&UserMessage::new(&json!("x".repeat(40_000)))).unwrap();
    for id in 0..4 {
        link.newconn(HandOffId(id), KEY, a_file()).unwrap();
    }
    while written(&mut link).is_some() {}
    let back: Vec<_> = link.take_back_unsent().into_iter().map(|it| it.id.0).collect();
    assert_eq!(back, [1, 2, 3], "40,000 bytes may be unread, so one descriptor at a time");
    assert_eq!(link.pending(), 1);
    assert!(link.next_packet().is_none());
}

#[test]
fn a_leaving_worker_gets_nothing_more() {
    let mut link = serving();
    let leaving = json!({"cmd": "NODE_CLUSTER", "act": "exitedAfterDisconnect", "seq": 12});
    assert!(matches!(&hear(&mut link, &leaving).unwrap()[..], [Word::Leaving]));
    assert_eq!(written(&mut link).unwrap().0["ack"], 12);
    let refused = link.newconn(HandOffId(0), KEY, a_file()).unwrap_err();
    assert_eq!(refused.why, Refusal::Leaving);
    assert!(hear(&mut link, &query(5, 90, 0)).unwrap().is_empty());
}

#[test]
fn a_descriptor_from_the_worker_is_acknowledged_once() {
    let mut link = NodeLink::default();
    let said = json!({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "take this"});
    let bytes = line(&said);
    let mut words = Vec::new();
    link.take(&bytes[..9], vec![a_file()], &mut words).unwrap();
    assert!(words.is_empty() && link.next_packet().is_none());
    link.take(&bytes[9..], Vec::new(), &mut words).unwrap();
    assert!(matches!(&words[..], [Word::Handle { kind: HandleKind::NetSocket, .. }]));
    assert_eq!(written(&mut link).unwrap().0, json!({"cmd": "NODE_HANDLE_ACK"}));
    hear(&mut link, &said).unwrap();
    assert_eq!(written(&mut link).unwrap().0, json!({"cmd": "NODE_HANDLE_NACK"}));
    assert!(written(&mut link).is_none());
}

#[test]
fn each_violation_ends_the_channel_with_a_reason() {
    let cluster = |rest: Value| {
        let mut value = json!({"cmd": "NODE_CLUSTER"});
        value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        value
    };
    let why = |value: &Value, fds: usize| {
        let mut link = serving();
        link.newconn(HandOffId(0), KEY, a_file()).unwrap();
        let fds = (0..fds).map(|_| a_file()).collect();
        let error = hear_with(&mut link, value, fds).unwrap_err().to_string();
        assert!(error.starts_with("the worker"), "{error}");
        assert_eq!(link.take_back().len(), 1);
        error
    };
    assert!(why(&json!("hello"), 1).contains("where none belongs"));
    assert!(
        why(&json!({"cmd": "NODE_HANDLE", "type": "net.Native", "msg": 1}), 2).contains("none")
    );
    let smuggled = json!({"cmd": "NODE_HANDLE", "type": "net.Native", "msg": query(9, 9, 0)});
    assert!(why(&smuggled, 1).contains("where none belongs"));
    assert!(why(&cluster(json!({"ack": 99, "accepted": true})), 0).contains("never sent"));
    // It waits here, but was never sent.
    assert!(why(&cluster(json!({"ack": 2, "accepted": true})), 0).contains("never sent"));
    assert!(why(&json!({"cmd": "NODE_HANDLE_ACK"}), 0).contains("never sent"));
    assert!(why(&json!({"cmd": "NODE_HANDLE_NACK"}), 0).contains("never sent"));
    assert!(why(&query(5, 80, 0), 0).contains("asked twice"));
    assert!(why(&cluster(json!({"act": "close"})), 0).contains("`key` is missing"));

    let mut words = Vec::new();
    let error = NodeLink::default().take(b"{nonsense\n", Vec::new(), &mut words).unwrap_err();
    assert!(error.to_string().contains("not JSON"), "{error}");
    let error = NodeLink::default().take(b"\xff\n", Vec::new(), &mut words).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    let words = hear(&mut serving(), &cluster(json!({"act": "dance"}))).unwrap();
    assert!(matches!(&words[..], [Word::Ignored { what }] if what == "act `dance`"));
}

#[test]
fn a_flood_is_refused() {
    let mut words = Vec::new();
    let mut link = NodeLink::default();
    let huge = vec![b'a'; 1 << 20];
    let taken = (0..100).position(|_| link.take(&huge, Vec::new(), &mut words).is_err());
    assert_eq!(taken, Some(MAX_LINE / huge.len() - 1));

    let mut link = NodeLink::default();
    let asks = (0..1000).position(|n| hear(&mut link, &query(n, 80, n)).is_err());
    assert_eq!(asks, Some(ASKS));

    let mut link = NodeLink::default();
    let leaving = line(&json!({"cmd": "NODE_CLUSTER", "act": "exitedAfterDisconnect", "seq": 1}));
    let many = leaving.repeat(1000);
    let error = (0..1000)
        .find_map(|_| {
            words.clear();
            link.take(&many, Vec::new(), &mut words).err()
        })
        .unwrap();
    assert!(matches!(error, LinkError::NotReading { .. }));

    let mut link = serving();
    let refused = (0..5000).find_map(|id| link.newconn(HandOffId(id), KEY, a_file()).err());
    assert_eq!(refused.unwrap().why, Refusal::Full);
    let message = UserMessage::new(&json!("m".repeat(1 << 20)));
    let full = (0..100).find_map(|_| link.send(&message).err());
    assert_eq!(full, Some(Refusal::Full));
    let internal = UserMessage::new(&json!({"cmd": "NODE_CLUSTER"}));
    assert_eq!(link.send(&internal), Err(Refusal::Reserved));
}

/// The kernel, and how Node reads: a read ends after the piece that had a descriptor, or at 64 KiB;
/// the latest descriptor goes to the next `NODE_HANDLE` line.
#[derive(Default)]
struct Reader {
    pieces: VecDeque<(VecDeque<u8>, Option<RawFd>)>,
    pending: Option<RawFd>,
    line: Vec<u8>,
    got: Vec<(String, Option<RawFd>)>,
}

impl Reader {
    fn write(&mut self, bytes: &[u8], fd: Option<RawFd>) {
        self.pieces.push_back((bytes.to_vec().into(), fd));
    }

    /// One read, and the answers to it.
    fn read(&mut self) -> Vec<Value> {
        let mut chunk = Vec::new();
        while let Some((bytes, fd)) = self.pieces.front_mut() {
            let room = 65536 - chunk.len();
            let count = room.min(bytes.len());
            chunk.extend(bytes.drain(..count));
            let fd = fd.take();
            if bytes.is_empty() {
                self.pieces.pop_front();
            }
            if fd.is_some() {
                self.pending = fd;
                break;
            }
            if chunk.len() == 65536 {
                break;
            }
        }
        let mut answers = Vec::new();
        for byte in chunk {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let value: Value = serde_json::from_slice(&std::mem::take(&mut self.line)).unwrap();
            if value["cmd"] == "NODE_HANDLE" {
                let fd = self.pending.take();
                let cmd = if fd.is_some() { "NODE_HANDLE_ACK" } else { "NODE_HANDLE_NACK" };
                answers.push(json!({"cmd": cmd}));
                let msg = &value["msg"];
                answers.push(json!({"cmd": "NODE_CLUSTER", "ack": msg["seq"], "accepted": true}));
                self.got.push((msg["key"].as_str().unwrap().into(), fd));
            }
        }
        answers
    }
}

#[test]
fn a_read_that_ends_within_a_line_misleads_no_descriptor() {
    for size in 65_300..65_560 {
        let mut link = serving();
        let mut reader = Reader::default();
        link.newconn(HandOffId(0), KEY, a_file()).unwrap();
        link.send(&UserMessage::new(&json!("u".repeat(size)))).unwrap();
        link.newconn(HandOffId(1), KEY, a_file()).unwrap();
        link.newconn(HandOffId(2), KEY, a_file()).unwrap();
        while reader.got.len() < 3 {
            while let Some(Packet { bytes, fd }) = link.next_packet() {
                let count = bytes.len();
                reader.write(bytes, fd.map(|fd| fd.as_raw_fd()));
                link.wrote(count);
            }
            for answer in reader.read() {
                let words = hear(&mut link, &answer).unwrap();
                assert!(words.iter().all(|word| matches!(word, Word::Accepted { .. })), "{size}");
            }
        }
        assert!(reader.got.iter().all(|(_, fd)| fd.is_some()), "{size}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    NewConn(bool),
    Send(usize),
    Write(usize),
    Read,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::NewConn),
        1 => prop_oneof![Just(10), Just(9_000), Just(70_000)].prop_map(Step::Send),
        // Partial writes as well.
        4 => prop_oneof![Just(50usize), Just(40_000), Just(usize::MAX)].prop_map(Step::Write),
        1 => Just(Step::Read),
    ]
}

proptest! {
    /// Whatever is sent and however it is cut, each connection reaches its own server.
    #[test]
    fn no_descriptor_goes_astray(steps in prop::collection::vec(a_step(), 1..150)) {
        let mut link = serving();
        let mut reader = Reader::default();
        let mut given = Vec::new();
        let mut accepted = 0;
        let finish = [Step::Write(usize::MAX), Step::Read].into_iter().cycle().take(2_000);
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::NewConn(second) => {
                    let port = if second { 81 } else { 80 };
                    let key = format!("null:{port}:4:undefined:0");
                    let fd = a_file();
                    let number = fd.as_raw_fd();
                    let id = HandOffId(given.len() as u64);
                    match link.newconn(id, &key, fd) {
                        Ok(()) => given.push((key, Some(number))),
                        Err(refused) => prop_assert_eq!(refused.why, Refusal::Full),
                    }
                }
                Step::Send(size) => {
                    link.send(&UserMessage::new(&json!("u".repeat(size)))).unwrap();
                }
                Step::Write(most) => {
                    if let Some(Packet { bytes, fd }) = link.next_packet() {
                        let count = most.min(bytes.len());
                        reader.write(&bytes[..count], fd.map(|fd| fd.as_raw_fd()));
                        link.wrote(count);
                    }
                }
                Step::Read => {
                    for answer in reader.read() {
                        for word in hear(&mut link, &answer).unwrap() {
                            prop_assert!(matches!(word, Word::Accepted { id }
                                if id == HandOffId(accepted)), "{word:?}");
                            accepted += 1;
                        }
                    }
                }
            }
        }
        prop_assert_eq!(accepted as usize, given.len());
        prop_assert_eq!(reader.got, given);
        prop_assert_eq!(link.pending(), 0);
        prop_assert!(link.next_packet().is_none());
    }

    #[test]
    fn garbage_never_panics(
        chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), 0usize..3), 0..8),
    ) {
        let mut link = serving();
        let mut words = Vec::new();
        for (bytes, fds) in chunks {
            let _ = link.take(&bytes, (0..fds).map(|_| a_file()).collect(), &mut words);
        }
    }
}
