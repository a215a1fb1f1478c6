//! The supervisor as a binary of this package, so that `cargo test` always builds it.

use std::process::ExitCode;

fn main() -> ExitCode {
    supervisor::main()
}
