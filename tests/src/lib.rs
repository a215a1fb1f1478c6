//! The harness of the black-box tests: everything a test needs to run the built binary as a
//! person would, put real servers under it, load it with a client that forgives nothing, and
//! leave no process behind. It knows the program only by its command line, its control socket
//! and its files.
//!
//! - `home`: one test's own SUPERVISOR_HOME, cleaned up whatever happens;
//! - `run`: the command line, with a deadline;
//! - `control`: the control socket;
//! - `death`: primaries that are killed;
//! - `client`, `http`: the strict load client;
//! - `census`: which slot answered;
//! - `node`, `npm`: the versions of Node, and programs with packages;
//! - `bus`: workers that talk;
//! - `told`: workers that do what they are told, under Node's own primary or under ours;
//! - `machine`: one that runs systemd;
//! - `decoders`: every decoder, ready for a fuzzer;
//! - `fixtures`, `stage`: the servers, and the world-readable place they are put in;
//! - `port`, `process`, `wait`, `alone`: small things.

pub mod bus;
pub mod client;
pub mod control;
pub mod decoders;
pub mod exclusive;
pub mod fixtures;
pub mod home;
pub mod http;
pub mod machine;
pub mod node;
pub mod npm;
pub mod port;
pub mod primary_death;
pub mod process;
pub mod run;
pub mod scripted_cluster;
pub mod slot_counts;
pub mod staging;
pub mod wait;

pub use client::{Load, Mode, Tally};
pub use exclusive::exclusive;
pub use home::Home;
pub use machine::Machine;
pub use port::Port;
pub use primary_death::from_env;
pub use wait::wait_until;

/// A new [`Home`] for the binary that Cargo has just built. Works in integration tests only.
#[macro_export]
macro_rules! home {
    () => {
        $crate::Home::new(env!("CARGO_BIN_EXE_supervisor-under-test"))
    };
}

/// The same, for the ordinary user `nobody`; `None` (and a visible line) when the tests do not
/// run as root.
#[macro_export]
macro_rules! home_of_nobody {
    () => {
        $crate::Home::of_nobody(env!("CARGO_BIN_EXE_supervisor-under-test"))
    };
}
