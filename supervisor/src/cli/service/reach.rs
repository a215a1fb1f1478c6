//! Which folders of users and of temporary files an app uses, as far as its spec and its unit say.
//!
//! The unit hides the others from it. What a program opens by itself is in no spec, so an app with
//! any word that leads into such a folder keeps all of that kind.

use std::path::{Path, PathBuf};

use crate::cli::specs::in_path;

/// What `ProtectHome=` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// What `PrivateTmp=` replaces.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// The kinds of folders that an app uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// The homes of users.
    pub(super) homes: bool,
    /// The folders of temporary files that all users share.
    pub(super) temporary: bool,
}

impl Reach {
    /// What these words lead to: arguments, paths, values of environment variables. Symbolic links
    /// are followed, and programs are looked up in PATH.
    pub(super) fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut reach = Self::default();
        for word in words {
            // "--bind=unix:/tmp/x.sock" and PATH hold paths behind these characters.
            for part in word.split([':', '=', ',', ' ']).filter(|part| !part.is_empty()) {
                let path = Path::new(part);
                let found = match part.contains('/') {
                    true => Some(path.to_owned()),
                    false => in_path(part),
                };
                if let Some(found) = found.filter(|found| found.is_absolute()) {
                    reach.add(&found);
                    reach.add(&resolved(&found));
                }
            }
        }
        reach
    }

    fn add(&mut self, path: &Path) {
        let lies_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        self.homes |= lies_in(&HOMES);
        self.temporary |= lies_in(&TEMPORARY);
    }
}

/// The path without symbolic links. Of what does not exist yet, the part that does.
fn resolved(path: &Path) -> PathBuf {
    path.ancestors().find_map(|part| part.canonicalize().ok()).unwrap_or_default()
}

/// All strings in a JSON value.
pub(super) fn strings(value: &serde_json::Value) -> Vec<&str> {
    match value {
        serde_json::Value::String(text) => vec![text],
        serde_json::Value::Array(all) => all.iter().flat_map(strings).collect(),
        serde_json::Value::Object(all) => all.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_lead_to_a_home_or_to_temporary_files() {
        let of = |word: &str| {
            let reach = Reach::of([word]);
            (reach.homes, reach.temporary)
        };
        for (word, expected) in [
            ("/srv/web", (false, false)),
            ("round-robin", (false, false)),
            ("/homes/x", (false, false)),
            ("/home/deploy/current/server.js", (true, false)),
            ("/usr/bin:/root/.nvm/bin", (true, false)),
            ("--bind=unix:/tmp/web.sock", (false, true)),
            ("unix:///var/tmp/web.sock", (false, true)),
            ("/tmp/a,/run/user/1000/b", (true, true)),
        ] {
            assert_eq!(of(word), expected, "{word}");
        }
    }

    #[test]
    fn symbolic_links_are_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("current");
        std::os::unix::fs::symlink("/home", &link).expect("a link");
        assert!(Reach::of([format!("{}/not/there", link.display()).as_str()]).homes);
    }

    #[test]
    fn every_string_of_a_spec_is_looked_at() {
        let value = serde_json::json!({"a": ["b", {"c": "d"}], "e": 1, "f": null});
        assert_eq!(strings(&value), ["b", "d"]);
    }
}
