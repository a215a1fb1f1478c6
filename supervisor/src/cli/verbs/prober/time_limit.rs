//! How a time limit is told.

use std::time::Duration;

pub(super) fn span(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
