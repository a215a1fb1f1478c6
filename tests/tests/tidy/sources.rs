//! Finds and reads the files of the checkout.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the checkout.
pub(crate) struct Source {
    /// Its path from the root of the checkout.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// The lines before the file's own tests.
    pub(crate) fn before_tests(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"))
    }

    /// Whether its parent declares it under `#[cfg(test)]`.
    pub(crate) fn is_all_tests(&self) -> bool {
        let folders = ["/tests/", "/sim/", "/scripts/", "/with_node/"];
        let inside = self.path.strip_prefix("supervisor/src");
        self.path.ends_with("/tests.rs")
            || inside.is_some_and(|path| folders.iter().any(|folder| path.contains(folder)))
            || inside.is_some_and(|path| path.ends_with("/scripts.rs") || path.ends_with("/sim.rs"))
    }

    /// Whether it lies in this folder.
    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Whether it belongs to these checks, which name what they look for.
    pub(crate) fn is_tidy(&self) -> bool {
        self.path.starts_with("tests/tests/tidy/")
    }
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package is in a folder").to_owned()
}

/// Every file of the checkout whose name ends with `ending`, sorted by path.
pub(crate) fn files(ending: &str) -> Vec<Source> {
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
                let full = entry.path();
                let path = full.strip_prefix(root()).expect("it is below").display().to_string();
                found.push(Source { path, text: fs::read_to_string(full).expect("it is text") });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no {ending} in {}", root().display());
    found
}

/// A line without its comment.
pub(crate) fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether the word stands there by itself, not as a part of another.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// Fails with the list of places that break the rule, if there are any.
#[track_caller]
pub(crate) fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}
