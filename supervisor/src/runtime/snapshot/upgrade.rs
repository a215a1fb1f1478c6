//! Another build takes over: it is asked first whether it can go on from our state, in a process
//! of its own that nobody waits for; then the keeper becomes that build and starts its primary.
//! Workers, sockets and connections stay where they are.
//!
//! Refused, and nothing has happened: a program that cannot be run, does not answer in time, or
//! says that it cannot read the state.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use ipc::control::{FailureKind, Notice, NoticeKind, Reply};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::base::ids::ClientId;
use crate::base::time::Time;
use crate::runtime::Runtime;
use crate::runtime::source::Source;
use crate::runtime::workers::launch::plain;
use crate::sys::pidfd::{self, Pid};
use crate::sys::poller::Poller;
use crate::sys::{clock, daemon};

/// How a build begins its answer that can; its version follows.
pub(crate) const CAN_GO_ON: &str = "can go on from this state: supervisor ";
/// The verb by which it is asked.
const QUESTION: &str = "thaw-check";
/// How long it may think about it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of its answer that are read.
const ANSWER: u64 = 4096;

/// A build that is being asked.
#[derive(Debug)]
pub(in crate::runtime) struct UpgradeCheck {
    binary: PathBuf,
    client: Option<ClientId>,
    child: Child,
    pidfd: OwnedFd,
    answer: File,
    until: Time,
}

/// An upgrade that a successor reports on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runtime) struct Upgrading {
    client: Option<ClientId>,
    binary: PathBuf,
    from: String,
}

/// The upgrade that is under way, if one is.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Upgrade {
    /// Another build is asked whether it can take over.
    check: Option<UpgradeCheck>,
    /// It can: the successor says so.
    upgrading: Option<Upgrading>,
}

impl Upgrade {
    /// For the state, and for the end of the loop.
    pub(in crate::runtime) fn under_way(&self) -> Option<&Upgrading> {
        self.upgrading.as_ref()
    }

    /// What a predecessor began.
    pub(super) fn take_up(&mut self, upgrading: Option<Upgrading>) {
        self.upgrading = upgrading;
    }

    /// When a build has thought too long.
    pub(in crate::runtime) fn deadline(&self) -> Option<Time> {
        self.check.as_ref().map(|check| check.until)
    }

    /// The client that waits for the end of an upgrade.
    pub(super) fn awaited_by(&self) -> Option<ClientId> {
        let asked = self.check.as_ref().and_then(|check| check.client);
        asked.or_else(|| self.upgrading.as_ref().and_then(|upgrading| upgrading.client))
    }

    /// Ends the check of a build that has thought too long. Gives the client that asked, and what to
    /// say.
    fn give_up(&mut self, poller: &Poller, now: Time) -> Option<(Option<ClientId>, String)> {
        let mut check = self.check.take_if(|check| check.until <= now)?;
        poller.remove(check.pidfd.as_fd());
        end(&mut check.child);
        let why = format!(
            "{} did not say within {} whether it can go on from the present state",
            check.binary.display(),
            humantime::format_duration(PATIENCE)
        );
        Some((check.client, why))
    }

    /// A build has answered. Gives the client that asked, the build, and why it cannot take over.
    fn answered(
        &mut self,
        poller: &Poller,
    ) -> Option<(Option<ClientId>, PathBuf, Result<(), String>)> {
        let mut check = self.check.take()?;
        poller.remove(check.pidfd.as_fd());
        let status = check.child.wait();
        let answer = read(&mut check.answer).unwrap_or_default();
        let is_willing = status.as_ref().is_ok_and(std::process::ExitStatus::success)
            && answer.starts_with(CAN_GO_ON);
        let verdict = if is_willing {
            Ok(())
        } else {
            let said = answer.lines().next().unwrap_or("it said nothing").trim();
            let said = said.strip_prefix("supervisor: ").unwrap_or(said);
            Err(format!("{} cannot take over: {said}", check.binary.display()))
        };
        Some((check.client, check.binary, verdict))
    }
}

impl UpgradeCheck {
    /// Starts a build and asks it whether it can go on from this state.
    fn ask(
        poller: &Poller,
        state: &[u8],
        binary: &Path,
        client: Option<ClientId>,
    ) -> io::Result<Self> {
        let mut question = memfd()?;
        question.write_all(state)?;
        question.rewind()?;
        let answer = memfd()?;
        let mut command = Command::new(binary);
        command.arg(QUESTION).current_dir("/").env_clear().process_group(0);
        command.stdin(question).stdout(answer.try_clone()?).stderr(answer.try_clone()?);
        let mut child = command.spawn()?;
        let watched = pidfd::open(Pid(child.id())).and_then(|pidfd| {
            poller.add(pidfd.as_fd(), Source::UpgradeCheck.token())?;
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => Ok(Self {
                binary: binary.to_owned(),
                client,
                child,
                pidfd,
                answer,
                until: clock::now() + PATIENCE,
            }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }
}

impl Runtime {
    /// Asks a build whether it can take over. `None`: the one that is now where ours was.
    pub(in crate::runtime) fn check_upgrade(
        &mut self,
        client: Option<ClientId>,
        binary: Option<PathBuf>,
    ) {
        if self.upgrade.check.is_some() {
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
            Ok(check) => self.upgrade.check = Some(check),
            Err(error) => {
                let why = format!("cannot run {}: {}", binary.display(), plain(&error));
                self.refuse_upgrade(client, why);
            }
        }
    }

    /// Ends the check of a build that has thought too long.
    pub(in crate::runtime) fn look_after_upgrade(&mut self, now: Time) {
        if let Some((client, why)) = self.upgrade.give_up(&self.events.poller, now) {
            self.refuse_upgrade(client, why);
        }
    }

    /// A build has answered.
    pub(in crate::runtime) fn take_upgrade_check(&mut self) {
        let Some((client, binary, verdict)) = self.upgrade.answered(&self.events.poller) else {
            return;
        };
        if let Err(why) = verdict {
            return self.refuse_upgrade(client, why);
        }
        let from = crate::version();
        self.upgrade.upgrading = Some(Upgrading { client, binary: binary.clone(), from });
        let told = match self.write_snapshot() {
            true => self.keeper.replace(&binary),
            false => Err(io::Error::other("the state could not be written")),
        };
        match told {
            // The keeper waits for our end, and becomes that build.
            Ok(()) => self.events.exit = Some(0),
            Err(error) => {
                self.upgrade.upgrading = None;
                self.refuse_upgrade(client, format!("cannot hand over: {}", plain(&error)));
            }
        }
    }

    /// Says how an upgrade ended that our predecessor began.
    pub(super) fn report_upgrade(&mut self, failed: Option<io::Error>, fell_back: bool) {
        let Some(Upgrading { client, binary, from }) = self.upgrade.upgrading.take() else {
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
        let workers = match self.children.len() {
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

fn memfd() -> io::Result<File> {
    Ok(memfd_create("supervisor-rehearsal", MemfdFlags::CLOEXEC)?.into())
}

fn read(answer: &mut File) -> io::Result<String> {
    answer.rewind()?;
    let mut text = Vec::new();
    answer.take(ANSWER).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn end(child: &mut Child) {
    // With what it started itself. Errors mean that it is gone already.
    let _ = pidfd::signal_group(Pid(child.id()), libc::SIGKILL);
    let _ = child.kill();
    let _ = child.wait();
}
