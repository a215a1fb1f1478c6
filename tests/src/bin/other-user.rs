//! A program that gains the rights of root and stays for a minute, as `sudo` may, for the tests. It
//! does so only where it is installed setuid. With an argument it only says whether it can.

use std::process::ExitCode;
use std::time::Duration;

use nix::unistd::{Uid, setresuid};

fn main() -> ExitCode {
    let root = Uid::from_raw(0);
    if setresuid(root, root, root).is_err() {
        return ExitCode::FAILURE;
    }
    if std::env::args().len() == 1 {
        tests::wait::let_pass(Duration::from_secs(60));
    }
    ExitCode::SUCCESS
}
