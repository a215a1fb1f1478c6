//! `merge-spec`: merges a change with the spec of a running app and with the app's file. A primary
//! runs this verb, because reading files and user databases may hang.

use std::io::{self, Read};

use config::cpus::Cpus;
use config::spec::AppSpec;
use ipc::control::FailureKind;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;
use crate::cli::specs;
use crate::runtime::{Answer, Question, Refusal};
use crate::sys::accounts::Accounts;

/// Merge the change on stdin with the spec on stdin.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {}

/// Runs the verb. Changes nothing.
pub(crate) fn run(_: &Args, out: &mut Stdout) -> Result<Exit, Failure> {
    // Once the primary has died, no process reads the answer.
    let _ = set_pdeathsig(Signal::SIGKILL);
    let question = read().map_err(|error| Failure::io("cannot read the question", &error))?;
    let merged = merge(&question);
    // The workers of the running spec come back if those of the new one fail.
    let new = merged.as_ref().ok().and_then(Option::as_deref);
    let specs: Vec<&AppSpec> = new.into_iter().chain([&question.running]).collect();
    let accounts = Accounts::of(&specs);
    let answer = serde_json::to_string(&Answer { merged, accounts });
    let answer = answer.map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    out.line(answer);
    Ok(Exit::Done)
}

fn read() -> io::Result<Question> {
    let mut question = Vec::new();
    io::stdin().read_to_end(&mut question)?;
    Ok(serde_json::from_slice(&question)?)
}

fn merge(question: &Question) -> Result<Option<Box<AppSpec>>, Refusal> {
    let merged = question.change.read(&question.running, &Cpus::read());
    let merged = merged.map_err(|reason| Refusal { kind: FailureKind::Usage, reason })?;
    // The file was checked when it was read; what the overrides make of it was not.
    if let Some(spec) = merged.as_ref().filter(|spec| spec.overrides.is_some()) {
        specs::check(spec).map_err(refusal)?;
    }
    Ok(merged.map(Box::new))
}

fn refusal(failure: Failure) -> Refusal {
    let kind = match failure.exit {
        Exit::Usage => FailureKind::Usage,
        Exit::NotPermitted => FailureKind::NotPermitted,
        Exit::TimedOut => FailureKind::TimedOut,
        Exit::Done
        | Exit::Failed
        | Exit::NoSuchApp
        | Exit::RolledBack
        | Exit::Changes
        | Exit::Primary(_) => FailureKind::Failed,
    };
    Refusal { kind, reason: failure.reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::change::SpecChange;

    fn question(lines: &str, change: SpecChange) -> (tempfile::TempDir, Question) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.toml");
        std::fs::write(&file, format!("name = \"web\"\ncommand = \"true\"\n{lines}")).unwrap();
        let mut running = AppSpec::new("web", vec!["true".into()], "/".into());
        running.source = Some(file);
        (folder, Question { running, change })
    }

    #[test]
    fn the_merged_spec_is_the_answer() {
        let env = vec![("A".to_owned(), "1".to_owned())];
        let (_folder, question) = question("", SpecChange { env, ..SpecChange::default() });
        let merged = merge(&question);
        assert_eq!(merged.clone().unwrap().unwrap().env["A"], "1");
        let answer = Answer { merged, accounts: Accounts::of(&[&question.running]) };
        let json = serde_json::to_vec(&answer).unwrap();
        assert_eq!(serde_json::from_slice::<Answer>(&json).unwrap(), answer);
    }

    #[test]
    fn faults_are_usage() {
        let (_folder, question) = question("drain = 3\n", SpecChange::default());
        let refusal = merge(&question).unwrap_err();
        assert_eq!(refusal.kind, FailureKind::Usage);
        assert!(refusal.reason.contains("web.toml"), "{refusal:?}");
    }
}
