//! The `supervisor` command. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    supervisor::main()
}
