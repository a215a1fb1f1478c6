//! What an inherited descriptor, a bare number so far, stands for.

use std::fs;

/// Whether the descriptor is open in this process and `/proc` shows something behind it whose name
/// begins with `file`, such as `socket:`.
pub(crate) fn is_open(number: i32, file: &str) -> bool {
    fs::read_link(format!("/proc/self/fd/{number}"))
        .is_ok_and(|target| target.to_string_lossy().starts_with(file))
}
