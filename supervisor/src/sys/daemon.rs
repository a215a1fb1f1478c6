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

/// What this process was worth to the kernel's OOM killer, once that was lowered.
static OOM_BEFORE: OnceLock<i32> = OnceLock::new();
/// What keeper and primary are worth: they are small, and everything hangs on them.
const OOM_OURS: i32 = -500;
const OOM_FILE: &str = "/proc/self/oom_score_adj";

/// When memory runs out, others go first. Workers get back what we were given. For the privileged
/// only; that it is not allowed is no error (proc_pid_oom_score_adj(5)).
pub(crate) fn go_last() {
    let now = std::fs::read_to_string(OOM_FILE).ok().and_then(|text| text.trim().parse().ok());
    if let Some(now) = now.filter(|now| *now > OOM_OURS)
        && std::fs::write(OOM_FILE, OOM_OURS.to_string()).is_ok()
    {
        remember_oom(now);
    }
}

/// The value before `go_last`, if it changed anything.
pub(crate) fn original_oom() -> Option<i32> {
    OOM_BEFORE.get().copied()
}

/// What it was when another build was in this process's place.
pub(crate) fn remember_oom(before: i32) {
    // Known already: the one that is known was seen.
    let _ = OOM_BEFORE.set(before);
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
