//! A file with a secret, which only its owner can read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::exit::Failure;

/// The text of the file, at most its first `most` bytes. `what`: what it has, for messages, such as
/// "the token". Fails if users other than its owner could open it.
pub(crate) fn read(path: &Path, what: &str, most: u64) -> Result<String, Failure> {
    let shown = path.display();
    let cannot = |error| Failure::io(format_args!("cannot read {what} in {shown}"), &error);
    let file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::failed(format!(
            "other users can open {shown}, which has {what}: run \"chmod 600 {shown}\""
        )));
    }
    let mut text = String::new();
    file.take(most).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}
