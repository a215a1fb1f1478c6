//! A file of variables for the environment: a line `KEY=VALUE` for each.
//!
//! Refuses a file that is missing, too large or not of this form. Messages show no line of it: a
//! value may be a secret.

use std::collections::BTreeMap;
use std::path::Path;

use crate::environment;
use crate::file::read;

/// The variables in the file at `path`.
///
/// # Errors
///
/// Why it cannot be used.
pub(crate) fn load(path: &Path) -> Result<BTreeMap<String, String>, String> {
    parse(&read(path)?)
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for pair in dotenvy::from_read_iter(text.as_bytes()) {
        let (key, value) = pair.map_err(|error| refused(&error, text))?;
        environment::check(&key, &value)?;
        variables.insert(key, value);
    }
    Ok(variables)
}

fn refused(error: &dotenvy::Error, text: &str) -> String {
    let line = match error {
        dotenvy::Error::LineParse(line, _) => {
            let first = line.lines().next().filter(|first| !first.is_empty());
            first.and_then(|first| text.lines().position(|found| found.contains(first)))
        }
        _ => None,
    };
    match line {
        Some(line) => format!("line {} is not KEY=VALUE: quote values with spaces", line + 1),
        None => "a line is not KEY=VALUE: quote values with spaces".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "# a comment\nA=1\nexport B='two words'\nC=\"a\\nb\"\n\nD=\n";
        let found: Vec<_> =
            parse(text).unwrap().into_iter().map(|(key, value)| key + "=" + &value).collect();
        assert_eq!(found, ["A=1", "B=two words", "C=a\nb", "D="]);
    }

    #[test]
    fn refusals_show_no_value() {
        let message = parse("A=1\nB=hunter2 hunter2\n").unwrap_err();
        assert_eq!(message, "line 2 is not KEY=VALUE: quote values with spaces");
        let message = parse("LISTEN_FDS=3\n").unwrap_err();
        assert!(message.contains("is set by the supervisor"), "{message}");
    }
}
