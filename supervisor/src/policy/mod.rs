//! What the runtime has to decide, as pure machines beside the core: facts or events in, decisions
//! out. No machine looks at a clock, a descriptor or a file; the runtime gathers the facts and
//! carries the decisions out.
//!
//! - `admission`: who may connect to the control socket, and for how long without a request;
//! - `autoscale`: how many workers the load asks for;
//! - `engine`: which engine carries the connections of an address, and why;
//! - `file_watch`: when files that have changed lead to a reload;
//! - `hangup`: what SIGHUP means;
//! - `intercept`: what an intercepted `bind` or `listen` may do;
//! - `leak`: whether a series of sizes only grows;
//! - `leftovers`: when the rest of a process group is killed, and when its worker is reaped;
//! - `limit_watch`: when workers that have limits are measured;
//! - `log_rate`: how many lines of each slot are kept, and what the log says about the others;
//! - `log_retention`: which rotated log files are removed, and which one is compressed next;
//! - `memory_watch`: when the memory of workers is read, and which of them the notes report;
//! - `on_stop`: what the stop signal means to the processes of a worker, and which of them get it;
//! - `own_sockets`: when the runtime looks for sockets of the programs' own, and what each is;
//! - `probe_schedule`: when each worker is probed;
//! - `repetition`: which warnings are written when the same one comes again and again;
//! - `schedule`: what a look at the clock means for a schedule;
//! - `service_manager`: what the service manager is told, and when;
//! - `shared_values`: which values a generation has, and what the workers said to them;
//! - `throttle`: which worker is handed another connection, and when accepting is tried again;
//! - `worker_limits`: the limits among the shared values.

#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

pub(crate) mod admission;
pub(crate) mod autoscale;
pub(crate) mod closed_sockets;
pub(crate) mod engine;
pub(crate) mod file_watch;
pub(crate) mod hangup;
pub(crate) mod intercept;
pub(crate) mod leak;
pub(crate) mod leftovers;
pub(crate) mod limit_watch;
pub(crate) mod log_rate;
pub(crate) mod log_retention;
pub(crate) mod memory_watch;
pub(crate) mod on_stop;
pub(crate) mod own_sockets;
pub(crate) mod probe_schedule;
pub(crate) mod repetition;
pub(crate) mod schedule;
pub(crate) mod service_manager;
pub(crate) mod shared_values;
pub(crate) mod throttle;
pub(crate) mod worker_limits;
