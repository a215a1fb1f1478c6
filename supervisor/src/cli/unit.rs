//! `unit`, `startup`, `unstartup`: apps as systemd services. `unit` only prints; `startup` writes
//! one unit for each app and enables it, `unstartup` takes that back. Refuses to start what runs
//! outside systemd already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use config::cpus::Cpus;
use config::spec::AppSpec;
use systemd::unit::Unit;

use super::Session;
use super::atomic_file;
use super::exit::{Exit, Failure};
use super::launch::own_program;
use super::output;
use super::probe::{self, Seen};
use super::reload::held_spec;
use super::start_plan;
use crate::home::HOME_VARIABLE;

/// Beyond the app's own times, a stop may take so many seconds.
const STOP_MARGIN: u64 = 10;

#[derive(Debug, Args)]
pub(crate) struct UnitArgs {
    /// A running app, or a configuration file with one app.
    #[arg(value_name = "NAME|FILE", required_unless_present = "template")]
    pub(crate) app: Option<String>,
    /// For your own session's systemd (systemctl --user).
    #[arg(long)]
    pub(crate) user: bool,
    /// Print supervisor@.service, which runs the app of /etc/supervisor/NAME.toml.
    #[arg(long, conflicts_with_all = ["app", "user"])]
    pub(crate) template: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StartupArgs {
    /// Running apps, or configuration files with one app each. Default: every running app.
    #[arg(value_name = "NAME|FILE")]
    pub(crate) apps: Vec<String>,
    /// In your own session's systemd (systemctl --user). Default unless you are root.
    #[arg(long)]
    pub(crate) user: bool,
    /// Start them now as well (startup), stop them now (unstartup).
    #[arg(long)]
    pub(crate) now: bool,
}

/// `unit`
pub(super) fn print(args: &UnitArgs, session: &mut Session) -> Result<Exit, Failure> {
    if args.template {
        let program = own_program()?;
        session.out.bytes(systemd::unit::template(&program.display().to_string()).as_bytes());
        return Ok(Exit::Done);
    }
    let service = Service::of(args.app.as_deref().unwrap_or_default(), args.user, session)?;
    session.out.bytes(service.text(session)?.as_bytes());
    Ok(Exit::Done)
}

/// `startup`
pub(super) fn startup(args: &StartupArgs, session: &mut Session) -> Result<Exit, Failure> {
    let of_user = of_user(args);
    let apps = if args.apps.is_empty() { session.home.apps()? } else { args.apps.clone() };
    if apps.is_empty() {
        return Err(Failure::usage("no app runs: name one, or a configuration file"));
    }
    let services =
        apps.iter().map(|app| Service::of(app, of_user, session)).collect::<Result<Vec<_>, _>>()?;
    for service in &services {
        if args.now && matches!(probe::look(&session.home, &service.spec.name)?, Seen::Status(_)) {
            let name = &service.spec.name;
            return Err(Failure::failed(format!(
                "{name} runs already, outside systemd: delete it first (supervisor delete {name}), \
                 or leave out --now"
            )));
        }
    }
    for service in &services {
        service.install(session)?;
    }
    systemctl(of_user, &["daemon-reload"])?;
    for service in &services {
        let unit = Unit::file_name(&service.spec.name);
        let verb: &[&str] = if args.now { &["enable", "--now"] } else { &["enable"] };
        systemctl(of_user, &[verb, &[unit.as_str()]].concat())?;
        session.out.line(format_args!("{}: enabled as {unit}", service.spec.name));
    }
    Ok(Exit::Done)
}

/// `unstartup`
pub(super) fn unstartup(args: &StartupArgs, session: &mut Session) -> Result<Exit, Failure> {
    let of_user = of_user(args);
    let folder = unit_folder(of_user)?;
    let apps = if args.apps.is_empty() { installed(&folder)? } else { args.apps.clone() };
    if apps.is_empty() {
        output::remark(format_args!("no app has a unit in {}", folder.display()));
    }
    for app in apps {
        config::name::check(&app).map_err(Failure::usage)?;
        let unit = Unit::file_name(&app);
        let path = folder.join(&unit);
        if !path.exists() {
            return Err(Failure::new(
                Exit::NoSuchApp,
                format!("{app} has no unit: there is no {}", path.display()),
            ));
        }
        let verb: &[&str] = if args.now { &["disable", "--now"] } else { &["disable"] };
        systemctl(of_user, &[verb, &[unit.as_str()]].concat())?;
        remove(&path)?;
        let spec = spec_file(&app, of_user)?;
        if spec.exists() {
            remove(&spec)?;
        }
        systemctl(of_user, &["daemon-reload"])?;
        session.out.line(format_args!("{app}: {unit} is removed"));
    }
    Ok(Exit::Done)
}

/// An app that is, or shall be, a service.
struct Service {
    spec: AppSpec,
    of_user: bool,
}

impl Service {
    /// `app`: the name of one that runs, or a configuration file.
    fn of(app: &str, of_user: bool, session: &Session) -> Result<Self, Failure> {
        let spec = if app.ends_with(".toml") {
            let mut specs = start_plan::read_file(Path::new(app))?;
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
            held_spec(session, app)?
        };
        Ok(Self { spec, of_user })
    }

    fn text(&self, session: &Session) -> Result<String, Failure> {
        let program = own_program()?.display().to_string();
        let name = self.spec.name.clone();
        let words = |all: &[&str]| -> Vec<String> { all.iter().map(|&w| w.to_owned()).collect() };
        let mut start = words(&[&program, "start", "--foreground"]);
        match &self.spec.source {
            Some(source) if self.spec.overrides.is_none() => {
                start.extend(words(&["--only", &name]));
                start.push(source.display().to_string());
            }
            // The flags that were given beside the file are written down with its name.
            _ => {
                let file = spec_file(&name, self.of_user)?;
                start.extend(["--spec".to_owned(), file.display().to_string()]);
            }
        }
        // Programs are looked for where the person who set this up finds them.
        let path = std::env::var("PATH").ok().map(|path| ("PATH".to_owned(), path));
        let home = session
            .home
            .moved_to()
            .map(|folder| (HOME_VARIABLE.to_owned(), folder.display().to_string()));
        let environment: Vec<_> = path.into_iter().chain(home).collect();
        let times = self.spec.times;
        let longest = times.drain_timeout.min(times.kill_timeout) + times.kill_timeout;
        Ok(Unit {
            name: &name,
            start: &start,
            reload: &words(&[&program, "reload", &name]),
            environment: &environment,
            stop_seconds: longest.as_secs() + STOP_MARGIN,
            of_user: self.of_user,
        }
        .text())
    }

    /// Writes the unit, and where there is no configuration file what it is to run.
    fn install(&self, session: &Session) -> Result<(), Failure> {
        let text = self.text(session)?;
        if self.spec.source.is_none() || self.spec.overrides.is_some() {
            let json = serde_json::to_string_pretty(&self.spec)
                .map_err(|error| Failure::failed(format!("cannot write the app down: {error}")))?;
            // It has the values of environment variables.
            write(&spec_file(&self.spec.name, self.of_user)?, json.as_bytes(), 0o600)?;
        }
        let path = unit_folder(self.of_user)?.join(Unit::file_name(&self.spec.name));
        write(&path, text.as_bytes(), 0o644)
    }
}

fn of_user(args: &StartupArgs) -> bool {
    args.user || !nix::unistd::geteuid().is_root()
}

/// Reads what `install` wrote, and the file it came from, if any; the number of workers is that of this machine, now.
pub(super) fn read_spec(path: &Path) -> Result<AppSpec, Failure> {
    let shown = path.display();
    let text = fs::read(path)
        .map_err(|error| Failure::io(format_args!("cannot read the app in {shown}"), &error))?;
    let mut spec: AppSpec = serde_json::from_slice(&text).map_err(|error| {
        Failure::usage(format!(
            "{shown} is no app ({error}): write it again with \"supervisor startup\""
        ))
    })?;
    if let (Some(source), Some(overrides)) = (&spec.source, spec.overrides.take()) {
        let found =
            start_plan::read_file(source)?.into_iter().find(|found| found.name == spec.name);
        let missing = || format!("{} is not in {} any more", spec.name, source.display());
        spec = found.ok_or_else(|| Failure::usage(missing()))?;
        overrides.attach(&mut spec, &Cpus::read());
        start_plan::check(&spec)?;
    }
    spec.resolve(&Cpus::read());
    Ok(spec)
}

fn config_folder() -> Result<PathBuf, Failure> {
    use etcetera::base_strategy::{BaseStrategy, Xdg};
    Xdg::new()
        .map(|xdg| xdg.config_dir())
        .map_err(|error| Failure::failed(format!("cannot tell where units go: {error}")))
}

fn unit_folder(of_user: bool) -> Result<PathBuf, Failure> {
    match of_user {
        true => Ok(config_folder()?.join("systemd/user")),
        false => Ok("/etc/systemd/system".into()),
    }
}

fn spec_file(app: &str, of_user: bool) -> Result<PathBuf, Failure> {
    let folder =
        if of_user { config_folder()?.join("supervisor") } else { "/etc/supervisor".into() };
    Ok(folder.join(format!("{app}.json")))
}

/// Whether systemd starts this app, as far as its units are where `startup` writes them.
pub(super) fn is_installed(app: &str) -> bool {
    let of_user = !nix::unistd::geteuid().is_root();
    unit_folder(of_user).is_ok_and(|folder| folder.join(Unit::file_name(app)).exists())
}

/// The apps that have a unit.
fn installed(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::io(format_args!("cannot read {}", folder.display()), &error));
        }
    };
    let name = |entry: fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        Some(file.strip_prefix("supervisor-")?.strip_suffix(".service")?.to_owned())
    };
    Ok(entries.filter_map(Result::ok).filter_map(name).collect())
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| {
        Failure::io(format_args!("cannot write {}", path.display()), error)
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    atomic_file::replace(path, bytes, mode, || Ok(())).map_err(|error| failed(&error))
}

fn remove(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path)
        .map_err(|error| Failure::io(format_args!("cannot remove {}", path.display()), &error))
}

fn systemctl(of_user: bool, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("systemctl");
    if of_user {
        command.arg("--user");
    }
    let shown = arguments.join(" ");
    let done = command.args(arguments).output().map_err(|error| {
        Failure::io(
            format_args!("cannot run systemctl {shown} (is this a systemd machine?)"),
            &error,
        )
    })?;
    if done.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&done.stderr);
    let lines = reason.lines().map(str::to_owned).collect();
    Err(Failure {
        exit: Exit::Failed,
        reason: format!("systemctl {shown} failed ({})", done.status),
        last_lines: lines,
    })
}
