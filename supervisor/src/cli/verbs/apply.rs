//! `apply`: makes what runs what configuration files want.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use crate::cli::apply::{PlanOptions, carry_out, plan, show};
use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::home::Home;

/// Start, change and delete apps until they are as the files want them; once more does nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    /// Do nothing, and show what would be done: the same as "plan".
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

/// Runs the verb. An app that fails leaves the others as planned.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if args.dry_run {
        return show(&plan(&args.options, session)?, args.wait.json, session);
    }
    // What is planned must still be so when it is done.
    let lock = lock(&session.home)?;
    let plan = plan(&args.options, session)?;
    let exit = carry_out(&plan, session, &args.wait);
    drop(lock);
    exit
}

/// Keeps every other `apply` away until the file is dropped. Refused if one is under way.
fn lock(home: &Home) -> Result<File, Failure> {
    home.prepare()?;
    let path = home.apply_lock();
    let cannot =
        |error: &io::Error| Failure::io(format_args!("cannot lock {}", path.display()), error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| cannot(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::failed(
            "another \"apply\" is under way, and two at once would undo each other: try again when \
             it has ended",
        )),
        Err(TryLockError::Error(error)) => Err(cannot(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        let first = lock(&home).unwrap();
        assert!(lock(&home).unwrap_err().reason.contains("another \"apply\" is under way"));
        drop(first);
        crate::sys::tests::eventually(|| lock(&home).is_ok());
    }
}
