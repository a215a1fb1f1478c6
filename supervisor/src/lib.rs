//! The supervisor's rooms, from the outside in.
//!
//! - `cli`: the commands, each a client of an app's control socket;
//! - `client`: the blocking end of that socket;
//! - `home`: the only file that knows paths;
//! - `primary`: decides, pure;
//! - `policy`: decides the rest, one pure machine for each subject;
//! - `runtime`: carries out what `primary` and `policy` decide, the only loop;
//! - `keeper`: the parent of the primary and its workers, which outlives the primary;
//! - `snapshot`: where the primary's state is kept for its successor;
//! - `limits`: the bounds of the loop;
//! - `protocol`: one worker protocol each, without sockets;
//! - `relay`: the bus between workers, pure;
//! - `sys`: the kernel, the only unsafe code;
//! - `base`: ids, time and exits, which every room may use.

mod base;
mod cli;
mod client;
mod home;
mod keeper;
mod limits;
mod log_index;
mod policy;
mod primary;
mod protocol;
mod relay;
mod runtime;
mod snapshot;
mod sys;
mod version;

use std::process::ExitCode;

pub(crate) use version::version;

/// The whole program, as `main` calls it.
pub fn main() -> ExitCode {
    sys::name_sources::only_built_in();
    cli::main()
}
