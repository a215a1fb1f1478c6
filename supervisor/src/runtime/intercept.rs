//! The intercept contract: a worker's `bind`, `listen` and `shutdown` wait here for their answer.
//!
//! `policy::intercept` decides what a call may do. A `bind` of a TCP address: the listener of that
//! address is found or made, the core says which of its sockets the worker borrows, and a socket
//! that is bound and does not listen is put over the program's own (see `lend`). With `listen` it
//! takes the place of the slot socket, joins the group, and the core is told (see `listening`).
//! `shutdown` of such a socket: see `shutdown`. Everything else goes on to the kernel untouched.

mod listening;
mod outliving;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use ipc::control::Contract;

use super::context::{Context, Place};
use super::listeners::Key;
use super::listeners::refusal::refusal;
use super::low_ports::{forbidden, may_open};
use super::snapshot::pieces::Children;
use super::workers::{self, Asking, Child, Claim};
use crate::base::ids::{ListenerId, WorkerId};
use crate::base::time::Time;
use crate::policy::intercept::{self as policy, Decision, Facts, Open};
use crate::primary::event::{Cue, Event};
use crate::snapshot::Memory;
use crate::sys::seccomp::{self, Answer, Call, Notification};
use crate::sys::socket::{self, SocketTraits};
use crate::sys::strays::Mark;
use crate::sys::target::{self, TargetAddress};
use crate::sys::unseen::Theirs;

/// The intercept contract of an app.
#[derive(Debug, Default)]
pub(super) struct Intercept {
    /// Calls that came in this turn.
    heard: Vec<(WorkerId, Notification)>,
    /// Answers that wait until their consequence is in the state.
    late_answers: Vec<(WorkerId, u64, Answer)>,
    /// They answer for processes that outlive their worker.
    answering: Vec<std::process::Child>,
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
    let (port, mark) = (Some(address.port()), child.mark());
    let forbidden = !may_open(at.listeners, child, address);
    let foreign = is_foreign(at, notification.tid, &mark, address);
    let mut facts = Facts { port, passthrough, forbidden, foreign, ..Facts::default() };
    let mut seen = None;
    let mut found = None;
    loop {
        match policy::bind(&facts) {
            Decision::LetThrough => return go_on,
            Decision::SeeSocket => {
                let theirs = Theirs::of(notification.tid, fd)?;
                let traits = theirs.traits()?;
                let SocketTraits { is_tcp, reuseport, reuseaddr, .. } = traits;
                facts.socket = Some(policy::Socket { is_tcp, reuseport, reuseaddr });
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
                facts.open = found.as_ref().map(|call| what_is_open(at, worker, call.listener));
            }
            Decision::Refuse => {
                let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
                return Ok(refuse_bind(at, worker, address, &error));
            }
            Decision::Forbid => return Ok(forbid_bind(at, worker, address)),
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

fn forbid_bind(at: &mut Context<'_>, worker: WorkerId, address: SocketAddr) -> Outcome {
    if let Some(child) = at.children.get(&worker) {
        let reason = forbidden(child, address);
        at.cue(worker, Cue::BindRefused { address: address.to_string(), reason });
    }
    Outcome::Now(Answer::Errno(libc::EACCES))
}

/// Whether the calling process is none of the worker's: it is in another network namespace, where
/// our sockets would not be reached, or it is a worker of another app that was started from here.
fn is_foreign(at: &mut Context<'_>, tid: u32, mark: &Mark, address: SocketAddr) -> bool {
    if target::in_own_network(tid) == Ok(false) {
        at.note(format!(
            "a worker listens on {address} in a network namespace of its own: the supervisor does \
             not serve there, so only one worker can, and a reload is not without loss"
        ));
        return true;
    }
    Mark::of(tid).is_some_and(|other| other != *mark)
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
        lent: child.is_some_and(|child| child.lent.keys().any(|(of, _)| *of == listener)),
        inherited_only: used(Contract::Activation) && !used(Contract::Intercept),
    }
}

/// The slot sockets of a listener that a worker was lent.
fn lent_inodes(at: &Context<'_>, worker: WorkerId, listener: ListenerId) -> Vec<u64> {
    let Some(child) = at.children.get(&worker) else { return Vec::new() };
    let Some(open) = at.listeners.get(listener) else { return Vec::new() };
    let its = child.lent.keys().filter(|(of, _)| *of == listener);
    its.filter_map(|(_, socket)| open.inode(*socket)).collect()
}

/// What a worker still has open of a listener. Forgets the sockets that it bound and has closed.
fn what_is_open(at: &mut Context<'_>, worker: WorkerId, listener: ListenerId) -> Open {
    let lent = lent_inodes(at, worker, listener);
    let Some(child) = at.children.get_mut(&worker) else { return Open::Nothing };
    let Ok(inodes) = target::sockets_of(&target::descendants(child.pid.0)) else {
        return Open::Nothing;
    };
    child.bound_only.retain(|inode, (of, _)| *of != listener || inodes.contains(inode));
    let bound = child.bound_only.values().any(|(of, _)| *of == listener);
    if lent.iter().any(|inode| inodes.contains(inode)) {
        Open::SlotSocket
    } else if bound {
        Open::BoundOnly
    } else {
        Open::Nothing
    }
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

impl Intercept {
    /// The core has said which socket a worker borrows that waits in `bind`.
    pub(super) fn lend(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        asking: &workers::Call,
        claim: Claim,
    ) {
        let place = (claim.listener, claim.socket);
        match put_over(at, worker, asking, place) {
            Ok(bound_only) => {
                let given = at.listeners.given(place);
                if let Some(child) = at.children.get_mut(&worker) {
                    child.bound_only.extend(bound_only.map(|inode| (inode, place)));
                    child.lent.entry(place).or_insert(given);
                    child.contracts.insert(Contract::Intercept);
                }
                self.late_answers.push((worker, asking.call, Answer::Success));
            }
            Err(error) => {
                let reason = refusal(asking.address, &error);
                let address = asking.address.to_string();
                at.cue(worker, Cue::BindRefused { address, reason });
                let errno = error.raw_os_error().unwrap_or(libc::EADDRINUSE);
                answer_call(at, worker, asking.call, Answer::Errno(errno));
            }
        }
    }
}

/// Puts what a `bind` gives over the program's socket. The inode of a socket that is the program's
/// alone until it listens.
fn put_over(
    at: &mut Context<'_>,
    worker: WorkerId,
    asking: &workers::Call,
    (listener, socket): Place,
) -> io::Result<Option<u64>> {
    let gone = || io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    let listener = at.listeners.get_mut(listener).ok_or_else(gone)?;
    let child = at.children.get(&worker).ok_or_else(gone)?;
    let calls = child.calls().ok_or_else(gone)?;
    let bound_only = listener.bound_only(socket)?;
    let given = match &bound_only {
        Some(fd) => fd.as_fd(),
        None => listener.socket(socket)?,
    };
    if let Some(theirs) = asking.theirs.copy() {
        socket::copy_options(theirs.as_fd(), given);
    }
    socket::set_nonblocking(given, asking.nonblocking)?;
    seccomp::replace_fd(calls, asking.call, given, asking.fd, asking.cloexec)?;
    bound_only.map(|fd| socket::inode(fd.as_fd())).transpose()
}
