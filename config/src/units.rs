//! Durations, as people write them.
//!
//! Refuses a number without a unit, because some people mean seconds by it and others milliseconds,
//! and anything above [`MAX_DURATION`].

use std::time::Duration;

/// The longest duration: a year, far above what any key is useful with.
pub const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why a duration was refused. The message does not repeat the text, except as advice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A bare number.
    #[error("the unit is missing: write \"{0}s\" or \"{0}ms\"")]
    NoUnit(String),
    /// Not a duration at all.
    #[error("expected a duration such as \"10s\", \"1m 30s\" or \"500ms\"")]
    NotUnderstood,
    /// Above [`MAX_DURATION`].
    #[error("at most 365 days are possible")]
    TooLong,
}

/// A duration such as `10s`, `1m 30s` or `500ms`.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DurationError::NoUnit(text.to_owned()));
    }
    let found = humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => DurationError::TooLong,
        _ => DurationError::NotUnderstood,
    })?;
    if found > MAX_DURATION { Err(DurationError::TooLong) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration(" 500ms "), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for (text, expected) in [
            ("10", r#"the unit is missing: write "10s" or "10ms""#),
            ("", r#"expected a duration such as "10s", "1m 30s" or "500ms""#),
            ("soon", r#"expected a duration such as "10s", "1m 30s" or "500ms""#),
            ("-1s", r#"expected a duration such as "10s", "1m 30s" or "500ms""#),
            ("366days", "at most 365 days are possible"),
            ("99999999999999999999999s", "at most 365 days are possible"),
        ] {
            assert_eq!(duration(text).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
