//! What `startup --private` would hide from an app: the homes of users, and the temporary files
//! that all programs share.
//!
//! An app that names a path there is refused that. What a program opens by itself is in no spec, so
//! units hide nothing unless you ask for it.

use std::path::{Path, PathBuf};

use crate::cli::specs::in_path;

/// What `ProtectHome=` hides and `PrivateTmp=` replaces.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
/// What stands around a path: "--bind=unix:/tmp/x.sock", PATH, `sh -c "cd '/home/x'; ./y"`.
const AROUND: [char; 10] = [':', '=', ',', ' ', '\'', '"', ';', '(', ')', '&'];

/// The first path in these words (arguments, paths, values of environment variables) that leads
/// into a hidden folder. Relative paths begin in `folder`. Symbolic links are followed, and
/// programs are looked up in PATH.
pub(super) fn into_hidden<'a>(
    words: impl IntoIterator<Item = &'a str>,
    folder: &Path,
) -> Option<PathBuf> {
    let parts = words.into_iter().flat_map(|word| word.split(AROUND));
    let mut paths = parts.filter(|part| !part.is_empty()).filter_map(|part| {
        if part.starts_with("~/") {
            return Some(PathBuf::from("/home"));
        }
        // "-I/home/x"
        match part.find('/') {
            Some(at) if part.starts_with('-') => Some(PathBuf::from(&part[at..])),
            Some(_) => Some(folder.join(part)),
            None => in_path(part).or_else(|| Some(folder.join(part)).filter(|path| path.exists())),
        }
    });
    paths.find(|path| is_hidden(path) || is_hidden(&resolved(path)))
}

fn is_hidden(path: &Path) -> bool {
    HIDDEN.iter().any(|folder| path.starts_with(folder))
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
        for (word, expected) in [
            ("/srv/web", None),
            ("round-robin", None),
            ("/homes/x", None),
            ("current/server.js", None),
            ("/home/deploy/current/server.js", Some("/home/deploy/current/server.js")),
            ("/usr/bin:/root/.nvm/bin", Some("/root/.nvm/bin")),
            ("--bind=unix:/tmp/web.sock", Some("/tmp/web.sock")),
            ("unix:///var/tmp/web.sock", Some("///var/tmp/web.sock")),
            ("-I/home/x", Some("/home/x")),
            ("cd '/root/web' && ./run", Some("/root/web")),
            ("~/web", Some("/home")),
        ] {
            let found = into_hidden([word], Path::new("/srv"));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{word}");
        }
        let found = into_hidden(["web/run"], Path::new("/home/deploy"));
        assert_eq!(found.as_deref(), Some(Path::new("/home/deploy/web/run")));
    }

    #[test]
    fn symbolic_links_are_followed() {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let link = folder.path().join("current");
        std::os::unix::fs::symlink("/home", &link).expect("a link");
        let path = link.join("not/there");
        let found = into_hidden([path.to_str().expect("text")], Path::new("/"));
        assert_eq!(found.as_deref(), Some(path.as_path()));
    }

    #[test]
    fn every_string_of_a_spec_is_looked_at() {
        let value = serde_json::json!({"a": ["b", {"c": "d"}], "e": 1, "f": null});
        assert_eq!(strings(&value), ["b", "d"]);
    }
}
