//! Deletes an app: its workers, its primary and its files.

use ipc::control::Request;

use super::args::WaitOptions;
use super::exit::Failure;
use super::launch::EXIT_TIMEOUT;
use super::targets::probe::{self, AppState};
use super::targets::{Outcome, ask};
use crate::home::Home;

/// Deletes an app; `fast`: without draining. Unless told not to wait, it returns when the name is
/// free. Fails if there is no such app.
pub(crate) fn delete(
    home: &Home,
    name: &str,
    fast: bool,
    wait: &WaitOptions,
) -> Result<Outcome, Failure> {
    match probe::probe(home, name)? {
        AppState::Absent => return Err(probe::no_such_app(name)),
        AppState::Stranded(workers) => return workers.stop(home, name).map(Outcome::new),
        AppState::Answers(_) | AppState::Silent(_) => {}
    }
    let outcome = ask(home, name, &Request::Delete { fast }, "deleting", wait)?;
    if !wait.no_wait {
        probe::wait_for_end(home, name, EXIT_TIMEOUT)?;
    }
    Ok(outcome)
}
