//! Durations and sizes, as people write them.
//!
//! Refuses a number without a unit, because some people mean seconds by it and others milliseconds
//! (bytes by it and others megabytes), and anything above [`MAX_DURATION`].

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

/// The largest size: a pebibyte.
pub const MAX_SIZE: u64 = 1 << 50;

/// Why a size was refused. The message does not repeat the text, except as advice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// A bare number.
    #[error("the unit is missing: write \"{0}M\" for mebibytes, or \"{0}B\" for bytes")]
    NoUnit(String),
    /// Not a size at all.
    #[error("expected a size such as \"300M\", \"1.5G\" or \"512K\"")]
    NotUnderstood,
    /// Above [`MAX_SIZE`].
    #[error("at most 1024T are possible")]
    TooLarge,
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

/// The units of a size. `K`, `KB` and `KiB` are all 1024 bytes, as in systemd and PM2; so on.
const UNITS: [(&str, u64); 5] =
    [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("B", 1)];

/// A size such as `300M`, `1.5G`, `512KiB`; in bytes. `0` needs no unit.
pub fn size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text[digits.len()..].trim().to_ascii_uppercase();
    if digits == "0" && unit.is_empty() {
        return Ok(0);
    }
    if unit.is_empty() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SizeError::NoUnit(digits.to_owned()));
    }
    let short = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
    let short = if unit == "B" { "B" } else { short };
    let known = UNITS.iter().find(|(name, _)| *name == short);
    let (_, factor) = known.ok_or(SizeError::NotUnderstood)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let digits = |text: &str| {
        let plain = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u128>().ok().filter(|_| plain).ok_or(SizeError::NotUnderstood)
    };
    let scale = 10_u128.pow(u32::try_from(fraction.len().min(15)).unwrap_or(15));
    let parts = (digits(whole)? * scale + digits(fraction)?) * u128::from(*factor);
    let bytes = u64::try_from(parts / scale).map_err(|_| SizeError::TooLarge)?;
    if bytes > MAX_SIZE { Err(SizeError::TooLarge) } else { Ok(bytes) }
}

/// A size in the largest unit that needs no fraction: `300M`.
pub fn written_size(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    match UNITS.iter().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes, written) in [
            ("300M", 300 << 20, "300M"),
            ("1.5G", 1536 << 20, "1536M"),
            (" 512 KiB ", 512 << 10, "512K"),
            ("300MB", 300 << 20, "300M"),
            ("2g", 2 << 30, "2G"),
            ("1000B", 1000, "1000B"),
            ("0", 0, "0"),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(written_size(bytes), written);
            assert_eq!(size(written), Ok(bytes));
        }
        for (text, expected) in [
            ("300", r#"the unit is missing: write "300M" for mebibytes, or "300B" for bytes"#),
            ("", r#"expected a size such as "300M", "1.5G" or "512K""#),
            ("much", r#"expected a size such as "300M", "1.5G" or "512K""#),
            ("-1M", r#"expected a size such as "300M", "1.5G" or "512K""#),
            ("1.M", r#"expected a size such as "300M", "1.5G" or "512K""#),
            ("300XB", r#"expected a size such as "300M", "1.5G" or "512K""#),
            ("99999999T", "at most 1024T are possible"),
        ] {
            assert_eq!(size(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

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
