//! A point in time on the command line.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::base::time::millis;
use crate::sys::clock;

/// Reads a time: `10m` is ten minutes ago; `2026-11-27T19:11:38Z` has its time zone;
/// `2026-11-27 19:11` and `2026-11-27` are local. In milliseconds since 1970.
pub(crate) fn when(text: &str) -> Result<u64, String> {
    when_at(text, clock::unix_ms(), &TimeZone::system())
}

fn when_at(text: &str, now: u64, zone: &TimeZone) -> Result<u64, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now.saturating_sub(millis(ago)));
    }
    let local = || text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok();
    let time = text.parse::<Timestamp>().ok().or_else(|| Some(local()?.timestamp()));
    let time = time.ok_or_else(|| {
        "expected a time span such as 10m or 2h, or a time such as 2026-11-27T19:11:38Z or \
         \"2026-11-27 19:11\""
            .to_owned()
    })?;
    Ok(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

/// `2026-11-20 12:00:00.123`, in this time zone.
pub(crate) fn to_text(unix_ms: u64, zone: &TimeZone) -> String {
    formatted(unix_ms, zone, "%Y-%m-%d %H:%M:%S%.3f")
}

/// The time in this form (strftime(3)); `-` if there is no such time.
pub(crate) fn formatted(unix_ms: u64, zone: &TimeZone, form: &str) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).map_or_else(
        |_| "-".to_owned(),
        |time| time.to_zoned(zone.clone()).strftime(form).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times() {
        let now = 1_000_000_000_123;
        let at = |text| when_at(text, now, &TimeZone::UTC).unwrap();
        assert_eq!(at("10m"), now - 600_000);
        assert_eq!(at("1h 30m"), now - 5_400_000);
        for text in ["2001-09-09T01:46:40.123Z", "2001-09-09 01:46:40.123"] {
            assert_eq!(at(text), now, "{text}");
        }
        assert_eq!(at("2001-09-09T03:46:40.123+02:00"), now);
        assert_eq!(at("2001-09-09 01:46"), now - 40_123);
        assert_eq!(at("2001-09-09"), 999_993_600_000);
        assert!(when_at("yesterday", now, &TimeZone::UTC).unwrap_err().contains("10m"));
        assert_eq!(to_text(now, &TimeZone::UTC), "2001-09-09 01:46:40.123");
    }
}
