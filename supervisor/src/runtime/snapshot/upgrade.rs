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

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::base::ids::ClientId;
use crate::base::time::Time;
use crate::runtime::source::Source;
use crate::sys::clock;
use crate::sys::pidfd::{self, Pid};
use crate::sys::poller::Poller;

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
    pub(in crate::runtime) client: Option<ClientId>,
    pub(in crate::runtime) binary: PathBuf,
    pub(in crate::runtime) from: String,
}

/// The upgrade that is under way, if one is.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Upgrade {
    /// Another build is asked whether it can take over.
    pub(in crate::runtime) check: Option<UpgradeCheck>,
    /// It can: the successor says so.
    pub(in crate::runtime) upgrading: Option<Upgrading>,
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
    pub(in crate::runtime) fn give_up(
        &mut self,
        poller: &Poller,
        now: Time,
    ) -> Option<(Option<ClientId>, String)> {
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
    pub(in crate::runtime) fn answered(
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
    pub(in crate::runtime) fn ask(
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
