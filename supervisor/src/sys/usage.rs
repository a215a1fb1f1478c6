//! What this process uses of the machine: how often the kernel took the CPU away from it
//! (getrusage(2)), and memory that it no longer needs.

use nix::sys::resource::{UsageWho, getrusage};

/// How often the kernel gave the CPU to another process while this one still wanted it.
pub(crate) fn times_preempted() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.involuntary_context_switches())
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
