//! stderr: failures, and notes that are not part of the result.
//!
//! A stderr that is closed is ignored: there is no other place to report to.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use crate::cli::exit::Failure;

/// Prints why a command, or a part of it, failed.
pub(crate) fn report(failure: &Failure) {
    let _ = io::stderr().write_all(failure.to_text().as_bytes());
}

/// Prints a line that is not part of the result.
pub(crate) fn note(text: impl Display) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Whether stderr is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}
