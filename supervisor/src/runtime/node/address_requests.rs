//! Node workers ask for addresses: the listener is found or made, the core says which of its
//! sockets the worker gets, and the answer goes back in Node's words.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use config::spec::{AppSpec, Balance};
use ipc::node::{ServerAsk, Wanted};

use super::{Node, channel};
use crate::base::ids::{ListenerId, SocketId, WorkerId};
use crate::policy::engine::{self, Engine, Facts};
use crate::primary::event::{Cue, Event};
use crate::runtime::context::{Context, Place};
use crate::runtime::handover::HandOver;
use crate::runtime::listeners::Key;
use crate::runtime::listeners::listener::Listener;
use crate::runtime::listeners::refusal::refusal;
use crate::runtime::low_ports::{forbidden, may_open};
use crate::runtime::workers::{Asking, Claim};
use crate::sys::ebpf::RoundRobin;
use crate::sys::socket;

/// Whether the primary accepts for the Node workers of an app and hands connections over.
fn hands_over(spec: &AppSpec) -> bool {
    let refused = spec.balance == Balance::RoundRobin && RoundRobin::new().is_err();
    let facts = Facts { takes_connections: true, ..Facts::of(spec, refused) };
    matches!(engine::choose(facts), Engine::Primary(_))
}

/// The address of an ask as people write it.
fn shown(ask: &ServerAsk) -> String {
    match ask.wanted() {
        Ok(Wanted::Tcp { address, .. } | Wanted::Udp { address, .. }) => address.to_string(),
        Ok(Wanted::Unix { path, .. }) => format!("unix:{}", path.display()),
        Ok(Wanted::Descriptor { .. }) | Err(_) => ask.listener(),
    }
}

impl Node {
    /// A worker asks for an address.
    pub(super) fn take_ask(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        (seq, ask): (u64, ServerAsk),
        again: bool,
    ) {
        let found = if again && !ask_shares(&ask) {
            Err((libc::EADDRINUSE, format!("this worker serves {} already", ask.listener())))
        } else {
            self.listener_asked(hands, at, worker, &ask)
        };
        let listener = match found {
            Ok(listener) => listener,
            Err((errno, reason)) => {
                if let Some(node) = at.node(worker) {
                    // A link that cannot take this answer is broken; its end is seen on reading.
                    let _ = node.link.reply_error(seq, None, errno);
                }
                let address = shown(&ask);
                return at.cue(worker, Cue::BindRefused { address, reason });
            }
        };
        let asking = Asking::Node { seq, ask: Box::new(ask), listener };
        if let Some(ticket) = at.children.ask(worker, asking) {
            at.cue(worker, Cue::BindAsked { listener, ticket, another: false });
        }
    }

    /// Finds the listener of an ask, or makes it.
    fn listener_asked(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        ask: &ServerAsk,
    ) -> Result<ListenerId, (i32, String)> {
        let place = ask.listener();
        if let Some(id) = self.places.get(&place)
            && at.listeners.get(*id).is_some()
        {
            return Ok(*id);
        }
        let wanted = ask.wanted().map_err(|error| (libc::EINVAL, error.to_string()))?;
        if let Wanted::Tcp { address, .. } | Wanted::Udp { address, .. } = &wanted
            && let Some(child) = at.children.get(&worker)
            && !may_open(at.listeners, child, *address)
        {
            return Err((libc::EACCES, forbidden(child, *address)));
        }
        let id = match &wanted {
            Wanted::Tcp { address, v6only, .. } => {
                let key = Key::Tcp(*address, *v6only && address.is_ipv6());
                match at.listeners.find(&key) {
                    Some(open) => open.id,
                    None => open_asked(hands, at, worker, &wanted)
                        .map_err(|error| (errno(&error), refusal(*address, &error)))?,
                }
            }
            Wanted::Udp { .. } | Wanted::Unix { .. } => open_asked(hands, at, worker, &wanted)
                .map_err(|error| {
                    (errno_of_path(&error), format!("cannot open {place}: {error}"))
                })?,
            Wanted::Descriptor { fd, .. } => {
                let child = at.children.get(&worker);
                let lent = child.and_then(|child| child.inherited.get(fd));
                lent.map(|(listener, _)| *listener).ok_or_else(|| {
                    (libc::EINVAL, format!("descriptor {fd} was not lent to this worker"))
                })?
            }
        };
        self.places.insert(place, id);
        Ok(id)
    }

    /// The core has said which socket answers an ask.
    pub(in crate::runtime) fn lend(
        &mut self,
        hands: &mut HandOver,
        at: &mut Context<'_>,
        worker: WorkerId,
        claim: Claim,
        (seq, ask): (u64, &ServerAsk),
    ) {
        let Claim { listener: id, socket } = claim;
        let key = ask.key();
        let place = inherited_place(at, worker, ask).unwrap_or((id, socket));
        let given = at.listeners.given(place);
        let Some(listener) = at.listeners.get_mut(id) else { return };
        let data = listener.node_data.get_or_insert_with(|| ask.data.clone()).clone();
        let address = listener.tcp_address();
        let hands_over = listener.hand_over().is_some();
        let fd = if hands_over { None } else { Some(socket_for_node(listener, place.1)) };
        let Some(child) = at.children.get_mut(&worker) else { return };
        let Some(node) = child.node_mut() else { return };
        let replied = match fd {
            None => node.link.reply_round_robin(seq, Some(&data), address),
            Some(Ok(fd)) => node.link.reply_shared(seq, Some(&data), fd),
            Some(Err(error)) => node.link.reply_error(seq, Some(&data), errno(&error)),
        };
        node.servers.insert(key, place);
        child.lent.entry(place).or_insert(given);
        hands.abandoned.forget(at.poller, at.listeners, place);
        if let Err(error) = replied {
            return self.close(hands, at, worker, Some(error.to_string()));
        }
        channel::write(at, worker);
    }
}

/// The listener that a worker asked for was closed before the core had an answer.
pub(in crate::runtime) fn refuse(at: &mut Context<'_>, worker: WorkerId, seq: u64) {
    if let Some(node) = at.node(worker) {
        // A link that cannot take this answer is broken; that is seen on reading.
        let _ = node.link.reply_error(seq, None, libc::EADDRINUSE);
    }
    channel::write(at, worker);
}

fn open_asked(
    hands: &mut HandOver,
    at: &mut Context<'_>,
    worker: WorkerId,
    wanted: &Wanted,
) -> io::Result<ListenerId> {
    let Some(child) = at.children.get(&worker) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let (balance, hand_over) = (child.spec.balance, hands_over(&child.spec));
    let open = &mut *at.listeners;
    let listener = match wanted {
        Wanted::Tcp { address, v6only, any } => {
            let v6only = address.is_ipv6().then_some(*v6only);
            let without_v6 = SocketAddr::from(([0, 0, 0, 0], address.port()));
            // No address at all means `::`, or `0.0.0.0` where there is no IPv6.
            let result = open.open_tcp(*address, v6only, balance, hand_over).map(|l| l.id);
            let id = match result {
                Err(error) if *any && no_ipv6(&error) => {
                    open.open_tcp(without_v6, None, balance, hand_over)?.id
                }
                result => result?,
            };
            open.get(id)
        }
        Wanted::Udp { address, v6only, reuse_address } => {
            Some(open.open_udp(*address, *v6only, *reuse_address)?)
        }
        Wanted::Unix { path, readable_all, writable_all } => {
            let mode = 0o700
                | if *readable_all { 0o044 } else { 0 }
                | if *writable_all { 0o022 } else { 0 };
            Some(open.open_unix(path.clone(), mode)?)
        }
        Wanted::Descriptor { .. } => None,
    };
    let opened = listener.ok_or(io::ErrorKind::InvalidInput)?.opened();
    let id = opened.id;
    at.inbox.push_back(Event::ListenerFound(opened));
    if hand_over {
        hands.resume(at, id);
    }
    Ok(id)
}

/// The lent socket that a program names by its descriptor.
fn inherited_place(at: &Context<'_>, worker: WorkerId, ask: &ServerAsk) -> Option<Place> {
    let Ok(Wanted::Descriptor { fd, .. }) = ask.wanted() else { return None };
    at.children.get(&worker)?.inherited.get(&fd).copied()
}

/// A copy of a listener's socket as Node wants it: non-blocking, and listening (unless Node's own
/// `listen` on it is what makes it so: then it is intercepted and joins its group there).
fn socket_for_node(listener: &mut Listener, socket: SocketId) -> io::Result<OwnedFd> {
    let fd = listener.socket(socket)?;
    socket::set_nonblocking(fd, true)?;
    fd.try_clone_to_owned()
}

/// Several asks of one worker for one UDP address are fine where it wants to share it.
fn ask_shares(ask: &ServerAsk) -> bool {
    matches!(ask.wanted(), Ok(Wanted::Udp { reuse_address: true, .. }))
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EADDRINUSE)
}

/// As libuv has it for unix sockets.
fn errno_of_path(error: &io::Error) -> i32 {
    match errno(error) {
        libc::ENOENT => libc::EACCES,
        errno => errno,
    }
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
