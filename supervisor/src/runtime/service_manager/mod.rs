//! The service manager above us, if there is one (systemd, or whatever sets NOTIFY_SOCKET):
//! `policy::service_manager` says what it is told, and the keeper tells it. What cannot be told is
//! reported once; nothing waits for the manager.

pub(super) mod activation;
pub(super) mod fdstore;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;

use systemd::notify::Notifier;

use self::activation::Lent;
use self::fdstore::{FdStore, name_of};
use super::context::Context;
use super::listeners::Listeners;
use crate::base::time::Time;
use crate::keeper::Link;
use crate::policy::service_manager::{Action, App, Event, ServiceManager};
use crate::primary::Primary;
use crate::sys::clock;
use crate::sys::pidfd::Pid;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Manager {
    /// `None`: nothing stands above us.
    above: Option<Above>,
    /// What it keeps of our sockets.
    pub(super) store: FdStore,
}

/// The way to the manager, and what it knows of us.
#[derive(Debug)]
struct Above {
    policy: ServiceManager,
    /// Messages for the manager, sent by the keeper: systemd listens to the main process only.
    messages: Vec<String>,
    /// Something happened since it was last told how the app is.
    stale: bool,
    /// A message could not be sent, and that was reported.
    failed: bool,
    /// Whether it may keep descriptors (`FileDescriptorStoreMax=`). systemd says so since 254; an
    /// older one that keeps none closes what it is given.
    keeps_store: bool,
}

impl Above {
    /// `None`: there is no manager. An address that cannot be used is an error text. `up`: a
    /// primary before told it that the app is up.
    fn find(now: Time, keeper: Pid, up: bool) -> Result<Option<Self>, String> {
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

    /// Has it let go of a stored descriptor.
    fn forget(&mut self, name: &str) {
        self.messages.push(format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    /// A message could not be sent. Reported once.
    fn failed(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failed, true) {
            eprintln!("cannot tell the service manager: {error}");
        }
    }

    fn step(&mut self, keeper: &Link, event: Event) {
        let mut actions = Vec::new();
        self.policy.step(clock::now(), event, &mut actions);
        for action in actions {
            match action {
                Action::Tell(statements) => {
                    let lines = statements.iter().map(|statement| format!("{statement}\n"));
                    self.messages.push(lines.collect());
                }
                // A keeper that is gone need not be told.
                Action::Alive { within } => _ = keeper.alive(within),
            }
        }
    }
}

impl Manager {
    /// Takes the sockets that a manager passed. A primary in the background was not started by
    /// one, even if the shell was that started it.
    pub(super) fn take_sockets(&mut self, keeper: &Link, at: &mut Context<'_>) {
        let (lent, complaints) = Lent::take(keeper.keeper(), &mut self.store);
        at.listeners.lent = lent;
        complaints.into_iter().for_each(|complaint| at.note(complaint));
    }

    /// Finds out whether there is a service manager. `started`: when the first primary began;
    /// `up`: a primary before told it that the app is up.
    pub(super) fn find(&mut self, started: Time, keeper: &Link, up: bool) -> Result<(), String> {
        self.above = Above::find(started, keeper.keeper(), up)?;
        Ok(())
    }

    /// When it is to be told something.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.above.as_ref()?.policy.deadline()
    }

    /// Something happened that may be worth telling.
    pub(super) fn look_again(&mut self) {
        if let Some(above) = &mut self.above {
            above.stale = true;
        }
    }

    /// SIGHUP came.
    pub(super) fn tell_of_reload(&mut self, keeper: &Link) {
        if let Some(above) = &mut self.above {
            above.stale = true;
            above.step(keeper, Event::ReloadAsked);
        }
    }

    /// Tells the service manager what it does not know, where there is one. How the app is can
    /// only be told when the core has heard of everything: else a reload that was just asked for
    /// would look as if it were over.
    pub(super) fn tell(&mut self, keeper: &Link, core: &Primary, core_is_up_to_date: bool) {
        let Some(above) = &mut self.above else { return };
        if above.stale && core_is_up_to_date {
            above.stale = false;
            above.step(keeper, Event::App(App::of(&core.status(clock::now()))));
        }
        above.step(keeper, Event::Turn);
        for message in std::mem::take(&mut above.messages) {
            if let Err(error) = keeper.tell(&message, None) {
                above.failed(&error);
            }
        }
    }

    /// Gives the manager what listens now, and has it forget what does not any more; but not when
    /// we are about to end: then it keeps the sockets for our next start, if there is to be one.
    pub(super) fn keep_store(&mut self, keeper: &Link, at: &mut Context<'_>, is_ending: bool) {
        let Some(above) = self.above.as_mut().filter(|above| above.keeps_store) else { return };
        let store = &mut self.store.0;
        let open = listening(at.listeners);
        let news = |inode: &&u64| !store.contains_key(inode);
        let new: Vec<u64> = open.keys().filter(news).copied().collect();
        for inode in new {
            let (index, fd) = open[&inode];
            let name = name_of(index, inode);
            let words = format!("FDSTORE=1\nFDNAME={name}");
            match keeper.tell(&words, Some(fd)) {
                Ok(()) => {
                    store.insert(inode, name);
                    *at.stale = true;
                }
                Err(error) => return above.failed(&error),
            }
        }
        if is_ending {
            return;
        }
        let open: BTreeSet<u64> = open.into_keys().collect();
        if above.policy.is_up() {
            // What nobody has asked for by now is served no more.
            at.listeners.lent.drop_kept();
        }
        let waiting = at.listeners.lent.inodes();
        let is_gone =
            |inode: &u64, _: &mut String| !open.contains(inode) && !waiting.contains(inode);
        for (_, name) in store.extract_if(.., is_gone) {
            above.forget(&name);
            *at.stale = true;
        }
    }
}

/// Every listening socket that is ours, with its place in its group.
fn listening(listeners: &Listeners) -> BTreeMap<u64, (u32, BorrowedFd<'_>)> {
    let all = listeners.iter().flat_map(|listener| listener.listening_now());
    all.map(|(index, inode, fd)| (inode, (index, fd))).collect()
}
