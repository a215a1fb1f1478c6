//! The values that all workers share, for the program. What they limit is in `limits`.

use std::fmt::Display;
use std::sync::Arc;

use ipc::bus::{FromWorker, Json};
use serde::de::DeserializeOwned;

use crate::Worker;
use crate::bus::{Configure, Inner, locked, short};
use crate::chores::Chore;
use crate::handlers::contained;

/// Values that came.
#[derive(Debug)]
pub(crate) struct Config {
    version: u64,
    data: Json,
    /// Why the limits among them do not hold.
    error: Option<String>,
}

impl Worker {
    /// Runs the handler for the values that all workers share, now if there are any, and whenever
    /// they change. Its error is shown to who changed them.
    pub fn on_config<T: DeserializeOwned, E: Display>(
        &self,
        handler: impl Fn(T) -> Result<(), E> + Send + Sync + 'static,
    ) {
        let run: Arc<Configure> = Arc::new(move |data| {
            let value = data.read().map_err(|error| error.to_string())?;
            handler(value).map_err(|error| error.to_string())
        });
        *locked(&self.inner.configure) = Some(run);
        self.inner.apply();
    }
}

impl Inner {
    /// New values came. They are known from now on; the program hears of them in another thread.
    pub(crate) fn learn(self: &Arc<Self>, version: u64, data: Json) {
        let error = self.limits.configure(&data);
        locked(&self.state).config = Some(Arc::new(Config { version, data, error }));
        self.give_chore(Chore::Config);
    }

    /// Has the program take the newest values, and says what it made of them. Where two threads do
    /// it at a time, who took older ones takes the newest after them.
    pub(crate) fn apply(&self) {
        loop {
            let Some(config) = locked(&self.state).config.clone() else { return };
            let handler = locked(&self.configure).clone();
            let refused = handler.and_then(|run| contained(|| run(&config.data).err()));
            let error = refused.or_else(|| config.error.clone()).map(short);
            let _ = self.say(&FromWorker::Applied { version: config.version, error }, true);
            let newest = locked(&self.state).config.clone();
            if newest.is_some_and(|newest| Arc::ptr_eq(&newest, &config)) {
                return;
            }
        }
    }
}
