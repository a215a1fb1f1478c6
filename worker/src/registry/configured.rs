//! The program's handler of the shared values, and for which values it ran last.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use ipc::bus::Json;

use crate::state::SharedValues;
use crate::sync::locked;

/// The handler of the shared values.
pub(crate) type Configure = dyn Fn(&Json) -> Result<(), String> + Send + Sync;

/// See the module.
#[derive(Default)]
pub(crate) struct Configured {
    handler: Mutex<Handler>,
    last: Mutex<Last>,
    /// The thread that has the lock of `last`.
    runner: Mutex<Option<ThreadId>>,
}

#[derive(Default)]
struct Handler {
    /// How many handlers were set.
    number: u64,
    run: Option<Arc<Configure>>,
}

/// The handler, by its number, and the values that were given to it last.
#[derive(Debug, Default)]
pub(crate) struct Last(Option<(u64, Arc<SharedValues>)>);

impl Last {
    /// Notes a run. `false`: this handler has had these values.
    pub(crate) fn begins(&mut self, number: u64, values: &Arc<SharedValues>) -> bool {
        let before = self.0.replace((number, Arc::clone(values)));
        before.is_none_or(|(handler, had)| handler != number || !Arc::ptr_eq(&had, values))
    }
}

impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configured").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Configured {
    pub(crate) fn set_handler(&self, run: Arc<Configure>) {
        let mut handler = locked(&self.handler);
        handler.number += 1;
        handler.run = Some(run);
    }

    /// The handler and its number.
    pub(crate) fn handler(&self) -> (u64, Option<Arc<Configure>>) {
        let handler = locked(&self.handler);
        (handler.number, handler.run.clone())
    }

    /// Waits until no other thread is here, and does it. A handler that sets another handler is
    /// here already: nothing is done then, because the loop around that handler goes on.
    pub(crate) fn one_at_a_time(&self, apply: impl FnOnce(&mut Last)) {
        let this = thread::current().id();
        if *locked(&self.runner) == Some(this) {
            return;
        }
        let mut last = locked(&self.last);
        *locked(&self.runner) = Some(this);
        apply(&mut last);
        *locked(&self.runner) = None;
    }
}
