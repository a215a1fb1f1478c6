//! The service manager above us, if there is one (systemd, or whatever sets NOTIFY_SOCKET):
//! `policy::service_manager` says what it is told, and the keeper tells it. What cannot be told is
//! reported once; nothing waits for the manager.

pub(super) mod activation;
pub(super) mod fdstore;

use systemd::notify::Notifier;

use self::activation::Lent;
use super::Runtime;
use crate::base::time::Time;
use crate::policy::service_manager::{Action, App, Event, ServiceManager};
use crate::sys::clock;
use crate::sys::pidfd::Pid;

/// The way to the manager, and what it knows of us.
#[derive(Debug)]
pub(crate) struct Manager {
    policy: ServiceManager,
    /// Messages for the manager, sent by the keeper: systemd listens to the main process only.
    messages: Vec<String>,
    /// Something happened since it was last told how the app is.
    stale: bool,
    /// A message could not be sent, and that was reported.
    failed: bool,
    keeps_store: bool,
}

impl Manager {
    /// `None`: there is no manager. An address that cannot be used is an error text. `up`: a
    /// primary before told it that the app is up.
    pub(super) fn above(now: Time, keeper: Pid, up: bool) -> Result<Option<Self>, String> {
        match Notifier::from_env() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(format!("cannot tell the service manager anything: {error}")),
        }
        let watchdog = systemd::notify::watchdog(|key| std::env::var(key).ok(), keeper.0);
        Ok(Some(Self {
            policy: ServiceManager::new(now, watchdog, up),
            messages: Vec::new(),
            stale: true,
            failed: false,
            keeps_store: std::env::var("FDSTORE").map_or(true, |most| most != "0"),
        }))
    }

    /// Whether it may keep descriptors (`FileDescriptorStoreMax=`). systemd says so since 254; an
    /// older one that keeps none closes what it is given.
    pub(super) fn keeps_store(&self) -> bool {
        self.keeps_store
    }

    /// The manager was told that the app is up.
    pub(super) fn is_up(&self) -> bool {
        self.policy.is_up()
    }

    /// Has it let go of a stored descriptor.
    pub(super) fn forget(&mut self, name: &str) {
        self.messages.push(format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.policy.deadline()
    }

    /// Something happened that may be worth telling.
    pub(super) fn look_again(&mut self) {
        self.stale = true;
    }

    /// A message could not be sent. Reported once.
    pub(super) fn failed(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failed, true) {
            eprintln!("cannot tell the service manager: {error}");
        }
    }
}

impl Runtime {
    /// Finds out whether there is a service manager, and takes the sockets that it passed. A
    /// primary in the background was not started by one, even if the shell was that started it.
    pub(super) fn meet_manager(&mut self) {
        let (lent, complaints) = Lent::take(self.keeper.keeper(), &mut self.store);
        self.listeners.lent = lent;
        complaints.into_iter().for_each(|complaint| self.note(complaint));
        self.find_manager(false);
    }

    /// Finds out whether there is a service manager. `up`: a primary before told it that the app
    /// is up.
    pub(super) fn find_manager(&mut self, up: bool) {
        match Manager::above(self.succession.started, self.keeper.keeper(), up) {
            Ok(manager) => self.manager = manager,
            Err(why) => self.note(why),
        }
    }

    /// SIGHUP came.
    pub(super) fn tell_manager_of_reload(&mut self) {
        if let Some(manager) = &mut self.manager {
            manager.look_again();
            self.step_manager(Event::ReloadAsked);
        }
    }

    /// Tells the service manager what it does not know, where there is one. How the app is can
    /// only be told when the core has heard of everything: else a reload that was just asked for
    /// would look as if it were over.
    pub(super) fn tell_manager(&mut self, core_is_up_to_date: bool) {
        let Some(manager) = &mut self.manager else { return };
        if manager.stale && core_is_up_to_date {
            manager.stale = false;
            let app = App::of(&self.core.status(clock::now()));
            self.step_manager(Event::App(app));
        }
        self.step_manager(Event::Turn);
        let Some(manager) = &mut self.manager else { return };
        for message in std::mem::take(&mut manager.messages) {
            if let Err(error) = self.keeper.tell(&message, None) {
                manager.failed(&error);
            }
        }
    }

    fn step_manager(&mut self, event: Event) {
        let Some(manager) = &mut self.manager else { return };
        let mut actions = Vec::new();
        manager.policy.step(clock::now(), event, &mut actions);
        for action in actions {
            match action {
                Action::Tell(statements) => {
                    let lines = statements.iter().map(|statement| format!("{statement}\n"));
                    manager.messages.push(lines.collect());
                }
                // A keeper that is gone need not be told.
                Action::Alive { within } => _ = self.keeper.alive(within),
            }
        }
    }
}
