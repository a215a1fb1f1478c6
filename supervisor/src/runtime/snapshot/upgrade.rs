//! Another build takes over: it is asked first whether it can go on from our state, in a process
//! of its own that nobody waits for; then the keeper becomes that build and starts its primary.
//! Workers, sockets and connections stay where they are.
//!
//! Refused, and nothing has happened: a program that cannot be run, does not answer in time, or
//! says that it cannot read the state.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::ids::ClientId;
use crate::base::time::Time;
use crate::runtime::helper::{Helper, Stderr};
use crate::runtime::source::Source;
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
    helper: Helper,
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
    /// It can: this primary makes way at the end of its turn.
    pub(in crate::runtime) next: Option<Upgrading>,
    /// The successor says how it went.
    pub(in crate::runtime) upgrading: Option<Upgrading>,
}

impl Upgrade {
    /// Whether another build is asked or about to take over.
    pub(in crate::runtime) fn is_under_way(&self) -> bool {
        self.check.is_some() || self.next.is_some()
    }

    /// Whether another build is about to take over.
    pub(in crate::runtime) fn is_decided(&self) -> bool {
        self.next.is_some()
    }

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
        self.check.as_ref().map(|check| check.helper.until)
    }

    /// The client that waits for the end of an upgrade.
    pub(super) fn awaited_by(&self) -> Option<ClientId> {
        let asked = self.check.as_ref().and_then(|check| check.client);
        let begun = self.next.as_ref().or(self.upgrading.as_ref());
        asked.or_else(|| begun.and_then(|upgrading| upgrading.client))
    }

    /// Ends the check of a build that has thought too long. Gives the client that asked, and what
    /// to say.
    pub(in crate::runtime) fn give_up(
        &mut self,
        poller: &Poller,
        now: Time,
    ) -> Option<(Option<ClientId>, String)> {
        let check = self.check.take_if(|check| check.helper.until <= now)?;
        check.helper.end(poller);
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
        let check = self.check.take()?;
        let ended = check.helper.ended(poller, ANSWER);
        let is_success = ended.as_ref().is_ok_and(|(status, _)| status.success());
        let answer = ended.map(|(_, answer)| answer).unwrap_or_default();
        let answer = String::from_utf8_lossy(&answer);
        let is_willing = is_success && answer.starts_with(CAN_GO_ON);
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
        let mut command = Command::new(binary);
        command.arg(QUESTION).current_dir("/").env_clear();
        let source = Source::UpgradeCheck;
        let helper = Helper::ask(poller, source, command, state, Stderr::Answer, PATIENCE)?;
        Ok(Self { binary: binary.to_owned(), client, helper })
    }
}
