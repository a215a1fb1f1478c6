//! A worker's `listen`. Until it comes, the program has a socket that is bound and does nothing
//! else (`lend`); now that socket becomes a slot socket, or one is put over it.

use std::io;
use std::os::fd::AsFd;

use super::{Intercept, Joining, Outcome, answer_call, still_waits};
use crate::base::ids::WorkerId;
use crate::policy::intercept::{self as policy, Listen, Listening, SlotState};
use crate::primary::event::Cue;
use crate::runtime::context::{Context, Place};
use crate::runtime::workers::Child;
use crate::sys::seccomp::{self, Answer, Notification};
use crate::sys::unseen::Theirs;
use crate::sys::{socket, target};

impl Intercept {
    pub(super) fn listen(
        &mut self,
        at: &mut Context<'_>,
        worker: WorkerId,
        notification: &Notification,
        fd: i32,
        backlog: i32,
    ) -> io::Result<Outcome> {
        let go_on = Ok(Outcome::Now(Answer::Continue));
        let theirs = Theirs::of(notification.tid, fd)?;
        let inode = theirs.inode()?;
        let Some((place, listening)) = what_it_is(at, worker, inode, theirs.copy().is_some())
        else {
            if let Some(path) = path_of_its_own(notification.tid, &theirs) {
                at.cue(worker, Cue::ListensOnUnix { path });
            } else if let Some(child) = at.children.get_mut(&worker) {
                child.lets_through(inode);
            }
            return go_on;
        };
        let waits = still_waits(at.children, worker, notification.id);
        let mut news = false;
        match policy::listen(Some(listening), waits) {
            Listen::LetThrough => return go_on,
            Listen::Join => {}
            Listen::PutOver => put_over(at, worker, notification, (&theirs, inode), place)?,
            Listen::TakePlace => {
                let (Theirs::Copy(copy), Some(listener)) = (theirs, at.listeners.get_mut(place.0))
                else {
                    return go_on;
                };
                listener.take_place(place.1, copy)?;
                news = true;
            }
        }
        let Some(listener) = at.listeners.get_mut(place.0) else { return go_on };
        let joining = Joining { worker, call: notification.id, place, backlog };
        // Its place in the group is written down before it has it: from then on nobody can ask.
        news |= matches!(listener.announce(place.1), Ok(true));
        if news {
            return Ok(Outcome::Joins(joining));
        }
        self.join(at, joining);
        Ok(Outcome::Later)
    }

    /// The state knows the socket's place: it listens. The program is told once the state knows
    /// that, too.
    pub(in crate::runtime) fn join(&mut self, at: &mut Context<'_>, joining: Joining) {
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
        listens_now(at, worker, (id, socket));
        at.cue(worker, Cue::Listening { listener: id, socket });
        self.late_answers.push((worker, call, Answer::Success));
    }
}

/// The absolute path of a unix socket that the program bound itself.
fn path_of_its_own(tid: u32, theirs: &Theirs) -> Option<String> {
    let path = socket::unix_path(theirs.copy()?.as_fd()).ok().flatten()?;
    let folder = std::fs::read_link(format!("/proc/{tid}/cwd")).ok()?;
    Some(folder.join(path).display().to_string())
}

/// What the socket is on which a worker listens, and whose place in a group it has or takes.
/// `None`: nothing of ours.
fn what_it_is(
    at: &Context<'_>,
    worker: WorkerId,
    inode: u64,
    copied: bool,
) -> Option<(Place, Listening)> {
    if let Some(place) = at.listeners.by_inode(inode) {
        return Some((place, Listening::Lent));
    }
    let child = at.children.get(&worker)?;
    if let Some(place) = child.bound_only.get(&inode) {
        let slot = slot_state(at, child, *place);
        return Some((*place, Listening::BoundOnly { copied, slot }));
    }
    child.shut_down.get(&inode).map(|place| (*place, Listening::ShutDown))
}

fn slot_state(at: &Context<'_>, child: &Child, (listener, socket): Place) -> SlotState {
    let Some(open) = at.listeners.get(listener) else { return SlotState::Silent };
    let in_use = open.inode(socket).is_some_and(|inode| {
        // What the service manager has, too, must go on listening.
        at.listeners.is_managers(inode)
            || target::sockets_of(&target::descendants(child.pid.0))
                .map_or(true, |inodes| inodes.contains(&inode))
    });
    open.slot_state(socket, in_use)
}

/// Puts the slot socket over every descriptor of the calling process that is the program's socket.
/// Processes that inherited it listen for themselves.
fn put_over(
    at: &mut Context<'_>,
    worker: WorkerId,
    notification: &Notification,
    (theirs, inode): (&Theirs, u64),
    (listener, socket): Place,
) -> io::Result<()> {
    let gone = || io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    let listener = at.listeners.get_mut(listener).ok_or_else(gone)?;
    let calls = at.children.get(&worker).and_then(Child::calls).ok_or_else(gone)?;
    let ours = listener.socket(socket)?;
    if let Some(theirs) = theirs.copy() {
        socket::copy_options(theirs.as_fd(), ours);
    }
    socket::set_nonblocking(ours, theirs.traits()?.nonblocking)?;
    for number in target::numbers_of(notification.tid, inode)? {
        let cloexec = target::is_cloexec(notification.tid, number)?;
        seccomp::replace_fd(calls, notification.id, ours, number, cloexec)?;
    }
    Ok(())
}

/// A program listens on this socket: it is not withdrawn, or no longer, and is no longer only
/// bound.
fn listens_now(at: &mut Context<'_>, worker: WorkerId, (id, socket): Place) {
    let inode = at.listeners.get(id).and_then(|open| open.inode(socket));
    let Some(child) = at.children.get(&worker) else { return };
    let is_bound = inode.is_some_and(|inode| child.bound_only.contains_key(&inode));
    let is_withdrawn = child.shut_down.values().any(|withdrawn| *withdrawn == (id, socket));
    if (is_bound || is_withdrawn)
        && let Some(child) = at.children.get_mut(&worker)
    {
        child.shut_down.retain(|_, withdrawn| *withdrawn != (id, socket));
        child.bound_only.retain(|bound, _| Some(*bound) != inode);
    }
}
