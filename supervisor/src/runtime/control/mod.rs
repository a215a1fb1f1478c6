//! The control socket: its connections, their requests, and the bytes that wait to be written to
//! them. Each connection has the rights of its peer's user, and bounds on what it may send and
//! leave unread.

pub(super) mod admission;
pub(super) mod metrics;
pub(super) mod placement;
pub(super) mod rights;
pub(super) mod status;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use ipc::control::{FailureKind, Notice, Reply, Request};
use ipc::lines::{LineReader, to_line};

use self::rights::{Access, Rights};
use super::context::Context;
use super::source::Source;
use crate::base::ids::ClientId;
use crate::base::time::Time;
use crate::limits::{CLIENT_OUT, CLIENT_READ, CLIENTS};
use crate::policy::admission::{Guest, Stage, deadline, has_room};
use crate::primary::event::Event;
use crate::sys::file_id::FileId;
use crate::sys::{clock, peer};

/// A descriptor for bad times.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Ends a connection with a final answer. The buffer of a new connection has room for a line.
fn refuse(mut stream: UnixStream, kind: FailureKind, reason: &str) {
    let reply = Reply::failed(kind, reason);
    let _ = stream.write_all(&to_line(&reply).unwrap_or_default());
}

/// The control socket and everybody connected to it.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// The socket's file, by which it is known whether the path still leads to it.
    pub(super) file: Option<FileId>,
    pub(super) access: Access,
    /// A descriptor for bad times.
    pub(super) spare: Option<File>,
    /// The poller does not watch the listener.
    pub(super) resting: bool,
    pub(super) connected: BTreeMap<ClientId, Client>,
    pub(super) next: u64,
    /// The last one that the written state can name.
    pub(super) recorded: u64,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) rights: Rights,
    pub(super) guest: Guest,
    /// Since when it is in its present [`Stage`].
    pub(super) since: Time,
    pub(super) reader: LineReader,
    pub(super) out: Vec<u8>,
    pub(super) subscribed: bool,
    /// It also gets the messages of the bus.
    pub(super) follows: bool,
    /// One request a connection; a second one is not read.
    pub(super) asked: bool,
    /// Ends when everything is written.
    pub(super) answered: bool,
    /// The poller waits for it to take more bytes.
    pub(super) waits_for_room: bool,
}

/// What became of a connection after something was done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It goes on; the poller need not change.
    Open,
    /// It goes on; the poller shall (or shall no longer) watch for room.
    Room(bool),
    /// It is to be dropped.
    Over,
}

impl Clients {
    /// Listens on `path`, at first for this user alone. The caller holds the app's lock, so a
    /// socket file that is there already is a leftover.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        let access = Access::default();
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        access.admit(path)?;
        listener.set_nonblocking(true)?;
        let (path, file) = (path.to_owned(), FileId::at(path));
        let connected = BTreeMap::new();
        let (spare, resting, next, recorded) = (spare(), false, 0, 0);
        Ok(Self { listener, path, file, access, spare, resting, connected, next, recorded })
    }

    /// The listening socket, for the poller.
    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// A connection's socket, for the poller.
    pub(crate) fn stream(&self, id: ClientId) -> Option<BorrowedFd<'_>> {
        self.connected.get(&id).map(|client| client.stream.as_fd())
    }

    /// Takes one waiting connection, if there is one and room for it.
    pub(crate) fn accept(&mut self) -> io::Result<Option<ClientId>> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                return self.turn_away(error).map(|()| None);
            }
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        let client = Client::new(stream, &self.access);
        if client.rights == Rights::None {
            refuse(client.stream, FailureKind::NotPermitted, &self.access.refusal());
            return Ok(None);
        }
        if !has_room(self.connected.values().map(|client| client.guest), client.guest) {
            refuse(client.stream, FailureKind::Busy, "too many clients are connected to it");
            return Ok(None);
        }
        self.next += 1;
        let id = ClientId(self.next);
        self.connected.insert(id, client);
        Ok(Some(id))
    }

    /// Takes a waiting connection, and has the poller watch it. An error: none can be taken now.
    pub(super) fn take_connection(&mut self, at: &mut Context<'_>) -> io::Result<()> {
        let Some(client) = self.accept()? else { return Ok(()) };
        self.watch(at, client);
        Ok(())
    }

    /// Has the poller watch a connection.
    pub(super) fn watch(&mut self, at: &mut Context<'_>, client: ClientId) {
        let Some(stream) = self.stream(client) else { return };
        if let Err(error) = at.poller.add(stream, Source::Client(client).token()) {
            self.drop_client(client);
            at.warn(format!("cannot serve a control connection: {error}"));
        }
    }

    /// What follows from a connection's standing.
    pub(super) fn settle(&mut self, at: &mut Context<'_>, client: ClientId, standing: Standing) {
        match standing {
            Standing::Open => {}
            Standing::Room(watch) => {
                if let Some(stream) = self.stream(client) {
                    let changed = at.poller.modify(stream, Source::Client(client).token(), watch);
                    if let Err(error) = changed {
                        at.warn(format!("cannot watch a control connection: {error}"));
                    }
                }
            }
            Standing::Over => {
                if let Some(stream) = self.stream(client) {
                    // Before the close: a forked child may still hold a copy (epoll(7)).
                    at.poller.remove(stream);
                    self.drop_client(client);
                    at.inbox.push_back(Event::ClientGone { client });
                }
            }
        }
    }

    /// The final answer for a client of which the core knows nothing.
    pub(super) fn show(&mut self, at: &mut Context<'_>, client: ClientId, reply: &Reply) {
        match self.answer(client, reply) {
            Standing::Over => {
                if let Some(stream) = self.stream(client) {
                    at.poller.remove(stream);
                }
                self.drop_client(client);
                // Otherwise no state has ever named it.
                *at.stale |= client.0 <= self.recorded;
            }
            standing => self.settle(at, client, standing),
        }
    }

    /// The request, if the client may make it. Answers the client otherwise.
    pub(super) fn permitted(
        &mut self,
        at: &mut Context<'_>,
        client: ClientId,
        request: Option<Request>,
    ) -> Option<Request> {
        let request = request?;
        let Some(reason) = self.rights(client).refuse_change(&request, at.spec) else {
            return Some(request);
        };
        self.give(at, client, &Reply::failed(FailureKind::NotPermitted, reason));
        None
    }

    /// When [`Clients::end_idle`] is to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.connected.values().filter_map(Client::deadline).min()
    }

    /// Closes connections that have sent no request, or not read their answer, for too long.
    pub(super) fn end_idle(&mut self, at: &mut Context<'_>, now: Time) {
        let is_late = |client: &Client| client.deadline().is_some_and(|due| due <= now);
        let late = self.connected.iter().filter(|(_, client)| is_late(client));
        let late: Vec<(ClientId, Stage)> = late.map(|(id, c)| (*id, c.stage())).collect();
        for (id, stage) in late {
            let standing = match stage {
                Stage::Asking => {
                    self.answer(id, &Reply::failed(FailureKind::TimedOut, "no request came"))
                }
                Stage::Reading | Stage::Waiting => Standing::Over,
            };
            self.settle(at, id, standing);
        }
    }

    /// What a connection may.
    pub(super) fn rights(&self, id: ClientId) -> Rights {
        self.connected.get(&id).map_or(Rights::None, |client| client.rights)
    }

    /// Reads what came; gives the request once it is whole.
    pub(crate) fn read(&mut self, id: ClientId) -> (Option<Request>, Standing) {
        let Some(client) = self.connected.get_mut(&id) else { return (None, Standing::Over) };
        match client.read() {
            Ok(request) => (request, client.flush()),
            Err(()) => (None, Standing::Over),
        }
    }

    /// The final answer.
    pub(crate) fn answer(&mut self, id: ClientId, reply: &Reply) -> Standing {
        let Some(client) = self.connected.get_mut(&id) else { return Standing::Over };
        client.answer(reply);
        client.flush()
    }

    /// The final answer, and what follows from it.
    pub(super) fn give(&mut self, at: &mut Context<'_>, id: ClientId, reply: &Reply) {
        let standing = self.answer(id, reply);
        self.settle(at, id, standing);
    }

    /// Writes on, when there is room again.
    pub(crate) fn flush(&mut self, id: ClientId) -> Standing {
        self.connected.get_mut(&id).map_or(Standing::Over, Client::flush)
    }

    /// From now on it gets every notice.
    pub(crate) fn subscribe(&mut self, id: ClientId) {
        if let Some(client) = self.connected.get_mut(&id) {
            client.subscribed = true;
        }
    }

    /// From now on this client also gets the messages of the bus.
    pub(crate) fn follow(&mut self, id: ClientId) {
        if let Some(client) = self.connected.get_mut(&id) {
            client.follows = true;
        }
    }

    /// Whether any client gets the messages of the bus.
    pub(crate) fn has_followers(&self) -> bool {
        self.connected.values().any(|client| client.follows)
    }

    /// Gives a message to the clients that follow the bus. A client that is behind misses it: no
    /// client is cut off because the workers talk faster than a person reads. Returns how many
    /// missed it, and which clients' standing changed.
    pub(crate) fn tell_followers(&mut self, notice: &Notice) -> (u64, Vec<(ClientId, Standing)>) {
        let Ok(line) = to_line(&Reply::Notice(notice.clone())) else { return (0, Vec::new()) };
        let (mut behind, mut changed) = (0, Vec::new());
        for (id, client) in &mut self.connected {
            if !client.follows || client.answered {
                continue;
            }
            if client.out.len() + line.len() > CLIENT_OUT / 4 {
                behind += 1;
                continue;
            }
            client.out.extend_from_slice(&line);
            let standing = client.flush();
            if standing != Standing::Open {
                changed.push((*id, standing));
            }
        }
        (behind, changed)
    }

    /// Gives a notice to every subscriber, and returns the clients whose standing changed.
    pub(crate) fn publish(&mut self, notice: &Notice) -> Vec<(ClientId, Standing)> {
        let Ok(line) = to_line(&Reply::Notice(notice.clone())) else { return Vec::new() };
        let mut changed = Vec::new();
        for (id, client) in &mut self.connected {
            if client.subscribed && !client.answered {
                client.out.extend_from_slice(&line);
                let standing = client.flush();
                if standing != Standing::Open {
                    changed.push((*id, standing));
                }
            }
        }
        changed
    }

    /// Forgets a connection.
    pub(crate) fn drop_client(&mut self, id: ClientId) {
        self.connected.remove(&id);
    }

    /// Gives every client a last chance to read what waits for it, for at most `span` in all.
    pub(crate) fn finish(&mut self, span: std::time::Duration) {
        let reason = "the app has ended";
        // Clients that connected too late get an answer, not just the end of their connection.
        for client in self.connected.values_mut().filter(|client| !client.answered) {
            if !client.subscribed || client.asked {
                client.refuse(FailureKind::Ended, reason);
            }
        }
        for _ in 0..2 * CLIENTS {
            let Ok((stream, _)) = self.listener.accept() else { break };
            refuse(stream, FailureKind::Ended, reason);
        }
        for client in self.connected.values_mut() {
            // A client that does not read delays the exit by no more than the span.
            if client.stream.set_nonblocking(false).is_ok()
                && client.stream.set_write_timeout(Some(span)).is_ok()
            {
                let _ = client.stream.write_all(&client.out);
            }
        }
        self.connected.clear();
    }
}

impl Client {
    pub(super) fn new(stream: UnixStream, access: &Access) -> Self {
        let peer = peer::peer(stream.as_fd());
        let rights = peer.as_ref().map_or(Rights::None, |peer| access.rights(peer));
        // No user has the number of an unknown one.
        let uid = peer.map_or(u32::MAX, |peer| peer.uid);
        Self {
            stream,
            rights,
            guest: Guest { uid, is_own: rights == Rights::Own },
            since: clock::now(),
            reader: LineReader::default(),
            out: Vec::new(),
            subscribed: false,
            follows: false,
            asked: false,
            answered: false,
            waits_for_room: false,
        }
    }

    fn stage(&self) -> Stage {
        match (self.answered, self.asked || self.subscribed) {
            (true, _) => Stage::Reading,
            (false, true) => Stage::Waiting,
            (false, false) => Stage::Asking,
        }
    }

    fn deadline(&self) -> Option<Time> {
        deadline(self.stage(), self.since)
    }

    fn read(&mut self) -> Result<Option<Request>, ()> {
        let mut bytes = vec![0; CLIENT_READ];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(()),
            Ok(count) if !self.asked && !self.answered => self.reader.push(&bytes[..count]),
            // Whatever follows the one request is not read.
            Ok(_) => return Ok(None),
            Err(error) => {
                // A signal that comes just now ends nobody's connection.
                let none_yet = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                return if none_yet.contains(&error.kind()) { Ok(None) } else { Err(()) };
            }
        }
        match self.reader.next_message() {
            Ok(Some(request)) => {
                self.asked = true;
                let Some(refusal) = self.rights.refuse(&request) else { return Ok(Some(request)) };
                self.refuse(FailureKind::NotPermitted, &refusal);
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.refuse(FailureKind::Usage, &error.to_string());
                Ok(None)
            }
        }
    }

    pub(in crate::runtime) fn refuse(&mut self, kind: FailureKind, reason: &str) {
        self.answer(&Reply::failed(kind, reason));
    }

    fn answer(&mut self, reply: &Reply) {
        let shown = self.rights.shown(reply);
        let line = to_line(shown.as_ref().unwrap_or(reply)).or_else(|error| {
            to_line(&Reply::failed(FailureKind::Failed, format!("cannot answer: {error}")))
        });
        self.out.extend(line.unwrap_or_default());
        self.answered = true;
        self.since = clock::now();
    }

    pub(in crate::runtime) fn flush(&mut self) -> Standing {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Standing::Over,
            }
        }
        if self.out.len() > CLIENT_OUT || (self.out.is_empty() && self.answered) {
            return Standing::Over;
        }
        let wanted = !self.out.is_empty();
        if wanted == self.waits_for_room {
            return Standing::Open;
        }
        self.waits_for_room = wanted;
        Standing::Room(wanted)
    }
}
