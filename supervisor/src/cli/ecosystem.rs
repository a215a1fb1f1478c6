//! PM2's ecosystem files that are programs: Node evaluates them in a child process, which gets
//! [`LIMIT`], and prints what they export as JSON.
//!
//! The child is a process group of its own and is killed when it has answered, or is late.

use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;

use super::exit::Failure;
use super::output::wait_readable;

/// How long an evaluation may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The most that it may print, in bytes.
const MOST: usize = 4 * 1024 * 1024;

/// Endings of programs that are configuration files.
const ENDINGS: [&str; 3] = [".config.js", ".config.cjs", ".config.mjs"];

/// Prints the answer as the last line, since the file may print lines of its own. What it prints
/// with `console.log` goes to stderr.
const BEGIN: &str = r#"
const answer = (value) => {
  require('fs').writeFileSync(1, '\n' + JSON.stringify(value));
  process.exit(0);
};
const reason = (error) => {
  const text = error instanceof Error && error.stack ? error.stack : String(error);
  const lines = text.split('\n').filter((line) => line.trim() && !/^ {4}at /.test(line));
  return lines.join(' | ').slice(0, 500);
};
console.log = console.info = console.debug = console.error;
"#;

/// Answers with what the program exports.
const EXPORTS: &str = r#"
import(require('url').pathToFileURL(process.argv[1]))
  .then((module) => ('default' in module ? module.default : { ...module }))
  .then((value) => answer({ exports: value === undefined ? null : value }))
  .catch((error) => answer({ error: reason(error) }));
"#;

/// Answers with the value of the expression in the file, which gets nothing of Node.
const VALUE: &str = r#"
const text = require('fs').readFileSync(process.argv[1], 'utf8');
try {
  answer({ exports: require('vm').runInNewContext(`(${text}\n)`, {}, { timeout: 1000 }) });
} catch (error) {
  answer({ error: reason(error) });
}
"#;

/// What the script prints.
#[derive(Deserialize)]
struct Answer {
    exports: Option<serde_json::Value>,
    error: Option<String>,
}

/// Whether the file at `path` is a program that exports a configuration.
pub(crate) fn is_program(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// What the program at `path`, an absolute path, exports, as JSON. It runs in its folder. Fails if
/// there is no Node, or the program fails, is late or prints too much.
pub(crate) fn evaluate(path: &Path) -> Result<String, Failure> {
    answer(path, EXPORTS)
}

/// The value of the file at `path`, an absolute path, which PM2 calls JSON and which is an
/// expression of JavaScript, as JSON. Fails as [`evaluate`] does.
pub(crate) fn evaluate_expression(path: &Path) -> Result<String, Failure> {
    answer(path, VALUE)
}

fn answer(path: &Path, script: &str) -> Result<String, Failure> {
    let shown = path.display();
    let mut command = Command::new("node");
    command.args(["-e", &format!("{BEGIN}{script}"), "--"]).arg(path);
    command.current_dir(path.parent().unwrap_or_else(|| Path::new("/")));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::usage(format!(
                "cannot evaluate {shown}: \"node\" is in no folder of PATH; install Node, or write \
                 the file as JSON or YAML"
            )),
            _ => Failure::io(format_args!("cannot run node for {shown}"), &error),
        })?;
    let printed = child.stdout.take().map_or_else(|| Ok(Vec::new()), printed);
    end(&mut child);
    let refuse = |why: &str| Failure::usage(format!("cannot evaluate {shown}: {why}"));
    let printed = printed.map_err(|why| refuse(&why))?;
    let line = printed.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice(line) {
        Ok(Answer { error: Some(error), .. }) => Err(refuse(&error)),
        Ok(Answer { exports: Some(exports), .. }) => Ok(exports.to_string()),
        Ok(_) => Err(refuse("it exports nothing: module.exports = { apps: [...] }")),
        Err(_) => Err(refuse("node ended before it had read the file")),
    }
}

/// All that the child prints until it closes its end.
fn printed(mut stdout: ChildStdout) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + LIMIT;
    let (mut all, mut part) = (Vec::new(), [0; 8192]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("it took longer than {} s", LIMIT.as_secs()));
        }
        if !wait_readable(&stdout, left).map_err(|error| error.to_string())? {
            continue;
        }
        match stdout.read(&mut part).map_err(|error| error.to_string())? {
            0 => return Ok(all),
            count => all.extend_from_slice(&part[..count]),
        }
        if all.len() > MOST {
            return Err(format!("it printed more than {MOST} bytes"));
        }
    }
}

/// Ends the child and what it has started.
fn end(child: &mut Child) {
    // The child is not reaped yet, so the number is still that of its group.
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs() {
        for (name, expected) in [
            ("/srv/ecosystem.config.js", true),
            ("pm2.config.cjs", true),
            ("ecosystem.config.mjs", true),
            ("ecosystem.config.ts", false),
            ("config.js", false),
            ("server.js", false),
        ] {
            assert_eq!(is_program(Path::new(name)), expected, "{name}");
        }
    }
}
