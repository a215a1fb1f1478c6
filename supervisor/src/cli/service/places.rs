//! Where `startup` writes units and specs.

use std::fs;
use std::path::{Path, PathBuf};

use systemd::unit::Unit;

use crate::cli::exit::Failure;
use crate::cli::files::atomic_file;

/// `~/.config`, or where XDG_CONFIG_HOME has it.
fn config_folder() -> Result<PathBuf, Failure> {
    use etcetera::base_strategy::{BaseStrategy, Xdg};
    Xdg::new()
        .map(|xdg| xdg.config_dir())
        .map_err(|error| Failure::failed(format!("cannot tell the folder for units: {error}")))
}

/// The folder of units, of the user or of the system.
pub(crate) fn unit_folder(of_user: bool) -> Result<PathBuf, Failure> {
    match of_user {
        true => Ok(config_folder()?.join("systemd/user")),
        false => Ok("/etc/systemd/system".into()),
    }
}

/// The file with the spec of an app that came from no configuration file.
pub(crate) fn spec_file(app: &str, of_user: bool) -> Result<PathBuf, Failure> {
    let folder =
        if of_user { config_folder()?.join("supervisor") } else { "/etc/supervisor".into() };
    Ok(folder.join(format!("{app}.json")))
}

/// Whether the app has a unit where `startup` writes units for this user.
pub(crate) fn is_installed(app: &str) -> bool {
    let of_user = !nix::unistd::geteuid().is_root();
    unit_folder(of_user).is_ok_and(|folder| folder.join(Unit::file_name(app)).exists())
}

/// The apps that have a unit in `folder`.
pub(crate) fn installed(folder: &Path) -> Result<Vec<String>, Failure> {
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

/// Replaces a file atomically, and makes its folder.
pub(super) fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| {
        Failure::io(format_args!("cannot write {}", path.display()), error)
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    atomic_file::replace(path, bytes, mode, || Ok(())).map_err(|error| failed(&error))
}

/// Removes a file. Fails if there is none.
pub(crate) fn remove_file(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path)
        .map_err(|error| Failure::io(format_args!("cannot remove {}", path.display()), &error))
}
