//! Changes that are merged with the spec that stands. A process of its own reads the app's file and
//! asks the user database, because both may hang; the loop only waits for that process to end.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use config::change::SpecChange;
use config::spec::AppSpec;
use ipc::control::FailureKind;
use serde::{Deserialize, Serialize};

use super::helper::Helper;
use super::source::Source;
use crate::base::ids::MergeId;
use crate::base::time::Time;
use crate::primary::event::{Event, Refusal};
use crate::sys::accounts::{self, Accounts};
use crate::sys::poller::Poller;

/// The verb that merges.
const VERB: &str = "merge-spec";
/// How long a merge may take. A local file takes a few milliseconds, a slow directory service some
/// seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Processes at a time. More than one exists only if the kernel cannot end one that was killed.
const MOST: usize = 4;
/// Bytes of an answer that are read. A spec is at most as large as a line of the control socket.
const ANSWER: u64 = ipc::lines::MAX_LINE as u64;

/// What the process is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// The spec that stands.
    pub(crate) running: AppSpec,
    pub(crate) change: SpecChange,
}

/// What it answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The new spec (`None`: nothing changes), or why there is none.
    pub(crate) merged: Result<Option<Box<AppSpec>>, Refusal>,
    /// The users and groups of the spec that is to run.
    pub(crate) accounts: Accounts,
}

/// The merges that are under way.
#[derive(Debug, Default)]
pub(super) struct Merges(BTreeMap<MergeId, Merge>);

#[derive(Debug)]
struct Merge {
    helper: Helper,
    /// Where the app comes from, for messages.
    from: String,
    /// The core has its answer, and the process was killed.
    given_up: bool,
}

impl Merges {
    /// Begins a merge. Returns the answer if it cannot begin.
    pub(super) fn begin(
        &mut self,
        poller: &Poller,
        merge: MergeId,
        running: &AppSpec,
        change: SpecChange,
    ) -> Option<Event> {
        let from = change.source(running);
        let from = from.map_or_else(|| "its spec".to_owned(), |file| file.display().to_string());
        if self.0.len() >= MOST {
            let why = format!("{MOST} earlier readings of its configuration have not ended");
            return Some(refuse(merge, FailureKind::Failed, &from, &why));
        }
        match ask(poller, merge, running, change) {
            Ok(helper) => {
                self.0.insert(merge, Merge { helper, from, given_up: false });
                None
            }
            Err(error) => Some(refuse(merge, FailureKind::Failed, &from, &error.to_string())),
        }
    }

    /// A process has ended. Returns what it answered.
    pub(super) fn ended(&mut self, poller: &Poller, merge: MergeId) -> Option<Event> {
        let Merge { helper, from, given_up } = self.0.remove(&merge)?;
        let answer = helper.ended(poller, ANSWER).map_err(|error| error.to_string());
        if given_up {
            return None;
        }
        let read = answer.and_then(|(status, answer)| {
            serde_json::from_slice::<Answer>(&answer).map_err(|_| format!("it ended with {status}"))
        });
        match read {
            Ok(Answer { merged: result, accounts }) => {
                if result.is_ok() {
                    accounts::remember(accounts);
                }
                Some(Event::Merged { merge, result })
            }
            Err(why) => Some(refuse(merge, FailureKind::Failed, &from, &why)),
        }
    }

    /// Gives up what takes too long.
    pub(super) fn give_up(&mut self, now: Time) -> Vec<Event> {
        let late = self.0.iter_mut().filter(|(_, it)| !it.given_up && it.helper.until <= now);
        late.map(|(merge, it)| {
            it.given_up = true;
            it.helper.kill();
            let time = humantime::format_duration(PATIENCE);
            let why = format!(
                "reading it and looking up its users took longer than {time}; make the file, its \
                 file system and the user database answer, and try again"
            );
            refuse(*merge, FailureKind::TimedOut, &it.from, &why)
        })
        .collect()
    }

    /// When the next one has taken too long.
    pub(super) fn deadline(&self) -> Option<Time> {
        let waited_for = self.0.values().filter(|merge| !merge.given_up);
        waited_for.map(|merge| merge.helper.until).min()
    }
}

fn ask(
    poller: &Poller,
    merge: MergeId,
    running: &AppSpec,
    change: SpecChange,
) -> io::Result<Helper> {
    let question = Question { running: running.clone(), change };
    Helper::ask_own(poller, Source::Merge(merge), VERB, &question, PATIENCE)
}

fn refuse(merge: MergeId, kind: FailureKind, from: &str, why: &str) -> Event {
    let reason = format!("cannot make a new spec from {from}: {why}; nothing was changed");
    Event::Merged { merge, result: Err(Refusal { kind, reason }) }
}
