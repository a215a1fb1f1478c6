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
    client.registry.configured.set_handler(run);
    apply(client);
}

/// Runs the program's handler for the newest values, once for each handler and values, and reports
/// the results. One thread does so at a time, so that the last report is about the newest values.
fn apply(client: &Client) {
    let configured = &client.registry.configured;
    configured.one_at_a_time(|last| {
        while let Some(values) = client.state.shared_values() {
            let (number, handler) = configured.handler();
            if !last.begins(number, &values) {
                break;
            }
            let refused = handler.and_then(|run| contained(|| run(&values.data).err()));
            let error = refused.or_else(|| values.error.clone()).map(truncated);
            // The reading thread notices the end of the channel.
            let _ = client.send(&FromWorker::Applied { version: values.version, error }, true);
        }
    });
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
