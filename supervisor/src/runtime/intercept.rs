//! The intercept contract: a worker's `bind` and `listen` wait here for their answer.
//!
//! `bind` of a TCP address: the listener of that address is found or made, the core says which of
//! its sockets the worker gets, and that socket is put over the program's own (see `lend`).
//! `listen` on such a socket makes it join the group and tells the core. Everything else goes on
//! to the kernel untouched.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use ipc::control::Contract;

use super::Runtime;
use super::listeners::Key;
use super::workers::launch::plain;
use super::workers::{self, Asking, Claim};
use crate::base::ids::{ListenerId, SocketId, Ticket, WorkerId};
use crate::limits::CALLS_PER_TURN;
use crate::primary::event::{Cue, Event};
use crate::sys::seccomp::{self, Answer, Call, Notification};
use crate::sys::socket::{self, SocketTraits};
use crate::sys::target::{self, TargetAddress};
use crate::sys::unseen::Theirs;

/// What is to be told to the program, at once or when the core has spoken.
enum Outcome {
    Now(Answer),
    Later,
}

impl Runtime {
    /// Takes the calls that wait for a worker, a bounded number of them.
    pub(super) fn take_calls(&mut self, worker: WorkerId) {
        for _ in 0..CALLS_PER_TURN {
            let Some(calls) = self.children.get(&worker).and_then(|child| child.calls.as_ref())
            else {
                return;
            };
            match seccomp::receive(calls.as_fd()) {
                Ok(Some(notification)) => {
                    self.hear_call(worker, notification);
                    self.take_call(worker, &notification);
                }
                // The calling process died meanwhile, or nothing is left.
                Ok(None) => return,
                Err(error) => {
                    self.warn(format!("cannot read an intercepted call: {error}"));
                    return;
                }
            }
            if !self.calls_wait(worker) {
                return;
            }
        }
    }

    /// The kernel tells of a call once. Until it is in the state, or answered, it is on the slip.
    fn hear_call(&mut self, worker: WorkerId, notification: Notification) {
        self.heard.push((worker, notification));
        let slip = serde_json::to_string(&self.heard).map_err(io::Error::from);
        if let Err(error) = slip.and_then(|slip| self.keeper.memory().note(&slip)) {
            self.note(format!("cannot write down an intercepted call: {error}"));
        }
    }

    /// Takes the calls that a predecessor had heard of, and nobody has answered.
    pub(super) fn take_calls_again(&mut self) {
        let noted = self.keeper.memory().noted().ok().flatten().unwrap_or_default();
        let heard: Vec<(WorkerId, Notification)> = serde_json::from_str(&noted).unwrap_or_default();
        for (worker, notification) in heard {
            let Some(child) = self.children.get(&worker) else { continue };
            let is_it =
                |asking: &Asking| matches!(asking, Asking::Call(c) if c.call == notification.id);
            if !child.asking.values().any(is_it) && self.still_waits(worker, notification.id) {
                self.take_call(worker, &notification);
            }
        }
    }

    /// Whether another call waits; receiving without one would block.
    fn calls_wait(&self, worker: WorkerId) -> bool {
        let calls = self.children.get(&worker).and_then(|child| child.calls.as_ref());
        calls.is_some_and(|calls| seccomp::waiting(calls.as_fd()))
    }

    fn take_call(&mut self, worker: WorkerId, notification: &Notification) {
        let outcome = match notification.call {
            Call::Bind { fd, address_ptr, len } => {
                self.bind(worker, notification, fd, address_ptr, len)
            }
            Call::Listen { fd, backlog } => self.listen(worker, notification, fd, backlog),
            Call::Other => Ok(Outcome::Now(Answer::Continue)),
        };
        let answer = match outcome {
            Ok(Outcome::Later) => return,
            Ok(Outcome::Now(answer)) => answer,
            // What cannot be looked into is left to the kernel, as if nobody intercepted.
            Err(error) => {
                self.warn(format!(
                    "cannot look into a call of process {}: {error}; it goes on unintercepted",
                    notification.tid
                ));
                Answer::Continue
            }
        };
        self.answer_call(worker, notification.id, answer);
    }

    pub(super) fn answer_call(&mut self, worker: WorkerId, call: u64, answer: Answer) {
        let Some(calls) = self.children.get(&worker).and_then(|child| child.calls.as_ref()) else {
            return;
        };
        if let Err(error) = seccomp::answer(calls.as_fd(), call, answer) {
            self.warn(format!("cannot answer an intercepted call: {error}"));
        }
    }

    fn bind(
        &mut self,
        worker: WorkerId,
        notification: &Notification,
        fd: i32,
        address: u64,
        length: u32,
    ) -> io::Result<Outcome> {
        let go_on = Ok(Outcome::Now(Answer::Continue));
        let TargetAddress::Inet(address) = target::read_address(notification.tid, address, length)?
        else {
            return go_on;
        };
        let Some(child) = self.children.get(&worker) else { return go_on };
        let left_alone = child.spec.passthrough.iter().any(|pattern| pattern.matches(address));
        if address.port() == 0 || left_alone {
            return go_on;
        }
        let theirs = Theirs::of(notification.tid, fd)?;
        let traits = theirs.traits()?;
        if !traits.is_tcp {
            return go_on;
        }
        let cloexec = target::is_cloexec(notification.tid, fd)?;
        // The thread is known to be the one that called only if the call still waits: its id
        // could have been given to another meanwhile (seccomp_unotify(2)).
        if !self.still_waits(worker, notification.id) {
            return Ok(Outcome::Later);
        }
        let listener = match self.listener_for(worker, address, &traits) {
            Ok(listener) => listener,
            Err(error) => return Ok(self.refuse_bind(worker, address, &error)),
        };
        let another = match self.holds_open(worker, listener) {
            Holding::Nothing | Holding::Closed => false,
            Holding::Open if traits.reuseport => true,
            Holding::Open => {
                let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
                return Ok(self.refuse_bind(worker, address, &error));
            }
        };
        let ticket = self.next_ticket();
        let asking = Asking::Call(workers::Call {
            listener,
            call: notification.id,
            theirs,
            fd,
            nonblocking: traits.nonblocking,
            cloexec,
            address,
        });
        if let Some(child) = self.children.get_mut(&worker) {
            child.asking.insert(ticket, asking);
        }
        self.cue(worker, Cue::BindAsked { listener, ticket, another });
        Ok(Outcome::Later)
    }

    fn still_waits(&self, worker: WorkerId, call: u64) -> bool {
        let calls = self.children.get(&worker).and_then(|child| child.calls.as_ref());
        calls.is_some_and(|calls| seccomp::still_valid(calls.as_fd(), call))
    }

    /// Finds the listener of an address, or makes it.
    fn listener_for(
        &mut self,
        worker: WorkerId,
        address: SocketAddr,
        traits: &SocketTraits,
    ) -> io::Result<ListenerId> {
        let v6only = address.is_ipv6().then_some(traits.v6only);
        if let Some(listener) = self.listeners.find(&Key::Tcp(address, v6only.unwrap_or(false))) {
            if listener.hand_over().is_some() {
                // The primary accepts there; it has no socket to lend.
                return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
            }
            return Ok(listener.id);
        }
        let balance = self.children.get(&worker).map(|child| child.spec.balance);
        let balance = balance.unwrap_or(config::spec::Balance::Hash);
        let listener = self.listeners.open_tcp(address, v6only, balance, false)?;
        let opened = listener.opened();
        let id = opened.id;
        self.inbox.push_back(Event::ListenerFound(opened));
        Ok(id)
    }

    fn refuse_bind(&mut self, worker: WorkerId, address: SocketAddr, error: &io::Error) -> Outcome {
        let errno = error.raw_os_error().unwrap_or(libc::EADDRINUSE);
        self.cue(
            worker,
            Cue::BindRefused { address: address.to_string(), reason: refusal(address, error) },
        );
        Outcome::Now(Answer::Errno(errno))
    }

    /// Whether a worker has a socket of that listener, and whether it is still open in it.
    fn holds_open(&self, worker: WorkerId, listener: ListenerId) -> Holding {
        let Some(child) = self.children.get(&worker) else { return Holding::Nothing };
        let Some(open) = self.listeners.get(listener) else { return Holding::Nothing };
        let lent: Vec<u64> = child
            .lent
            .iter()
            .filter(|((of, _), _)| *of == listener)
            .filter_map(|((_, socket), _)| open.inode(*socket))
            .collect();
        if lent.is_empty() {
            return Holding::Nothing;
        }
        if child.contracts.contains(&Contract::Activation)
            && !child.contracts.contains(&Contract::Intercept)
        {
            // It was lent the socket at its start and binds all the same: a program that does
            // not know LISTEN_FDS. The inherited copy is not one it would ever close.
            return Holding::Closed;
        }
        match target::sockets_of(&target::descendants(child.pid.0)) {
            Ok(inodes) if lent.iter().any(|inode| inodes.contains(inode)) => Holding::Open,
            Ok(_) | Err(_) => Holding::Closed,
        }
    }

    fn listen(
        &mut self,
        worker: WorkerId,
        notification: &Notification,
        fd: i32,
        backlog: i32,
    ) -> io::Result<Outcome> {
        let go_on = Ok(Outcome::Now(Answer::Continue));
        let inode = Theirs::of(notification.tid, fd)?.inode()?;
        let Some((id, socket)) = self.listeners.by_inode(inode) else {
            return go_on;
        };
        if !self.still_waits(worker, notification.id) {
            return go_on;
        }
        let Some(listener) = self.listeners.get_mut(id) else { return go_on };
        // Its place in the group is written down before it has it: from then on nobody can ask.
        if matches!(listener.announce(socket), Ok(true)) {
            self.write_snapshot();
        }
        let Some(listener) = self.listeners.get_mut(id) else { return go_on };
        if let Err(error) = listener.listen(socket, backlog) {
            let address = listener.address();
            let reason = format!("cannot listen on {address}: {error}");
            let errno = error.raw_os_error().unwrap_or(libc::EADDRINUSE);
            self.cue(worker, Cue::BindRefused { address, reason });
            return Ok(Outcome::Now(Answer::Errno(errno)));
        }
        self.cue(worker, Cue::Listening { listener: id, socket });
        self.late_answers.push((worker, notification.id, Answer::Success));
        Ok(Outcome::Later)
    }

    /// Whoever still waits for a socket of a listener that is closed gets none.
    pub(super) fn refuse_asking(&mut self, listener: ListenerId) {
        let waits = |(ticket, asking): (&Ticket, &Asking)| {
            (asking.listener() == listener).then_some(*ticket)
        };
        let waiting: Vec<(WorkerId, Ticket)> = self
            .children
            .values()
            .flat_map(|child| {
                child.asking.iter().filter_map(waits).map(|ticket| (child.id, ticket))
            })
            .collect();
        for (worker, ticket) in waiting {
            let asking = self.children.get_mut(&worker).and_then(|c| c.asking.remove(&ticket));
            match asking {
                Some(Asking::Call(call)) => {
                    self.answer_call(worker, call.call, Answer::Errno(libc::EADDRINUSE));
                }
                Some(Asking::Node { seq, .. }) => {
                    if let Some(node) = self.node(worker) {
                        // A link that cannot take this answer is broken; that is seen on reading.
                        let _ = node.link.reply_error(seq, None, libc::EADDRINUSE);
                    }
                    self.write_channel(worker);
                }
                None => {}
            }
        }
    }

    /// The core has said which socket answers a `bind`.
    pub(super) fn lend(
        &mut self,
        ticket: Ticket,
        worker: WorkerId,
        listener: ListenerId,
        socket: SocketId,
    ) {
        let asking = self.children.get_mut(&worker).and_then(|c| c.asking.remove(&ticket));
        let asking = match asking {
            None => return,
            Some(Asking::Node { seq, ask, .. }) => {
                return self.lend_to_node(worker, Claim { listener, socket }, seq, &ask);
            }
            Some(Asking::Call(call)) => call,
        };
        let answer = match self.put_over(worker, &asking, listener, socket) {
            Ok(()) => {
                let given = self.listeners.given((listener, socket));
                if let Some(child) = self.children.get_mut(&worker) {
                    child.lent.entry((listener, socket)).or_insert(given);
                    child.contracts.insert(Contract::Intercept);
                }
                Answer::Success
            }
            Err(error) => {
                let reason = refusal(asking.address, &error);
                self.cue(worker, Cue::BindRefused { address: asking.address.to_string(), reason });
                Answer::Errno(error.raw_os_error().unwrap_or(libc::EADDRINUSE))
            }
        };
        self.answer_call(worker, asking.call, answer);
    }

    fn put_over(
        &mut self,
        worker: WorkerId,
        asking: &workers::Call,
        listener: ListenerId,
        socket: SocketId,
    ) -> io::Result<()> {
        let gone = || io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
        let listener = self.listeners.get_mut(listener).ok_or_else(gone)?;
        let child = self.children.get(&worker).ok_or_else(gone)?;
        let calls = child.calls.as_ref().ok_or_else(gone)?;
        let ours = listener.socket(socket)?;
        if let Some(theirs) = asking.theirs.copy() {
            socket::copy_options(theirs.as_fd(), ours);
        }
        socket::set_nonblocking(ours, asking.nonblocking)?;
        seccomp::replace_fd(calls.as_fd(), asking.call, ours, asking.fd, asking.cloexec)
    }
}

/// What a worker has of one listener.
enum Holding {
    Nothing,
    /// It had one, and has closed it.
    Closed,
    Open,
}

/// Why an address cannot be had, and what to do.
pub(super) fn refusal(address: SocketAddr, error: &io::Error) -> String {
    let cure = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            let holders: Vec<String> = socket::holders(address)
                .iter()
                .map(|holder| format!("pid {} ({})", holder.pid, holder.command))
                .collect();
            if holders.is_empty() {
                " (somebody else listens there; choose another port)".to_owned()
            } else {
                format!(" (held by {}; stop it or choose another port)", holders.join(", "))
            }
        }
        Some(libc::EACCES) => " (run as root or grant CAP_NET_BIND_SERVICE)".to_owned(),
        Some(libc::EADDRNOTAVAIL) => " (no interface of this machine has that address)".to_owned(),
        _ => String::new(),
    };
    format!("cannot listen on {address}: {}{cure}", plain(error))
}
