//! What a process does to itself: session, name, limits.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit of open files this process was started with, once it was raised.
static NOFILE_BEFORE: OnceLock<u64> = OnceLock::new();

/// Leave the terminal: a session and a process group of our own.
pub(crate) fn detach() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

/// The name `ps` and `top` show for the process; cut to 15 bytes by the kernel.
pub(crate) fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // The kernel can refuse no string here.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Allow ourselves as many open files as we may have. Workers get back what we were given: see
/// `original_nofile`.
pub(crate) fn raise_nofile() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        // A second call finds soft == hard and changes nothing.
        let _ = NOFILE_BEFORE.set(soft);
    }
    Ok(())
}

/// The soft limit before `raise_nofile`, if it changed anything.
pub(crate) fn original_nofile() -> Option<u64> {
    NOFILE_BEFORE.get().copied()
}

/// What it was when another build was in this process's place.
pub(crate) fn remember_nofile(soft: u64) {
    // Known already: the one that is known was seen.
    let _ = NOFILE_BEFORE.set(soft);
}

/// The program that has the name now by which this one was started: a later build, if the file was
/// replaced.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    // proc(5), /proc/PID/exe.
    let bytes = path.as_os_str().as_bytes();
    let name = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    Ok(PathBuf::from(OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_shows() {
        set_name("supervisor-test-long-name");
        let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert_eq!(comm.trim(), "supervisor-test");
    }
}
