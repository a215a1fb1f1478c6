//! The `supervisor` command. All code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    supervisor::main()
}
