//! A link as its successor finds it. The snapshot does not contain what was on its way. So the next
//! owner of the channel may receive answers to messages that it never sent, and the rest of a line
//! whose beginning its predecessor read. It ignores both.

use ipc::node::ServerAsk;
use serde::{Deserialize, Serialize};

use super::out::LineSnapshot;
use crate::protocol::node::{NodeLink, Out, Server};
use crate::snapshot::NUMBERS_LEFT_OUT;
use crate::sys::held::Claims;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinkSnapshot {
    seq: u64,
    asks: Vec<(u64, ServerAsk)>,
    servers: Vec<(String, ServerSnapshot)>,
    leaving: bool,
    unsent: Vec<LineSnapshot>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ServerSnapshot {
    listener: String,
    round_robin: bool,
}

impl NodeLink {
    pub(crate) fn snapshot(&self) -> LinkSnapshot {
        let server = |(key, server): (&String, &Server)| {
            let Server { listener, round_robin } = server;
            (key.clone(), ServerSnapshot { listener: listener.clone(), round_robin: *round_robin })
        };
        LinkSnapshot {
            seq: self.seq,
            asks: self.asks.iter().map(|(seq, ask)| (*seq, ServerAsk::clone(ask))).collect(),
            servers: self.servers.iter().map(server).collect(),
            leaving: self.leaving,
            unsent: self.out.snapshot(),
        }
    }

    /// The worker has read everything that the predecessor wrote: connections may follow.
    pub(crate) fn settle(&mut self) {
        self.out.settle();
    }

    /// Whether the link still waits for that.
    pub(crate) fn is_settling(&self) -> bool {
        self.out.is_settling()
    }
}

impl LinkSnapshot {
    pub(crate) fn restore(self, claims: &mut Claims) -> NodeLink {
        let server = |(key, snapshot): (String, ServerSnapshot)| {
            let ServerSnapshot { listener, round_robin } = snapshot;
            (key, Server { listener, round_robin })
        };
        NodeLink {
            seq: self.seq.saturating_add(NUMBERS_LEFT_OUT),
            asks: self.asks.into_iter().map(|(seq, ask)| (seq, Box::new(ask))).collect(),
            servers: self.servers.into_iter().map(server).collect(),
            leaving: self.leaving,
            out: Out::restore(self.unsent, claims),
            inherited: true,
            ..NodeLink::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    use crate::protocol::node::Word;
    use crate::protocol::node::messages::HandOffId;

    const ASK: &str = concat!(
        r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"#,
        r#""port":8000,"addressType":4,"backlog":false,"seq":1}"#,
        "\n"
    );

    fn over(link: &NodeLink) -> NodeLink {
        let text = serde_json::to_string(&link.snapshot()).unwrap();
        let mut claims = Claims::new([std::io::stdin().as_fd()]);
        serde_json::from_str::<LinkSnapshot>(&text).unwrap().restore(&mut claims)
    }

    #[test]
    fn a_successor_answers_the_request() {
        let mut link = NodeLink::default();
        link.take(ASK.as_bytes(), Vec::new(), &mut Vec::new()).unwrap();
        let mut link = over(&link);
        link.reply_round_robin(1, None, None).unwrap();
        let text = String::from_utf8(link.next_packet().unwrap().bytes.to_vec()).unwrap();
        assert!(text.contains(r#""ack":1"#), "{text}");
    }

    #[test]
    fn answers_to_unknown_messages_are_ignored() {
        let mut link = over(&NodeLink::default());
        let mut words = Vec::new();
        let rest = concat!(
            r#"epted":true,"seq":3}"#,
            "\n",
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            "\n",
            r#"{"cmd":"NODE_CLUSTER","ack":3,"accepted":true,"seq":9}"#,
            "\n"
        );
        link.take(rest.as_bytes(), Vec::new(), &mut words).unwrap();
        assert!(words.is_empty(), "{words:?}");
        assert!(link.take(b"{]\n", Vec::new(), &mut words).is_err(), "only the first line");
    }

    #[test]
    fn no_connection_goes_out_before_it_is_settled() {
        let mut link = NodeLink::default();
        link.take(ASK.as_bytes(), Vec::new(), &mut Vec::new()).unwrap();
        let mut words = Vec::new();
        link.take(b"", Vec::new(), &mut words).unwrap();
        link.reply_round_robin(1, None, None).unwrap();
        let mut link = over(&link);
        while let Some(count) = link.next_packet().map(|packet| packet.bytes.len()) {
            link.wrote(count);
        }
        let key = link.servers.keys().next().unwrap().clone();
        assert!(!link.takes(&key) && link.is_settling());
        link.settle();
        assert!(link.takes(&key));
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        link.newconn(HandOffId(1), &key, fd).unwrap();
        assert!(link.next_packet().unwrap().fd.is_some());
        let ack = format!(
            "{{\"cmd\":\"NODE_HANDLE_ACK\"}}\n{{\"cmd\":\"NODE_CLUSTER\",\"ack\":{},\"accepted\":true,\"seq\":9}}\n",
            link.seq - 1
        );
        let count = link.next_packet().unwrap().bytes.len();
        link.wrote(count);
        link.take(ack.as_bytes(), Vec::new(), &mut words).unwrap();
        assert!(matches!(words[..], [Word::Accepted { .. }]), "{words:?}");
    }
}
