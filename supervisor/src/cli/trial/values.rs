//! Values of options that trials share.

use std::time::Duration;

/// Reads a time between these.
pub(crate) fn between(
    text: &str,
    shortest: Duration,
    longest: Duration,
) -> Result<Duration, String> {
    let span = config::units::duration(text).map_err(|error| error.to_string())?;
    match (shortest..=longest).contains(&span) {
        true => Ok(span),
        false => Err(format!(
            "expected between {} and {}",
            humantime::format_duration(shortest),
            humantime::format_duration(longest)
        )),
    }
}

/// Reads a path of HTTP: it goes into a request as it is.
pub(crate) fn path(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic();
    match text.starts_with('/') && text.chars().all(is_plain) && text.len() <= 4096 {
        true => Ok(text.to_owned()),
        false => Err("expected a path such as /health, without spaces".to_owned()),
    }
}
