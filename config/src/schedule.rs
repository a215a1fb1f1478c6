//! When a schedule in the form of cron is due.
//!
//! Refuses patterns that are never due, and time zones that this machine does not know.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A pattern and its time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Five fields (`minute hour day month weekday`), or six with the seconds first, or a word such
    /// as `@daily`. Without a zone, the machine's own holds. Errors are lower-case sentences.
    pub fn new(pattern: &str, zone: Option<&str>) -> Result<Self, String> {
        let zone = zone.map_or_else(|| Ok(TimeZone::system()), time_zone)?;
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(pattern.trim()).map_err(|error| {
            let error = error.to_string();
            format!("expected a pattern such as \"0 3 * * *\" ({})", error.trim_end_matches('.'))
        })?;
        let schedule = Self { cron, zone };
        match schedule.after(0) {
            Some(_) => Ok(schedule),
            None => Err("is never due".to_owned()),
        }
    }

    /// The first time after this one at which it is due; milliseconds since 1970.
    pub fn after(&self, unix_ms: u64) -> Option<u64> {
        let from = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
        let from = Zoned::new(from, self.zone.clone());
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }
}

/// A time zone by its name: `Europe/Berlin`, `UTC`.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        "is no time zone that this machine knows (its database of time zones is tzdata)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: &str) -> u64 {
        let time: Timestamp = time.parse().unwrap();
        u64::try_from(time.as_millisecond()).unwrap()
    }

    fn shown(unix_ms: u64) -> String {
        Timestamp::from_millisecond(i64::try_from(unix_ms).unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_next_time_is_that_of_the_zone() {
        for (pattern, zone, from, next) in [
            ("0 3 * * *", "UTC", "2026-11-27T02:59:59.999Z", "2026-11-27T03:00:00Z"),
            ("0 3 * * *", "UTC", "2026-11-27T03:00:00Z", "2026-11-28T03:00:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"),
            // The clock springs from 2 to 3 that night.
            ("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
            ("*/5 * * * * *", "UTC", "2026-11-27T03:00:01Z", "2026-11-27T03:00:05Z"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("@daily", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ] {
            let schedule = Schedule::new(pattern, Some(zone)).unwrap();
            assert_eq!(shown(schedule.after(ms(from)).unwrap()), next, "{pattern} in {zone}");
        }
    }

    #[test]
    fn refusals() {
        for (pattern, zone, expected) in [
            ("often", "UTC", "expected a pattern such as \"0 3 * * *\" ("),
            ("61 * * * *", "UTC", "expected a pattern such as \"0 3 * * *\" ("),
            ("0 0 30 2 *", "UTC", "is never due"),
            ("0 3 * * *", "Moon/Crater", "is no time zone that this machine knows"),
        ] {
            let error = Schedule::new(pattern, Some(zone)).unwrap_err();
            assert!(error.starts_with(expected), "{pattern}: {error}");
        }
    }
}
