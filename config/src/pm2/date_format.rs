//! The formats of dates that PM2 takes (those of Day.js) become formats of `strftime`.

/// The tokens of Day.js, the longer ones before those that they begin with. An empty one of ours:
/// Day.js gives a form that `strftime` does not have.
const TOKENS: [(&str, &str); 25] = [
    ("YYYY", "%Y"),
    ("YY", "%y"),
    ("MMMM", "%B"),
    ("MMM", "%b"),
    ("MM", "%m"),
    ("M", "%-m"),
    ("DD", "%d"),
    ("D", "%-d"),
    ("dddd", "%A"),
    ("ddd", "%a"),
    ("dd", ""),
    ("d", "%w"),
    ("HH", "%H"),
    ("H", "%-H"),
    ("hh", "%I"),
    ("h", "%-I"),
    ("mm", "%M"),
    ("m", "%-M"),
    ("ss", "%S"),
    ("s", "%-S"),
    ("SSS", "%3f"),
    ("ZZ", "%z"),
    ("Z", "%:z"),
    ("A", "%p"),
    ("a", "%P"),
];

/// The format with the same meaning. What stands between brackets, and what is no token, is copied.
pub(super) fn strftime(format: &str) -> Result<String, String> {
    let mut made = String::new();
    let mut left = format;
    while let Some(first) = left.chars().next() {
        if let Some((copied, rest)) = left.strip_prefix('[').and_then(|text| text.split_once(']')) {
            made.push_str(&copied.replace('%', "%%"));
            left = rest;
        } else if let Some((token, ours)) = TOKENS.iter().find(|(token, _)| left.starts_with(token))
        {
            if ours.is_empty() {
                return Err(format!("{token:?} cannot be kept: write \"ddd\" for the weekday"));
            }
            made.push_str(ours);
            left = &left[token.len()..];
        } else {
            made.push_str(if first == '%' { "%%" } else { &left[..first.len_utf8()] });
            left = &left[first.len_utf8()..];
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_become_conversions_and_the_rest_stays() {
        for (format, expected) in [
            ("YYYY-MM-DD HH:mm Z", "%Y-%m-%d %H:%M %:z"),
            ("YYYY-MM-DDTHH:mm:ss.SSS", "%Y-%m-%dT%H:%M:%S.%3f"),
            ("D MMM YY, h:m:s a ZZ", "%-d %b %y, %-I:%-M:%-S %P %z"),
            ("[at 100%] dddd d é%", "at 100%% %A %w é%%"),
            ("[DD", "[%d"),
            ("", ""),
        ] {
            assert_eq!(strftime(format).as_deref(), Ok(expected), "{format}");
        }
        assert!(strftime("dd").unwrap_err().contains("ddd"));
    }
}
