//! What runs the program's own code because the supervisor said so, and may take its time: new
//! values, and draining. Not in the thread that reads, which may be one that waits for an answer
//! and holds what such code wants.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use crate::bus::{Inner, locked};
use crate::handlers::contained;

/// See the module.
#[derive(Debug)]
pub(crate) enum Chore {
    Config,
    Drain,
}

/// Those that wait, at most one of each kind.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    waiting: VecDeque<Chore>,
    /// A thread does them.
    running: bool,
}

impl Inner {
    /// Has it done, behind those before it.
    pub(crate) fn give_chore(self: &Arc<Self>, chore: Chore) {
        let mut chores = locked(&self.chores);
        let kind = std::mem::discriminant(&chore);
        chores.waiting.retain(|other| std::mem::discriminant(other) != kind);
        chores.waiting.push_back(chore);
        if std::mem::replace(&mut chores.running, true) {
            return;
        }
        drop(chores);
        let inner = Arc::clone(self);
        let thread = thread::Builder::new().name("bus-chores".to_owned());
        if thread.spawn(move || inner.do_chores()).is_err() {
            // No more threads: then in this one.
            self.do_chores();
        }
    }

    fn do_chores(&self) {
        loop {
            let mut chores = locked(&self.chores);
            let Some(chore) = chores.waiting.pop_front() else {
                chores.running = false;
                return;
            };
            drop(chores);
            match chore {
                Chore::Config => self.apply(),
                Chore::Drain => self.drain(),
            }
        }
    }

    fn drain(&self) {
        let runs = std::mem::take(&mut locked(&self.state).on_drain);
        for run in runs {
            let why = contained(|| {
                run();
                None
            });
            if let Some(why) = why {
                eprintln!("supervisor: a handler of draining failed: {why}");
            }
        }
    }
}
