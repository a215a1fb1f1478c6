//! A Procfile: a line `NAME: COMMAND` for each app. Lines that are empty or begin with `#` mean
//! nothing.
//!
//! A command with what only a shell understands, such as `$PORT` or `PORT=80 node app.js`, is run
//! by `sh`.

use std::ops::Range;

use super::{Mistake, twice};
use crate::command;
use crate::tree::{Entry, Table, Value, Written};
use crate::variables::{escape, is_name};

/// Characters that only a shell understands, wherever they stand.
const OF_A_SHELL: [char; 12] = ['$', '`', '*', '?', '[', '|', '&', ';', '<', '>', '(', '~'];

/// Commands that exist in a shell only, where they do something for what follows.
const SHELL_COMMANDS: [&str; 9] =
    [".", "cd", "eval", "exec", "export", "set", "source", "ulimit", "umask"];

/// Whether a shell has to run the line.
pub(crate) fn needs_shell(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    // A variable that is set for the command (POSIX, "Simple Commands").
    let sets = first.split_once('=').is_some_and(|(name, _)| is_name(name));
    line.contains(OF_A_SHELL) || sets || SHELL_COMMANDS.contains(&first)
}

pub(super) fn parse(text: &str) -> Result<Written, Vec<Mistake>> {
    let mut apps = Table::default();
    let mut mistakes = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let span = at..at + line.trim_end().len();
        at += line.len();
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match app(line, &span) {
            Ok(entry) if apps.get(&entry.key).is_some() => {
                mistakes.push((span, twice(&entry.key)));
            }
            Ok(entry) => apps.entries.push(entry),
            Err(message) => mistakes.push((span, message)),
        }
    }
    let whole = 0..0;
    let root = Table { entries: vec![entry("app", Value::Table(apps), &whole)] };
    match mistakes.is_empty() {
        true => Ok(Written { value: Value::Table(root), span: whole }),
        false => Err(mistakes),
    }
}

fn app(line: &str, span: &Range<usize>) -> Result<Entry, String> {
    let (name, line) = line.split_once(':').ok_or("expected NAME: COMMAND")?;
    let words = match needs_shell(line) {
        true => vec!["sh".to_owned(), "-c".to_owned(), line.trim().to_owned()],
        false => command::split(line).map_err(|error| error.to_string())?,
    };
    let words = words
        .into_iter()
        .map(|word| Written { value: Value::text(escape(&word)), span: span.clone() });
    let command = entry("command", Value::List(words.collect()), span);
    Ok(entry(name.trim(), Value::Table(Table { entries: vec![command] }), span))
}

fn entry(key: &str, value: Value, span: &Range<usize>) -> Entry {
    let value = Written { value, span: span.clone() };
    Entry { key: key.to_owned(), span: span.clone(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_app() {
        let text = "# comment\nweb: node server.js -p 80\n\nworker: exec job --to \"$HOME\"\n";
        let shown = parse(text).unwrap().shown();
        assert_eq!(
            shown,
            "{app: {web: {command: [\"node\", \"server.js\", \"-p\", \"80\"]}, worker: {command: \
             [\"sh\", \"-c\", \"exec job --to \\\"$$HOME\\\"\"]}}}"
        );
    }

    #[test]
    fn what_only_a_shell_does_is_left_to_one() {
        for line in
            ["PORT=80 node a.js", "export A=1", "cd web", "node a.js | tee log", "a _B=2 $C"]
        {
            assert!(needs_shell(line), "{line}");
        }
        for line in ["node a.js --port=80", "a A=1", "node a.js", "8=9", "cdx"] {
            assert!(!needs_shell(line), "{line}");
        }
    }

    #[test]
    fn mistakes_have_their_lines() {
        let text = "web: a\nnothing\nweb: b\nx: 'open\n";
        let mistakes = parse(text).unwrap_err();
        let shown: Vec<String> =
            mistakes.into_iter().map(|(span, why)| format!("{}: {why}", &text[span])).collect();
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert_eq!(shown[0], "nothing: expected NAME: COMMAND");
        assert!(shown[1].starts_with("web: b: the key \"web\" is there twice"), "{shown:?}");
        assert!(shown[2].contains("without its partner"), "{shown:?}");
    }
}
