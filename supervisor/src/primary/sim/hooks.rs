//! Fake hooks. What one does, the word of its command says: `ok=MS`, `fail=MS`, `hang`, `missing`,
//! `no-memory`, `immortal`.

use config::spec::{HookKind, Hooks};

use super::*;
use crate::primary::resume::Facts;

/// The most hooks at a time that no worker waits for.
const MOST_AT_ONCE: usize = 8;

/// How long a hook that was killed may delay others.
const LAST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(in crate::primary) struct FakeHook {
    pub(in crate::primary) kind: HookKind,
    pub(in crate::primary) worker: Option<WorkerId>,
    pub(in crate::primary) life: Life,
    /// When its program began to run.
    since: Time,
    limit: Duration,
    /// When it was killed first.
    killed: Option<Time>,
    ends: Ends,
}

#[derive(Debug, Clone, Copy)]
enum Ends {
    After(Duration, Exit),
    Never,
    /// Not even if it is killed.
    Immortal,
    /// It cannot be started.
    Fails {
        permanent: bool,
    },
}

/// A deed of a fake hook.
#[derive(Debug)]
pub(super) enum HookDeed {
    Run,
    CannotRun { permanent: bool },
    End(Exit),
}

impl Ends {
    fn of(word: &str) -> Self {
        let (word, number) = word.split_once('=').unwrap_or((word, "0"));
        let span = Duration::from_millis(number.parse().expect("a number after ="));
        match word {
            "ok" => Self::After(span, Exit::Code(0)),
            "fail" => Self::After(span, Exit::Code(1)),
            "hang" => Self::Never,
            "immortal" => Self::Immortal,
            "missing" => Self::Fails { permanent: true },
            "no-memory" => Self::Fails { permanent: false },
            unknown => panic!("no such hook: {unknown}"),
        }
    }
}

/// Hooks of all kinds.
pub(super) fn random_hooks(dice: &mut Jitter) -> Hooks {
    let mut some = |good: u64| {
        let span = dice.roll() % 3000;
        let word = match dice.roll() % (8 * good) {
            0 => format!("fail={span}"),
            1 if dice.roll().is_multiple_of(3) => "immortal".to_owned(),
            1 => "hang".to_owned(),
            2 => "no-memory".to_owned(),
            3 => "missing".to_owned(),
            roll if roll < 6 * good => format!("ok={span}"),
            _ => return Vec::new(),
        };
        vec![word]
    };
    Hooks {
        pre_start: some(4),
        post_ready: some(1),
        pre_stop: some(2),
        post_stop: some(1),
        on_crash: some(1),
        on_rollback: some(1),
        observe_check: some(2),
        timeout: Duration::from_millis(1 + dice.roll() % 2500),
    }
}

impl Sim {
    pub(super) fn run_hook(
        &mut self,
        id: WorkerId,
        kind: HookKind,
        worker: Option<WorkerId>,
        spec: &AppSpec,
    ) {
        let ends = Ends::of(&spec.hooks.command(kind).expect("a hook that is configured")[0]);
        let limit = spec.hooks.timeout;
        let (life, since) = (Life::Forked, self.now);
        let hook = FakeHook { kind, worker, life, since, limit, killed: None, ends };
        assert!(self.hooks.insert(id, hook).is_none(), "hook {id} runs twice");
        if let Some(worker) = worker.filter(|_| kind == HookKind::PreStart) {
            let awaited = self.new_fake(Habit::of(&[], &mut Jitter::new(1)), Life::Awaited);
            let before = self.fakes.insert(worker, awaited);
            assert!(before.is_none(), "worker {worker} is prepared twice");
        }
        let deed = match ends {
            Ends::Fails { permanent } => HookDeed::CannotRun { permanent },
            Ends::After(..) | Ends::Never | Ends::Immortal => HookDeed::Run,
        };
        let after = self.soon(4);
        self.cause(after, Due::Hook(id, deed));
    }

    pub(super) fn act_hook(&mut self, id: WorkerId, deed: HookDeed) {
        let now = self.now;
        let Some(hook) = self.hooks.get_mut(&id) else { return };
        match (deed, hook.life) {
            (HookDeed::Run, Life::Forked) => {
                (hook.life, hook.since) = (Life::Runs, now);
                if let Ends::After(span, exit) = hook.ends {
                    self.cause(span, Due::Hook(id, HookDeed::End(exit)));
                }
                self.feed(Event::Worker { worker: id, cue: Cue::Spawned });
            }
            (HookDeed::CannotRun { permanent }, Life::Forked) => {
                hook.life = Life::Dead;
                let reason = "cannot run it".to_owned();
                let cue = Cue::SpawnFailed { reason, permanent };
                self.feed(Event::Worker { worker: id, cue });
            }
            (HookDeed::End(exit), Life::Runs) => {
                self.hook_ends(id, exit);
                let cue = hook_exited(exit);
                self.feed(Event::Worker { worker: id, cue });
            }
            (HookDeed::Run | HookDeed::CannotRun { .. } | HookDeed::End(_), _) => {}
        }
    }

    /// The process of a hook ends, whether or not the primary hears of it.
    fn hook_ends(&mut self, id: WorkerId, exit: Exit) {
        let Some(hook) = self.hooks.get_mut(&id) else { return };
        hook.life = Life::Dead;
        if hook.kind == HookKind::PreStart && exit == Exit::Code(0) {
            self.ledger.prepared.extend(hook.worker);
        }
    }

    pub(super) fn kill_hook(&mut self, id: WorkerId) {
        let after = self.soon(3);
        let hook = self.hooks.get_mut(&id).expect("known");
        assert_ne!(hook.life, Life::Forked, "killing a hook that may not run yet");
        hook.killed.get_or_insert(self.now);
        if matches!(hook.ends, Ends::Immortal) {
            return;
        }
        self.cause(after, Due::Hook(id, HookDeed::End(Exit::Signal(9))));
    }

    pub(super) fn release_hook(&mut self, id: WorkerId) {
        let hook = self.hooks.remove(&id).expect("known");
        // A dead primary may not have come to abandon it.
        let abandoned = self.mortal.is_some() && hook.killed.is_some();
        assert!(abandoned || hook.life == Life::Dead, "releasing a hook that lives");
    }

    /// The primary knows it no longer, although it lives.
    pub(super) fn abandon_hook(&mut self, id: WorkerId) {
        let hook = self.hooks.remove(&id).expect("only hooks are abandoned");
        let killed = hook.killed.map_or(Duration::ZERO, |killed| self.now.since(killed));
        let is_early = self.mortal.is_none() && killed < Duration::from_secs(2);
        assert!(!is_early || hook.life == Life::Forked, "abandoned {killed:?} after its kill");
    }

    /// The turn that was to begin a worker was lost with the primary.
    pub(super) fn is_unheard_of(&self, worker: WorkerId) -> bool {
        self.mortal.is_some() && !self.fakes.contains_key(&worker)
    }

    /// The program of a worker starts only after its `pre_start` has succeeded.
    pub(super) fn check_prepared(&self, worker: WorkerId, spec: &AppSpec) {
        let has = spec.hooks.has(HookKind::PreStart);
        let prepared = self.ledger.prepared.contains(&worker);
        assert!(!has || prepared, "worker {worker} starts before its pre_start has succeeded");
    }

    /// No hook outlives its time, and not too many run at once.
    pub(super) fn check_hooks(&self) {
        let runs = |hook: &&FakeHook| hook.life == Life::Runs;
        let awaited = |hook: &&FakeHook| {
            use HookKind::{ObserveCheck, PreStart, PreStop};
            matches!(hook.kind, PreStart | PreStop | ObserveCheck)
        };
        let others = self.hooks.values().filter(|hook| !awaited(hook)).count();
        assert!(others <= MOST_AT_ONCE, "{others} hooks run at once");
        for hook in self.hooks.values().filter(runs).filter(|_| self.mortal.is_none()) {
            let ran = self.now.since(hook.since);
            let is_late = ran > hook.limit;
            assert!(!is_late || hook.killed.is_some(), "{:?} runs for {ran:?}", hook.kind);
            let since = hook.killed.map(|killed| killed.max(hook.since));
            let lasts = since.map_or(Duration::ZERO, |since| self.now.since(since));
            assert!(
                lasts <= LAST,
                "the primary has waited {lasts:?} for {:?} after its kill",
                hook.kind
            );
        }
    }

    /// While there is no primary, hooks go on and end.
    pub(super) fn suffer_hooks(&mut self) {
        for id in self.hooks.keys().copied().collect::<Vec<_>>() {
            let (life, ends) = (self.hooks[&id].life, self.hooks[&id].ends);
            let ends_at_all = life == Life::Runs && !matches!(ends, Ends::Immortal);
            if ends_at_all && self.roll().is_multiple_of(4) {
                let exit = if let Ends::After(_, exit) = ends { exit } else { Exit::Signal(9) };
                self.hook_ends(id, exit);
            }
        }
    }

    /// Whether the runtime knows nothing of a hook that has ended.
    fn is_forgotten_hook(&mut self, id: WorkerId) -> bool {
        let hooks = &self.primary.hooks;
        (hooks.runs(id) || !hooks.has(id)) && self.roll().is_multiple_of(4)
    }

    /// What the runtime finds of the hooks: how most of those ended that did.
    pub(super) fn find_hooks(&mut self, facts: &mut Facts, events: &mut Vec<Event>) {
        for id in self.hooks.keys().copied().collect::<Vec<_>>() {
            let hook = self.hooks.get_mut(&id).expect("listed");
            // A primary that comes back gives it some time.
            hook.since = self.now;
            let (life, ends) = (hook.life, hook.ends);
            let cue = match (life, ends) {
                (Life::Runs, _) => Some(Cue::Spawned),
                // The process of a hook that the core has not seen run is in every snapshot.
                (Life::Dead, _) if self.is_forgotten_hook(id) => {
                    if !self.primary.hooks.has(id) {
                        self.hooks.remove(&id);
                    }
                    continue;
                }
                (Life::Dead, Ends::After(_, exit)) => Some(hook_exited(exit)),
                (Life::Dead, Ends::Never | Ends::Immortal) => Some(hook_exited(Exit::Signal(9))),
                (Life::Dead, Ends::Fails { permanent }) => {
                    Some(Cue::SpawnFailed { reason: "cannot run it".to_owned(), permanent })
                }
                (Life::Awaited | Life::Forked | Life::Ended | Life::Released, _) => None,
            };
            facts.workers.insert(id);
            events.extend(cue.map(|cue| Event::Worker { worker: id, cue }));
        }
    }
}

fn hook_exited(exit: Exit) -> Cue {
    Cue::Exited { exit, last_lines: vec!["said a hook".to_owned()], queued: 0 }
}
