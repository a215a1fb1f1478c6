//! The policies beside the core: the Sim feeds them as the runtime does, and checks their laws.

use super::*;
use crate::base::per_generation::PerGeneration;
use crate::policy::service_manager::{
    Action as Told, App, Event as News, ServiceManager, Statement,
};
use crate::policy::shared_values::{Action as Shared, Event as ValuesEvent, SharedValues};

/// The values of a generation, and the number of their version.
type Known = (u64, Option<String>);

#[derive(Debug)]
pub(super) struct Policies {
    manager: ServiceManager,
    /// What the service manager was told last.
    told: Standing,
    /// It was told that the app is up, by this primary or one before.
    up: bool,
    /// Something was published since.
    stale: bool,
    shared: SharedValues,
    known: PerGeneration<Known>,
    /// The highest number of a version.
    newest: u64,
}

/// What the service manager thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// This primary has told it nothing.
    Untold,
    Up,
    Reloading,
    Stopping,
}

impl Policies {
    pub(super) fn new() -> Self {
        Self {
            manager: ServiceManager::new(BORN, None, false),
            told: Standing::Untold,
            up: false,
            stale: true,
            shared: SharedValues::default(),
            known: PerGeneration::default(),
            newest: 0,
        }
    }
}

impl Sim {
    pub(super) fn look_again(&mut self) {
        self.policies.stale = true;
    }

    /// Another primary goes on.
    pub(super) fn restore_policies(&mut self) {
        let up = self.primary.has_started();
        let Policies { manager, told, up: was_up, stale, shared, .. } = &mut self.policies;
        *manager = ServiceManager::new(self.now, None, up);
        (*told, *was_up, *stale) = (Standing::Untold, up, true);
        *shared = SharedValues::restore(shared.snapshot(), |_| true);
    }

    /// Before the core hears of an event.
    pub(super) fn announce_to_policies(&mut self, event: &Event) {
        if matches!(event, Event::Signal(PrimarySignal::Reload)) {
            self.look_again();
            self.tell_manager(News::ReloadAsked);
        }
    }

    /// After a turn.
    pub(super) fn step_policies(&mut self) {
        if std::mem::take(&mut self.policies.stale) {
            let app = App::of(&self.primary.status(self.now));
            self.tell_manager(News::App(app));
            let put_off = self.policies.manager.deadline().is_some();
            let is_up = self.policies.told == Standing::Up;
            assert_ne!(put_off, is_up, "timeouts are put off while something is under way");
        }
        self.tell_manager(News::Turn);
        self.share();
    }

    fn tell_manager(&mut self, news: News) {
        let mut actions = Vec::new();
        self.policies.manager.step(self.now, news, &mut actions);
        for action in actions {
            let Told::Tell(statements) = action else { panic!("nobody asked for a watchdog") };
            for statement in statements {
                self.check_statement(&statement);
            }
        }
    }

    /// READY, RELOADING and STOPPING come in an order that the manager understands. An app of which
    /// no worker was ever ready sends none of them but STOPPING.
    fn check_statement(&mut self, statement: &Statement) {
        let ready = self.primary.ready_count();
        let Policies { told, up, .. } = &mut self.policies;
        let before = *told;
        match statement {
            Statement::Ready => {
                assert_ne!(before, Standing::Up, "READY twice");
                assert!(*up || ready > 0, "READY though nothing was ever ready");
                (*told, *up) = (Standing::Up, true);
            }
            Statement::Reloading { at } => {
                assert!(*up, "RELOADING though nothing was ever ready");
                assert!(matches!(before, Standing::Up | Standing::Untold), "{before:?} before");
                assert_eq!(*at, self.now);
                *told = Standing::Reloading;
            }
            Statement::Stopping => {
                assert_ne!(before, Standing::Stopping, "STOPPING twice");
                *told = Standing::Stopping;
            }
            Statement::Status(line) => assert!(!line.contains('\n'), "{line}"),
            Statement::Watchdog | Statement::ExtendTimeout(_) => {}
        }
    }

    /// A generation has the values of its spec. While these stay the same its version stays the
    /// same; other values are another version, which is new or the one that a reload has brought.
    fn share(&mut self) {
        let serving = self.primary.spec().shared.as_deref();
        let coming = self.primary.coming();
        let coming = coming.map(|(generation, spec)| (generation, spec.shared.as_deref()));
        let specs = PerGeneration { serving, coming };
        let mut actions = Vec::new();
        self.policies.shared.step(self.now, ValuesEvent::Specs(specs.clone()), &mut actions);
        let versions = self.policies.shared.versions();
        let all = self.primary.workers.values().map(|worker| worker.plan.generation);
        for generation in all.chain(coming.map(|(generation, _)| generation)) {
            let version = versions.of(generation);
            assert_eq!(version.values(), *specs.of(generation), "generation {generation}");
        }

        let own = |version: &crate::policy::shared_values::Version| {
            (version.number(), version.values().map(str::to_owned))
        };
        let now = versions.map(own);
        let before = std::mem::replace(&mut self.policies.known, now.clone());
        let newest = self.policies.newest;
        let came = before.coming.clone().map(|(_, known)| known);
        let check = |before: &Known, now: &Known| {
            let is_new = now.0 > newest || came.as_ref() == Some(now);
            assert_eq!(before.1 == now.1, before.0 == now.0, "{before:?} {now:?}");
            assert!(before == now || is_new, "{now:?} is neither new nor known");
        };
        check(&before.serving, &now.serving);
        match (&before.coming, &now.coming) {
            (Some((was, before)), Some((is, now))) if was == is => check(before, now),
            (_, Some((_, now))) => assert!(now.0 > newest, "{now:?} is not new"),
            (_, None) => {}
        }
        self.policies.newest =
            [newest, now.serving.0, now.coming.as_ref().map_or(0, |(_, own)| own.0)]
                .into_iter()
                .max()
                .unwrap_or(newest);
        let changed = before != now;
        assert_eq!(!actions.is_empty(), changed, "workers are told what is new, and nothing else");
        assert!(actions.iter().all(|action| *action == Shared::Configure), "{actions:?}");
    }
}
