//! What runs a file: its interpreter if it is a script, else the file itself.
//!
//! Refuses a file that is neither a known kind of script nor executable.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How many bytes of a script are read to find out which shell it wants.
const FIRST_LINE: u64 = 256;

/// Words that only a shell understands.
const SHELL_WORDS: [&str; 12] =
    ["|", "||", "&", "&&", ";", ">", ">>", "<", "<<", "2>", "2>&1", "&>"];

/// Why a file or a command line cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The file is missing, or this user may not enter a folder above it.
    #[error("cannot find {}: {}", path.display(), source)]
    Missing {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder, a device or the like.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Neither a script nor a program.
    #[error(
        "{} is neither executable nor a kind of script that is known (.js .mjs .cjs .ts .py .rb \
         .php .sh): make it executable or write the whole command",
        .0.display()
    )]
    NotExecutable(PathBuf),
    /// A quote or a backslash at the end is open.
    #[error("the command has a quote or a backslash without its partner")]
    OpenQuote,
    /// A command line that needs a shell.
    #[error("{0:?} needs a shell: write [\"sh\", \"-c\", \"...\"]")]
    NeedsShell(String),
    /// Nothing to run.
    #[error("the command is empty")]
    Empty,
}

/// The command that runs the file at `path`, with the path made absolute.
pub fn for_file(path: &Path) -> Result<Vec<String>, CommandError> {
    let missing = |source| CommandError::Missing { path: path.to_owned(), source };
    let data = fs::metadata(path).map_err(missing)?;
    if !data.is_file() {
        return Err(CommandError::NotAFile(path.to_owned()));
    }
    let absolute = std::path::absolute(path).map_err(missing)?;
    let file = absolute.to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let interpreter = match extension.as_ref() {
        "js" | "mjs" | "cjs" | "ts" => "node",
        "py" => "python3",
        "rb" => "ruby",
        "php" => "php",
        "sh" => shell(path),
        _ if data.permissions().mode() & 0o111 != 0 => return Ok(vec![file]),
        _ => return Err(CommandError::NotExecutable(path.to_owned())),
    };
    Ok(vec![interpreter.to_owned(), file])
}

/// `bash` if the first line asks for it.
fn shell(path: &Path) -> &'static str {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut start));
    // If the script cannot be read, the shell says so when it runs it.
    if read.is_err() {
        return "sh";
    }
    let start = String::from_utf8_lossy(&start);
    let line = start.lines().next().unwrap_or_default();
    let bash = line.starts_with("#!")
        && line[2..]
            .split_whitespace()
            .take(2)
            .any(|word| word == "bash" || word.ends_with("/bash"));
    if bash { "bash" } else { "sh" }
}

/// Splits a command line as a shell would, without expanding anything.
pub fn split(line: &str) -> Result<Vec<String>, CommandError> {
    let words = shlex::split(line).ok_or(CommandError::OpenQuote)?;
    if words.is_empty() {
        return Err(CommandError::Empty);
    }
    // A quoted "&&" may well be an argument; a list can hold it.
    match words.iter().find(|word| SHELL_WORDS.contains(&word.as_str())) {
        Some(word) => Err(CommandError::NeedsShell(word.clone())),
        None => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn interpreters() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, mode, expected) in [
            ("a.js", "", 0o644, "node"),
            ("a.mjs", "", 0o644, "node"),
            ("a.ts", "", 0o644, "node"),
            ("a.py", "", 0o755, "python3"),
            ("a.rb", "", 0o644, "ruby"),
            ("a.php", "", 0o644, "php"),
            ("a.sh", "echo", 0o644, "sh"),
            ("b.sh", "#!/bin/bash\n", 0o644, "bash"),
            ("c.sh", "#!/usr/bin/env bash", 0o644, "bash"),
            ("d.sh", "#!/bin/sh\nbash", 0o644, "sh"),
        ] {
            let path = file(folder.path(), name, text, mode);
            let path_text = path.to_str().unwrap();
            assert_eq!(for_file(&path).unwrap(), [expected, path_text], "{name}");
        }
        let program = file(folder.path(), "server", "", 0o755);
        assert_eq!(for_file(&program).unwrap(), [program.to_str().unwrap()]);
    }

    #[test]
    fn refusals() {
        let folder = tempfile::tempdir().unwrap();
        let shown = |path: &Path| {
            let folder = folder.path().to_str().unwrap();
            for_file(path).unwrap_err().to_string().replace(folder, "FOLDER")
        };
        assert_eq!(
            shown(&file(folder.path(), "notes.txt", "", 0o644)),
            "FOLDER/notes.txt is neither executable nor a kind of script that is known (.js .mjs \
             .cjs .ts .py .rb .php .sh): make it executable or write the whole command"
        );
        assert_eq!(
            shown(&folder.path().join("gone.js")),
            "cannot find FOLDER/gone.js: No such file or directory (os error 2)"
        );
        assert_eq!(shown(folder.path()), "FOLDER is not a file");
    }

    #[test]
    fn command_lines() {
        assert_eq!(split("a 'b c' d\\ e").unwrap(), ["a", "b c", "d e"]);
        assert_eq!(split("app --fd ${fd:web}").unwrap(), ["app", "--fd", "${fd:web}"]);
        assert_eq!(split("a 'b").unwrap_err().to_string(), CommandError::OpenQuote.to_string());
        assert_eq!(split("  ").unwrap_err().to_string(), "the command is empty");
        assert_eq!(
            split("npm ci && node .").unwrap_err().to_string(),
            r#""&&" needs a shell: write ["sh", "-c", "..."]"#
        );
    }
}
