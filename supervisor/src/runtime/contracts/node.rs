//! The Node contract: a program run as `node FILE` is a worker of Node's `cluster`, and speaks its
//! protocol on NODE_CHANNEL_FD (see `runtime/node`). A preload in front of it measures and drains.

use std::os::fd::BorrowedFd;

use ipc::control::Contract;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::interface::{Endpoint, Offer, Refusal, WorkerContract};
use crate::base::ids::{ListenerId, SocketId};
use crate::protocol::node::LinkSnapshot;
use crate::runtime::node::channel::NodeChannel;
use crate::runtime::node::{is_node_program, preload};
use crate::sys::held::{Claims, Held};

/// See the module.
#[derive(Debug)]
pub(super) struct Node;

const FIELD: &str = "node";

/// A channel as a successor finds it.
#[derive(Debug, Serialize, Deserialize)]
struct ChannelSnapshot {
    stream: Held,
    link: LinkSnapshot,
    servers: Vec<(String, ListenerId, SocketId)>,
}

impl WorkerContract for Node {
    fn name(&self) -> Contract {
        Contract::Node
    }

    fn variables(&self) -> &'static [&'static str] {
        &["NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE", "NODE_UNIQUE_ID"]
    }

    fn offer(&self, offer: &mut Offer<'_>) -> Result<(), Refusal> {
        if !offer.spec.node || !is_node_program(&offer.spec.command) {
            return Ok(());
        }
        if let Some(path) = preload::prepare(offer.spec, offer.home, offer.notes) {
            preload::put(&mut offer.argv, &path);
            offer.parts.ends_kept = offer.spec.node_drain;
        }
        let (channel, end) =
            NodeChannel::pair().map_err(|error| Refusal::temporary("make its channel", &error))?;
        let number = offer.parts.give(end);
        offer.parts.endpoints.put(channel);
        // What makes a Node process a worker of a cluster
        // (lib/internal/process/pre_execution.js).
        offer.parts.fixed_variables.extend([
            ("NODE_CHANNEL_FD", number.to_string()),
            ("NODE_CHANNEL_SERIALIZATION_MODE", "json".to_owned()),
            ("NODE_UNIQUE_ID", offer.worker.to_string()),
        ]);
        Ok(())
    }

    fn state_field(&self) -> Option<&'static str> {
        Some(FIELD)
    }

    fn restore(&self, state: Value, claims: &mut Claims) -> Option<Box<dyn Endpoint>> {
        let snapshot: ChannelSnapshot = serde_json::from_value(state).ok()?;
        let stream = claims.claim(snapshot.stream).ok()?;
        let servers = snapshot.servers.into_iter().map(|(key, of, socket)| (key, (of, socket)));
        let link = snapshot.link.restore(claims);
        Some(Box::new(NodeChannel::from_parts(stream, link, servers.collect())))
    }
}

impl Endpoint for NodeChannel {
    fn contract(&self) -> Contract {
        Contract::Node
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }

    fn state(&self) -> serde_json::Result<(&'static str, Value)> {
        let servers = self.servers.iter();
        let snapshot = ChannelSnapshot {
            stream: Held::of(self.fd()),
            link: self.link.snapshot(),
            servers: servers.map(|(key, (of, socket))| (key.clone(), *of, *socket)).collect(),
        };
        Ok((FIELD, serde_json::to_value(snapshot)?))
    }
}
