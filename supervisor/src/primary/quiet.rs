//! Commands that listened on nothing when they ran last. A worker of such a command does not get
//! the time that a server may need: it counts as ready after `min_uptime`, like a worker whose
//! predecessor listened on nothing.
//!
//! A command that listens after all is forgotten at once, however late it does.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use config::spec::{AppSpec, ReadyRule};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::action::Action;
use super::plan::Plan;
use super::step::Step;
use super::worker::Worker;
use crate::base::ids::CommandKey;

/// The most commands that one core remembers. With more, it begins anew.
const MAX: usize = 64;

/// The commands that the core remembers.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct QuietCommands(BTreeSet<CommandKey>);

impl QuietCommands {
    /// Whether the command of `plan` listened on nothing when it ran last.
    pub(super) fn has(&self, plan: &Plan) -> bool {
        self.0.contains(&key(&plan.spec))
    }

    /// Remembers the command of `plan` if `knows` says that an earlier core did.
    pub(super) fn recall(&mut self, plan: &Plan, knows: impl Fn(CommandKey) -> bool) {
        let command = key(&plan.spec);
        if knows(command) {
            self.0.insert(command);
        }
    }

    /// A worker has become ready. If it is so only because it listened on nothing for all of
    /// `listen_wait`, the core remembers its command.
    pub(super) fn became_ready(&mut self, worker: &Worker, step: &mut Step<'_>) {
        if !worker.had_its_time() {
            return;
        }
        if self.0.len() >= MAX {
            self.0.clear();
        }
        let command = key(&worker.plan.spec);
        if self.0.insert(command) {
            step.act(Action::NoteQuiet { command, quiet: true });
        }
    }

    /// A worker listens: its command is forgotten.
    pub(super) fn listens(&mut self, worker: &Worker, step: &mut Step<'_>) {
        let command = key(&worker.plan.spec);
        if self.0.remove(&command) {
            step.act(Action::NoteQuiet { command, quiet: false });
        }
    }
}

impl Worker {
    /// Whether it is ready only because it listened on nothing for all of `listen_wait`, although
    /// the supervisor would have seen it listen.
    pub(super) fn had_its_time(&self) -> bool {
        let spec = &self.plan.spec;
        let waits = spec.intercept && spec.ready == ReadyRule::Auto && self.required.is_none();
        let listens = !self.bound.is_empty() || !self.own.is_empty();
        let shows = self.said_ready || listens || !self.lent.is_empty();
        waits && !self.is_quiet && !shows
    }
}

/// What tells one command from another: the program with its arguments, its folder, its user, and
/// the variables of its configuration.
fn key(spec: &AppSpec) -> CommandKey {
    let mut hasher = SipHasher13::new();
    (&spec.command, &spec.cwd, &spec.env, &spec.user).hash(&mut hasher);
    CommandKey(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_command_is_another_key() {
        let spec = AppSpec::new("web", vec!["sleep".into(), "9".into()], "/".into());
        assert_eq!(key(&spec), key(&AppSpec { name: "api".into(), ..spec.clone() }));
        let mut others = [(); 4].map(|()| spec.clone());
        others[0].command.push("9".into());
        others[1].cwd = "/srv".into();
        others[2].env.insert("PORT".into(), "80".into());
        others[3].user = Some("nobody".into());
        for other in others {
            assert_ne!(key(&spec), key(&other), "{other:?}");
        }
    }
}
