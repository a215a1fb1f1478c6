//! From the names on the command line to one result per app.

use ipc::control::AppStatus;
use serde::Serialize;

use super::Session;
use super::exit::{Exit, Failure};
use super::output;

/// The word for every app.
const ALL: &str = "all";

/// What came of one app.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    /// For people, without the app's name.
    pub(crate) message: String,
    /// The app afterwards, where it was looked at.
    pub(crate) status: Option<AppStatus>,
}

impl Said {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: None }
    }
}

/// One element of what `--json` prints.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
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
}

/// The apps that are meant: each once, in the order given; `all` stands for those there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) names: Vec<String>,
    /// Whether nobody asked for these very names.
    pub(crate) all: bool,
}

impl Targets {
    pub(crate) fn resolve(session: &Session, given: &[String]) -> Result<Self, Failure> {
        if given.iter().any(|name| name == ALL) {
            let names = session.home.apps()?;
            if names.is_empty() {
                output::remark("supervisor: there are no apps");
            }
            return Ok(Self { names, all: true });
        }
        let mut names: Vec<String> = Vec::new();
        for given in given {
            if let Some((app, pool)) = given.split_once(':') {
                return Err(Failure::usage(format!(
                    "\"{given}\": this is for whole apps; one pool ({pool} of {app}) can be scaled, reloaded and restarted"
                )));
            }
            config::name::check(given).map_err(Failure::usage)?;
            if !names.contains(given) {
                names.push(given.clone());
            }
        }
        Ok(Self { names, all: false })
    }

    /// Does `action` for each app, prints each result, and returns the worst exit code.
    pub(crate) fn each(
        &self,
        session: &mut Session,
        json: bool,
        mut action: impl FnMut(&mut Session, &str) -> Result<Said, Failure>,
    ) -> Result<Exit, Failure> {
        let mut results = Vec::new();
        for name in &self.names {
            let result = action(session, name);
            // Leftovers of a dead app look like one until somebody looks closer.
            if self.all && matches!(&result, Err(failure) if failure.exit == Exit::NoSuchApp) {
                continue;
            }
            // Neither are others' apps, where some are this user's business.
            if self.all
                && matches!(&result, Err(failure) if failure.exit == Exit::NotPermitted)
                && session.home.is_others()
            {
                continue;
            }
            results.push((name.clone(), result));
            if let Some((name, result)) = results.last().filter(|_| !json) {
                show(session, name, result);
            }
        }
        finish(session, json, &results)
    }
}

/// Prints one result for people.
pub(crate) fn show(session: &mut Session, name: &str, result: &Result<Said, Failure>) {
    match result {
        Ok(said) => session.out.line(format_args!("{name}: {}", said.message)),
        Err(failure) => output::complain(failure),
    }
}

/// Prints all results as JSON, if asked for, and returns the worst exit code.
pub(crate) fn finish(
    session: &mut Session,
    json: bool,
    results: &[(String, Result<Said, Failure>)],
) -> Result<Exit, Failure> {
    if json {
        let outcomes: Vec<Outcome<'_>> =
            results.iter().map(|(name, result)| outcome(name, result)).collect();
        session.out.json(&outcomes)?;
        for failure in results.iter().filter_map(|(_, result)| result.as_ref().err()) {
            output::complain(failure);
        }
    }
    Ok(results.iter().fold(Exit::Done, |worst, (_, result)| match result {
        Ok(_) => worst,
        Err(failure) => worst.or_worse(failure.exit),
    }))
}

fn outcome<'a>(name: &'a str, result: &'a Result<Said, Failure>) -> Outcome<'a> {
    match result {
        Ok(said) => Outcome {
            name,
            ok: true,
            kind: Exit::Done.word(),
            message: Some(&said.message),
            reason: None,
            last_lines: &[],
            app: said.status.as_ref(),
        },
        Err(failure) => Outcome {
            name,
            ok: false,
            kind: failure.exit.word(),
            message: None,
            reason: Some(&failure.reason),
            last_lines: &failure.last_lines,
            app: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Out;
    use crate::home::Home;

    fn session(folder: &std::path::Path) -> Session {
        let home = Home::under(folder);
        home.prepare().unwrap();
        Session { home, out: Out::stdout() }
    }

    #[test]
    fn names_are_checked_and_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path());
        let resolve = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            Targets::resolve(&session, &names)
        };
        assert_eq!(resolve(&["b", "a", "b"]).unwrap().names, ["b", "a"]);
        assert_eq!(resolve(&["a/b"]).unwrap_err().exit, Exit::Usage);
        std::fs::write(session.home.record("x"), "").unwrap();
        let all = Targets { names: vec!["x".into()], all: true };
        assert_eq!(resolve(&["all"]).unwrap(), all);
    }

    #[test]
    fn the_worst_code_counts_and_leftovers_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = session(dir.path());
        let mut targets = Targets { names: vec!["a".into(), "b".into(), "c".into()], all: false };
        let mut run = |targets: &Targets| {
            targets.each(&mut session, true, |_, name| match name {
                "a" => Err(Failure::failed("no")),
                "b" => Err(Failure::new(Exit::NoSuchApp, "no such app")),
                _ => Ok(Said::new("fine")),
            })
        };
        assert_eq!(run(&targets).unwrap(), Exit::NoSuchApp);
        targets.all = true;
        assert_eq!(run(&targets).unwrap(), Exit::Failed);
    }

    #[test]
    fn outcomes_in_json() {
        let fine = Ok(Said::new("stopped"));
        let json = serde_json::to_value(outcome("web", &fine)).unwrap();
        let expected =
            serde_json::json!({"name": "web", "ok": true, "kind": "done", "message": "stopped"});
        assert_eq!(json, expected);
        let bad = Err(Failure {
            exit: Exit::RolledBack,
            reason: "r".into(),
            last_lines: vec!["l".into()],
        });
        let json = serde_json::to_value(outcome("web", &bad)).unwrap();
        let expected = serde_json::json!({
            "name": "web", "ok": false, "kind": "rolled-back", "reason": "r", "last_lines": ["l"]
        });
        assert_eq!(json, expected);
    }
}
