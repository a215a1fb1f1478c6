//! The supervisor: rooms, from the outside in.
//!
//! - `cli`: words a person types, each a client of an app's control socket;
//! - `primary`: decides, pure;
//! - `drive`: carries out, the only loop;
//! - `sys`: the kernel, the only unsafe code.

mod cli;
mod link;
mod primary;
mod sys;

use std::process::ExitCode;

/// The whole program, as `main` calls it.
pub fn main() -> ExitCode {
    cli::main()
}
