//! `unstartup`: disables and removes the systemd units that `startup` wrote.

use std::path::Path;

use systemd::unit::Unit;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::service::{
    StartupOptions, installed, remove_file, spec_file, systemctl, unit_folder,
};
use crate::cli::session::Session;
use crate::cli::targets::{Outcome, Results};

/// Undo "startup": disable and remove the systemd services of apps.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: StartupOptions,
}

/// Runs the verb. An app that fails does not keep the others from it.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let args = &args.options;
    let of_user = args.of_user();
    let folder = unit_folder(of_user)?;
    let apps = if args.apps.is_empty() { installed(&folder)? } else { args.apps.clone() };
    if apps.is_empty() {
        output::note(format_args!("no app has a unit in {}", folder.display()));
    }
    for app in &apps {
        config::name::check(app).map_err(Failure::usage)?;
    }
    let mut results = Results::new(false);
    for app in apps {
        let result = disable(&app, &folder, args);
        results.take(session, &app, result);
    }
    results.finish(session)
}

/// Removes the unit of one app, and its spec file.
fn disable(app: &str, folder: &Path, args: &StartupOptions) -> Result<Outcome, Failure> {
    let of_user = args.of_user();
    let unit = Unit::file_name(app);
    let path = folder.join(&unit);
    if !path.exists() {
        return Err(Failure::new(
            Exit::NoSuchApp,
            format!("{app} has no unit: there is no {}", path.display()),
        ));
    }
    let verb: &[&str] = if args.now { &["disable", "--now"] } else { &["disable"] };
    systemctl(of_user, &[verb, &[unit.as_str()]].concat())?;
    remove_file(&path)?;
    let spec = spec_file(app, of_user)?;
    if spec.exists() {
        remove_file(&spec)?;
    }
    systemctl(of_user, &["daemon-reload"])?;
    Ok(Outcome::new(format!("{unit} is removed")))
}
