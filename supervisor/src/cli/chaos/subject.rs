//! The app that chaos is done to: one of its own, which is deleted in the end, or one that runs.

use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

use config::cpus::Cpus;
use config::keys;
use config::spec::{AppSpec, Hooks, LogFiles, WatchSpec};
use ipc::control::{AppStatus, Request};

use super::interrupt::Interrupt;
use super::options::ChaosOptions;
use crate::cli::args::{AppOptions, WaitOptions};
use crate::cli::deletion::delete;
use crate::cli::exit::Failure;
use crate::cli::files::logs;
use crate::cli::launch::start_app;
use crate::cli::output::note;
use crate::cli::session::Session;
use crate::cli::specs::{check, from_options, working_dir};
use crate::cli::targets::probe::{self, AppState};
use crate::cli::targets::{ask, running_spec};
use crate::home::Home;
use crate::sys::random;

/// How long the app may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take to listen after that.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long its end may take.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// Workers of an app that chaos starts, unless the user says otherwise: with one alone, nobody
/// serves while it is killed.
const WORKERS: &str = "2";

/// The app. One of chaos's own is deleted when this is dropped.
#[derive(Debug)]
pub(super) struct Subject {
    home: Home,
    pub(super) name: String,
    pub(super) spec: AppSpec,
    /// Chaos has started it, and deletes it.
    pub(super) is_own: bool,
    /// How many of the app's own workers were wanted before.
    wanted: u16,
    /// Whether its logs stay, because something was lost.
    pub(super) keep_logs: bool,
}

impl Subject {
    /// Starts the app, or asks whether the running one may be used.
    pub(super) fn take(options: &ChaosOptions, session: &Session) -> Result<Self, Failure> {
        let home = session.home.clone();
        let name = match &options.target {
            None if options.rest.is_empty() => {
                return Err(Failure::usage(
                    "name a command after \"--\", or an app with --copy or --live",
                ));
            }
            None => return Self::start(home, fresh(options)?),
            Some(name) => name,
        };
        config::name::check(name).map_err(Failure::usage)?;
        let spec = running_spec(&home, name)?;
        if options.copy {
            return Self::start(home, copy(spec, options)?);
        }
        if !options.live {
            return Err(Failure::usage(format!(
                "{name} runs: --copy starts a copy of it, --live does it to the app itself"
            )));
        }
        if options.app != AppOptions::default() {
            return Err(Failure::usage("--live takes the app as it is: no other flags of an app"));
        }
        if !options.yes {
            confirm(name)?;
        }
        let wanted = spec.wanted;
        Ok(Self { home, name: name.clone(), spec, is_own: false, wanted, keep_logs: true })
    }

    fn start(home: Home, spec: AppSpec) -> Result<Self, Failure> {
        let wait = WaitOptions { timeout: Some(START_TIMEOUT), ..WaitOptions::default() };
        let name = spec.name.clone();
        if !matches!(probe::probe(&home, &name)?, AppState::Absent) {
            return Err(Failure::usage(format!(
                "there is an app {name} already: choose another --name, or leave it out"
            )));
        }
        // From here on, the app is deleted whatever happens.
        let wanted = spec.wanted;
        let subject = Self { home, name, spec, is_own: true, wanted, keep_logs: false };
        start_app(&subject.home, &subject.spec, None, &wait)?;
        Ok(subject)
    }

    /// The state of the app.
    pub(super) fn status(&self) -> Result<AppStatus, Failure> {
        probe::existing(&self.home, &self.name)
    }

    /// The state of the app when it listens. A slow program may count as one that listens nowhere
    /// before it does. An app that does not listen in time is shown as it is.
    pub(super) fn listening(&self, interrupt: &Interrupt) -> Result<AppStatus, Failure> {
        let end = Instant::now() + LISTEN_TIMEOUT;
        loop {
            let status = self.status()?;
            if !status.listeners.is_empty() || Instant::now() > end || interrupt.came() {
                return Ok(status);
            }
            interrupt.wait(LOOK_EVERY);
        }
    }

    /// Where its logs are.
    pub(super) fn logs(&self) -> String {
        self.home.log_dir(&self.name).display().to_string()
    }

    fn delete(&self) -> Result<(), Failure> {
        let wait = WaitOptions { timeout: Some(END_TIMEOUT), ..WaitOptions::default() };
        match probe::status(&self.home, &self.name)? {
            Some(_) => delete(&self.home, &self.name, true, &wait)?,
            None => return Ok(()),
        };
        match self.keep_logs {
            true => Ok(()),
            false => logs::remove(&self.home, &self.name, &[]),
        }
    }

    /// Gives a running app the number of workers that it had, if a step was broken off.
    fn restore(&self) -> Result<(), Failure> {
        let spec = running_spec(&self.home, &self.name)?;
        if spec.wanted == self.wanted {
            return Ok(());
        }
        let because = self.spec.wanted_because.clone();
        let request = Request::Scale { wanted: self.wanted, because, pool: None };
        let wait = WaitOptions { no_wait: true, ..WaitOptions::default() };
        ask(&self.home, &self.name, &request, "scaling", &wait).map(drop)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if !self.is_own {
            if let Err(failure) = self.restore() {
                note(format_args!(
                    "supervisor: cannot give {} its {} workers back: {}",
                    self.name, self.wanted, failure.reason
                ));
            }
            return;
        }
        if let Err(failure) = self.delete() {
            note(format_args!(
                "supervisor: {} is still there ({}): \"supervisor delete {} --fast\" removes it",
                self.name, failure.reason, self.name
            ));
        }
    }
}

/// `chaos-1f0a`.
fn own_name() -> String {
    format!("chaos-{:04x}", random::number() & 0xffff)
}

/// The app of a command line.
fn fresh(options: &ChaosOptions) -> Result<AppSpec, Failure> {
    let mut app = options.app.clone();
    let name = own_name();
    for (key, value) in [("name", name.as_str()), ("instances", WORKERS)] {
        if let Some(key) = keys::find(key).filter(|key| !app.overrides.has(key.name)) {
            app.overrides.add(key, value).map_err(Failure::usage)?;
        }
    }
    from_options(&app, options.rest.clone(), &[], &working_dir()?)
}

/// A copy of an app that runs. What would reach beyond it is left out: files that it writes,
/// schedules, hooks (one may tell a load balancer of the copy), and other apps that it needs.
fn copy(mut spec: AppSpec, options: &ChaosOptions) -> Result<AppSpec, Failure> {
    let given = options.app.overrides(&working_dir()?);
    spec.name = given.name().map_or_else(own_name, str::to_owned);
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
        let copied = copy(spec, &options(&["web", "--copy", "-e", "PORT=9001"])).unwrap();
        assert!(copied.name.starts_with("chaos-"));
        assert_eq!((copied.pid_file, copied.cron_restart, copied.source), (None, None, None));
        assert_eq!(copied.hooks, Hooks::default());
        assert_eq!(copied.env["PORT"], "9001");
    }
}
