//! Settings of the calling process: session, name, limits.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit of open files before `raise_nofile` changed it.
static NOFILE_BEFORE: OnceLock<u64> = OnceLock::new();

/// Leaves the terminal: starts a session and a process group of its own.
pub(crate) fn detach() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

/// Sets the name that `ps` and `top` show for the process; the kernel cuts it to 15 bytes.
pub(crate) fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // The kernel can refuse no string here.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// This process's oom_score_adj before `go_last` changed it.
static OOM_BEFORE: OnceLock<i32> = OnceLock::new();
/// The oom_score_adj of keeper and primary: they are small, and the app depends on them.
const OOM_OURS: i32 = -500;
const OOM_FILE: &str = "/proc/self/oom_score_adj";

/// Has the OOM killer prefer other processes. Workers get the earlier value back. Only privileged
/// processes may do this; a refusal is no error (proc_pid_oom_score_adj(5)).
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

/// Sets that value, as the build that ran in this process before has read it.
pub(crate) fn remember_oom(before: i32) {
    // A second call keeps the first value.
    let _ = OOM_BEFORE.set(before);
}

/// Raises the soft limit of open files to the hard limit. Workers get the earlier limit back, see
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

/// The limit of open files that applies to this process.
pub(crate) fn nofile() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Sets that value, as the build that ran in this process before has read it.
pub(crate) fn remember_nofile(soft: u64) {
    // A second call keeps the first value.
    let _ = NOFILE_BEFORE.set(soft);
}

/// From so many bytes on, the allocator maps a piece of memory of its own, which goes back to the
/// kernel when it is freed: during a start, and later.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: [i32; 2] = [16 * 1024, 512 * 1024];
/// So many free bytes at the end of the heap go back to the kernel, and so many stay: likewise.
#[cfg(target_env = "gnu")]
const FREE_AT_END: [[i32; 2]; 2] = [[32 * 1024, 4 * 1024], [512 * 1024, 128 * 1024]];

/// Has the allocator keep little until [`give_memory_back`]. A start needs large buffers for a
/// moment; small things that stay would lie between them, and hold their pages for ever.
pub(crate) fn keep_little_memory() {
    #[cfg(target_env = "gnu")]
    set_allocator(0);
}

/// Gives the kernel the memory back that was needed for a moment, as for a start, and that the
/// allocator would keep. From now on it keeps what is needed again and again.
pub(crate) fn give_memory_back() {
    give_stack_back();
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: this frees whole pages that the allocator does not use, and changes no
        // allocation.
        unsafe {
            libc::malloc_trim(0);
        }
        set_allocator(1);
    }
}

/// What may be in use below the place that `give_stack_back` looks at: the frames of what it calls.
const STACK_IN_USE: usize = 16 * 1024;

/// Gives the kernel the pages back that calls on this stack have used and that no call uses now. A
/// start goes deep, and what follows does not.
#[inline(never)]
pub(crate) fn give_stack_back() {
    let here = 0u8;
    let here = std::ptr::from_ref(std::hint::black_box(&here));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(lowest) = maps.lines().find_map(|line| begin_of_stack(line, here.addr())) else {
        return;
    };
    // SAFETY: reads a setting.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16);
    let end = (here.addr() - STACK_IN_USE) / page * page;
    if lowest < end {
        let lowest = here.with_addr(lowest).cast_mut().cast();
        // SAFETY: the range is a part of the stack of this thread, as the kernel has just shown. It
        // ends below every frame, those of this function and of this call included, so nothing has
        // a value there.
        unsafe {
            libc::madvise(lowest, end - lowest.addr(), libc::MADV_DONTNEED);
        }
    }
}

/// Where the stack of the main thread begins, if this line of `/proc/self/maps` shows it and `here`
/// is in it.
fn begin_of_stack(line: &str, here: usize) -> Option<usize> {
    let (span, _) = line.strip_suffix("[stack]")?.split_once(' ')?;
    let (begin, end) = span.split_once('-')?;
    let address = |text: &str| usize::from_str_radix(text, 16).ok();
    let span = address(begin)?..address(end)?;
    span.contains(&here).then_some(span.start)
}

#[cfg(target_env = "gnu")]
fn set_allocator(phase: usize) {
    let [trim, pad] = FREE_AT_END[phase];
    let all = [
        (libc::M_MMAP_THRESHOLD, OWN_MAPPING[phase]),
        (libc::M_TRIM_THRESHOLD, trim),
        (libc::M_TOP_PAD, pad),
    ];
    for (key, value) in all {
        // SAFETY: this changes how later allocations are made, and none that there is.
        unsafe {
            libc::mallopt(key, value);
        }
    }
}

/// The program that now has the path from which this one was started: a later build, if the file
/// was replaced.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    // proc(5), /proc/PID/exe.
    let bytes = path.as_os_str().as_bytes();
    let name = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    Ok(PathBuf::from(OsStr::from_bytes(name)))
}

/// Gives this process the lowest priority for CPU time. If that fails, it only works faster.
pub(crate) fn run_after_others() {
    let _ = rustix::process::setpriority_process(None, 19);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stack_of_the_main_thread_is_given_back() {
        let stack = "7ffe10000000-7ffe10021000 rw-p 00000000 00:00 0    [stack]";
        assert_eq!(begin_of_stack(stack, 0x7ffe_1002_0000), Some(0x7ffe_1000_0000));
        assert_eq!(begin_of_stack(stack, 0x7ffe_1002_1000), None);
        let other = "7ffe10000000-7ffe10021000 rw-p 00000000 00:00 0 ";
        assert_eq!(begin_of_stack(other, 0x7ffe_1002_0000), None);
        // A test runs in a thread of its own.
        give_stack_back();
    }

    #[test]
    fn the_name_shows() {
        set_name("supervisor-test-long-name");
        let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert_eq!(comm.trim(), "supervisor-test");
    }
}
