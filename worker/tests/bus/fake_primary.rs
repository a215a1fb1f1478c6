//! The primary's end of a channel, which a test plays.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use ipc::bus::codec::Codec;
use ipc::bus::decode::Decoder;
use ipc::bus::{FromWorker, Json, Peer, ToWorker};
use worker::Worker;

pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The primary's end.
pub(crate) struct FakePrimary {
    pub(crate) stream: UnixStream,
    pub(crate) decoder: Decoder<FromWorker>,
}

impl FakePrimary {
    pub(crate) fn receive(&mut self) -> FromWorker {
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return message;
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the worker has left");
            self.decoder.push(&bytes[..count]);
        }
    }

    pub(crate) fn send(&mut self, message: &ToWorker) {
        let mut bytes = Vec::new();
        Codec::Frames.write(message, &mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn event(&mut self, topic: &str, data: &str) {
        let (topic, data) = (topic.to_owned(), Json::parse(data).unwrap());
        self.send(&ToWorker::Event { topic, data, from: peer(9) });
    }
}

pub(crate) fn peer(worker: u64) -> Peer {
    Peer { worker, slot: 1, pool: "web".into() }
}

pub(crate) fn joined() -> (Worker, FakePrimary) {
    joined_with(None)
}

/// The primary sends these shared values before its welcome.
pub(crate) fn joined_with(values: Option<u64>) -> (Worker, FakePrimary) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(LONG)).unwrap();
    let join = thread::spawn(|| Worker::over(theirs, "web").unwrap());
    let mut primary = FakePrimary { stream: ours, decoder: Decoder::default() };
    let FromWorker::Hello { oldest: 1, newest: 1, client, pool } = primary.receive() else {
        panic!()
    };
    assert!(client.starts_with("rust ") && pool == "web");
    if let Some(values) = values {
        primary.send(&ToWorker::Config { version: 1, data: Json::of(&values).unwrap() });
    }
    primary.send(&ToWorker::Welcome { version: 1, you: peer(7), app: "shop".into() });
    (join.join().unwrap(), primary)
}
