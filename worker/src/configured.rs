//! The values that all workers share, for the program. What they limit is in `limits`.

use std::fmt::Display;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::Worker;
use crate::bus::{Configure, locked};
use crate::handlers::contained;

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
        *locked(&self.inner.configure) = Some(Arc::clone(&run));
        let known = locked(&self.inner.state).config.clone();
        if let Some(error) = known.and_then(|config| contained(|| run(&config).err())) {
            eprintln!("supervisor: the configuration was not applied: {error}");
        }
    }
}
