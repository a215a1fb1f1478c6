//! Text of strangers, made harmless: a worker, a file or another user may have written it.

/// Characters of one text that are kept.
const MAX_CHARS: usize = 1000;

/// What stands for the rest of a text that was cut.
const CUT: char = '…';

/// The text in one line: without escape sequences, control characters, and characters that change
/// the direction of writing or have no width. At most 1000 characters of it.
pub(crate) fn clean(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(MAX_CHARS));
    let mut count = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\u{1b}' => {
                skip_sequence(&mut chars);
                continue;
            }
            '\t' | '\n' | '\r' => ' ',
            c if c.is_control() || is_invisible(c) => continue,
            c => c,
        };
        if count == MAX_CHARS {
            kept.push(CUT);
            break;
        }
        kept.push(c);
        count += 1;
    }
    kept
}

/// Like [`clean`], of bytes that may not be UTF-8.
pub(crate) fn clean_bytes(bytes: &[u8]) -> String {
    // A control sequence may be long, and is not kept: four bytes for each character are enough
    // for any line that is shown whole.
    let bytes = &bytes[..bytes.len().min(4 * MAX_CHARS)];
    clean(&String::from_utf8_lossy(bytes))
}

/// Takes the rest of an escape sequence: a CSI up to its final byte, a string such as OSC up to its
/// end, or else one character (ECMA-48, 5.3 to 5.6).
fn skip_sequence(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => {
            chars.find(|c| ('\u{40}'..='\u{7e}').contains(c));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(chars),
        Some('(' | ')' | '*' | '+' | '#' | '%') => {
            chars.next();
        }
        _ => {}
    }
}

/// Takes a control string up to its end: BEL, or ESC and one character.
fn skip_string(chars: &mut std::str::Chars<'_>) {
    if chars.find(|c| matches!(c, '\u{7}' | '\u{1b}')) == Some('\u{1b}') {
        chars.next();
    }
}

/// Marks of direction, joiners, variation selectors and tags: what people do not see and what may
/// make a line look like another one.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// `1234` as `1.2k`: at most five characters.
pub(crate) fn count(value: f64) -> String {
    match value {
        v if v < 999.5 => format!("{v:.0}"),
        v if v < 9_950.0 => format!("{:.1}k", v / 1e3),
        v if v < 999_500.0 => format!("{:.0}k", v / 1e3),
        v if v < 9_950_000.0 => format!("{:.1}M", v / 1e6),
        v => format!("{:.0}M", v / 1e6),
    }
}

/// A rate per second: below ten with one digit after the point.
pub(crate) fn rate(value: f64) -> String {
    match value {
        v if v < 0.05 => "0".to_owned(),
        v if v < 9.95 => format!("{v:.1}"),
        v => count(v),
    }
}

/// `3h12m`: the two largest units of a time in milliseconds, at most six characters up to 99 days.
pub(crate) fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (100.., ..) => format!("{days}d"),
        (1.., ..) => format!("{days}d{}h", hours % 24),
        (_, 1.., _) => format!("{hours}h{}m", minutes % 60),
        (_, _, 1..) => format!("{minutes}m{}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

/// `1` as "1 app", `2` as "2 apps".
pub(crate) fn plural(count: usize, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_kept() {
        for (dirty, expected) in [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("a\tb\nc\rd\u{8}e\u{9b}f", "a b c def"),
            ("\u{202e}evil\u{200b}", "evil"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("Grüße 東京", "Grüße 東京"),
        ] {
            assert_eq!(clean(dirty), expected, "{dirty:?}");
        }
        assert_eq!(clean_bytes(b"\xff\xfeok"), "\u{fffd}\u{fffd}ok");
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = clean(&"ä".repeat(5000));
        assert_eq!(text.chars().count(), MAX_CHARS + 1);
        assert!(text.ends_with(CUT));
        assert!(clean_bytes(&[b'x'; 100_000]).len() < 2000);
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_printable(text in "\\PC*|[\u{0}-\u{ff}]{0,80}|(\u{1b}[\\[\\]P(]?[0-9;a-z]*){0,9}") {
            let kept = clean(&text);
            proptest::prop_assert!(!kept.chars().any(|c| c.is_control() || is_invisible(c)));
        }
    }

    #[test]
    fn numbers_are_short() {
        let counts = [0.0, 999.0, 1234.0, 12_345.0, 999_499.0, 1_234_567.0].map(count);
        assert_eq!(counts, ["0", "999", "1.2k", "12k", "999k", "1.2M"]);
        let times = [0, 59, 61, 3_700, 90_000, 8_640_000].map(|seconds| uptime(seconds * 1000));
        assert_eq!(times, ["0s", "59s", "1m1s", "1h1m", "1d1h", "100d"]);
        assert_eq!([0.0, 0.5, 9.94, 9.96, 1500.0].map(rate), ["0", "0.5", "9.9", "10", "1.5k"]);
    }
}
