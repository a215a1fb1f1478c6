//! The app that chaos is done to: one of its own, which is deleted in the end, or one that runs.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use config::cpus::Cpus;
use config::spec::{AppSpec, Hooks, LogFiles, WatchSpec};
use ipc::control::AppStatus;

use super::options::ChaosOptions;
use crate::cli::args::AppOptions;
use crate::cli::exit::Failure;
use crate::cli::output::note;
use crate::cli::session::Session;
use crate::cli::specs::{check, working_dir};
use crate::cli::targets::{probe, running_spec};
use crate::cli::trial::guard::{Duty, Guard};
use crate::cli::trial::interrupt::Interrupt;
use crate::cli::trial::own_app::{self, own_name};
use crate::home::Home;

/// What the names of own apps begin with.
pub(super) const VERB: &str = "chaos";
/// How long the app may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Workers of an app that chaos starts, unless the user says otherwise: with one alone, nobody
/// serves while it is killed.
const WORKERS: &str = "2";

/// The app. In the end, the guard deletes one of chaos's own, and gives another one its workers
/// back.
#[derive(Debug)]
pub(super) struct Subject {
    home: Home,
    pub(super) name: String,
    pub(super) spec: AppSpec,
    /// Chaos has started it, and deletes it.
    pub(super) is_own: bool,
    guard: Guard,
}

/// Whether the app of these options may be used; a running one needs a word more.
pub(super) fn may_be_used(options: &ChaosOptions, session: &Session) -> Result<(), Failure> {
    let Some(name) = &options.target else {
        return match options.rest.is_empty() {
            true => {
                Err(Failure::usage("name a command after \"--\", or an app with --copy or --live"))
            }
            false => Ok(()),
        };
    };
    config::name::check(name).map_err(Failure::usage)?;
    running_spec(&session.home, name)?;
    if options.copy {
        return Ok(());
    }
    if !options.live {
        return Err(Failure::usage(format!(
            "{name} runs: --copy starts a copy of it, --live does it to the app itself"
        )));
    }
    if options.app != AppOptions::default() {
        return Err(Failure::usage("--live takes the app as it is: no other flags of an app"));
    }
    if options.yes { Ok(()) } else { confirm(name) }
}

impl Subject {
    /// Starts the app, or takes the running one.
    pub(super) fn take(
        options: &ChaosOptions,
        session: &Session,
        guard: &Guard,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let home = session.home.clone();
        let Some(name) = &options.target else {
            return Self::start(home, fresh(options)?, guard, interrupt);
        };
        let spec = running_spec(&home, name)?;
        if options.copy {
            return Self::start(home, copy(spec, options)?, guard, interrupt);
        }
        guard.tell(Duty::Workers {
            name: name.clone(),
            wanted: spec.wanted,
            because: spec.wanted_because.clone(),
        })?;
        Ok(Self { home, name: name.clone(), spec, is_own: false, guard: guard.clone() })
    }

    fn start(
        home: Home,
        spec: AppSpec,
        guard: &Guard,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        own_app::start(&home, &spec, START_TIMEOUT, guard, interrupt)?;
        Ok(Self { home, name: spec.name.clone(), spec, is_own: true, guard: guard.clone() })
    }

    /// The state of the app.
    pub(super) fn status(&self) -> Result<AppStatus, Failure> {
        probe::existing(&self.home, &self.name)
    }

    /// The state of the app when it listens.
    pub(super) fn listening(&self, interrupt: &Interrupt) -> Result<AppStatus, Failure> {
        own_app::listening(&self.home, &self.name, interrupt)
    }

    /// Where its logs are.
    pub(super) fn logs(&self) -> String {
        self.home.log_dir(&self.name).display().to_string()
    }

    /// Says that nothing was lost: the logs of an own app go with it.
    pub(super) fn needs_no_logs(&self) -> Result<(), Failure> {
        if !self.is_own {
            return Ok(());
        }
        let name = self.name.clone();
        self.guard.tell(Duty::App { name, keep_logs: false, is_starting: false })
    }
}

/// The app of a command line.
fn fresh(options: &ChaosOptions) -> Result<AppSpec, Failure> {
    let name = own_name(VERB);
    own_app::fresh(&options.app, &options.rest, &[("name", &name), ("instances", WORKERS)])
}

/// A copy of an app that runs. What would reach beyond it is left out: files that it writes,
/// schedules, hooks (one may tell a load balancer of the copy), other apps that it needs, and the
/// lease of the leader: the copy would have a leader beside that of the original, which does a
/// second time what only one may do.
fn copy(mut spec: AppSpec, options: &ChaosOptions) -> Result<AppSpec, Failure> {
    let given = options.app.overrides(&working_dir()?);
    spec.name = given.name().map_or_else(|| own_name(VERB), str::to_owned);
    spec.namespace = None;
    spec.source = None;
    spec.overrides = None;
    spec.applied = false;
    spec.logs = LogFiles::default();
    spec.pid_file = None;
    spec.watch = WatchSpec::default();
    spec.cron_restart = None;
    spec.depends_on.clear();
    spec.hooks = Hooks::default();
    spec.leader = false;
    given.apply(&mut spec, &Cpus::read());
    check(&spec)?;
    Ok(spec)
}

/// Asks whether the running app may be used.
fn confirm(name: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(format!(
            "chaos kills workers and the primary of {name}, and requests may be lost: --yes says \
             that you want that"
        )));
    }
    note(format_args!(
        "chaos kills workers and the primary of {name} while it serves; requests of its clients may \
         be lost. Type the name of the app to go on:"
    ));
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    read.map_err(|error| Failure::io("cannot read the answer", &error))?;
    match line.trim() == name {
        true => Ok(()),
        false => Err(Failure::failed("nothing was done: that is not the name of the app")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    fn options(argv: &[&str]) -> ChaosOptions {
        parse(argv).unwrap()
    }

    #[test]
    fn an_app_of_its_own_has_a_fresh_name_and_two_workers() {
        let spec = fresh(&options(&["--", "true"])).unwrap();
        assert!(spec.name.starts_with("chaos-") && spec.wanted == 2, "{spec:?}");
        let spec = fresh(&options(&["-n", "mine", "-i", "3", "--", "true"])).unwrap();
        assert_eq!((spec.name.as_str(), spec.wanted), ("mine", 3));
    }

    #[test]
    fn a_copy_writes_no_file_of_the_original() {
        let mut spec = AppSpec::new("web", vec!["true".into()], "/".into());
        spec.pid_file = Some("/run/web.pid".into());
        spec.cron_restart = Some("0 0 * * *".into());
        spec.source = Some("/etc/web.toml".into());
        spec.hooks.on_crash = vec!["alert".to_owned()];
        spec.leader = true;
        let copied = copy(spec.clone(), &options(&["web", "--copy", "-e", "PORT=9001"])).unwrap();
        assert!(copied.name.starts_with("chaos-"));
        assert_eq!((copied.pid_file, copied.cron_restart, copied.source), (None, None, None));
        assert_eq!((copied.hooks, copied.leader), (Hooks::default(), false));
        assert_eq!(copied.env["PORT"], "9001");
        assert!(copy(spec, &options(&["web", "--copy", "--leader"])).unwrap().leader);
    }
}
