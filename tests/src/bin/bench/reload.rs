//! What reloads under load lose, counted by the strict client of the tests.

use std::time::Duration;

use tests::{Load, Mode};

use crate::setup::Plan;

const RELOADS: usize = 5;
/// How many answers to wait for before the first reload, between two, and after the last.
const BETWEEN: u64 = 1000;

/// Reloads every setup that can reload, with new and with kept connections.
pub(crate) fn under_load(plan: &Plan) {
    let modes = [
        ("new connections", Mode::NewConnection),
        ("kept connections", Mode::KeepAlive { requests_per_connection: 20 }),
    ];
    for (what, mode) in modes {
        println!("\n{:?}, {RELOADS} reloads under load, {what}, 32 clients", plan.server);
        for setup in plan.reloadable() {
            let running = plan.start(setup);
            let load = Load::new(running.address());
            let load = Load { mode, hang: Duration::from_secs(10), ..load }.start();
            for _ in 0..RELOADS {
                load.more(BETWEEN);
                plan.reload(&running);
            }
            load.more(BETWEEN);
            let tally = load.stop();
            println!(
                "  {:<32} lost {} of {}; slowest {:.0?} {:?}",
                setup.name(),
                tally.lost(),
                tally.ok + tally.lost(),
                tally.slowest,
                tally.faults
            );
        }
    }
}
