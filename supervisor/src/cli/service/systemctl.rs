//! Runs `systemctl`.

use std::process::Command;

use crate::cli::exit::{Exit, Failure};

/// Runs `systemctl`, for the user or for the system. Fails with what it wrote to stderr.
pub(crate) fn systemctl(of_user: bool, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("systemctl");
    if of_user {
        command.arg("--user");
    }
    let shown = arguments.join(" ");
    let output = command.args(arguments).output().map_err(|error| {
        Failure::io(
            format_args!("cannot run systemctl {shown} (is this a systemd machine?)"),
            &error,
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    let lines = reason.lines().map(str::to_owned).collect();
    Err(Failure {
        exit: Exit::Failed,
        reason: format!("systemctl {shown} failed ({})", output.status),
        last_lines: lines,
    })
}
