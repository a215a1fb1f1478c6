//! Phrases that documents and comments must not contain, and lines that are too wide.
//!
//! The house language is plain technical English: a named subject, a verb, an object. The phrases
//! below are the marks of the language that this project had before.

use crate::sources::{Source, files};

/// The widest line, in columns.
const WIDEST: usize = 100;

/// Phrases, in lower case.
const PHRASES: [&str; 9] = [
    "whoever",
    "waited for",
    "looked at",
    "in vain",
    "at the least",
    "is said",
    "is told of",
    "of before",
    "for ever ",
];

#[test]
fn documents_and_comments_are_plain_english() {
    let mut found = Vec::new();
    let endings = [".md", ".rs", ".js", ".mjs", ".ts", ".py", ".go", ".sh", ".toml"];
    for file in endings.into_iter().flat_map(files).filter(|file| !file.is_tidy()) {
        for (number, line) in prose(&file) {
            if let Some(fault) = fault(&file, line) {
                found.push(format!("{}:{number}: {fault}", file.path));
            }
        }
    }
    assert!(found.is_empty(), "{} faults:\n  {}", found.len(), found.join("\n  "));
}

/// The lines of a document that are no code, or the comments of a source, with their numbers.
fn prose(file: &Source) -> Vec<(usize, &str)> {
    let lines = file.text.lines().enumerate().map(|(at, line)| (at + 1, line));
    if file.path.ends_with(".md") {
        let mut fenced = false;
        return lines
            .filter(|(_, line)| {
                let fence = line.trim_start().starts_with("```");
                fenced ^= fence;
                !fenced && !fence
            })
            .collect();
    }
    let mark = if [".py", ".sh", ".toml"].iter().any(|ending| file.path.ends_with(ending)) {
        "#"
    } else {
        "//"
    };
    let mut quoted = false;
    lines
        .filter(|(_, line)| {
            let text = line.trim_start();
            let quotes = file.path.ends_with(".py") && text.contains("\"\"\"");
            let inside = quoted || quotes;
            quoted ^= quotes && text.matches("\"\"\"").count() == 1;
            inside || text.starts_with(mark)
        })
        .collect()
}

/// What is wrong with a line.
fn fault(file: &Source, line: &str) -> Option<String> {
    let lower = line.to_lowercase();
    if let Some(phrase) = PHRASES.iter().find(|phrase| lower.contains(**phrase)) {
        return Some(format!("{:?}", phrase.trim()));
    }
    if let Some(begin) = ["so many ", "so long "].iter().find_map(|begin| lower.find(begin))
        && lower[begin..].contains(" as ")
    {
        return Some("\"so … as\"".to_owned());
    }
    // "Who waits is answered": the subject is a clause without a noun.
    let text = line.trim_start_matches([' ', '/', '!', '#', '*', '-']);
    let mut sentences = text.split(". ");
    if sentences.any(|sentence| sentence.starts_with("Who ") && !sentence.contains('?')) {
        return Some("a sentence that begins with \"Who\"".to_owned());
    }
    let table = file.path.ends_with(".md") && line.starts_with('|');
    let wide = line.chars().count() > WIDEST && !table && !line.contains("://");
    wide.then(|| format!("{} columns", line.chars().count()))
}
