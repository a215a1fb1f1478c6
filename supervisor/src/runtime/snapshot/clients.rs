//! The clients of the control socket in the snapshot: a client that waits for an answer gets it
//! from the successor.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use ipc::control::FailureKind;
use serde::{Deserialize, Serialize};

use crate::base::ids::ClientId;
use crate::runtime::control::rights::{Access, Rights};
use crate::runtime::control::{Client, Clients};
use crate::sys::channel;
use crate::sys::file_id::FileId;
use crate::sys::held::{Claims, Held};

/// See [`Clients::snapshot`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClientsSnapshot {
    listener: Held,
    next: u64,
    connected: Vec<ClientSnapshot>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClientSnapshot {
    id: ClientId,
    stream: Held,
    rights: Rights,
    subscribed: bool,
    follows: bool,
    asked: bool,
}

impl ClientsSnapshot {
    /// The clients whose connections are still open. Fails if the listening socket, at `path`,
    /// cannot be restored.
    pub(crate) fn restore(self, claims: &mut Claims, path: PathBuf) -> io::Result<Clients> {
        let listener = claims.claim(self.listener)?.into();
        let restored = |snapshot: ClientSnapshot| {
            let ClientSnapshot { id, stream, rights, subscribed, follows, asked } = snapshot;
            let stream = UnixStream::from(claims.claim(stream).ok()?);
            let client = Client::new(stream, &Access::default());
            Some((id, Client { rights, subscribed, follows, asked, ..client }))
        };
        let connected = self.connected.into_iter().filter_map(restored).collect();
        Ok(Clients {
            listener,
            file: FileId::at(&path),
            path,
            // See `keep_access`.
            access: Access::default(),
            spare: None,
            resting: false,
            connected,
            next: self.next,
            recorded: self.next,
        })
    }
}

impl Clients {
    /// What a successor goes on with.
    pub(crate) fn snapshot(&self) -> ClientsSnapshot {
        let alive = self.connected.iter().filter(|(_, client)| !client.answered);
        let snapshot = |(id, client): (&ClientId, &Client)| ClientSnapshot {
            id: *id,
            stream: Held::of(client.stream.as_fd()),
            rights: client.rights,
            subscribed: client.subscribed,
            follows: client.follows,
            asked: client.asked,
        };
        ClientsSnapshot {
            listener: Held::of(self.listener()),
            next: self.next,
            connected: alive.map(snapshot).collect(),
        }
    }

    /// All connected clients.
    pub(crate) fn ids(&self) -> BTreeSet<ClientId> {
        self.connected.keys().copied().collect()
    }

    /// Ends the connections of clients that asked a predecessor and get no answer, because the core
    /// does not know their request. A client that follows the events stays, since it asked for
    /// nothing else.
    ///
    /// Whether a client has asked is certain if the predecessor ended by itself. If it died, it may
    /// have read a request that it neither wrote down nor carried out: that client is told to ask
    /// again.
    pub(crate) fn keep(&mut self, awaited: &BTreeSet<ClientId>, died: bool) {
        self.connected.retain(|id, client| {
            if awaited.contains(id) || client.follows {
                return true;
            }
            if client.asked {
                return false;
            }
            let is_unheard = !died || channel::readable(client.stream.as_fd());
            if !is_unheard {
                client.refuse(FailureKind::Busy, "its primary has just been replaced: ask again");
                client.flush();
            }
            is_unheard
        });
    }
}
