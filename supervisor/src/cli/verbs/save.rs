//! `save`: writes down which apps run, with their specs and environments, for `resurrect`.
//!
//! If one app does not answer, nothing is saved: an old set of apps is better than one that lacks
//! an app.

use std::collections::BTreeMap;
use std::fs;

use config::cpus::Cpus;
use ipc::control::Status;

use crate::cli::exit::{Exit, Failure};
use crate::cli::files::dump::{self, SavedApp};
use crate::cli::launch::LOCATION_VARIABLES;
use crate::cli::session::Session;
use crate::cli::side_by_side::{Work, side_by_side};
use crate::cli::targets::probe::{self, AppState};
use crate::cli::targets::running_spec;
use crate::cli::{output, service};
use crate::home::{HOME_VARIABLE, Home};

/// Variables that systemd sets for one start of a service, beside those of its protocols.
const VARIABLES_OF_ONE_START: [&str; 2] = ["INVOCATION_ID", "JOURNAL_STREAM"];

/// Save which apps run, for "resurrect".
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Save the empty set if no app runs.
    #[arg(long)]
    pub(crate) empty: bool,
}

/// Runs the verb. Fails if no app runs, unless `--empty` is set.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let mut apps = Vec::new();
    let (names, home) = (session.home.apps()?, &session.home);
    let mut wrong = None;
    side_by_side(
        Work::Waits,
        &names,
        |name| saved_app(home, name),
        |name, found| match found {
            Ok(Found::App(app)) => apps.push(*app),
            Ok(Found::LeftOut(why)) => output::note(format_args!("{name}: not saved, since {why}")),
            Ok(Found::Nothing) => {}
            Err(failure) => _ = wrong.get_or_insert(failure),
        },
    );
    if let Some(failure) = wrong {
        return Err(failure);
    }
    let path = session.home.saved();
    if apps.is_empty() && !args.empty {
        return Err(Failure::failed(format!(
            "no app runs, so nothing was saved and {} is as it was: use --empty to save \
             that no app runs",
            path.display()
        )));
    }
    session.home.prepare()?;
    let time = format!("{:.0}", jiff::Timestamp::now());
    dump::write(&path, &time, &apps).map_err(|error| {
        Failure::io(
            format_args!("cannot write {} (what was saved before is kept)", path.display()),
            &error,
        )
    })?;
    let names: Vec<&str> = apps.iter().map(|app| app.spec.name.as_str()).collect();
    let shown = path.display();
    session.out.line(match names.len() {
        0 => format_args!("saved in {shown}: no app").to_string(),
        _ => format!("saved in {shown}: {}", names.join(", ")),
    });
    Ok(Exit::Done)
}

/// What there is to save of one app.
enum Found {
    App(Box<SavedApp>),
    /// It is not for `resurrect`, and why.
    LeftOut(&'static str),
    /// There is no such app.
    Nothing,
}

/// One app, unless it is stopped, or systemd starts it.
fn saved_app(home: &Home, name: &str) -> Result<Found, Failure> {
    let unsaved =
        |why: &str| Failure::failed(format!("{name} {why}, so nothing was saved: try again"));
    let status = match probe::probe(home, name)? {
        AppState::Answers(status) => status,
        AppState::Absent => return Ok(Found::Nothing),
        AppState::Stranded(workers) => {
            return Err(unsaved(&format!("is lost ({})", workers.reason(name))));
        }
        AppState::Silent(_) => return Err(unsaved("did not answer")),
    };
    if matches!(status.status, Status::Stopped | Status::Stopping) {
        return Ok(Found::LeftOut("it is stopped"));
    }
    if service::is_installed(name) {
        return Ok(Found::LeftOut("systemd starts it"));
    }
    let spec = running_spec(home, name)?;
    let scaled = spec.is_scaled(&Cpus::read());
    let environment = environment(status.primary_pid).map_err(|error| {
        Failure::io(
            format_args!("cannot read the environment of {name}; nothing was saved"),
            &error,
        )
    })?;
    let (environment, raw_environment) = environment;
    Ok(Found::App(Box::new(SavedApp { spec, scaled, environment, raw_environment })))
}

/// Variables that are text, and the bytes of those that are not.
type Environment = (BTreeMap<String, String>, Vec<Vec<u8>>);

/// The environment of a primary, without the variables that `resurrect` must not set.
fn environment(primary: u32) -> std::io::Result<Environment> {
    Ok(variables(&fs::read(format!("/proc/{primary}/environ"))?))
}

fn variables(bytes: &[u8]) -> Environment {
    let excluded =
        [&LOCATION_VARIABLES[..], &[HOME_VARIABLE], &systemd::VARIABLES, &VARIABLES_OF_ONE_START]
            .concat();
    let (mut text, mut raw) = (BTreeMap::new(), Vec::new());
    for variable in bytes.split(|byte| *byte == 0) {
        let Some(at) = variable.iter().position(|byte| *byte == b'=') else { continue };
        let name = &variable[..at];
        if name.is_empty() || excluded.iter().any(|excluded| excluded.as_bytes() == name) {
            continue;
        }
        match std::str::from_utf8(variable).ok().and_then(|text| text.split_once('=')) {
            Some((name, value)) => drop(text.insert(name.to_owned(), value.to_owned())),
            None => raw.push(variable.to_vec()),
        }
    }
    (text, raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_is_lost() {
        let (text, raw) = variables(b"A=b\0HOME=/x\0B=\xff=c\0\xfe=d\0=e\0broken\0");
        assert_eq!(text, [("A".to_owned(), "b".to_owned())].into());
        assert_eq!(raw, [b"B=\xff=c".to_vec(), b"\xfe=d".to_vec()]);
    }
}
