//! The notify contract: what workers say on NOTIFY_SOCKET (sd_notify(3)) becomes cues for the core.

use ipc::control::Contract;
use systemd::notify::Assignment;

use super::context::Context;
use crate::base::ids::WorkerId;
use crate::limits::CALLS_PER_TURN;
use crate::primary::event::{Cue, Notification};
use crate::sys::notify::NotifySocket;

/// Takes what a worker said, a bounded number of notifications. Ignores, with a warning, what
/// another user says and what is malformed.
pub(super) fn take(at: &mut Context<'_>, worker: WorkerId) {
    for _ in 0..CALLS_PER_TURN {
        let Some(child) = at.children.get_mut(&worker) else { return };
        let Some(socket) = child.endpoints.get::<NotifySocket>() else { return };
        let (bytes, uid) = match socket.receive() {
            Ok(Some(datagram)) => datagram,
            Ok(None) => return,
            Err(error) => return at.warn(format!("cannot read NOTIFY_SOCKET: {error}")),
        };
        if !child.may_notify(uid) {
            at.warn(format!("a notification from user {uid} was ignored"));
            continue;
        }
        match systemd::notify::parse(&bytes) {
            Ok(assignments) => take_assignments(at, worker, assignments),
            Err(error) => at.warn(format!("a malformed notification was ignored: {error}")),
        }
    }
}

fn take_assignments(at: &mut Context<'_>, worker: WorkerId, assignments: Vec<Assignment>) {
    for assignment in assignments {
        let notification = match assignment {
            Assignment::Ready => Notification::Ready,
            Assignment::Stopping => Notification::Stopping,
            Assignment::Status(text) => Notification::Status(text),
            Assignment::Watchdog => Notification::Watchdog,
            Assignment::WatchdogTrigger => Notification::WatchdogTrigger,
            Assignment::ExtendTimeout(span) => Notification::Extend(span),
            Assignment::Reloading
            | Assignment::WatchdogUsec(_)
            | Assignment::MainPid(_)
            | Assignment::Barrier
            | Assignment::Errno(_)
            | Assignment::Unknown(_) => continue,
        };
        if let Some(child) = at.children.get_mut(&worker) {
            child.contracts.insert(Contract::Notify);
        }
        at.cue(worker, Cue::Notified(notification));
    }
}
