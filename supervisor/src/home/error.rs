//! Why the folders of a user cannot be used.

use std::io;
use std::path::PathBuf;

/// The variable that puts everything under one folder.
pub(crate) const HOME_VARIABLE: &str = "SUPERVISOR_HOME";

/// Bytes of the longest path of a unix socket: `sun_path` without its final zero.
pub(super) const MAX_SOCKET_PATH: usize = 107;

/// Why the folders cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    #[error(
        "the socket path {} is {} bytes long, and the kernel takes {MAX_SOCKET_PATH}: use a \
         shorter app name, or a shorter folder in {HOME_VARIABLE}", .0.display(), .0.as_os_str().len()
    )]
    TooLong(PathBuf),
    #[error("{} cannot be trusted: {why}; remove it, or set {HOME_VARIABLE}", path.display())]
    NotOurs { path: PathBuf, why: String },
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}
