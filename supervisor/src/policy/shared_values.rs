//! The values that all workers of an app share: which version each generation has, and what the
//! workers said to it.
//!
//! A reload gives its values to the generation that it brings; when it is done they hold for all.
//! A reload that is rolled back changes nothing for the others. A version is new values or the
//! return of older ones, never the same values again, so a worker that has applied a version need
//! not hear of it once more.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc::control::{FailureKind, Reply};
use serde::{Deserialize, Serialize};

use super::worker_limits::WorkerLimits;
use crate::base::ids::{ClientId, Generation, Slot, WorkerId};
use crate::base::per_generation::PerGeneration;
use crate::base::time::Time;

/// How long workers may take to say whether they apply new values: more than a program needs to
/// check a few settings, less than a person's patience.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many clients may wait for that at a time.
const WAITERS: usize = 16;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// The specs have these values: the one that serves, and the one that a reload brings.
    Specs(PerGeneration<Option<&'a str>>),
    /// A worker said whether it applies a version; an error is why it does not.
    Responded { worker: WorkerId, generation: Generation, version: u64, error: Option<String> },
    /// A worker is gone.
    Gone { worker: WorkerId },
    /// A client gave new values, and waits for what the workers say to them.
    Asked { client: ClientId },
    /// Time has passed, or a worker came or went. These workers live.
    Turn { workers: &'a [Holder] },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Give every worker the values of its generation: some are new.
    Configure,
    /// This worker does not apply the values of its generation.
    Refused { worker: WorkerId, version: u64, reason: String },
    /// The final answer to a client.
    Answer { client: ClientId, reply: Reply },
}

/// A live worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) worker: WorkerId,
    pub(crate) slot: Slot,
    pub(crate) generation: Generation,
    /// It has joined the bus; else it cannot be given values.
    pub(crate) on_bus: bool,
}

/// One version of the values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Its number; no two versions have the same. 0: there never were any values.
    #[serde(rename = "version")]
    number: u64,
    /// JSON text; `None`: there are no values.
    values: Option<String>,
    #[serde(skip)]
    limits: WorkerLimits,
}

/// What a worker said to a version.
#[derive(Debug, Clone, PartialEq)]
struct Response {
    version: u64,
    /// Why it does not apply it.
    error: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SharedValues {
    versions: PerGeneration<Version>,
    /// The highest number there was.
    newest: u64,
    /// The last one of each worker.
    responses: BTreeMap<WorkerId, Response>,
    /// The clients that wait for responses, and until when.
    waiters: Vec<(ClientId, Time)>,
}

/// What a successor needs, as it stands in the state.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SharedValuesSnapshot {
    pub(crate) serving: Option<String>,
    pub(crate) version: u64,
    pub(crate) coming: Option<(Generation, Version)>,
    pub(crate) newest: u64,
    pub(crate) responses: Vec<(WorkerId, u64, Option<String>)>,
}

impl Version {
    fn new(number: u64, values: Option<String>) -> Self {
        Self { number, limits: WorkerLimits::of(values.as_deref()), values }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// JSON text; `None`: there are no values.
    pub(crate) fn values(&self) -> Option<&str> {
        self.values.as_deref()
    }

    /// The limits among the values.
    pub(crate) fn limits(&self) -> &WorkerLimits {
        &self.limits
    }
}

impl SharedValues {
    /// The version of each generation.
    pub(crate) fn versions(&self) -> &PerGeneration<Version> {
        &self.versions
    }

    /// The version to which a worker responded last.
    pub(crate) fn responded(&self, worker: WorkerId) -> Option<u64> {
        self.responses.get(&worker).map(|response| response.version)
    }

    /// Somebody waits for responses.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// When [`Event::Turn`] is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiters.iter().map(|(_, until)| *until).min()
    }

    /// Takes one event in and says what is to be done.
    pub(crate) fn step(&mut self, now: Time, event: Event<'_>, out: &mut Vec<Action>) {
        match event {
            Event::Specs(values) => {
                if self.take(&values) {
                    out.push(Action::Configure);
                }
            }
            Event::Responded { worker, generation, version, error } => {
                if version != self.versions.of(generation).number {
                    return;
                }
                if let Some(reason) = error.clone() {
                    out.push(Action::Refused { worker, version, reason });
                }
                self.responses.insert(worker, Response { version, error });
            }
            Event::Gone { worker } => _ = self.responses.remove(&worker),
            Event::Asked { client } if self.waiters.len() >= WAITERS => {
                let reason = format!("{WAITERS} others wait for the workers to apply new values");
                let reply = Reply::failed(FailureKind::Failed, reason);
                out.push(Action::Answer { client, reply });
            }
            Event::Asked { client } => self.waiters.push((client, now + PATIENCE)),
            Event::Turn { workers } => self.answer(now, workers, out),
        }
    }

    /// Takes the values of the specs. `false`: nothing has changed.
    fn take(&mut self, specs: &PerGeneration<Option<&str>>) -> bool {
        let mut changed = false;
        let serving = specs.serving;
        if self.versions.serving.values() != serving {
            let came = self.versions.coming.take_if(|(_, own)| own.values() == serving);
            self.versions.serving = match came {
                Some((_, own)) => own,
                None => self.next(serving),
            };
            changed = true;
        }
        let coming = specs.coming.filter(|(_, values)| *values != serving);
        let known = self.versions.coming.as_ref().map(|(of, own)| (*of, own.values()));
        if known != coming {
            self.versions.coming = coming.map(|(of, values)| (of, self.next(values)));
            changed = true;
        }
        changed
    }

    fn next(&mut self, values: Option<&str>) -> Version {
        self.newest += 1;
        Version::new(self.newest, values.map(str::to_owned))
    }

    /// Answers those who wait, once all workers on the bus have spoken or the time is over.
    fn answer(&mut self, now: Time, workers: &[Holder], out: &mut Vec<Action>) {
        if self.waiters.is_empty() {
            return;
        }
        let tally = self.tally(self.versions.serving.number, workers);
        let complete = tally.silent.is_empty();
        let message = tally.to_string();
        let reply = match complete && tally.refused.is_empty() {
            true => Reply::done(message),
            false => Reply::failed(FailureKind::Failed, message),
        };
        for (client, _) in self.waiters.extract_if(.., |(_, until)| complete || *until <= now) {
            out.push(Action::Answer { client, reply: reply.clone() });
        }
    }

    /// A line for people on each version that workers have.
    pub(crate) fn notes(&self, workers: &[Holder]) -> Vec<String> {
        let coming = self.versions.coming.as_ref().map(|(_, own)| own.number);
        let numbers = [Some(self.versions.serving.number), coming].into_iter().flatten();
        numbers.filter(|n| *n > 0).map(|n| self.tally(n, workers).to_string()).collect()
    }

    /// What the workers that have a version make of it.
    fn tally(&self, version: u64, workers: &[Holder]) -> Tally {
        let mut tally = Tally { version, ..Tally::default() };
        let has_it = |holder: &&Holder| self.versions.of(holder.generation).number == version;
        for Holder { worker, slot, on_bus, .. } in workers.iter().filter(has_it) {
            let response = self.responses.get(worker).filter(|said| said.version == version);
            match response.map(|said| &said.error) {
                Some(_) | None if !on_bus => tally.absent.push(*slot),
                Some(None) => tally.applied.push(*slot),
                Some(Some(why)) => tally.refused.push((*slot, why.clone())),
                None => tally.silent.push(*slot),
            }
        }
        tally
    }

    pub(crate) fn snapshot(&self) -> SharedValuesSnapshot {
        let response = |(worker, Response { version, error }): (&WorkerId, &Response)| {
            (*worker, *version, error.clone())
        };
        SharedValuesSnapshot {
            serving: self.versions.serving.values.clone(),
            version: self.versions.serving.number,
            coming: self.versions.coming.clone(),
            newest: self.newest,
            responses: self.responses.iter().map(response).collect(),
        }
    }

    /// One that goes on where another ended. Nobody waits any more: the clients of the other are
    /// told that their request was lost. `lives`: which workers are still there.
    pub(crate) fn restore(
        snapshot: SharedValuesSnapshot,
        lives: impl Fn(WorkerId) -> bool,
    ) -> Self {
        let coming = snapshot.coming;
        let responses = snapshot.responses.into_iter().filter(|(worker, ..)| lives(*worker));
        Self {
            versions: PerGeneration {
                serving: Version::new(snapshot.version, snapshot.serving),
                coming: coming.map(|(of, own)| (of, Version::new(own.number, own.values))),
            },
            newest: snapshot.newest.max(snapshot.version),
            responses: responses
                .map(|(worker, version, error)| (worker, Response { version, error }))
                .collect(),
            waiters: Vec::new(),
        }
    }
}

/// What the workers make of a version, by slot.
#[derive(Debug, Default)]
struct Tally {
    version: u64,
    applied: Vec<Slot>,
    refused: Vec<(Slot, String)>,
    silent: Vec<Slot>,
    /// They have not joined the bus.
    absent: Vec<Slot>,
}

/// `shared values, version 2: applied by 1 of 3 workers; refused by slot 1: too high; no answer
/// yet from slot 2; not on the bus: slot 3`
impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, applied, refused, silent, absent } = self;
        let (applied, of) = (applied.len(), applied.len() + refused.len() + silent.len());
        write!(f, "shared values, version {version}: applied by {applied} of {of} workers")?;
        for (slot, error) in refused {
            write!(f, "; refused by slot {slot}: {error}")?;
        }
        for (what, slots) in [("no answer yet from", silent), ("not on the bus:", absent)] {
            if !slots.is_empty() {
                let slots: Vec<String> = slots.iter().map(|slot| format!("slot {slot}")).collect();
                write!(f, "; {what} {}", slots.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Option<&str> = Some(r#"{"limit":1}"#);
    const NEW: Option<&str> = Some(r#"{"limit":2}"#);
    const WRONG: Option<&str> = Some(r#"{"limit":3}"#);
    const CLIENT: ClientId = ClientId(7);

    fn step(shared: &mut SharedValues, now: Time, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        shared.step(now, event, &mut actions);
        actions
    }

    /// Whether the workers are told, and the numbers that generations 1, 2 and 3 have then.
    fn take(
        shared: &mut SharedValues,
        serving: Option<&str>,
        coming: Option<(u32, Option<&str>)>,
    ) -> (bool, [u64; 3]) {
        let coming = coming.map(|(generation, values)| (Generation(generation), values));
        let actions = step(shared, Time(0), Event::Specs(PerGeneration { serving, coming }));
        let told = match actions[..] {
            [] => false,
            [Action::Configure] => true,
            _ => panic!("{actions:?}"),
        };
        (told, [1, 2, 3].map(|generation| shared.versions.of(Generation(generation)).number))
    }

    fn respond(shared: &mut SharedValues, worker: u64, version: u64, error: &str) -> Vec<Action> {
        let error = (!error.is_empty()).then(|| error.to_owned());
        let (worker, generation) = (WorkerId(worker), Generation(1));
        step(shared, Time(0), Event::Responded { worker, generation, version, error })
    }

    /// Workers of generation 1, in the slot of their number.
    fn workers<const N: usize>(numbers: [u64; N]) -> [Holder; N] {
        numbers.map(|number| Holder {
            worker: WorkerId(number),
            slot: Slot(u16::try_from(number).unwrap()),
            generation: Generation(1),
            on_bus: number < 4,
        })
    }

    #[test]
    fn a_generation_has_its_own_values_until_it_serves() {
        let shared = &mut SharedValues::default();
        assert_eq!(take(shared, None, None), (false, [0, 0, 0]));
        assert_eq!(take(shared, OLD, None), (true, [1, 1, 1]));
        assert_eq!(take(shared, OLD, None), (false, [1, 1, 1]));
        // A reload that is rolled back.
        assert_eq!(take(shared, OLD, Some((2, WRONG))), (true, [1, 2, 1]));
        assert_eq!(take(shared, OLD, None), (true, [1, 1, 1]));
        // One without other values.
        assert_eq!(take(shared, OLD, Some((3, OLD))), (false, [1, 1, 1]));
        // One that is done.
        assert_eq!(take(shared, OLD, Some((3, NEW))), (true, [1, 1, 3]));
        assert_eq!(take(shared, OLD, Some((3, NEW))), (false, [1, 1, 3]));
        assert_eq!(take(shared, NEW, Some((3, NEW))), (true, [3, 3, 3]));
        assert_eq!(shared.versions.serving.values(), NEW);
        assert_eq!(shared.versions.coming, None);
        // What was taken away is another version, not none.
        assert_eq!(take(shared, None, None), (true, [4, 4, 4]));
    }

    #[test]
    fn only_a_response_to_the_version_that_a_worker_has_counts() {
        let shared = &mut SharedValues::default();
        take(shared, OLD, None);
        assert_eq!(respond(shared, 1, 2, "no"), []);
        assert_eq!(shared.responded(WorkerId(1)), None);
        let refused = Action::Refused { worker: WorkerId(1), version: 1, reason: "no".to_owned() };
        assert_eq!(respond(shared, 1, 1, "no"), [refused]);
        assert_eq!(respond(shared, 1, 1, ""), []);
        assert_eq!(shared.responded(WorkerId(1)), Some(1));
        assert_eq!(step(shared, Time(0), Event::Gone { worker: WorkerId(1) }), []);
        assert_eq!(shared.responded(WorkerId(1)), None);
    }

    #[test]
    fn who_waits_is_answered_when_all_have_spoken() {
        let shared = &mut SharedValues::default();
        take(shared, OLD, None);
        assert!(step(shared, Time(0), Event::Asked { client: CLIENT }).is_empty());
        respond(shared, 1, 1, "");
        assert_eq!(step(shared, Time(1), Event::Turn { workers: &workers([1, 2, 4]) }), []);
        respond(shared, 2, 1, "");
        let actions = step(shared, Time(2), Event::Turn { workers: &workers([1, 2, 4]) });
        let message = "shared values, version 1: applied by 2 of 2 workers; not on the bus: slot 4";
        let reply = Reply::done(message);
        assert_eq!(actions, [Action::Answer { client: CLIENT, reply }]);
        assert!(!shared.is_awaited());
    }

    #[test]
    fn who_waits_is_answered_when_the_time_is_over() {
        let shared = &mut SharedValues::default();
        take(shared, OLD, None);
        step(shared, Time(0), Event::Asked { client: CLIENT });
        respond(shared, 1, 1, "too high");
        let workers = workers([1, 2, 3, 4]);
        let due = shared.deadline().unwrap();
        let turn =
            |shared: &mut SharedValues, now| step(shared, now, Event::Turn { workers: &workers });
        assert_eq!(turn(shared, Time(due.0 - 1)), []);
        let message = "shared values, version 1: applied by 0 of 3 workers; refused by slot 1: \
                       too high; no answer yet from slot 2, slot 3; not on the bus: slot 4";
        let reply = Reply::failed(FailureKind::Failed, message);
        assert_eq!(turn(shared, due), [Action::Answer { client: CLIENT, reply }]);
        assert_eq!((turn(shared, due), shared.deadline()), (vec![], None));
        assert_eq!(shared.notes(&workers), [message]);
    }

    #[test]
    fn not_too_many_wait() {
        let shared = &mut SharedValues::default();
        for client in 0..16 {
            assert_eq!(step(shared, Time(0), Event::Asked { client: ClientId(client) }), []);
        }
        let actions = step(shared, Time(0), Event::Asked { client: CLIENT });
        assert!(matches!(actions[..], [Action::Answer { client: CLIENT, .. }]), "{actions:?}");
    }

    #[test]
    fn a_successor_goes_on_with_the_same_versions() {
        let shared = &mut SharedValues::default();
        take(shared, OLD, Some((2, NEW)));
        respond(shared, 1, 1, "");
        respond(shared, 2, 1, "no");
        let restored = &mut SharedValues::restore(shared.snapshot(), |worker| worker.0 == 1);
        assert_eq!(take(restored, OLD, Some((2, NEW))), (false, [1, 2, 1]));
        assert_eq!(restored.responded(WorkerId(1)), Some(1));
        assert_eq!(restored.responded(WorkerId(2)), None);
        assert_eq!(take(restored, WRONG, None), (true, [3, 3, 3]));
    }
}
