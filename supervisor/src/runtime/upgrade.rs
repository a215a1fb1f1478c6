//! Carries out an upgrade: another build is asked, and takes over (see `snapshot/upgrade`).

use std::io;
use std::path::PathBuf;

use ipc::control::{FailureKind, Notice, NoticeKind, Reply};

use super::Runtime;
use super::error_text::plain;
use super::snapshot::upgrade::{UpgradeCheck, Upgrading};
use crate::base::ids::ClientId;
use crate::base::time::Time;
use crate::sys::daemon;

impl Runtime {
    /// Asks a build whether it can take over. `None`: the one that is now where ours was.
    pub(super) fn check_upgrade(&mut self, client: Option<ClientId>, binary: Option<PathBuf>) {
        if self.succession.upgrade.is_under_way() {
            return self.refuse_upgrade(client, "another upgrade is under way".to_owned());
        }
        let binary = match binary.map_or_else(daemon::own_program, Ok) {
            Ok(binary) => binary,
            Err(error) => {
                let why = format!("cannot find the supervisor's own program: {}", plain(&error));
                return self.refuse_upgrade(client, why);
            }
        };
        let asked =
            match self.write_snapshot() {
                true => self.keeper.memory().newest().and_then(|state| {
                    UpgradeCheck::ask(&self.events.poller, &state, &binary, client)
                }),
                false => Err(io::Error::other("the state could not be written")),
            };
        match asked {
            Ok(check) => self.succession.upgrade.check = Some(check),
            Err(error) => {
                let why = format!("cannot run {}: {}", binary.display(), plain(&error));
                self.refuse_upgrade(client, why);
            }
        }
    }

    /// Ends the check of a build that has thought too long.
    pub(super) fn look_after_upgrade(&mut self, now: Time) {
        if let Some((client, why)) = self.succession.upgrade.give_up(&self.events.poller, now) {
            self.refuse_upgrade(client, why);
        }
    }

    /// A build has answered.
    pub(super) fn take_upgrade_check(&mut self) {
        let Some((client, binary, verdict)) = self.succession.upgrade.answered(&self.events.poller)
        else {
            return;
        };
        if let Err(why) = verdict {
            return self.refuse_upgrade(client, why);
        }
        let from = crate::version();
        self.succession.upgrade.next = Some(Upgrading { client, binary, from });
    }

    /// Makes way for a build that can take over. At the end of a turn, because what is taken in
    /// after the state is written, such as a connection, would be lost.
    pub(super) fn hand_over_to_upgrade(&mut self) {
        if !self.events.inbox.is_empty() {
            return;
        }
        let Some(next) = self.succession.upgrade.next.take() else { return };
        let (client, binary) = (next.client, next.binary.clone());
        self.succession.upgrade.upgrading = Some(next);
        let told = match self.write_snapshot() {
            true => self.keeper.replace(&binary),
            false => Err(io::Error::other("the state could not be written")),
        };
        match told {
            // The keeper waits for our end, and becomes that build.
            Ok(()) => self.events.exit = Some(0),
            Err(error) => {
                self.succession.upgrade.upgrading = None;
                self.refuse_upgrade(client, format!("cannot hand over: {}", plain(&error)));
            }
        }
    }

    /// Says how an upgrade ended that our predecessor began.
    pub(super) fn report_upgrade(&mut self, failed: Option<io::Error>, fell_back: bool) {
        let Some(Upgrading { client, binary, from }) = self.succession.upgrade.upgrading.take()
        else {
            return;
        };
        if fell_back {
            let why = format!("{} took over and could not go on", binary.display());
            return self.refuse_upgrade(client, why);
        }
        if let Some(error) = failed {
            let why = format!("cannot run {}: {}", binary.display(), plain(&error));
            return self.refuse_upgrade(client, why);
        }
        let name = &self.core.spec().name;
        let workers = match self.children.workers() {
            1 => "1 worker serves".to_owned(),
            count => format!("{count} workers serve"),
        };
        let message =
            format!("{name}: supervisor {} took over from {from}; {workers} on", crate::version());
        self.publish(Notice::of_app(NoticeKind::Upgraded, message.clone()));
        if let Some(client) = client {
            self.answer(client, &Reply::done(message));
        }
    }

    fn refuse_upgrade(&mut self, client: Option<ClientId>, why: String) {
        let reason = format!("{why}; nothing was changed");
        self.publish(Notice::of_app(NoticeKind::Warning, format!("no upgrade: {reason}")));
        if let Some(client) = client {
            self.answer(client, &Reply::failed(FailureKind::Failed, reason));
        }
    }
}
