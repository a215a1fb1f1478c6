//! A plan as people and programs read it. Values that may be secrets are not in it.

use config::difference::{KeyChange, Verb};
use serde::Serialize;
use serde_json::Value;

use super::decide::{Planned, Step};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;

/// One app of `--json`.
#[derive(Debug, Serialize)]
struct JsonPlanned<'a> {
    name: &'a str,
    step: Step,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    changes: &'a [KeyChange],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    kept: &'a [String],
}

/// Prints the plan. The exit code says whether there is anything to do.
pub(crate) fn show(plan: &[Planned], json: bool, session: &mut Session) -> Result<Exit, Failure> {
    if json {
        let apps: Vec<JsonPlanned<'_>> = plan
            .iter()
            .map(|planned| JsonPlanned {
                name: &planned.name,
                step: planned.step,
                why: planned.why.as_deref(),
                changes: &planned.changes,
                kept: &planned.kept,
            })
            .collect();
        session.out.json(&apps)?;
    } else {
        for line in plan.iter().flat_map(lines) {
            session.out.line(line);
        }
        session.out.line(summary(plan));
    }
    let any = |wanted: fn(Step) -> bool| plan.iter().any(|planned| wanted(planned.step));
    Ok(if any(|step| step == Step::Fail) {
        Exit::Failed
    } else if any(|step| step != Step::Nothing) {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// What happens to an app, in a word or two.
fn word(step: Step) -> &'static str {
    match step {
        Step::Nothing => "nothing",
        Step::Live => "live change",
        Step::Reload => "rolling reload",
        Step::Restart => "restart",
        Step::Start => "start",
        Step::Delete => "delete",
        Step::Fail => "cannot be planned",
    }
}

fn lines(planned: &Planned) -> Vec<String> {
    let why = planned.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let mut lines = vec![format!("{}: {}{why}", planned.name, word(planned.step))];
    lines.extend(planned.changes.iter().map(|change| format!("  {}", text(change))));
    if !planned.kept.is_empty() {
        lines.push(format!("  kept from the command line: {}", planned.kept.join(", ")));
    }
    lines
}

/// `balance: "hash" -> "sticky"`, `env.TOKEN changed`.
fn text(change: &KeyChange) -> String {
    let shown = |value: &Option<Value>| {
        value.as_ref().map_or_else(|| "(not set)".to_owned(), Value::to_string)
    };
    if change.from.is_some() || change.to.is_some() {
        return format!("{}: {} -> {}", change.key, shown(&change.from), shown(&change.to));
    }
    let verb = match change.verb {
        Verb::Added => "added",
        Verb::Removed => "removed",
        Verb::Changed => "changed",
    };
    format!("{} {verb}", change.key)
}

fn summary(plan: &[Planned]) -> String {
    let changes = plan.iter().filter(|planned| planned.step != Step::Nothing).count();
    match (changes, plan.len()) {
        (0, _) => "nothing to do".to_owned(),
        (_, 1) => "1 app to change".to_owned(),
        (changes, apps) => format!("{changes} of {apps} apps to change"),
    }
}
