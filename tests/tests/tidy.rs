//! The house rules, checked by reading the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Longer files cannot be read in a sitting.
const LONGEST: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package is in a folder").to_owned()
}

/// Every file below the checkout with this ending, by its path in it, and its text.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read a folder") {
            let entry = entry.expect("read a folder");
            let name = entry.file_name().into_string().expect("a plain name");
            if entry.file_type().expect("a file has a type").is_dir() {
                if name != "target" && name != ".git" && name != "node_modules" {
                    folders.push(entry.path());
                }
            } else if name.ends_with(ending) {
                let path = entry.path();
                let short = path.strip_prefix(root()).expect("it is below").display().to_string();
                found.push((short, fs::read_to_string(&path).expect("it is text")));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {ending} in {}", root().display());
    found
}

/// The lines before the file's own tests.
fn before_tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"))
}

/// Modules that their parents declare under `#[cfg(test)]`.
fn is_all_tests(path: &str) -> bool {
    let rooms = ["supervisor/src/primary/sim/", "supervisor/src/protocol/node/with_node/"];
    path.ends_with("/tests.rs") || rooms.iter().any(|room| path.starts_with(room))
}

/// Rooms that decide and touch nothing.
fn is_pure(path: &str) -> bool {
    ["supervisor/src/primary/", "supervisor/src/policy/"].iter().any(|room| path.starts_with(room))
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether the word stands there by itself, not as a part of another.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

#[track_caller]
fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn every_file_says_what_it_is_for() {
    let broken: Vec<String> = files(".rs")
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    none("a file opens with //! and what it is for", &broken);
}

#[test]
fn no_file_is_too_long() {
    let broken: Vec<String> = files(".rs")
        .into_iter()
        // `#[cfg(test)] mod tests;` moves the tests of a file into one of this name.
        .filter(|(path, _)| !is_all_tests(path))
        .map(|(path, text)| (path, before_tests(&text).count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    none("at most 400 lines before the tests; which room is missing?", &broken);
}

/// The machine's clock may be set, forwards or back: nothing is decided by it. It stamps what people
/// read, and nothing else.
#[test]
fn deadlines_do_not_know_the_wall_clock() {
    let words = ["SystemTime", "Realtime", "CLOCK_REALTIME", "Timestamp::now", "Zoned::now"];
    let stamps = ["supervisor/src/sys/clock.rs", "supervisor/src/cli/save.rs"];
    let mut broken = Vec::new();
    for (path, text) in files(".rs") {
        if !path.starts_with("supervisor/src/") || stamps.contains(&path.as_str()) {
            continue;
        }
        for (number, line) in before_tests(&text).enumerate() {
            if words.iter().any(|word| code(line).contains(word)) {
                broken.push(format!("{path}:{}", number + 1));
            }
        }
    }
    none("sys/clock.rs alone reads the wall clock", &broken);
    // And of the core, which sets all deadlines, nobody asks for it.
    let core = files(".rs").into_iter().filter(|(path, _)| is_pure(path));
    let asks: Vec<String> =
        core.filter(|(_, text)| text.contains("clock::")).map(|(path, _)| path).collect();
    none("primary/ and policy/ are told the time", &asks);
}

#[test]
fn unsafe_has_one_room() {
    let mut broken = Vec::new();
    for (path, text) in files(".rs") {
        let room = path.starts_with("supervisor/src/sys/") || path.starts_with("worker/src/");
        let uses = text.lines().any(|line| has_word(code(line), "unsafe"));
        if uses && !room && path != "tests/tests/tidy.rs" {
            broken.push(path);
        }
    }
    none("unsafe stands in supervisor/src/sys alone (and in worker, with a reason)", &broken);
    for (path, text) in files(".rs") {
        let uses = text.lines().any(|line| has_word(code(line), "unsafe"));
        let expected =
            text.contains("expect(unsafe_code") || path.starts_with("supervisor/src/sys");
        assert!(
            !uses || expected || path == "tests/tests/tidy.rs",
            "{path}: expect(unsafe_code, …)"
        );
    }
}

#[test]
fn the_core_is_pure() {
    let mut forbidden: Vec<String> = ["fs", "net", "os", "process", "env", "io", "thread"]
        .iter()
        .map(|module| format!("std::{module}"))
        .collect();
    forbidden.extend(["nix", "rustix", "libc", "Instant", "SystemTime"].map(str::to_owned));
    let mut broken = Vec::new();
    for (path, text) in files(".rs") {
        if !is_pure(&path) || is_all_tests(&path) {
            continue;
        }
        for (number, line) in before_tests(&text).enumerate() {
            // `use std::{fs, io}` is two paths, too.
            let grouped = code(line).contains("std::{");
            for word in &forbidden {
                let in_group = word.strip_prefix("std::").filter(|_| grouped);
                let found = in_group.is_some_and(|module| has_word(code(line), module));
                if found || has_word(code(line), word) {
                    broken.push(format!("{path}:{}: {word}", number + 1));
                }
            }
        }
    }
    none("primary/ and policy/ decide; they have no clock, file, socket or process", &broken);
}

#[test]
fn documents_name_things_instead_of_lines() {
    let mut broken = Vec::new();
    for (path, text) in files(".md") {
        for (number, line) in text.lines().enumerate() {
            let cited = line.match_indices(".rs:").any(|(at, found)| {
                line[at + found.len()..].starts_with(|c: char| c.is_ascii_digit())
            });
            if cited {
                broken.push(format!("{path}: line {}", number + 1));
            }
        }
    }
    none("a line number is wrong tomorrow; name the thing", &broken);
}

#[test]
fn only_one_place_of_the_tests_sleeps() {
    let sleeps = |text: &str| text.lines().any(|line| code(line).contains("thread::sleep"));
    let broken: Vec<String> = files(".rs")
        .into_iter()
        .filter(|(path, _)| path != "tests/src/wait.rs" && path != "tests/tests/tidy.rs")
        .filter(|(_, text)| sleeps(text))
        .map(|(path, _)| path)
        .collect();
    none("wait for events; bounded polls live in tests/src/wait.rs", &broken);
}

#[test]
fn the_program_begins_in_its_library() {
    let main = fs::read_to_string(root().join("supervisor/src/main.rs")).unwrap();
    assert!(main.lines().count() <= 12, "main.rs says nothing");
}
