//! Calls: to an idle worker of a pool, with exactly one answer or error back to the caller.
//!
//! The relay refuses calls beyond the bounds at once (`full`), and calls to a pool that never had a
//! worker. A call to a pool whose workers are all busy, or just being replaced, waits until its
//! deadline.

use std::collections::BTreeSet;
use std::time::Duration;

use ipc::bus::{ErrorKind, Json, Peer, ToWorker};

use super::limits::{CALL_BYTES, CALL_LONGEST, CALL_TIMEOUT, CALLS, CALLS_PER_WORKER, TRIES};
use super::member::Member;
use super::table::{AROUND, Call, Caller};
use super::{Action, Failure, Relay};
use crate::base::ids::WorkerId;
use crate::base::time::Time;

/// A call as a worker makes it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) id: u64,
    pub(super) pool: String,
    pub(super) topic: String,
    pub(super) data: Json,
    pub(super) timeout_ms: u32,
    pub(super) retry: bool,
}

/// An action that a person triggers.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    /// The number by which the answers are known.
    pub(crate) ticket: u64,
    pub(crate) action: String,
    /// Only for the worker of this slot.
    pub(crate) slot: Option<u16>,
    pub(crate) data: Json,
    pub(crate) timeout: Duration,
}

impl Relay {
    pub(super) fn call(
        &mut self,
        now: Time,
        worker: WorkerId,
        wanted: Wanted,
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.members.get(&worker) else { return };
        let Wanted { id, pool, topic, data, timeout_ms, retry } = wanted;
        if member.calls.contains_key(&id) {
            let why = format!("it used the number {id} for two calls at a time");
            return self.cut(worker, why, actions);
        }
        self.counts.calls += 1;
        let caller = Caller::Worker { worker, id };
        let pool = if pool.is_empty() { member.peer.pool.clone() } else { pool };
        let refusal = if !self.pools.contains_key(&pool) {
            let known: Vec<&str> = self.pools.keys().map(String::as_str).collect();
            let message = format!("there is no pool {pool:?} (known: {})", known.join(", "));
            Some(Failure { kind: ErrorKind::NoPool, message })
        } else if member.calls.len() >= CALLS_PER_WORKER {
            Some(full(format!("{CALLS_PER_WORKER} calls of this worker have no answer yet")))
        } else if self.calls.all.len() >= CALLS {
            Some(full(format!("{CALLS} calls of this app have no answer yet")))
        } else if self.calls.bytes + data.text().len() + AROUND > CALL_BYTES {
            Some(full(format!("calls with {CALL_BYTES} bytes wait for a worker")))
        } else {
            None
        };
        if let Some(failure) = refusal {
            return self.finish(caller, Err(failure), actions);
        }
        let timeout = match timeout_ms {
            0 => CALL_TIMEOUT,
            ms => Duration::from_millis(ms.into()).min(CALL_LONGEST),
        };
        let call = Call {
            caller,
            from: member.peer.clone(),
            pool: pool.clone(),
            topic: topic.clone(),
            data: Some(data),
            since: now,
            deadline: now + timeout,
            retry,
            tries: 0,
            on: None,
        };
        let number = self.calls.add(call);
        self.calls.wait(number);
        if let Some(member) = self.members.get_mut(&worker) {
            member.calls.insert(id, number);
        }
        self.dispatch(now, &pool, &topic, actions);
    }

    /// Gives waiting calls to idle workers.
    pub(super) fn dispatch(
        &mut self,
        now: Time,
        pool: &str,
        topic: &str,
        actions: &mut Vec<Action>,
    ) {
        let key = (pool.to_owned(), topic.to_owned());
        while let Some(number) = self.calls.waiting.get(&key).and_then(|ids| ids.first().copied()) {
            let Some(call) = self.calls.all.get(&number) else { return };
            let Some(worker) = self.idle(call) else { return };
            self.calls.wait_no_more(number);
            let Some(call) = self.calls.all.get_mut(&number) else { return };
            let before = call.bytes();
            let again = call.retry && call.tries + 1 < TRIES;
            let data = if again { call.data.clone() } else { call.data.take() };
            self.calls.bytes -= before - call.bytes();
            call.on = Some(worker);
            call.tries += 1;
            let left = call.deadline.since(now).as_millis();
            let message = ToWorker::Call {
                id: number,
                topic: call.topic.clone(),
                data: data.unwrap_or_default(),
                from: call.from.clone(),
                timeout_ms: u32::try_from(left).unwrap_or(u32::MAX).max(1),
            };
            if let Some(member) = self.members.get_mut(&worker) {
                member.works_on.insert(number, Some(topic.to_owned()));
                if let Some(serving) = member.serves.get_mut(topic) {
                    serving.busy += 1;
                }
            }
            self.tell(worker, &message, actions);
        }
    }

    /// The worker that is best able to take this call: not the caller, with the least work, and
    /// with the longest time since its last call.
    fn idle(&self, call: &Call) -> Option<WorkerId> {
        let length = call.bytes();
        let able = |member: &Member| {
            member.peer.pool == call.pool
                && member.is_idle(&call.topic)
                && member.queue.has_room(length)
        };
        let members = self.members.iter().filter(|(_, member)| able(member));
        let best = members.min_by_key(|(_, member)| {
            let itself = member.peer.worker == call.from.worker;
            (itself, member.works_on.len(), member.heard)
        });
        best.map(|(worker, _)| *worker)
    }

    /// Takes a worker's answer to a call or a trigger.
    pub(super) fn answer(
        &mut self,
        now: Time,
        worker: WorkerId,
        number: u64,
        answer: Result<Json, Failure>,
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        let Some(topic) = member.works_on.remove(&number) else {
            self.counts.late += 1;
            return;
        };
        if let Some(serving) = topic.as_ref().and_then(|topic| member.serves.get_mut(topic)) {
            serving.busy = serving.busy.saturating_sub(1);
        }
        let pool = member.peer.pool.clone();
        if self.calls.all.get(&number).is_some_and(|call| call.on == Some(worker)) {
            self.end(number, answer, actions);
        } else {
            self.counts.late += 1;
        }
        if let Some(topic) = topic {
            self.dispatch(now, &pool, &topic, actions);
        }
    }

    /// Ends a call.
    fn end(&mut self, number: u64, answer: Result<Json, Failure>, actions: &mut Vec<Action>) {
        let Some(call) = self.calls.remove(number) else { return };
        if let Caller::Worker { worker, id } = call.caller
            && let Some(member) = self.members.get_mut(&worker)
        {
            member.calls.remove(&id);
        }
        self.finish(call.caller, answer, actions);
    }

    /// Tells the caller how a call ended.
    fn finish(&mut self, caller: Caller, answer: Result<Json, Failure>, actions: &mut Vec<Action>) {
        let (worker, id) = match caller {
            Caller::Worker { worker, id } => (worker, id),
            Caller::Person { ticket, slot } => {
                return actions.push(Action::Answered { ticket, slot, answer });
            }
        };
        let Some(member) = self.members.get(&worker) else { return };
        let answer = answer.and_then(|data| {
            if member.queue.has_room(data.text().len() + AROUND) {
                return Ok(data);
            }
            let message =
                "the answer was dropped: the caller has too many unread answers".to_owned();
            Err(Failure { kind: ErrorKind::Lost, message })
        });
        let message = match answer {
            Ok(data) => {
                self.counts.answered += 1;
                ToWorker::Answer { id, data }
            }
            Err(Failure { kind, message }) => {
                self.count_failure(kind);
                ToWorker::Error { id, kind, message }
            }
        };
        self.tell(worker, &message, actions);
    }

    fn count_failure(&mut self, kind: ErrorKind) {
        self.counts.failed += 1;
        match kind {
            ErrorKind::TimedOut => self.counts.timed_out += 1,
            ErrorKind::Died => self.counts.died += 1,
            ErrorKind::Full => self.counts.full += 1,
            ErrorKind::Failed | ErrorKind::NoPool | ErrorKind::Lost => {}
        }
    }

    /// A caller has left, so its calls need no answers any more.
    pub(super) fn caller_left(&mut self, member: &Member) {
        for number in member.calls.values() {
            self.calls.remove(*number);
        }
    }

    /// A worker has left before it answered these calls.
    pub(super) fn server_left(
        &mut self,
        now: Time,
        worker: WorkerId,
        member: &Member,
        actions: &mut Vec<Action>,
    ) {
        for number in member.works_on.keys() {
            let Some(call) = self.calls.all.get(number) else { continue };
            if call.on != Some(worker) {
                continue;
            }
            if call.data.is_some() {
                self.counts.retried += 1;
                let (pool, topic) = (call.pool.clone(), call.topic.clone());
                self.calls.wait(*number);
                self.dispatch(now, &pool, &topic, actions);
                continue;
            }
            let message =
                format!("the worker of slot {} died or left before it answered", member.peer.slot);
            self.end(*number, Err(Failure { kind: ErrorKind::Died, message }), actions);
        }
    }

    /// A worker has read something, so a waiting call may fit into its queue.
    pub(super) fn room_again(&mut self, now: Time, worker: WorkerId, actions: &mut Vec<Action>) {
        if self.calls.waiting.is_empty() {
            return;
        }
        let Some(member) = self.members.get(&worker) else { return };
        let pool = member.peer.pool.clone();
        let topics: Vec<String> = member.serves.keys().cloned().collect();
        for topic in topics {
            self.dispatch(now, &pool, &topic, actions);
        }
    }

    /// Triggers an action in all workers that registered it, or in the worker of one slot. Returns
    /// how many these are. Each of them brings an [`Action::Answered`].
    pub(crate) fn trigger(
        &mut self,
        now: Time,
        wanted: &Trigger,
        actions: &mut Vec<Action>,
    ) -> usize {
        let Trigger { ticket, action, slot, data, timeout } = wanted;
        let has = |m: &Member| m.actions.contains(action) && slot.is_none_or(|s| m.peer.slot == s);
        let found: Vec<(WorkerId, u16)> = self
            .members
            .iter()
            .filter(|(_, member)| !member.cut && has(member))
            .map(|(worker, member)| (*worker, member.peer.slot))
            .collect();
        for (worker, slot) in &found {
            let number = self.calls.add(Call {
                caller: Caller::Person { ticket: *ticket, slot: *slot },
                from: Peer::default(),
                pool: String::new(),
                topic: action.clone(),
                data: None,
                since: now,
                deadline: now + (*timeout).min(CALL_LONGEST),
                retry: false,
                tries: 1,
                on: Some(*worker),
            });
            if let Some(member) = self.members.get_mut(worker) {
                member.works_on.insert(number, None);
            }
            let message =
                ToWorker::Trigger { id: number, action: action.clone(), data: data.clone() };
            self.tell(*worker, &message, actions);
        }
        found.len()
    }

    /// The names of the registered actions.
    pub(crate) fn actions(&self) -> BTreeSet<&str> {
        self.members.values().flat_map(|m| &m.actions).map(String::as_str).collect()
    }

    /// When [`Relay::turn`] is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let call = self.calls.deadlines.first().map(|(deadline, _)| *deadline);
        let rested = self.resting.first().map(|(until, _)| *until);
        call.into_iter().chain(self.next_stall()).chain(rested).min()
    }

    /// Ends the calls that are overdue.
    pub(crate) fn turn(&mut self, now: Time, actions: &mut Vec<Action>) {
        while let Some((deadline, number)) = self.calls.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            let message = self.why_late(now, number);
            self.end(number, Err(Failure { kind: ErrorKind::TimedOut, message }), actions);
        }
        self.look_for_stalls(now, actions);
        self.wake(now, actions);
    }

    fn why_late(&self, now: Time, number: u64) -> String {
        let Some(call) = self.calls.all.get(&number) else { return String::new() };
        let waited = format!("{} ms", now.since(call.since).as_millis());
        let serves = |m: &Member| m.peer.pool == call.pool && m.serves.contains_key(&call.topic);
        match call.on {
            Some(worker) => format!("{} did not answer within {waited}", self.name(worker)),
            None if self.members.values().any(serves) => {
                format!("no worker of the pool {:?} was idle within {waited}", call.pool)
            }
            None => format!(
                "no worker of the pool {:?} serves {:?} (waited {waited})",
                call.pool, call.topic
            ),
        }
    }
}

fn full(message: String) -> Failure {
    Failure { kind: ErrorKind::Full, message }
}
