//! Times and counts as people read them.

use std::time::Duration;

/// `250ms`, `1.3s`, `30s`.
pub(super) fn span(span: Duration) -> String {
    let millis = span.as_millis();
    match (millis / 1000, millis % 1000 / 100) {
        (0, _) => format!("{millis}ms"),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, tenths) => format!("{seconds}.{tenths}s"),
    }
}

/// The same for spans that people choose: `60min`, `24h`.
pub(super) fn long_span(long: Duration) -> String {
    match long.as_secs() {
        0..120 => span(long),
        seconds @ 120..36_000 => format!("{}min", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

/// `1 connection`, `3 connections`.
pub(super) fn count(number: u32, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// `512 KiB`, `214 MiB`: whole units, rounded.
pub(super) fn size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{} KiB", (bytes + KIB / 2) / KIB),
        _ => format!("{} MiB", (bytes.saturating_add(MIB / 2)) / MIB),
    }
}
