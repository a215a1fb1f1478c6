//! Runs the command of an action: this program, as the user would run it.

use std::io;
use std::process::{Command, Stdio};
use std::thread;

use serde::Deserialize;

use super::action::Action;
use super::report::Outcome;
use crate::home::Home;
use crate::sys::exec::OWN_PROGRAM;

/// One element of what a verb prints with `--json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Printed {
    ok: bool,
    message: String,
    reason: String,
    last_lines: Vec<String>,
}

/// Runs the command in a thread of its own, which reports the outcome. If the dashboard ends
/// meanwhile, the command goes on.
pub(crate) fn start(
    home: &Home,
    action: Action,
    report: impl Fn(Outcome) + Clone + Send + 'static,
) {
    let mut command = Command::new(OWN_PROGRAM);
    if home.run() == Home::system().run() {
        command.arg("--system");
    }
    command.args(action.arguments()).arg("--json");
    // A group of its own: a Ctrl-C that arrives as a signal is not for it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |action: Action, error: io::Error| Outcome {
        action,
        result: Err(format!("cannot run the command: {error}")),
        last_lines: Vec::new(),
    };
    let for_failure = (action.clone(), report.clone());
    let run = move || {
        let outcome = match command.output() {
            Ok(output) => outcome(action, &output.stdout, &output.stderr),
            Err(error) => failed(action, error),
        };
        report(outcome);
    };
    if let Err(error) = thread::Builder::new().spawn(run) {
        let (action, report) = for_failure;
        report(failed(action, error));
    }
}

/// What the command printed.
fn outcome(action: Action, stdout: &[u8], stderr: &[u8]) -> Outcome {
    let printed = serde_json::from_slice::<Vec<Printed>>(stdout).unwrap_or_default();
    let (result, last_lines) = match printed.into_iter().next() {
        Some(printed) if printed.ok => (Ok(printed.message), Vec::new()),
        Some(printed) => (Err(printed.reason), printed.last_lines),
        // It was refused before any app was asked.
        None => {
            let text = String::from_utf8_lossy(stderr);
            let text = text.trim().trim_start_matches("supervisor: ");
            (Err(text.to_owned()), Vec::new())
        }
    };
    Outcome { action, result, last_lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(stdout: &str, stderr: &str) -> (Result<String, String>, Vec<String>) {
        let action = Action::reload("web");
        let outcome = outcome(action, stdout.as_bytes(), stderr.as_bytes());
        (outcome.result, outcome.last_lines)
    }

    #[test]
    fn outcomes_are_read() {
        let fine = r#"[{"name":"web","ok":true,"kind":"done","message":"4 workers replaced"}]"#;
        assert_eq!(result(fine, "note"), (Ok("4 workers replaced".into()), Vec::new()));
        let bad =
            r#"[{"name":"web","ok":false,"kind":"rolled-back","reason":"r","last_lines":["l"]}]"#;
        assert_eq!(result(bad, ""), (Err("r".into()), vec!["l".into()]));
        let refused = result("", "supervisor: web.toml is broken\n");
        assert_eq!(refused.0, Err("web.toml is broken".into()));
    }
}
