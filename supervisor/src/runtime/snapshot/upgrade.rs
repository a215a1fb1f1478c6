//! Another build takes over: it is asked first whether it can go on from our state, in a process
//! of its own that nobody waits for; then the keeper becomes that build and starts its primary.
//! Workers, sockets and connections stay where they are.
//!
//! Refused, and nothing has happened: a program that cannot be run, does not answer in time, or
//! says that it cannot read the state.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
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

impl Runtime {
    /// Asks a build whether it can take over. `None`: the one that is now where ours was.
    pub(in crate::runtime) fn rehearse(
        &mut self,
        client: Option<ClientId>,
        binary: Option<PathBuf>,
    ) {
        if self.rehearsal.is_some() {
            return self.refuse_upgrade(client, "another upgrade is under way".to_owned());
        }
        let binary = match binary.map_or_else(daemon::own_program, Ok) {
            Ok(binary) => binary,
            Err(error) => {
                let why = format!("cannot find the supervisor's own program: {}", plain(&error));
                return self.refuse_upgrade(client, why);
            }
        };
        match self.ask_build(&binary, client) {
            Ok(rehearsal) => self.rehearsal = Some(rehearsal),
            Err(error) => {
                let why = format!("cannot run {}: {}", binary.display(), plain(&error));
                self.refuse_upgrade(client, why);
            }
        }
    }

    fn ask_build(&mut self, binary: &Path, client: Option<ClientId>) -> io::Result<UpgradeCheck> {
        if !self.write_snapshot() {
            return Err(io::Error::other("the state could not be written"));
        }
        let mut question = memfd()?;
        question.write_all(&self.keeper.memory().newest()?)?;
        question.rewind()?;
        let answer = memfd()?;
        let mut command = Command::new(binary);
        command.arg(QUESTION).current_dir("/").env_clear();
        command.stdin(question).stdout(answer.try_clone()?).stderr(answer.try_clone()?);
        let mut child = command.spawn()?;
        let watched = pidfd::open(Pid(child.id())).and_then(|pidfd| {
            self.poller.add(pidfd.as_fd(), Source::UpgradeCheck.token())?;
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => Ok(UpgradeCheck {
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

    /// When a build has thought too long.
    pub(in crate::runtime) fn rehearsal_deadline(&self) -> Option<Time> {
        self.rehearsal.as_ref().map(|rehearsal| rehearsal.until)
    }

    /// Ends one that has.
    pub(in crate::runtime) fn look_after_rehearsal(&mut self, now: Time) {
        if self.rehearsal_deadline().is_none_or(|until| now < until) {
            return;
        }
        let Some(mut rehearsal) = self.rehearsal.take() else { return };
        self.poller.remove(rehearsal.pidfd.as_fd());
        end(&mut rehearsal.child);
        let why = format!(
            "{} did not say within {} whether it can go on from the present state",
            rehearsal.binary.display(),
            humantime::format_duration(PATIENCE)
        );
        self.refuse_upgrade(rehearsal.client, why);
    }

    /// A build has answered.
    pub(in crate::runtime) fn take_rehearsal(&mut self) {
        let Some(mut rehearsal) = self.rehearsal.take() else { return };
        self.poller.remove(rehearsal.pidfd.as_fd());
        let UpgradeCheck { binary, client, .. } = &rehearsal;
        let (binary, client) = (binary.clone(), *client);
        let status = rehearsal.child.wait();
        let answer = read(&mut rehearsal.answer).unwrap_or_default();
        let is_willing = status.as_ref().is_ok_and(std::process::ExitStatus::success)
            && answer.starts_with(CAN_GO_ON);
        if !is_willing {
            let said = answer.lines().next().unwrap_or("it said nothing").trim();
            let said = said.strip_prefix("supervisor: ").unwrap_or(said);
            let why = format!("{} cannot take over: {said}", binary.display());
            return self.refuse_upgrade(client, why);
        }
        self.upgrading = Some(Upgrading { client, binary: binary.clone(), from: crate::version() });
        let told = match self.write_snapshot() {
            true => self.keeper.replace(&binary),
            false => Err(io::Error::other("the state could not be written")),
        };
        match told {
            // The keeper waits for our end, and becomes that build.
            Ok(()) => self.exit = Some(0),
            Err(error) => {
                self.upgrading = None;
                self.refuse_upgrade(client, format!("cannot hand over: {}", plain(&error)));
            }
        }
    }

    /// Says how an upgrade ended that our predecessor began.
    pub(in crate::runtime) fn report_upgrade(
        &mut self,
        failed: Option<io::Error>,
        fell_back: bool,
    ) {
        let Some(Upgrading { client, binary, from }) = self.upgrading.take() else { return };
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
            self.answer(client, &Reply::Done { message });
        }
    }

    /// Who waits for the end of an upgrade.
    pub(in crate::runtime) fn awaits_upgrade(&self) -> Option<ClientId> {
        let asked = self.rehearsal.as_ref().and_then(|rehearsal| rehearsal.client);
        asked.or_else(|| self.upgrading.as_ref().and_then(|upgrading| upgrading.client))
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
    // Errors mean that it is gone already.
    let _ = child.kill();
    let _ = child.wait();
}
