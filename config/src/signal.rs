//! Signal names and numbers, as people write them.

use nix::sys::signal::Signal;

/// The number of a signal written as `TERM`, `SIGTERM`, `term` or `15`.
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// The number of a signal on the command line.
pub fn parse(text: &str) -> Result<i32, String> {
    number(text)
        .ok_or_else(|| "no such signal: write a name such as TERM, or a number 1 to 64".to_owned())
}

/// `SIGTERM` for 15; `None` where the number has no name of its own.
pub fn name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(number("term"), Some(15));
        assert_eq!(number("SIGUSR2"), Some(12));
        assert_eq!(number("9"), Some(9));
        assert_eq!(number("0"), None);
        assert_eq!(number("banana"), None);
        assert_eq!(name(9), Some("SIGKILL"));
        assert_eq!(name(40), None);
    }
}
