//! The bytes of version 1, and tests that no input does harm.

use proptest::prelude::*;

use super::codec::{Codec, DecodeError};
use super::decode::Decoder;
use super::frame::{HEADER, Known, MAGIC};
use super::*;

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn peer() -> Peer {
    Peer { worker: 300, slot: 2, pool: "web".into() }
}

/// One message of each kind, in the order of their tags.
fn said() -> Vec<FromWorker> {
    let (topic, data) = ("orders".to_owned(), json(r#"{"id":1}"#));
    vec![
        FromWorker::Hello { oldest: 1, newest: 1, client: "rust".into(), pool: String::new() },
        FromWorker::Ready {},
        FromWorker::Draining {},
        FromWorker::Emit { topic: topic.clone(), data: data.clone() },
        FromWorker::Subscribe { topic: topic.clone(), when_full: WhenFull::Wait },
        FromWorker::Unsubscribe { topic: topic.clone() },
        FromWorker::Send { slot: 1, topic: topic.clone(), data: data.clone() },
        FromWorker::Call {
            id: 7,
            pool: "hash".into(),
            topic: topic.clone(),
            data: data.clone(),
            timeout_ms: 70_000,
            retry: true,
        },
        FromWorker::Answer { id: 7, data },
        FromWorker::Fail { id: 7, message: "no".into() },
        FromWorker::Serve { topic: topic.clone(), at_once: 4 },
        FromWorker::Unserve { topic },
        FromWorker::Metric {
            name: "latency".into(),
            kind: MetricKind::Histogram,
            value: 0.5,
            unit: "seconds".into(),
            labels: vec![("route".into(), "/".into())],
        },
        FromWorker::Applied { version: 3, error: Some("no".into()) },
        FromWorker::Action { name: "gc".into() },
        FromWorker::Ping { id: 1 },
        FromWorker::Pong { id: 1 },
        FromWorker::Give { id: 8, slot: 1, topic: "files".into(), data: json("1") },
    ]
}

fn heard() -> Vec<ToWorker> {
    let (topic, data) = ("orders".to_owned(), json(r#"{"id":1}"#));
    vec![
        ToWorker::Welcome { version: 1, you: peer(), app: "shop".into() },
        ToWorker::Refused { reason: "no".into() },
        ToWorker::Event { topic: topic.clone(), data: data.clone(), from: peer() },
        ToWorker::Call { id: 9, topic, data: data.clone(), from: peer(), timeout_ms: 30_000 },
        ToWorker::Answer { id: 7, data: data.clone() },
        ToWorker::Error { id: 7, kind: ErrorKind::TimedOut, message: "late".into() },
        ToWorker::Config { version: 3, data: data.clone() },
        ToWorker::Drain {},
        ToWorker::Trigger { id: 9, action: "gc".into(), data },
        ToWorker::Dropped { count: 5 },
        ToWorker::Ping { id: 1 },
        ToWorker::Pong { id: 1 },
        ToWorker::Given { topic: "files".into(), data: json("1"), from: peer() },
        ToWorker::Resumed {},
    ]
}

fn all<T>(codec: Codec, messages: &[T]) -> Vec<u8>
where
    T: Encode + Serialize,
{
    let mut bytes = Vec::new();
    for message in messages {
        codec.write(message, &mut bytes).unwrap();
    }
    bytes
}

fn decoded<T>(bytes: &[u8], cuts: &[usize]) -> Result<Vec<T>, DecodeError>
where
    T: Message,
{
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        decoder.push(now);
        rest = later;
        while let Some(message) = decoder.next_message()? {
            seen.push(message);
        }
    }
    Ok(seen)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Frames of version 1, as the first build wrote them. They never change: new messages come last,
/// and a new version gets its own list.
const SAID_1: &str = include_str!("golden/said.1.txt");
const HEARD_1: &str = include_str!("golden/heard.1.txt");

fn lines_of<T: Encode + Serialize>(messages: &[T]) -> String {
    let line = |message: &T| {
        let frame = all(Codec::Frames, std::slice::from_ref(message));
        let text = String::from_utf8(all(Codec::Lines, std::slice::from_ref(message))).unwrap();
        format!("{} {text}", hex(&frame))
    };
    messages.iter().map(line).collect()
}

#[test]
fn the_bytes_of_version_1_stay() {
    assert_eq!(lines_of(&said()), SAID_1);
    assert_eq!(lines_of(&heard()), HEARD_1);
}

#[test]
fn events_from_their_parts_have_the_same_bytes() {
    for (topic, data) in [("orders", r#"{"id":1}"#), ("ä \"q\" \\", "\"ü\""), ("x", "null")] {
        let emit = FromWorker::Emit { topic: topic.into(), data: json(data) };
        let mut frame = Vec::new();
        event::emit(topic, data, &mut frame).unwrap();
        assert_eq!(frame, all(Codec::Frames, std::slice::from_ref(&emit)));
        let heard = ToWorker::Event { topic: topic.into(), data: json(data), from: peer() };
        for codec in [Codec::Frames, Codec::Lines] {
            let mut bytes = Vec::new();
            event::event(codec, topic, data, &event::Origin::of(&peer()), &mut bytes).unwrap();
            assert_eq!(bytes, all(codec, std::slice::from_ref(&heard)));
        }
    }
    let long = format!("[{}]", " ".repeat(MAX_FRAME));
    let origin = event::Origin::of(&peer());
    for codec in [Codec::Frames, Codec::Lines] {
        let mut bytes = vec![1];
        let written = event::event(codec, "x", &long, &origin, &mut bytes);
        assert_eq!((written, bytes), (Err(DecodeError::TooLong), vec![1]));
    }
}

/// Decodes with the decoder that does not copy events, and returns messages.
fn found<T: Message>(
    bytes: &[u8],
    piece: usize,
    whole: impl Fn(event::Event<'_>) -> Result<T, DecodeError>,
) -> (Vec<T>, Option<DecodeError>) {
    let mut decoder = Decoder::<T>::default();
    let mut seen = Vec::new();
    for part in bytes.chunks(piece) {
        decoder.push(part);
        loop {
            match decoder.next_found() {
                Ok(Some(event::Found::Event(event))) => match whole(event) {
                    Ok(message) => seen.push(message),
                    Err(error) => return (seen, Some(error)),
                },
                Ok(Some(event::Found::Other(message))) => seen.push(message),
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

fn emitted(event: event::Event<'_>) -> Result<FromWorker, DecodeError> {
    Ok(FromWorker::Emit { topic: event.topic.into(), data: event.json() })
}

fn told(event: event::Event<'_>) -> Result<ToWorker, DecodeError> {
    let (topic, data, from) = (event.topic.into(), event.json(), event.peer()?);
    Ok(ToWorker::Event { topic, data, from })
}

#[test]
fn events_are_found_where_they_lie() {
    for codec in [Codec::Frames, Codec::Lines] {
        for piece in [1, 7, 4096] {
            assert_eq!(found(&all(codec, &said()), piece, emitted), (said(), None));
            assert_eq!(found(&all(codec, &heard()), piece, told), (heard(), None));
        }
    }
    // The decoder checks a frame's data as if it had copied it.
    for data in ["{", "[1]\n", " 1", ""] {
        let mut frame = Vec::new();
        event::emit("x", data, &mut frame).unwrap();
        let refused = Some(DecodeError::Unfit(check::Unfit::NotJson));
        assert_eq!(found(&frame, 4096, emitted), (vec![], refused), "{data:?}");
    }
    for topic in ["", "a\nb", &"x".repeat(MAX_NAME + 1), "\u{85}"] {
        let mut frame = Vec::new();
        event::emit(topic, "1", &mut frame).unwrap();
        let refused = Some(DecodeError::Unfit(check::Unfit::Name { what: "topic" }));
        assert_eq!(found(&frame, 4096, emitted), (vec![], refused), "{topic:?}");
    }
    let mut frame = all(Codec::Frames, &said()[3..4]);
    frame.push(1);
    frame[4] += 1;
    assert_eq!(found(&frame, 4096, emitted), (vec![], Some(DecodeError::Trailing)));
    let mut frame = all(Codec::Frames, &heard()[2..3]);
    frame.push(1);
    frame[4] += 1;
    assert_eq!(found(&frame, 4096, told), (vec![], Some(DecodeError::Trailing)));
}

#[test]
fn the_golden_lists_name_every_message() {
    assert_eq!(said().len(), usize::from(FromWorker::COUNT));
    assert_eq!(heard().len(), usize::from(ToWorker::COUNT));
    assert!(matches!(said()[usize::from(FromWorker::EVENT)], FromWorker::Emit { .. }));
    assert!(matches!(heard()[usize::from(ToWorker::EVENT)], ToWorker::Event { .. }));
    for (number, message) in said().iter().enumerate() {
        let frame = all(Codec::Frames, std::slice::from_ref(message));
        assert_eq!(usize::from(frame[HEADER]), number, "{message:?}");
    }
}

#[test]
fn the_bytes_can_be_read_without_bincode() {
    let config = wincode::config::Configuration::default().with_varint_encoding();
    for message in said() {
        let frame = all(Codec::Frames, std::slice::from_ref(&message));
        let read: FromWorker = wincode::config::deserialize(&frame[HEADER..], config).unwrap();
        assert_eq!(read, message);
        assert_eq!(wincode::config::serialize(&message, config).unwrap(), &frame[HEADER..]);
    }
    for message in heard() {
        let frame = all(Codec::Frames, std::slice::from_ref(&message));
        let read: ToWorker = wincode::config::deserialize(&frame[HEADER..], config).unwrap();
        assert_eq!(read, message);
    }
}

#[test]
fn what_a_person_would_write_is_understood() {
    let read = |text: &str| decoded::<FromWorker>(text.as_bytes(), &[]);
    assert_eq!(
        read("{\"hello\":{}}\n\"ready\"\n{\"emit\":{\"topic\":\"a\"}}\n").unwrap(),
        [
            FromWorker::Hello { oldest: 1, newest: 1, client: String::new(), pool: String::new() },
            FromWorker::Ready {},
            FromWorker::Emit { topic: "a".into(), data: Json::default() },
        ]
    );
    assert_eq!(
        read("{\"later\":{\"x\":1}}\n\n\"newer\"\n{\"ready\":{\"why\":1}}\n").unwrap(),
        [FromWorker::Ready {}]
    );
    for wrong in ["{\"emit\":{}}\n", "{\"emit\":{\"topic\":\"\"}}\n", "17\n", "{}\n", "x\n"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn unknown_frames_are_skipped() {
    let mut bytes = vec![MAGIC, 1, 0, 0, 3, 0, 0, 0, FromWorker::COUNT, 1, 2];
    bytes.extend(all(Codec::Frames, &[FromWorker::Ready {}]));
    assert_eq!(decoded::<FromWorker>(&bytes, &[]).unwrap(), [FromWorker::Ready {}]);
}

#[test]
fn versions() {
    assert_eq!(agree(1, 1), Ok(1));
    assert_eq!(agree(1, 9), Ok(1));
    assert!(agree(2, 9).unwrap_err().contains("versions 2 to 9"));
    assert!(agree(9, 1).is_err());
}

/// A frame with this body and the length that it claims.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&[MAGIC, 1, 0, 0], length.to_le_bytes().as_slice(), body].concat()
}

#[test]
fn claims_are_not_believed() {
    // Emit with a topic of 2^40 bytes; Metric with 2^40 labels; a header that claims 4 GiB.
    let many = [&[253][..], &(1u64 << 40).to_le_bytes()].concat();
    let metric = [&[12, 1, b'm', 0][..], &[0; 8], &[0], &many].concat();
    for body in [[&[3][..], &many].concat(), metric] {
        assert!(matches!(
            decoded::<FromWorker>(&framed(&body), &[]),
            Err(DecodeError::Malformed(_))
        ));
    }
    let header = [MAGIC, 1, 0, 0, 255, 255, 255, 255];
    assert_eq!(decoded::<FromWorker>(&header, &[]), Err(DecodeError::TooLong));
    let mut trailing = all(Codec::Frames, &[FromWorker::Ready {}]);
    trailing.push(0);
    trailing[4] += 1;
    assert_eq!(decoded::<FromWorker>(&trailing, &[]), Err(DecodeError::Trailing));
}

#[test]
fn half_a_frame_is_kept_and_no_more() {
    let whole = FromWorker::Emit { topic: "t".into(), data: json(&"1".repeat(MAX_DATA)) };
    for codec in [Codec::Frames, Codec::Lines] {
        let bytes = all(codec, std::slice::from_ref(&whole));
        let mut decoder = Decoder::<FromWorker>::default();
        decoder.push(&bytes[..bytes.len() / 2]);
        assert_eq!(decoder.next_message(), Ok(None));
        assert_eq!(decoder.held(), bytes.len() / 2);
        decoder.push(&bytes[bytes.len() / 2..]);
        assert_eq!(decoder.next_message().unwrap().as_ref(), Some(&whole));
        assert_eq!(decoder.held(), 0);
    }
    let mut decoder = Decoder::<FromWorker>::default();
    decoder.push(&vec![b' '; MAX_FRAME]);
    assert_eq!(decoder.next_message(), Err(DecodeError::TooLong));
}

#[test]
fn data_in_a_frame_must_be_json() {
    for text in ["{", "1\n2", "\n1", ""] {
        let body = [&[3, 1, b't', u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
        assert!(matches!(decoded::<FromWorker>(&framed(&body), &[]), Err(DecodeError::Unfit(_))));
    }
}

/// Decodes a stream whose first bytes another reader has consumed.
fn resumed(codec: Codec, bytes: &[u8], step: usize) -> Result<Vec<FromWorker>, DecodeError> {
    let mut decoder = Decoder::resuming(codec);
    let mut seen = Vec::new();
    for part in bytes.chunks(step) {
        decoder.push(part);
        while let Some(message) = decoder.next_message()? {
            seen.push(message);
        }
    }
    Ok(seen)
}

#[test]
fn only_the_first_broken_message_is_forgiven() {
    for (codec, junk) in [(Codec::Lines, &b"x\"}}\n"[..]), (Codec::Frames, &[0xB5, 1, 7, 0, 0xB5])]
    {
        let whole = all(codec, &[FromWorker::Ready {}]);
        let once = [junk, &whole].concat();
        assert_eq!(resumed(codec, &once, 3), Ok(vec![FromWorker::Ready {}]));
        assert!(resumed(codec, &[&whole, junk, &whole].concat(), 3).is_err());
        assert!(decoded::<FromWorker>(&once, &[]).is_err());
    }
}

proptest! {
    #[test]
    fn wherever_a_reader_ended_the_next_finds_the_next_message(
        picks in prop::collection::vec(0usize..20, 1..8),
        at in any::<prop::sample::Index>(),
        step in 1usize..50,
        lines in any::<bool>(),
    ) {
        let codec = if lines { Codec::Lines } else { Codec::Frames };
        let mut pool = said();
        // Data that looks like the beginning of a message.
        for text in ["{\"ready\":{}}", "\u{b5}\u{1}\0\0\u{1}\0\0\0\u{1}"] {
            let data = Json::of(text).unwrap();
            pool.push(FromWorker::Emit { topic: "\u{b5}\u{b5}".into(), data });
        }
        let mut bytes = Vec::new();
        let starts = picks.iter().map(|pick| {
            let (start, message) = (bytes.len(), pool[*pick].clone());
            codec.write(&message, &mut bytes).unwrap();
            (start, message)
        });
        let starts: Vec<_> = starts.collect();
        let cut = at.index(bytes.len() + 1);
        let whole = starts.into_iter().filter(|(start, _)| *start >= cut);
        let whole: Vec<_> = whole.map(|(_, message)| message).collect();
        prop_assert_eq!(resumed(codec, &bytes[cut..], step).unwrap(), whole);
    }

    #[test]
    fn any_split_gives_the_same(
        picks in prop::collection::vec(0usize..17, 0..12),
        cuts in prop::collection::vec(1usize..60, 0..64),
        lines in any::<bool>(),
    ) {
        let codec = if lines { Codec::Lines } else { Codec::Frames };
        let (from, to) = (said(), heard());
        let from: Vec<_> = picks.iter().map(|at| from[*at].clone()).collect();
        prop_assert_eq!(&decoded::<FromWorker>(&all(codec, &from), &cuts).unwrap(), &from);
        let to: Vec<_> = picks.iter().map(|at| to[*at % to.len()].clone()).collect();
        prop_assert_eq!(&decoded::<ToWorker>(&all(codec, &to), &cuts).unwrap(), &to);
    }

    #[test]
    fn any_text_comes_through(
        topic in "[^\\p{Cc}]{1,40}",
        value in ".{0,200}",
        number in any::<u64>(),
    ) {
        for codec in [Codec::Frames, Codec::Lines] {
            let data = Json::of(&(&value, number)).unwrap();
            let message = FromWorker::Emit { topic: topic.clone(), data };
            let seen = decoded::<FromWorker>(&all(codec, std::slice::from_ref(&message)), &[3]);
            prop_assert_eq!(seen.unwrap(), [message]);
        }
    }

    #[test]
    fn garbage_never_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        frame in any::<bool>(),
        pick in 0usize..17,
        at in 0usize..64,
    ) {
        if frame {
            bytes = framed(&bytes);
        }
        let _ = decoded::<FromWorker>(&bytes, &[5]);
        let _ = decoded::<ToWorker>(&bytes, &[5]);
        // A valid message with one byte changed.
        for codec in [Codec::Frames, Codec::Lines] {
            let mut message = all(codec, &said()[pick..=pick]);
            let at = at % message.len();
            message[at] = message[at].wrapping_add(1 + bytes.first().copied().unwrap_or(0) % 255);
            let _ = decoded::<FromWorker>(&message, &[5]);
        }
    }
}
