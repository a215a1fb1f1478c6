//! What a command did for each app: one line, or one element of a JSON array, and the exit code.

use std::collections::BTreeSet;

use ipc::control::AppStatus;
use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::session::Session;

/// The successful result of a command for one app.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// A sentence without the name of the app.
    pub(crate) message: String,
    /// The state of the app after the command, where the command asked for it.
    pub(crate) status: Option<AppStatus>,
    /// Connections with a request in flight that a reload cut.
    pub(crate) cut: u32,
}

impl Outcome {
    /// An outcome without a status.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: None, cut: 0 }
    }
}

/// One element of `--json`.
#[derive(Debug, Serialize)]
struct JsonOutcome<'a> {
    name: &'a str,
    ok: bool,
    /// `done`, or the kind of failure.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    last_lines: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a AppStatus>,
    /// Connections with a request in flight that a reload cut.
    #[serde(skip_serializing_if = "is_zero")]
    cut: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The results of a command, app by app.
#[derive(Debug)]
pub(crate) struct Results {
    /// All are printed at the end, as JSON.
    json: bool,
    all: Vec<(String, Result<Outcome, Failure>)>,
}

impl Results {
    /// None yet. Without `json` each is printed when it comes.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, all: Vec::new() }
    }

    /// Takes the result of one app. As text, an outcome goes to stdout and a failure to stderr.
    pub(crate) fn take(
        &mut self,
        session: &mut Session,
        name: &str,
        result: Result<Outcome, Failure>,
    ) {
        if !self.json {
            output::above_progress(|| match &result {
                Ok(outcome) => session.out.line(format_args!("{name}: {}", outcome.message)),
                Err(failure) => output::report(failure),
            });
        }
        self.all.push((name.to_owned(), result));
    }

    /// The apps that failed so far.
    pub(crate) fn failed(&self) -> BTreeSet<String> {
        let failed = self.all.iter().filter(|(_, result)| result.is_err());
        failed.map(|(name, _)| name.clone()).collect()
    }

    /// Prints what is to be printed at the end, and returns the worst exit code.
    pub(crate) fn finish(self, session: &mut Session) -> Result<Exit, Failure> {
        if self.json {
            let outcomes: Vec<JsonOutcome<'_>> =
                self.all.iter().map(|(name, result)| as_json(name, result)).collect();
            session.out.json(&outcomes)?;
            for failure in self.all.iter().filter_map(|(_, result)| result.as_ref().err()) {
                output::report(failure);
            }
        }
        Ok(self.all.iter().fold(Exit::Done, |worst, (_, result)| match result {
            Ok(_) => worst,
            Err(failure) => worst.or_worse(failure.exit),
        }))
    }
}

fn as_json<'a>(name: &'a str, result: &'a Result<Outcome, Failure>) -> JsonOutcome<'a> {
    match result {
        Ok(outcome) => JsonOutcome {
            name,
            ok: true,
            kind: Exit::Done.word(),
            message: Some(&outcome.message),
            reason: None,
            last_lines: &[],
            app: outcome.status.as_ref(),
            cut: outcome.cut,
        },
        Err(failure) => JsonOutcome {
            name,
            ok: false,
            kind: failure.exit.word(),
            message: None,
            reason: Some(&failure.reason),
            last_lines: &failure.last_lines,
            app: None,
            cut: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_in_json() {
        let fine = Ok(Outcome::new("stopped"));
        let json = serde_json::to_value(as_json("web", &fine)).unwrap();
        let expected =
            serde_json::json!({"name": "web", "ok": true, "kind": "done", "message": "stopped"});
        assert_eq!(json, expected);
        let bad = Err(Failure {
            exit: Exit::RolledBack,
            reason: "r".into(),
            last_lines: vec!["l".into()],
        });
        let json = serde_json::to_value(as_json("web", &bad)).unwrap();
        let expected = serde_json::json!({
            "name": "web", "ok": false, "kind": "rolled-back", "reason": "r", "last_lines": ["l"]
        });
        assert_eq!(json, expected);
    }
}
