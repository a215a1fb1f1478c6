//! A program shuts its listening socket down (`shutdown(2)`), mostly because it was told to stop.
//! The socket is lent. The kernel would take it out of its group, move another into its place and
//! reset what waits in it.
//!
//! Instead the program is told that it succeeded, and new connections go elsewhere: the socket is
//! *withdrawn*. The program can still accept what waits there. Once nobody waits, the socket is
//! really shut down, so that a blocked `accept` fails as the program expects; a fresh socket takes
//! its place (`listeners::shut_down`). If the worker ends before, the socket is kept as it is, for
//! the next worker of the slot.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::Runtime;
use super::context::{Context, Place, context};
use super::intercept::{answer_call, still_waits};
use super::listeners::Listeners;
use super::listeners::listener::Kind;
use super::workers::Child;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::policy::intercept::{self as policy, Lent, Shutdown, Withdrawn};
use crate::primary::event::Cue;
use crate::sys::diag::{self, TcpState};
use crate::sys::seccomp::{self, Answer, Notification};
use crate::sys::unseen::Theirs;
use crate::sys::{clock, socket, target};

/// How often the primary looks at withdrawn sockets: no event tells that a queue became empty, and
/// the program is blocked in `accept` until then.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Runtime {
    /// Does what follows from an intercepted `shutdown` of this descriptor of the worker.
    pub(super) fn take_shutdown(&mut self, worker: WorkerId, call: &Notification, fd: i32) {
        let answer = match self.shut_down(worker, call, fd) {
            Ok(answer) => answer,
            // What cannot be looked into is left to the kernel.
            Err(_) => Some(Answer::Continue),
        };
        if let Some(answer) = answer {
            answer_call(context!(self), worker, call.id, answer);
        }
    }

    /// `None`: the answer comes later.
    fn shut_down(
        &mut self,
        worker: WorkerId,
        call: &Notification,
        fd: i32,
    ) -> io::Result<Option<Answer>> {
        // Without a copy of the descriptor: most of these calls end an ordinary connection.
        let inode = Theirs::Place { tid: call.tid, fd }.inode()?;
        let place = self.listeners.by_inode(inode);
        let lent = place.and_then(|place| how_it_is_lent(&self.listeners, place, inode));
        let waits = lent.is_some() && still_waits(&self.children, worker, call.id);
        match (policy::shutdown(lent, waits), place) {
            (Shutdown::Withdraw, Some(place)) => {
                self.withdraw(worker, place, inode);
                self.intercept.answer_later(worker, call.id, Answer::Success);
                Ok(None)
            }
            (Shutdown::TakeAway, Some(place)) => {
                take_away(context!(self), worker, call, fd, place)?;
                Ok(Some(Answer::Success))
            }
            (Shutdown::LetThrough | Shutdown::Withdraw | Shutdown::TakeAway, _) => {
                Ok(Some(Answer::Continue))
            }
        }
    }

    fn withdraw(&mut self, worker: WorkerId, place: Place, inode: u64) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        child.shut_down.insert(inode, place);
        self.cue(worker, Cue::Closed { listener: place.0, socket: place.1 });
        // A worker that drained before it was told to stop need not wait. As for others, the core
        // has not heard of it yet, and new connections still go to the socket.
        if !self.listeners.get(place.0).is_some_and(|open| open.is_target(place.1)) {
            end_withdrawn(context!(self), worker);
        }
        self.look_at_withdrawn_soon(clock::now());
    }

    /// Looks at withdrawn sockets, if that is due.
    pub(super) fn look_after_withdrawn(&mut self, now: Time) {
        if self.intercept.withdrawn_due.is_some_and(|due| due <= now) {
            let listeners = &self.listeners;
            let withdrawing =
                |(id, child): (&WorkerId, &Child)| has_withdrawn(listeners, child).then_some(*id);
            let workers: Vec<WorkerId> = self.children.iter().filter_map(withdrawing).collect();
            workers.into_iter().for_each(|worker| end_withdrawn(context!(self), worker));
            self.look_at_withdrawn_soon(now);
        }
    }

    /// Sets the time of the next look.
    pub(super) fn look_at_withdrawn_soon(&mut self, now: Time) {
        let any = self.children.values().any(|child| has_withdrawn(&self.listeners, child));
        self.intercept.withdrawn_due = any.then(|| now + LOOK_EVERY);
    }
}

/// Shuts those sockets of a worker down in which nobody waits.
fn end_withdrawn(at: &mut Context<'_>, worker: WorkerId) {
    let Some(child) = at.children.get(&worker) else { return };
    for (inode, place) in &child.shut_down {
        let Some(listener) = at.listeners.get_mut(place.0) else { continue };
        if listener.inode(place.1) != Some(*inode) {
            continue;
        }
        let is_target = listener.is_target(place.1);
        // Before the queue: a handshake that ends in between is in the queue then.
        let asks = !is_target && listener.queued(place.1) == 0;
        let handshaking = if asks { listener.port().map_or(0, handshakes) } else { 0 };
        let queued = listener.queued(place.1);
        if !policy::may_shut_down(Withdrawn { is_target, queued, handshaking }) {
            continue;
        }
        let address = listener.address();
        match listener.shut_down(place.1) {
            Ok(()) => *at.stale = true,
            Err(error) => at.notes.note(format!(
                "cannot shut a socket of {address} down as its program asked: {error}; its \
                 accept goes on waiting"
            )),
        }
    }
}

/// Whether a program shut a socket down that still listens.
fn has_withdrawn(listeners: &Listeners, child: &Child) -> bool {
    let still = |(inode, place): (&u64, &Place)| {
        listeners.get(place.0).and_then(|open| open.inode(place.1)) == Some(*inode)
    };
    child.ended.is_none() && child.shut_down.iter().any(still)
}

/// Handshakes under way on a port. What cannot be seen is taken for none.
fn handshakes(port: u16) -> u32 {
    let all = diag::connections(&[port]).unwrap_or_default();
    let count = all.iter().filter(|c| c.state == TcpState::SynReceived).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn how_it_is_lent(listeners: &Listeners, (listener, _): Place, inode: u64) -> Option<Lent> {
    match listeners.get(listener)?.kind {
        Kind::Slots if listeners.is_managers(inode) => Some(Lent::Shared),
        Kind::Slots => Some(Lent::Alone),
        Kind::Shared => Some(Lent::Shared),
        Kind::HandOver(_) => None,
    }
}

/// The program has a socket instead that does not listen.
fn take_away(
    at: &mut Context<'_>,
    worker: WorkerId,
    call: &Notification,
    fd: i32,
    (listener, socket): Place,
) -> io::Result<()> {
    let cloexec = target::is_cloexec(call.tid, fd)?;
    let ours = at.listeners.get(listener).and_then(|open| open.existing(socket));
    let calls = at.children.get(&worker).and_then(Child::calls);
    let (Some(ours), Some(calls)) = (ours, calls) else { return Ok(()) };
    let deaf = socket::deaf(ours)?;
    seccomp::replace_fd(calls, call.id, deaf.as_fd(), fd, cloexec)?;
    at.cue(worker, Cue::Closed { listener, socket });
    Ok(())
}
