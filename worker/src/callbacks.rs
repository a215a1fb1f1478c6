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
            Callback::Config => apply(client),
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

/// Sets the program's handler of the shared values, and runs it for those that came already.
pub(crate) fn configure(client: &Client, run: Arc<Configure>) {
    *locked(&client.registry.configure) = Some(run);
    apply(client);
}

/// Runs the program's handler for the newest values, and reports the result. If two threads are
/// here at a time, the one that ran with older values runs again with the newest.
fn apply(client: &Client) {
    loop {
        let Some(values) = client.state.shared_values() else { return };
        let handler = locked(&client.registry.configure).clone();
        let refused = handler.and_then(|run| contained(|| run(&values.data).err()));
        let error = refused.or_else(|| values.error.clone()).map(truncated);
        let _ = client.send(&FromWorker::Applied { version: values.version, error }, true);
        if client.state.shared_values().is_some_and(|newest| Arc::ptr_eq(&newest, &values)) {
            return;
        }
    }
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
