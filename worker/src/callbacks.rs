//! Runs the program's callbacks for new shared values and for draining.
//!
//! They may take their time, and may wait for answers. So they never run in the thread that reads
//! the channel, but in a thread that is started for them.

use std::sync::Arc;
use std::thread;

use ipc::bus::{FromWorker, Json};

use crate::channel::message::truncated;
use crate::client::Client;
use crate::contain::contained;
use crate::registry::Configure;
use crate::state::{Callback, SharedValues};
use crate::sync::locked;

/// Runs a callback, behind those that wait.
pub(crate) fn schedule(client: &Arc<Client>, callback: Callback) {
    if !client.state.callbacks.push(callback) {
        return;
    }
    let own = Arc::clone(client);
    let thread = thread::Builder::new().name("bus-callbacks".to_owned());
    if thread.spawn(move || run(&own)).is_err() {
        // The process can have no further thread, so this one runs them.
        run(client);
    }
}

fn run(client: &Client) {
    while let Some(callback) = client.state.callbacks.pop() {
        match callback {
            // Newer values have scheduled a callback of their own.
            Callback::Config => drop(apply(client)),
            Callback::Drain => drain(client),
        }
    }
}

/// Takes over new shared values, and schedules the program's handler.
pub(crate) fn learn(client: &Arc<Client>, version: u64, data: Json) {
    let error = client.state.limits.configure(&data).err();
    client.state.set_shared_values(SharedValues { version, data, error });
    schedule(client, Callback::Config);
}

/// Sets the program's handler of the shared values, and runs it for those that came already. If
/// newer ones come meanwhile, it runs again, so that the last report is about the newest.
pub(crate) fn configure(client: &Client, run: Arc<Configure>) {
    *locked(&client.registry.configure) = Some(run);
    while let Some(values) = apply(client) {
        if client.state.shared_values().is_some_and(|newest| Arc::ptr_eq(&newest, &values)) {
            return;
        }
    }
}

/// Runs the program's handler for the newest values, and reports the result. Returns the values.
fn apply(client: &Client) -> Option<Arc<SharedValues>> {
    let values = client.state.shared_values()?;
    let handler = locked(&client.registry.configure).clone();
    let refused = handler.and_then(|run| contained(|| run(&values.data).err()));
    let error = refused.or_else(|| values.error.clone()).map(truncated);
    // The reading thread notices the end of the channel.
    let _ = client.send(&FromWorker::Applied { version: values.version, error }, true);
    Some(values)
}

fn drain(client: &Client) {
    for run in client.state.take_on_drain() {
        let why = contained(|| {
            run();
            None
        });
        if let Some(why) = why {
            eprintln!("supervisor: a handler of draining failed: {why}");
        }
    }
}
