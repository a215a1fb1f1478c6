//! The intercept contract: a worker's `bind`, `listen` and `shutdown` wait here for their answer.
//!
//! `policy::intercept` decides what a call may do. A `bind` of a TCP address: the listener of that
//! address is found or made, the core says which of its sockets the worker gets, and that socket is
//! put over the program's own (see `lend`). `listen` on such a socket makes it join the group and
//! tells the core. `shutdown` of such a socket: see `shutdown`. Everything else goes on to the
//! kernel untouched.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use ipc::control::Contract;

use super::context::{Context, Place};
use super::listeners::Key;
use super::listeners::refusal::refusal;
use super::snapshot::pieces::Children;
use super::workers::{self, Asking, Child, Claim};
use crate::base::ids::{ListenerId, WorkerId};
use crate::base::time::Time;
use crate::policy::intercept::{self as policy, Decision, Facts, Listen};
use crate::primary::event::{Cue, Event};
use crate::snapshot::Memory;
use crate::sys::seccomp::{self, Answer, Call, Notification};
use crate::sys::socket::{self, SocketTraits};
use crate::sys::target::{self, TargetAddress};
use crate::sys::unseen::Theirs;

/// The intercept contract of an app.
#[derive(Debug, Default)]
pub(super) struct Intercept {
    /// Calls that came in this turn.
    heard: Vec<(WorkerId, Notification)>,
    /// Answers that wait until their consequence is in the state.
    late_answers: Vec<(WorkerId, u64, Answer)>,
    /// When the next look at withdrawn sockets is due (`shutdown`).
    pub(super) withdrawn_due: Option<Time>,
}

/// A `listen` that may go on once the state knows the socket's place in its group.
#[derive(Debug)]
pub(super) struct Joining {
    worker: WorkerId,
    call: u64,
    place: Place,
    backlog: i32,
}

/// What is to be told to the program: at once, when the core has spoken, or when the state knows
/// what follows.
enum Outcome {
    Now(Answer),
    Later,
    Joins(Joining),
}

impl Intercept {
    /// Takes one call that waits for a worker; `None`: nothing waits that can be read.
    pub(super) fn receive(
        &mut self,
        at: &mut Context<'_>,
        memory: &Memory,
        worker: WorkerId,
    ) -> Option<Notification> {
        let calls = at.children.get(&worker).and_then(Child::calls)?;
        match seccomp::receive(calls) {
            Ok(Some(notification)) => {
                self.write_down(at, memory, worker, notification);
                Some(notification)
            }
            // The calling process died meanwhile, or nothing is left.
            Ok(None) => None,
            Err(error) => {
                at.warn(format!("cannot read an intercepted call: {error}"));
                None
            }
        }
    }

    /// The kernel tells of a call once. Until it is in the state, or answered, it stands
    /// in the journal.
    fn write_down(
        &mut self,
        at: &mut Context<'_>,
        memory: &Memory,
        worker: WorkerId,
        notification: Notification,
    ) {
        self.heard.push((worker, notification));
        let journal = serde_json::to_string(&self.heard).map_err(io::Error::from);
        if let Err(error) = journal.and_then(|journal| memory.note(&journal)) {
            at.note(format!("cannot write down an intercepted call: {error}"));
        }
    }

    /// Does what follows from a call. `Some`: the state has to be written before the call goes on
    /// (see [`Intercept::join`]).
    pub(super) fn take(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        notification: &Notification,
    ) -> Option<Joining> {
        let outcome = match notification.call {
            Call::Bind { fd, address_ptr, len } => {
                bind(at, worker, notification, fd, (address_ptr, len))
            }
            Call::Listen { fd, backlog } => self.listen(at, worker, notification, fd, backlog),
            // See `Runtime::take_shutdown`.
            Call::Shutdown { .. } | Call::Other => Ok(Outcome::Now(Answer::Continue)),
        };
        let answer = match outcome {
            Ok(Outcome::Later) => return None,
            Ok(Outcome::Joins(joining)) => return Some(joining),
            Ok(Outcome::Now(answer)) => answer,
            // What cannot be looked into is left to the kernel, as if nobody intercepted.
            Err(error) => {
                at.warn(format!(
                    "cannot look into a call of process {}: {error}; it goes on unintercepted",
                    notification.tid
                ));
                Answer::Continue
            }
        };
        answer_call(at, worker, notification.id, answer);
        None
    }

    fn listen(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        notification: &Notification,
        fd: i32,
        backlog: i32,
    ) -> io::Result<Outcome> {
        let go_on = Ok(Outcome::Now(Answer::Continue));
        let inode = Theirs::of(notification.tid, fd)?.inode()?;
        let place = at.listeners.by_inode(inode);
        let place = place.or_else(|| put_back(at, worker, notification, fd, inode));
        let waits = place.is_some() && still_waits(at.children, worker, notification.id);
        let (Listen::Join, Some(place)) = (policy::listen(place.is_some(), waits), place) else {
            return go_on;
        };
        let Some(listener) = at.listeners.get_mut(place.0) else { return go_on };
        let joining = Joining { worker, call: notification.id, place, backlog };
        // Its place in the group is written down before it has it: from then on nobody can ask.
        if matches!(listener.announce(place.1), Ok(true)) {
            return Ok(Outcome::Joins(joining));
        }
        self.join(at, joining);
        Ok(Outcome::Later)
    }

    /// The state knows the socket's place: it listens. The program is told once the state knows
    /// that, too.
    pub(super) fn join(&mut self, at: &mut Context<'_>, joining: Joining) {
        let Joining { worker, call, place: (id, socket), backlog } = joining;
        let Some(listener) = at.listeners.get_mut(id) else {
            return answer_call(at, worker, call, Answer::Continue);
        };
        if let Err(error) = listener.listen(socket, backlog) {
            let address = listener.address();
            let reason = format!("cannot listen on {address}: {error}");
            let errno = error.raw_os_error().unwrap_or(libc::EADDRINUSE);
            at.cue(worker, Cue::BindRefused { address, reason });
            return answer_call(at, worker, call, Answer::Errno(errno));
        }
        listens_again(at, worker, (id, socket));
        at.cue(worker, Cue::Listening { listener: id, socket });
        self.late_answers.push((worker, call, Answer::Success));
    }

    /// All calls of this turn are in the state, or answered.
    pub(super) fn settled(&mut self) {
        self.heard.clear();
    }

    /// The call gets its answer when the state knows what follows from it.
    pub(super) fn answer_later(&mut self, worker: WorkerId, call: u64, answer: Answer) {
        self.late_answers.push((worker, call, answer));
    }

    /// Calls whose consequence the state knows now go on.
    pub(super) fn answer_late(&mut self, at: &mut Context<'_>) {
        for (worker, call, answer) in std::mem::take(&mut self.late_answers) {
            answer_call(at, worker, call, answer);
        }
    }
}

/// The calls that a predecessor had heard of, and nobody has answered.
pub(super) fn unanswered(children: &Children, memory: &Memory) -> Vec<(WorkerId, Notification)> {
    let noted = memory.noted().ok().flatten().unwrap_or_default();
    let mut heard: Vec<(WorkerId, Notification)> = serde_json::from_str(&noted).unwrap_or_default();
    heard.retain(|(worker, notification)| {
        let is_it =
            |asking: &Asking| matches!(asking, Asking::Call(c) if c.call == notification.id);
        children.get(worker).is_some_and(|child| {
            !child.asking.values().any(is_it) && still_waits(children, *worker, notification.id)
        })
    });
    heard
}

/// Whether another call waits; receiving without one would block.
pub(super) fn calls_wait(children: &Children, worker: WorkerId) -> bool {
    let calls = children.get(&worker).and_then(Child::calls);
    calls.is_some_and(|calls| seccomp::waiting(calls))
}

pub(super) fn still_waits(children: &Children, worker: WorkerId, call: u64) -> bool {
    let calls = children.get(&worker).and_then(Child::calls);
    calls.is_some_and(|calls| seccomp::still_valid(calls, call))
}

pub(super) fn answer_call(at: &mut Context<'_>, worker: WorkerId, call: u64, answer: Answer) {
    let Some(calls) = at.children.get(&worker).and_then(Child::calls) else {
        return;
    };
    if let Err(error) = seccomp::answer(calls, call, answer) {
        at.warn(format!("cannot answer an intercepted call: {error}"));
    }
}

/// The program listens again on a socket that was shut down: it gets the one that took its place.
fn put_back(
    at: &mut Context<'_>,
    worker: WorkerId,
    notification: &Notification,
    fd: i32,
    inode: u64,
) -> Option<Place> {
    let child = at.children.get(&worker)?;
    let place = *child.shut_down.get(&inode)?;
    let ours = at.listeners.get(place.0)?.existing(place.1)?;
    let nonblocking = Theirs::of(notification.tid, fd).ok()?.traits().ok()?.nonblocking;
    let cloexec = target::is_cloexec(notification.tid, fd).ok()?;
    socket::set_nonblocking(ours, nonblocking).ok()?;
    let calls = child.calls()?;
    seccomp::replace_fd(calls, notification.id, ours, fd, cloexec).ok()?;
    Some(place)
}

/// A program listens on this socket: it is not withdrawn, or no longer.
fn listens_again(at: &mut Context<'_>, worker: WorkerId, place: Place) {
    let Some(child) = at.children.get(&worker) else { return };
    if child.shut_down.values().any(|withdrawn| *withdrawn == place)
        && let Some(child) = at.children.get_mut(&worker)
    {
        child.shut_down.retain(|_, withdrawn| *withdrawn != place);
    }
}

/// Gathers what [`policy::bind`] wants to know, and does what it decides.
fn bind(
    at: &mut Context<'_>,
    worker: WorkerId,
    notification: &Notification,
    fd: i32,
    (address, length): (u64, u32),
) -> io::Result<Outcome> {
    let go_on = Ok(Outcome::Now(Answer::Continue));
    let TargetAddress::Inet(address) = target::read_address(notification.tid, address, length)?
    else {
        return go_on;
    };
    let Some(child) = at.children.get(&worker) else { return go_on };
    let passthrough = child.spec.passthrough.iter().any(|pattern| pattern.matches(address));
    let mut facts = Facts { port: Some(address.port()), passthrough, ..Facts::default() };
    let mut seen = None;
    let mut found = None;
    loop {
        match policy::bind(&facts) {
            Decision::LetThrough => return go_on,
            Decision::SeeSocket => {
                let theirs = Theirs::of(notification.tid, fd)?;
                let traits = theirs.traits()?;
                let SocketTraits { is_tcp, reuseport, .. } = traits;
                facts.socket = Some(policy::Socket { is_tcp, reuseport });
                seen = Some((theirs, traits));
            }
            Decision::FindListener => {
                let Some((theirs, traits)) = seen.take() else { return go_on };
                let cloexec = target::is_cloexec(notification.tid, fd)?;
                // The thread is known to be the one that called only if the call still waits: its
                // id could have been given to another meanwhile (seccomp_unotify(2)).
                if !still_waits(at.children, worker, notification.id) {
                    return Ok(Outcome::Later);
                }
                let listener = match listener_for(at, worker, address, &traits) {
                    Ok(listener) => listener,
                    Err(error) => return Ok(refuse_bind(at, worker, address, &error)),
                };
                facts.listener = Some(what_it_has(at, worker, listener));
                let nonblocking = traits.nonblocking;
                let call = notification.id;
                found = Some(workers::Call {
                    listener,
                    call,
                    theirs,
                    fd,
                    nonblocking,
                    cloexec,
                    address,
                });
            }
            Decision::SeeOpen => {
                facts.open =
                    Some(found.as_ref().is_some_and(|c| holds_open(at, worker, c.listener)));
            }
            Decision::Refuse => {
                let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
                return Ok(refuse_bind(at, worker, address, &error));
            }
            Decision::Lend { another } => {
                let Some(call) = found.take() else { return go_on };
                let listener = call.listener;
                if let Some(ticket) = at.children.ask(worker, Asking::Call(call)) {
                    at.cue(worker, Cue::BindAsked { listener, ticket, another });
                }
                return Ok(Outcome::Later);
            }
        }
    }
}

/// Finds the listener of an address, or makes it.
fn listener_for(
    at: &mut Context<'_>,
    worker: WorkerId,
    address: SocketAddr,
    traits: &SocketTraits,
) -> io::Result<ListenerId> {
    let v6only = address.is_ipv6().then_some(traits.v6only);
    if let Some(listener) = at.listeners.find(&Key::Tcp(address, v6only.unwrap_or(false))) {
        return Ok(listener.id);
    }
    let balance = at.children.get(&worker).map(|child| child.spec.balance);
    let balance = balance.unwrap_or(config::spec::Balance::Hash);
    let opened = at.listeners.open_tcp(address, v6only, balance, false)?.opened();
    let id = opened.id;
    at.inbox.push_back(Event::ListenerFound(opened));
    Ok(id)
}

/// What the policy has to know of a listener, and of what the worker was lent of it.
fn what_it_has(at: &Context<'_>, worker: WorkerId, listener: ListenerId) -> policy::Listener {
    let hands_over = at.listeners.get(listener).is_some_and(|open| open.hand_over().is_some());
    let child = at.children.get(&worker);
    let contracts = child.map(|child| &child.contracts);
    let used = |name| contracts.is_some_and(|contracts| contracts.contains(&name));
    policy::Listener {
        hands_over,
        lent: !lent_inodes(at, worker, listener).is_empty(),
        inherited_only: used(Contract::Activation) && !used(Contract::Intercept),
    }
}

/// The sockets of a listener that a worker was lent.
fn lent_inodes(at: &Context<'_>, worker: WorkerId, listener: ListenerId) -> Vec<u64> {
    let Some(child) = at.children.get(&worker) else { return Vec::new() };
    let Some(open) = at.listeners.get(listener) else { return Vec::new() };
    let its = child.lent.keys().filter(|(of, _)| *of == listener);
    its.filter_map(|(_, socket)| open.inode(*socket)).collect()
}

/// Whether one of the sockets that a worker was lent of a listener is still open in it.
fn holds_open(at: &Context<'_>, worker: WorkerId, listener: ListenerId) -> bool {
    let Some(child) = at.children.get(&worker) else { return false };
    let lent = lent_inodes(at, worker, listener);
    target::sockets_of(&target::descendants(child.pid.0))
        .is_ok_and(|inodes| lent.iter().any(|inode| inodes.contains(inode)))
}

fn refuse_bind(
    at: &mut Context<'_>,
    worker: WorkerId,
    address: SocketAddr,
    error: &io::Error,
) -> Outcome {
    let errno = error.raw_os_error().unwrap_or(libc::EADDRINUSE);
    let reason = refusal(address, error);
    at.cue(worker, Cue::BindRefused { address: address.to_string(), reason });
    Outcome::Now(Answer::Errno(errno))
}

/// The listener of a `bind` was closed before the core had an answer.
pub(super) fn refuse(at: &mut Context<'_>, worker: WorkerId, call: u64) {
    answer_call(at, worker, call, Answer::Errno(libc::EADDRINUSE));
}

/// The core has said which socket answers a `bind`.
pub(super) fn lend(at: &mut Context<'_>, worker: WorkerId, asking: &workers::Call, claim: Claim) {
    let place = (claim.listener, claim.socket);
    let answer = match put_over(at, worker, asking, place) {
        Ok(()) => {
            let given = at.listeners.given(place);
            if let Some(child) = at.children.get_mut(&worker) {
                child.lent.entry(place).or_insert(given);
                child.contracts.insert(Contract::Intercept);
            }
            Answer::Success
        }
        Err(error) => {
            let reason = refusal(asking.address, &error);
            at.cue(worker, Cue::BindRefused { address: asking.address.to_string(), reason });
            Answer::Errno(error.raw_os_error().unwrap_or(libc::EADDRINUSE))
        }
    };
    answer_call(at, worker, asking.call, answer);
}

fn put_over(
    at: &mut Context<'_>,
    worker: WorkerId,
    asking: &workers::Call,
    (listener, socket): Place,
) -> io::Result<()> {
    let gone = || io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    let listener = at.listeners.get_mut(listener).ok_or_else(gone)?;
    let child = at.children.get(&worker).ok_or_else(gone)?;
    let calls = child.calls().ok_or_else(gone)?;
    let ours = listener.socket(socket)?;
    if let Some(theirs) = asking.theirs.copy() {
        socket::copy_options(theirs.as_fd(), ours);
    }
    socket::set_nonblocking(ours, asking.nonblocking)?;
    seccomp::replace_fd(calls, asking.call, ours, asking.fd, asking.cloexec)
}
