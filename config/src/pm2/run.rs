//! Script, interpreter and arguments become one command.

use std::path::Path;

use super::values::words;
use crate::command::{self, CommandError};
use crate::formats::needs_shell;
use crate::raw::Findings;
use crate::tree::{Table, Written};

/// What says what to run.
pub(super) struct Run<'t> {
    pub(super) script: Option<&'t Written>,
    pub(super) interpreter: Option<&'t Written>,
    pub(super) interpreter_args: Option<&'t Written>,
    pub(super) args: Option<&'t Written>,
}

impl<'t> Run<'t> {
    pub(super) fn of(find: impl Fn(&str) -> Option<&'t Written>) -> Self {
        Self {
            script: find("script"),
            interpreter: find("interpreter"),
            interpreter_args: find("node_args"),
            args: find("args"),
        }
    }

    /// The command, in the folder that the workers start in. `None`: it is wrong, and noted.
    pub(super) fn command(&self, cwd: &Path, findings: &mut Findings) -> Option<Vec<String>> {
        let written = self.script?;
        let script = findings.text("script", written)?;
        let path = cwd.join(&script);
        let mut list = |key, value: Option<&Written>| {
            value.map(|value| words(findings, key, value)).unwrap_or_default()
        };
        let (options, args) = (list("node_args", self.interpreter_args), list("args", self.args));
        if !path.is_file() && script.contains(char::is_whitespace) {
            return findings.keep("script", written, command_line(&script, args));
        }
        let interpreter = match self.interpreter {
            Some(value) => Some(self.interpreter(value, cwd, findings)?),
            None => None,
        };
        let found = match interpreter.as_deref() {
            Some("none") => Ok(vec![runnable(&path, &script)]),
            Some(interpreter) => Ok([interpreter.to_owned()]
                .into_iter()
                .chain(options)
                .chain([runnable(&path, &script)])
                .collect()),
            None if path.is_file() => of_file(&path).map(|mut command| {
                command.splice(1..1, options);
                command
            }),
            // A program in a folder of PATH, such as "npm".
            None if !script.contains('/') && path.extension().is_none() => Ok(vec![script]),
            None => command::for_file(&path),
        };
        let mut command = findings.keep("script", written, found)?;
        command.extend(args);
        Some(command)
    }

    fn interpreter(&self, value: &Written, cwd: &Path, findings: &mut Findings) -> Option<String> {
        let name = findings.text("interpreter", value)?;
        let message = "a version is chosen by the path of its program: write that";
        let known = if name.contains('@') { Err(message) } else { Ok(()) };
        findings.keep("interpreter", value, known)?;
        let is_path = name.contains('/');
        Some(if is_path { cwd.join(&name).display().to_string() } else { name })
    }
}

/// What runs a file. PM2 takes a text without an ending for a script of Node.
fn of_file(path: &Path) -> Result<Vec<String>, CommandError> {
    match command::for_file(path) {
        Err(CommandError::NotExecutable(path)) if path.extension().is_none() => {
            Ok(vec!["node".to_owned(), path.display().to_string()])
        }
        found => found,
    }
}

/// A file by its path, a program by its name.
fn runnable(path: &Path, script: &str) -> String {
    if path.is_file() { path.display().to_string() } else { script.to_owned() }
}

/// A script with spaces that is no file is a command line.
fn command_line(line: &str, args: Vec<String>) -> Result<Vec<String>, String> {
    let split = match needs_shell(&unquoted(line)) {
        true => Err(CommandError::NeedsShell(line.to_owned())),
        false => command::split(line),
    };
    match split {
        Ok(words) => Ok(words.into_iter().chain(args).collect()),
        Err(CommandError::NeedsShell(_)) => {
            let args = shlex::try_join(args.iter().map(String::as_str));
            let args = args.map_err(|error| error.to_string())?;
            Ok(["sh", "-c", format!("{line} {args}").trim_end()].map(str::to_owned).into())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The line without what stands between quotes, where a shell sees only `$` and backquotes.
fn unquoted(line: &str) -> String {
    let mut quote = None;
    let is_seen = |letter: &char| match (quote, *letter) {
        (None, '\'' | '"') => {
            quote = Some(*letter);
            false
        }
        (Some(open), letter) if letter == open => {
            quote = None;
            false
        }
        (Some(open), letter) => open == '"' && matches!(letter, '$' | '`'),
        (None, _) => true,
    };
    line.chars().filter(is_seen).collect()
}

/// The name of an app that has none: that of its script.
pub(super) fn name(table: &Table, script: Option<&Written>) -> Option<String> {
    if let Some(name) = table.get("name").and_then(Written::as_str) {
        return Some(name.to_owned());
    }
    let script = Path::new(script?.as_str()?.split_whitespace().next()?);
    Some(script.file_stem()?.to_string_lossy().into_owned())
}
