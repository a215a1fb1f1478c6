//! `reload --config`: sends the `shared` values of the file, as they are now, to the workers on the
//! bus. No worker is replaced.
//!
//! The primary refuses a file in which anything else has changed: that needs a reload.

use config::change::SpecChange;
use ipc::control::{Method, Request};

use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Targets, ask, split_files_and_names};

/// Sends the values to the workers of the apps, or of the apps in the files, that `given` names.
pub(super) fn send(
    given: &[String],
    wait: &WaitOptions,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let (specs, mut names) = split_files_and_names(given, None, session)?;
    names.extend(specs.iter().map(|spec| spec.name.clone()));
    let targets = Targets::resolve(session, &names)?;
    targets.each(session, wait.json, Work::Waits, |home, name| {
        let named = specs.iter().find(|spec| spec.name == name);
        let file = named.and_then(|spec| spec.source.clone());
        let change = SpecChange { file, ..SpecChange::default() };
        let request = Request::Configure { change, method: Method::SharedValues };
        ask(home, name, &request, "giving the workers new values", wait)
    })
}
