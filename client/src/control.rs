//! Finds the apps: their sockets lie in one of a few folders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{App, Error};

/// The apps in one folder of sockets; by default in that of this user's commands.
#[derive(Debug, Clone)]
pub struct Control {
    /// The first choice first.
    folders: Vec<PathBuf>,
    /// The folders are not those of the commands.
    is_elsewhere: bool,
    program: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

impl Control {
    /// The apps of this user, found as the commands find them: by `SUPERVISOR_HOME`, or
    /// `/run/supervisor` for root, or `XDG_RUNTIME_DIR`.
    pub fn new() -> Self {
        Self { folders: folders(), is_elsewhere: false, program: "supervisor".into() }
    }

    /// The apps whose sockets are in this folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folders: vec![folder.into()], is_elsewhere: true, program: "supervisor".into() }
    }

    /// Another program than the `supervisor` of the PATH, for [`Self::start`].
    #[must_use]
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self }
    }

    /// The apps that have a socket, by name. A primary may have died without removing its own:
    /// then [`App::status`] fails with `lost`.
    pub fn apps(&self) -> Vec<App> {
        let mut found = BTreeMap::new();
        for folder in self.folders.iter().rev() {
            for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|one| one.path()) {
                let name = path.file_stem().and_then(OsStr::to_str);
                if let Some(name) = name.filter(|_| path.extension() == Some(OsStr::new("sock"))) {
                    found.insert(name.to_owned(), path.clone());
                }
            }
        }
        found.into_iter().map(|(name, path)| App::new(name, path)).collect()
    }

    /// The app of this name.
    ///
    /// # Errors
    ///
    /// It has no socket: `lost`.
    pub fn app(&self, name: &str) -> Result<App, Error> {
        let is_socket =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        // A name with a slash would lead out of the folder.
        let paths = self.folders.iter().map(|folder| folder.join(format!("{name}.sock")));
        let path = paths.filter(|_| !name.contains('/')).find(is_socket);
        path.map(|path| App::new(name.to_owned(), path)).ok_or_else(|| {
            let folders: Vec<String> =
                self.folders.iter().map(|folder| folder.display().to_string()).collect();
            Error::lost(format!("no app is called \"{name}\" in {}", folders.join(", ")))
        })
    }

    /// Runs `supervisor start --name NAME OPTIONS -- COMMAND`, and returns the app once it is
    /// ready.
    ///
    /// # Errors
    ///
    /// The command cannot be run, or says that the app could not be started: `failed`, with what it
    /// wrote as the reason. After [`Self::in_folder`]: `usage`, since the command puts the socket
    /// into the folder of this user's commands.
    pub fn start<S: AsRef<OsStr>>(
        &self,
        command: &[S],
        name: &str,
        options: &[&str],
    ) -> Result<App, Error> {
        if self.is_elsewhere {
            let folder = self.folders.iter().map(|at| at.display().to_string()).collect::<String>();
            let reason = format!(
                "cannot start {name} in {folder}: set SUPERVISOR_HOME and use Control::new"
            );
            return Err(Error::new("usage", reason));
        }
        let mut start = Command::new(&self.program);
        start.args(["start", "--name", name]).args(options).arg("--").args(command);
        let done = start.stdin(Stdio::null()).output().map_err(|error| {
            Error::new("failed", format!("cannot run {}: {error}", self.program.display()))
        })?;
        if done.status.success() {
            return self.app(name);
        }
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        let reason =
            if said.is_empty() { format!("start ended with {}", done.status) } else { said };
        Err(Error::new("failed", reason))
    }
}

/// The folders in which the commands of this user put sockets, the first choice first.
fn folders() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(home) = set("SUPERVISOR_HOME") {
        return vec![Path::new(&home).join("run")];
    }
    let user = rustix::process::getuid().as_raw();
    let first = if user == 0 {
        Some("/run/supervisor".into())
    } else {
        set("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("supervisor"))
    };
    let others = ["/tmp", "/dev/shm"].map(|at| Path::new(at).join(format!("supervisor-{user}")));
    // Another user may have made a folder of this name.
    let ours = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() == user);
    first.into_iter().chain(others).filter(ours).collect()
}
