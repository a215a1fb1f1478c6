//! The values that all workers share, for the program. The client itself obeys the limits among
//! them (`state::limits`).

use std::fmt::Display;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::handle::Worker;
use crate::callbacks::configure;

impl Worker {
    /// Runs the handler for the values that all workers share, now if there are any, and whenever
    /// they change. Its error is shown to the person who changed them.
    pub fn on_config<T: DeserializeOwned, E: Display>(
        &self,
        handler: impl Fn(T) -> Result<(), E> + Send + Sync + 'static,
    ) {
        configure(
            &self.client,
            Arc::new(move |data| {
                let value = data.read().map_err(|error| error.to_string())?;
                handler(value).map_err(|error| error.to_string())
            }),
        );
    }
}
