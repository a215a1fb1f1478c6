//! The unit of an app, and the spec file that goes with it.

use std::fs;
use std::path::Path;

use config::cpus::Cpus;
use config::spec::{AppSpec, HookKind};
use systemd::unit::Unit;

use super::installation::Installation;
use super::places::{spec_file, unit_folder};
use super::reach::{into_hidden, strings};
use crate::cli::exit::Failure;
use crate::cli::launch::own_program;
use crate::cli::session::Session;
use crate::cli::specs::{check, is_config_path, read_file};
use crate::cli::targets::running_spec;
use crate::home::HOME_VARIABLE;

/// Seconds that a stop may take beyond the longest stop of a worker.
const STOP_MARGIN: u64 = 10;

/// An app that is, or becomes, a service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) spec: AppSpec,
    /// Whether it belongs to the systemd of the user.
    of_user: bool,
    /// Whether its unit hides the homes of users and gives it temporary files of its own.
    private: bool,
}

impl Service {
    /// The service of `app`: the name of a running app, or a configuration file with one app.
    pub(crate) fn of(app: &str, of_user: bool, session: &Session) -> Result<Self, Failure> {
        let spec = if is_config_path(Path::new(app)) {
            let mut specs = read_file(Path::new(app), None)?;
            match (specs.pop(), specs.is_empty()) {
                (Some(spec), true) => spec,
                _ => {
                    return Err(Failure::usage(format!(
                        "{app} has several apps, and each is a service of its own: start them and \
                         name them"
                    )));
                }
            }
        } else {
            config::name::check(app).map_err(Failure::usage)?;
            running_spec(&session.home, app)?
        };
        Ok(Self { spec, of_user, private: false })
    }

    /// The same with `--private`, or without.
    pub(crate) fn private(self, private: bool) -> Self {
        Self { private, ..self }
    }

    /// The text of the unit.
    pub(crate) fn text(&self, session: &Session) -> Result<String, Failure> {
        let program = own_program()?.display().to_string();
        let name = self.spec.name.clone();
        let words = |all: &[&str]| -> Vec<String> { all.iter().map(|&w| w.to_owned()).collect() };
        let mut start = words(&[&program, "start", "--foreground"]);
        match &self.spec.source {
            Some(source) if self.spec.overrides.is_none() => {
                start.extend(words(&["--only", &name]));
                if let Some(profile) = &self.spec.profile {
                    start.extend(words(&["--profile", profile]));
                }
                start.push(source.display().to_string());
            }
            // A spec file holds the flags that were given beside the configuration file.
            _ => {
                let file = spec_file(&name, self.of_user)?;
                start.extend(["--spec".to_owned(), file.display().to_string()]);
            }
        }
        // Programs are looked up in the PATH of the user who runs this command.
        let path = std::env::var("PATH").ok().map(|path| ("PATH".to_owned(), path));
        let home = session
            .home
            .home_override()
            .map(|folder| (HOME_VARIABLE.to_owned(), folder.display().to_string()));
        let environment: Vec<_> = path.into_iter().chain(home).collect();
        if self.private {
            self.check_private(&start, &environment)?;
        }
        let times = self.spec.times;
        let hooks = &self.spec.hooks;
        let before = hooks.has(HookKind::PreStop);
        let after = hooks.has(HookKind::PostStop) || hooks.has(HookKind::OnCrash);
        let longest = times.drain_timeout.min(times.kill_timeout)
            + times.kill_timeout
            + hooks.timeout * (u32::from(before) + u32::from(after));
        Ok(Unit {
            name: &name,
            start: &start,
            reload: &words(&[&program, "reload", &name]),
            environment: &environment,
            stop_seconds: longest.as_secs() + STOP_MARGIN,
            of_user: self.of_user,
            private: self.private,
        }
        .text())
    }

    /// Refuses to hide what the app names in its spec, its configuration file or its unit.
    fn check_private(
        &self,
        start: &[String],
        environment: &[(String, String)],
    ) -> Result<(), Failure> {
        if self.of_user {
            return Err(Failure::usage(
                "--private is for services of the system: the systemd of a user hides nothing",
            ));
        }
        let spec = serde_json::to_value(&self.spec).map_err(no_json)?;
        // What only the file names, as an "env_file".
        let file = self.spec.source.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let lines = file.iter().flat_map(|text| text.lines());
        let values = environment.iter().map(|(_, value)| value);
        let words = start.iter().chain(values).map(String::as_str).chain(lines);
        match into_hidden(words.chain(strings(&spec)), &self.spec.cwd) {
            None => Ok(()),
            Some(path) => Err(Failure::usage(format!(
                "--private would hide {} from {}: leave it out, or move that",
                path.display(),
                self.spec.name
            ))),
        }
    }

    /// Writes the unit, and the spec file if the unit needs one. Leaves nothing behind if it fails.
    pub(crate) fn install(&self, session: &Session) -> Result<Installation, Failure> {
        let mut files = Installation::default();
        match self.write(session, &mut files) {
            Ok(()) => Ok(files),
            Err(failure) => {
                files.undo()?;
                Err(failure)
            }
        }
    }

    fn write(&self, session: &Session, files: &mut Installation) -> Result<(), Failure> {
        let text = self.text(session)?;
        if self.spec.source.is_none() || self.spec.overrides.is_some() {
            let json = serde_json::to_string_pretty(&self.spec).map_err(no_json)?;
            // Only its owner can read it: it holds values of environment variables.
            files.write(&spec_file(&self.spec.name, self.of_user)?, json.as_bytes(), 0o600)?;
        }
        let path = unit_folder(self.of_user)?.join(Unit::file_name(&self.spec.name));
        files.write(&path, text.as_bytes(), 0o644)
    }
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::failed(format!("cannot write the spec as JSON: {error}"))
}

/// Reads the spec file that [`Service::install`] wrote, and the configuration file that it names.
/// The number of workers follows from the CPUs of this machine as they are now.
pub(crate) fn read_spec(path: &Path) -> Result<AppSpec, Failure> {
    let shown = path.display();
    let text =
        fs::read(path).map_err(|error| Failure::io(format_args!("cannot read {shown}"), &error))?;
    let mut spec: AppSpec = serde_json::from_slice(&text).map_err(|error| {
        Failure::usage(format!(
            "{shown} has no spec ({error}): write it again with \"supervisor startup\""
        ))
    })?;
    if let (Some(source), Some(overrides)) = (&spec.source, spec.overrides.take()) {
        let specs = read_file(source, spec.profile.as_deref())?;
        let found = specs.into_iter().find(|found| found.name == spec.name);
        let missing = || format!("{} is no longer in {}", spec.name, source.display());
        spec = found.ok_or_else(|| Failure::usage(missing()))?;
        overrides.attach(&mut spec, &Cpus::read());
        check(&spec)?;
    }
    spec.resolve(&Cpus::read());
    Ok(spec)
}
