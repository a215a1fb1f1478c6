//! What processes use of the machine: how often the kernel took the CPU away from this one
//! (getrusage(2)), the CPU time of any, and memory that this one no longer needs.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::ClockId;

use super::pidfd::Pid;

/// How often the kernel gave the CPU to another process while this one still wanted it.
pub(crate) fn times_preempted() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.involuntary_context_switches())
}

/// The CPU time of all threads of this process, of those that have ended, too. `None`: there is no
/// such process.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid(pid).into()).ok()?;
    Some(Duration::from(clock.now().ok()?))
}

/// Returns freed memory to the kernel. glibc keeps what was freed below a block that is still in
/// use, for example many small buffers. This costs milliseconds for tens of megabytes, so call it
/// only after an unusual amount was freed.
pub(crate) fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes the allocator's own locks and only touches free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let me = std::process::id();
        let before = cpu_time(me).unwrap();
        let mut sum = 0u64;
        while cpu_time(me).unwrap() < before + Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        // One more than there can be.
        assert_eq!(cpu_time((1 << 22) + 1), None);
    }
}
