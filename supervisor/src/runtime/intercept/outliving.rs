//! Processes that outlive their worker keep its filter, and the kernel goes on asking about their
//! calls. Nobody else may answer when the primary lets go of the worker: each call would fail with
//! ENOSYS. So a process of this program takes the descriptor over and lets every call go on, for as
//! long as one of them lives, longer than the primary if need be.

use super::{Intercept, answer_call};
use crate::base::ids::WorkerId;
use crate::runtime::context::Context;
use crate::runtime::helper;
use crate::runtime::workers::{Asking, Child};
use crate::sys::seccomp::{self, Answer};

/// The verb of that process.
const VERB: &str = "let-calls-go-on";

impl Intercept {
    /// Takes the statuses of the processes that have ended.
    pub(in crate::runtime) fn reap(&mut self) {
        helper::reap(&mut self.answering);
    }

    /// The primary lets go of a worker that is reaped.
    pub(in crate::runtime) fn release(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        let calls = at.children.get(&worker).and_then(Child::calls);
        let Some(calls) = calls.filter(|calls| seccomp::is_in_use(*calls)) else { return };
        let calls = calls.try_clone_to_owned();
        match calls.and_then(|calls| helper::start_own(VERB, calls)) {
            Ok(process) => self.answering.push(process),
            Err(error) => at.warn(format!(
                "cannot start a process that answers for what outlives worker {}: {error}; \
                 bind, listen and shutdown fail there with ENOSYS",
                worker.0
            )),
        }
    }

    /// All that is left of a worker is what outlives it. Answers what waits, so that no process
    /// waits for ever.
    pub(in crate::runtime) fn answer_rest(&mut self, at: &mut Context<'_>, worker: WorkerId) {
        let late = self.late_answers.extract_if(.., |(of, ..)| *of == worker);
        let late: Vec<_> = late.map(|(_, call, answer)| (call, answer)).collect();
        let heard = self.heard.iter().filter(|(of, _)| *of == worker);
        let heard = heard.map(|(_, call)| (call.id, Answer::Continue));
        let asking = at.children.get(&worker).into_iter().flat_map(|child| child.asking.values());
        let asking = asking.filter_map(|asking| match asking {
            Asking::Call(call) => Some((call.call, Answer::Continue)),
            Asking::Node { .. } => None,
        });
        let all: Vec<_> = late.into_iter().chain(heard).chain(asking).collect();
        for (call, answer) in all {
            answer_call(at, worker, call, answer);
        }
    }
}
