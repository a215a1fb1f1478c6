//! The supervisor: rooms, from the outside in.
//!
//! - `cli`: words a person types, each a client of an app's control socket;
//! - `client`: the blocking end of that socket;
//! - `home`: the only file that knows paths;
//! - `primary`: decides, pure;
//! - `drive`: carries out, the only loop;
//! - `keeper`: the parent of the primary and its workers, which outlives the primary;
//! - `frozen`: where the primary's state is kept for its successor;
//! - `limits`: every bound of the loop;
//! - `link`: translates one worker protocol each, no sockets inside;
//! - `relay`: the bus between workers, pure;
//! - `sys`: the kernel, the only unsafe code.

mod cli;
mod client;
mod drive;
mod frozen;
mod home;
mod keeper;
mod limits;
mod link;
mod primary;
mod relay;
mod sys;
mod version;

use std::process::ExitCode;

pub(crate) use version::version;

/// The whole program, as `main` calls it.
pub fn main() -> ExitCode {
    cli::main()
}
