//! From a configuration file, or from flags, to specs of apps that are checked.
//!
//! Everything that can be known to be wrong before an app is started is refused here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use config::cpus::Cpus;
use config::name;
use config::spec::AppSpec;
use config::{Format, Loaded, Problem, Reader, Report};

use super::args::AppOptions;
use super::ecosystem;
use super::exit::{Exit, Failure};
use super::output::note;
use crate::home::Home;
use crate::sys::file_id::FileId;

/// The configuration file of a command that names none.
pub(crate) const CONFIG_FILE: &str = "supervisor.toml";

/// What a folder may have as its configuration file; the first one counts.
const DEFAULT_FILES: [&str; 7] = [
    CONFIG_FILE,
    "supervisor.yaml",
    "supervisor.yml",
    "supervisor.json",
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
];

/// Whether `path` has the ending of a configuration file.
pub(crate) fn is_config_path(path: &Path) -> bool {
    Format::of(path).is_some() || ecosystem::is_program(path)
}

/// The configuration file that a command means which names none, if `folder` has one.
pub(crate) fn default_file(folder: &Path) -> Option<PathBuf> {
    DEFAULT_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Reads every app of a configuration file, with the profile of this name where an app has it.
/// Fails with every mistake in the file.
pub(crate) fn read_file(path: &Path, profile: Option<&str>) -> Result<Vec<AppSpec>, Failure> {
    load_file(path, profile).map(|loaded| loaded.apps)
}

/// Like [`read_file`], with how the file defines each app.
pub(crate) fn load_file(path: &Path, profile: Option<&str>) -> Result<Loaded, Failure> {
    let mut loaded = load_with_notes(path, profile)?;
    print_notes(&mut loaded);
    Ok(loaded)
}

/// Like [`load_file`], for a caller that does something of its own with the notes.
pub(crate) fn load_with_notes(path: &Path, profile: Option<&str>) -> Result<Loaded, Failure> {
    let path = absolute(path)?;
    let reader = reader(profile);
    let loaded = match ecosystem::is_program(&path) {
        true => reader.evaluated(&ecosystem::evaluate(&path)?, &path),
        false => reader.load(&path),
    };
    loaded.map_err(|report| Failure::usage(report.to_string().trim_end()))
}

fn apps(loaded: Result<Loaded, Report>) -> Result<Vec<AppSpec>, Failure> {
    let loaded = loaded.map_err(|report| Failure::usage(report.to_string().trim_end()));
    let mut loaded = loaded?;
    print_notes(&mut loaded);
    Ok(loaded.apps)
}

/// Prints the notes on what does nothing.
fn print_notes(loaded: &mut Loaded) {
    for Problem { path, place, message } in loaded.notes.drain(..) {
        let line = place.map(|place| format!(":{}", place.line)).unwrap_or_default();
        note(format_args!("{}{line}: {message}", path.display()));
    }
}

fn reader(profile: Option<&str>) -> Reader {
    Reader::new(&Cpus::read()).profile(profile)
}

/// What files that are programs export. Each is evaluated once, however many apps it describes.
#[derive(Debug)]
pub(crate) struct Exports<'h> {
    home: &'h Home,
    evaluated: BTreeMap<PathBuf, String>,
}

impl<'h> Exports<'h> {
    /// For the apps in `home`.
    pub(crate) fn new(home: &'h Home) -> Self {
        Self { home, evaluated: BTreeMap::new() }
    }

    /// Whether the apps are those of this user, or this user is root.
    pub(crate) fn may_see_all(&self) -> bool {
        self.home.may_see_all()
    }

    /// What the file at `path` exports, if it is a program. Another user's program would run with
    /// the rights of this one, so it is refused.
    pub(crate) fn of(&mut self, path: &Path) -> Result<Option<&str>, Failure> {
        if !ecosystem::is_program(path) {
            return Ok(None);
        }
        if self.home.is_of_another_user() {
            return Err(Failure::usage(format!(
                "{} is a program, which only the app's own user evaluates: reload the app as that \
                 user",
                path.display()
            )));
        }
        let exports = match self.evaluated.entry(path.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(ecosystem::evaluate(path)?),
        };
        Ok(Some(exports))
    }

    /// Reads the file of an app, to find its faults early: the primary reads it again. If the app
    /// belongs to another user, what that user may do is not checked here.
    pub(crate) fn read_file(
        &mut self,
        path: &Path,
        profile: Option<&str>,
    ) -> Result<Vec<AppSpec>, Failure> {
        if let Some(exports) = self.of(path)? {
            return apps(reader(profile).evaluated(exports, path));
        }
        if self.home.may_see_all() {
            return read_file(path, profile);
        }
        apps(reader(profile).written(path))
    }
}

/// The spec of an app that is defined by flags alone. Without `--name` the app is named after
/// `name_after`.
pub(crate) fn from_options(
    options: &AppOptions,
    command: Vec<String>,
    name_after: &[String],
    working_dir: &Path,
) -> Result<AppSpec, Failure> {
    if command.first().is_none_or(String::is_empty) {
        return Err(Failure::usage("the command is empty: name a program after \"--\""));
    }
    let given = options.overrides.name();
    let app = given.map_or_else(|| name::from_command(name_after), str::to_owned);
    name::check(&app).map_err(|reason| match given {
        Some(_) => Failure::usage(reason),
        None => Failure::usage(format!("{reason}; choose a name with --name")),
    })?;
    let mut spec = AppSpec::new(app, command, working_dir.to_owned());
    spec.resolve(&Cpus::read());
    options.overrides(working_dir).apply(&mut spec, &Cpus::read());
    check(&spec)?;
    Ok(spec)
}

/// Refuses a spec that contradicts itself, or that cannot work on this machine as this user.
pub(crate) fn check(spec: &AppSpec) -> Result<(), Failure> {
    let name = &spec.name;
    if let Some((_, reason)) = config::address::duplicate(&spec.listen) {
        return Err(Failure::usage(format!("{name}: {reason}")));
    }
    let mut accounts = spec.user.iter().chain(&spec.group).chain(&spec.privileges.groups);
    if let Some(account) = accounts.next().filter(|_| !nix::unistd::geteuid().is_root()) {
        return Err(Failure::new(
            Exit::NotPermitted,
            format!("{name}: only root may run workers as \"{account}\""),
        ));
    }
    if let Some(fault) = config::validate::contradictions(spec).first() {
        return Err(Failure::usage(format!("{name}: {}", fault.message)));
    }
    match config::validate::missing_here(spec).first() {
        // The command line is correct: the program may just not be built yet.
        Some(fault) if fault.key == "command" => {
            Err(Failure::failed(format!("{name}: {}", fault.message)))
        }
        Some(fault) => Err(Failure::usage(format!("{name}: {}", fault.message))),
        None => Ok(()),
    }
}

/// The folder that the command was started in, as the person named it: a deploy that moves a
/// symlink on that way is to have an effect.
pub(crate) fn working_dir() -> Result<PathBuf, Failure> {
    let named = std::env::var_os("PWD").map(PathBuf::from);
    if let Some(named) = named.filter(|named| is_name_of(named, Path::new("."))) {
        return Ok(named);
    }
    std::env::current_dir().map_err(|error| Failure::io("cannot tell the working folder", &error))
}

/// The absolute path of what the person named, with its symlinks.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(working_dir()?.join(path))
        .map_err(|error| Failure::io(format_args!("cannot find {}", path.display()), &error))
}

/// Whether `named` is a full path of the folder `here`. A stale PWD is not.
fn is_name_of(named: &Path, here: &Path) -> bool {
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    // Behind symlinks.
    let folder = |path: &Path| path.metadata().ok().map(|data| FileId::of(&data));
    named.is_absolute()
        && named.components().all(is_plain)
        && folder(named).is_some_and(|named| Some(named) == folder(here))
}

/// The executable of this name in a folder of PATH.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    let is_executable = |path: &PathBuf| {
        let data = path.metadata();
        data.is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    let folders = std::env::var_os("PATH").filter(|_| !program.is_empty())?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(is_executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_path_of_the_folder_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let (release, current) = (folder.path().join("release"), folder.path().join("current"));
        std::fs::create_dir(&release).unwrap();
        std::os::unix::fs::symlink(&release, &current).unwrap();
        assert!(is_name_of(&current, &release));
        assert!(is_name_of(&release, &release));
        for wrong in ["release/../current", "gone", "."] {
            assert!(!is_name_of(&folder.path().join(wrong), &release), "{wrong}");
        }
        assert!(!is_name_of(Path::new("release"), &release));
    }
}
