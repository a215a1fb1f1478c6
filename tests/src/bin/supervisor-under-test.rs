//! The program itself, as a binary of this package, so that `cargo test` always builds it anew.

use std::process::ExitCode;

fn main() -> ExitCode {
    supervisor::main()
}
