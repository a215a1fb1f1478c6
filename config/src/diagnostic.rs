//! Problems in a file, shown so that an editor can jump to them and a person sees them at once:
//! `FILE:LINE:COLUMN: message`, the line, and carets under the words that it is about.
//!
//! Shows no control character of the file and at most a window of a long line.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::raw::MOST;

/// The most problems that are shown.
const SHOWN: usize = 50;
/// The widest part of a line that is shown, and how much of it stands before the carets.
const WINDOW: usize = 110;
const BEFORE: usize = 60;

/// Everything wrong with a file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Never empty.
    pub problems: Vec<Problem>,
}

/// One thing wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named by the caller.
    pub path: PathBuf,
    /// Where in the file. `None`: it is about the whole file.
    pub place: Option<Place>,
    /// What is wrong and what to do.
    pub message: String,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line, or the part of a long one around the column.
    pub excerpt: String,
    /// How many characters of the excerpt stand before the place.
    pub before: usize,
    /// How many characters it is about; at least 1.
    pub width: usize,
}

impl Report {
    /// A report of one problem with the whole file.
    pub(crate) fn whole(path: &Path, message: String) -> Self {
        Self { problems: vec![Problem { path: path.to_owned(), place: None, message }] }
    }
}

impl Place {
    /// The place of a range of bytes, wherever it lies.
    pub(crate) fn new(text: &str, span: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let before = text[line_start..start].chars().count();
        let length = line.chars().count();
        let end = text.floor_char_boundary(span.end.clamp(start, text.len()));
        let width = text[start..end].lines().next().unwrap_or_default().chars().count();
        let skipped = if length > WINDOW { before.saturating_sub(BEFORE) } else { 0 };
        let mut excerpt = String::new();
        for c in line.chars().skip(skipped).take(WINDOW) {
            excerpt.push(if c.is_control() && c != '\t' { '\u{fffd}' } else { c });
        }
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: before + 1,
            before: before - skipped,
            width: width.clamp(1, (WINDOW - (before - skipped).min(WINDOW - 1)).max(1)),
            excerpt,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        let Some(place) = &self.place else {
            return write!(f, " {}", self.message);
        };
        write!(
            f,
            "{}:{}: {}\n    {}\n    ",
            place.line, place.column, self.message, place.excerpt
        )?;
        // Tabs stay tabs, so that the carets stand under the words on any terminal.
        let mut above = place.excerpt.chars();
        for _ in 0..place.before {
            f.write_str(if above.next() == Some('\t') { "\t" } else { " " })?;
        }
        f.write_str(&"^".repeat(place.width))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(SHOWN).enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more if self.problems.len() >= MOST => write!(f, "\n... and at least {more} more"),
            more => write!(f, "\n... and {more} more"),
        }
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        let place = Some(Place::new(text, &span));
        Problem { path: "f.toml".into(), place, message: "no".to_owned() }.to_string()
    }

    #[test]
    fn carets_stand_under_the_words() {
        assert_eq!(shown("a = 1\nbb = 22\n", 11..13), "f.toml:2:6: no\n    bb = 22\n         ^^");
        assert_eq!(
            shown("\ta\t= ä = x\n", 9..10),
            "f.toml:1:9: no\n    \ta\t= ä = x\n    \t \t     ^"
        );
        assert_eq!(shown("", 0..0), "f.toml:1:1: no\n    \n    ^");
        assert_eq!(shown("a\n", 99..100), "f.toml:2:1: no\n    \n    ^");
        assert_eq!(shown("a = '''x\ny'''", 4..13), "f.toml:1:5: no\n    a = '''x\n        ^^^^");
        assert_eq!(shown("a\u{1b}[2J", 0..1), "f.toml:1:1: no\n    a\u{fffd}[2J\n    ^");
    }

    #[test]
    fn long_lines_are_cut() {
        let text = format!("a = '{}' ?", "x".repeat(500));
        let shown = shown(&text, text.len() - 1..text.len());
        assert!(shown.starts_with("f.toml:1:508: no\n"));
        assert!(shown.lines().all(|line| line.chars().count() <= WINDOW + 4));
        assert_eq!(shown.lines().last().unwrap().trim(), "^");
    }
}
