//! How sections are laid out: a heading, then labels with their values below each other, indented,
//! wrapped at the width of the terminal.

use crate::cli::output::tone::Tone;
use crate::cli::watch::clean;

/// Columns before each line of a section.
const INDENT: usize = 2;
/// The columns of a label, with the space behind it, at least.
const LABEL: usize = 12;
/// The least columns for a value, however narrow the terminal is.
const LEAST: usize = 20;

/// One section.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) heading: String,
    pub(crate) rows: Vec<Row>,
}

/// What a section has.
#[derive(Debug)]
pub(crate) enum Row {
    /// A value with its label; an empty label continues the value above.
    Pair(String, String),
    /// The same, in the colour of a state.
    Toned(String, String, Tone),
    /// A line by itself.
    Line(String),
    /// A table that has its width already.
    Table(String),
}

impl Row {
    pub(crate) fn pair(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Pair(label.into(), value.into())
    }

    fn label(&self) -> &str {
        match self {
            Self::Pair(label, _) | Self::Toned(label, ..) => label,
            Self::Line(_) | Self::Table(_) => "",
        }
    }
}

/// The columns that a table has for itself.
pub(crate) fn table_width(width: Option<u16>) -> Option<u16> {
    width.map(|width| width.saturating_sub(u16::try_from(INDENT).unwrap_or(0)))
}

/// The sections, with an empty line between them. Sections without rows are left out.
pub(crate) fn text(sections: &[Section], width: Option<u16>, colours: bool) -> String {
    let filled = sections.iter().filter(|section| !section.rows.is_empty());
    let texts: Vec<String> = filled.map(|section| one(section, width, colours)).collect();
    texts.join("\n")
}

/// A text by itself, whose further lines are indented.
pub(crate) fn paragraph(text: &str, width: Option<u16>) -> String {
    wrapped(text, room(width, INDENT)).join(&format!("\n{:INDENT$}", ""))
}

/// The text in bold, where there are colours (ECMA-48: SGR).
pub(crate) fn bold(text: &str, colours: bool) -> String {
    if colours { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
}

fn one(section: &Section, width: Option<u16>, colours: bool) -> String {
    let mut text = format!("{}\n", bold(&section.heading, colours));
    let longest = section.rows.iter().map(|row| row.label().chars().count()).max().unwrap_or(0);
    let column = INDENT + LABEL.max(longest + 2);
    for row in &section.rows {
        match row {
            Row::Pair(label, value) => {
                entry(&mut text, &wrapped(value, room(width, column)), label, column);
            }
            Row::Toned(label, value, tone) => {
                let value = if colours { tone.painted(value) } else { value.clone() };
                entry(&mut text, &[value], label, column);
            }
            Row::Line(line) => {
                for (at, line) in wrapped(line, room(width, 2 * INDENT)).iter().enumerate() {
                    let indent = if at == 0 { INDENT } else { 2 * INDENT };
                    text.push_str(&format!("{:indent$}{line}\n", ""));
                }
            }
            Row::Table(table) => {
                for line in table.lines() {
                    text.push_str(&format!("{:INDENT$}{line}\n", ""));
                }
            }
        }
    }
    text
}

/// A label, and beside it the lines of its value.
fn entry(text: &mut String, lines: &[String], label: &str, column: usize) {
    for (at, line) in lines.iter().enumerate() {
        let label = if at == 0 { label } else { "" };
        let before = column - INDENT;
        let line = format!("{:INDENT$}{label:<before$}{line}", "");
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn room(width: Option<u16>, column: usize) -> Option<usize> {
    width.map(|width| usize::from(width).saturating_sub(column).max(LEAST))
}

/// The lines of a text that a program or a user may have written. A word that is longer than a line
/// stays whole: it may be a path that somebody copies.
fn wrapped(value: &str, room: Option<usize>) -> Vec<String> {
    let mut lines = Vec::new();
    for line in value.lines().map(clean) {
        let Some(room) = room else {
            lines.push(line);
            continue;
        };
        let mut current = String::new();
        for word in line.split(' ') {
            let length = current.chars().count() + 1 + word.chars().count();
            if !current.is_empty() && length > room {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_wrapped_between_words() {
        assert_eq!(wrapped("one two three", Some(8)), ["one two", "three"]);
        assert_eq!(wrapped("/a/very/long/path x", Some(8)), ["/a/very/long/path", "x"]);
        assert_eq!(wrapped("one\n  two", None), ["one", "  two"]);
        assert_eq!(wrapped("", Some(8)), [""]);
        assert_eq!(wrapped("\u{1b}[2Jgone", None), ["gone"]);
    }

    #[test]
    fn labels_are_aligned_and_empty_sections_left_out() {
        let section = |heading: &str, rows| Section { heading: heading.to_owned(), rows };
        let rows = vec![
            Row::pair("a", "1"),
            Row::pair("a_long_label_here", "2"),
            Row::pair("", "3"),
            Row::Line("x".repeat(3)),
        ];
        let shown = text(&[section("one", rows), section("two", Vec::new())], None, false);
        let expected =
            "one\n  a                  1\n  a_long_label_here  2\n                     3\n  xxx\n";
        assert_eq!(shown, expected);
    }
}
