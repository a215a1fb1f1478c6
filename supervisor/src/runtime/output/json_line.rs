//! One line of output or of what the primary says, as JSON: the foreground and `logs --json` print
//! the same.

use serde::Serialize;

/// One line of JSON.
#[derive(Debug, Serialize)]
pub(crate) struct JsonLine<'a> {
    /// `None`: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    pub(crate) app: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<u16>,
    pub(crate) stream: &'static str,
    /// The message continues that of the line before, which was too long.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) continues: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<About<'a>>,
    pub(crate) message: &'a str,
}

/// What a notice has besides.
#[derive(Debug, Serialize)]
pub(crate) struct About<'a> {
    pub(crate) event: ipc::control::NoticeKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) last_lines: &'a [String],
}

impl JsonLine<'_> {
    /// Appends it as a whole line.
    pub(crate) fn append(&self, to: &mut Vec<u8>) {
        to.extend(serde_json::to_vec(self).unwrap_or_default());
        to.push(b'\n');
    }
}

/// `2026-11-21T08:00:00.000Z`
pub(crate) fn time(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or_default();
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// The time in the zone of the machine, in a format of `strftime` that was checked before.
pub(super) fn local_time(unix_ms: u64, format: &str) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or_default();
    let zone = jiff::tz::TimeZone::system();
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(zone);
    jiff::fmt::strtime::format(format, &at).unwrap_or_default()
}
