//! The harness of the black-box tests. With it a test runs the built binary as a person would,
//! starts real servers under it, loads them with a client that forgives nothing, and leaves no
//! process behind. It knows the program only by its command line, its control socket and its files.
//!
//! - `home`: one test's own SUPERVISOR_HOME, cleaned up in any case;
//! - `run`: the command line, with a deadline;
//! - `control`: the control socket;
//! - `primary_death`: kills primaries and waits for their successors;
//! - `client`, `http`: the strict load client;
//! - `slot_counts`: which slot answered;
//! - `node`, `npm`, `pip`: the installed versions of Node, and programs with packages;
//! - `bus`: apps whose workers use the bus;
//! - `scripted_cluster`: workers that follow a test's orders, under Node's own primary or ours;
//! - `machine`: a machine that runs systemd;
//! - `packaging`: packages of the program, and a clean root to install them in;
//! - `pty`, `picture`: a pseudo-terminal with its screen, and that as a picture;
//! - `decoders`: every decoder, ready for a fuzzer;
//! - `fixtures`, `staging`: the servers, and the world-readable folder they are copied to;
//! - `heavy`: the lock of the heavy tests;
//! - `port`, `process`, `wait`: ports, other processes, and polls with a time limit.

pub mod bus;
pub mod client;
pub mod collector;
pub mod control;
pub mod decoders;
pub mod fixtures;
pub mod heavy;
pub mod home;
pub mod http;
pub mod machine;
pub mod node;
pub mod npm;
pub mod packaging;
pub mod picture;
pub mod pip;
pub mod port;
pub mod primary_death;
pub mod process;
pub mod pty;
pub mod run;
pub mod scripted_cluster;
pub mod slot_counts;
pub mod staging;
pub mod wait;

pub use client::{Load, Mode, Tally};
pub use heavy::{exclusive, under_load};
pub use home::Home;
pub use machine::Machine;
pub use port::Port;
pub use primary_death::from_env;
pub use pty::Pty;
pub use wait::wait_until;

/// A new [`Home`] for the binary that Cargo has just built. Works in integration tests only.
#[macro_export]
macro_rules! home {
    () => {
        $crate::Home::new(env!("CARGO_BIN_EXE_supervisor-under-test"))
    };
}

/// The same for the ordinary user `nobody`. `None`, and a line on stderr, if the tests do not run
/// as root.
#[macro_export]
macro_rules! home_of_nobody {
    () => {
        $crate::Home::of_nobody(env!("CARGO_BIN_EXE_supervisor-under-test"))
    };
}
