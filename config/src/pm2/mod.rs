//! An ecosystem file of PM2 becomes tables of our keys, and notes on what of it does nothing here.
//!
//! [`options`] has a row for each option of PM2. [`app`] translates the options of one app,
//! [`run`] its script, interpreter and arguments. The tables are then read like those of any other
//! file, so a bad value is reported where PM2's file has it.

mod app;
mod date_format;
mod dump;
pub(crate) mod options;
mod run;
mod values;

use std::collections::BTreeSet;
use std::ops::Range;

use app::Chosen;

use crate::raw::Findings;
use crate::tree::{Table, Value, Written, in_order};

/// An app of an ecosystem file, in our keys.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) name: String,
    pub(crate) table: Table,
    /// Where the app is in the file.
    pub(crate) span: Range<usize>,
    /// Where its name is, if the file gives it one; otherwise the app.
    pub(crate) header: Range<usize>,
    /// Whether every option was understood.
    pub(crate) complete: bool,
}

/// The apps of an ecosystem file.
#[derive(Debug, Default)]
pub(crate) struct Ecosystem {
    pub(crate) apps: Vec<Translated>,
    /// What does nothing here, and why.
    pub(crate) notes: Vec<(Range<usize>, String)>,
    /// The names of the environments that `--env` can choose.
    pub(crate) profiles: BTreeSet<String>,
}

/// The apps of `root`, if it is an ecosystem file: an array of apps, a table with such an array
/// under `apps` or `pm2`, or one app, whose `script` no file of ours has.
fn apps(root: &Written) -> Option<&[Written]> {
    match &root.value {
        Value::List(items) => Some(items),
        Value::Table(table) if table.get("app").is_none() => {
            if let Some(apps) = table.get("apps") {
                return match &apps.value {
                    Value::Table(_) => Some(std::slice::from_ref(apps)),
                    _ => apps.as_list(),
                };
            }
            if table.get("script").is_some() && table.get("command").is_none() {
                return Some(std::slice::from_ref(root));
            }
            // That of a package.json: an app, an array of apps, or the whole table again.
            let pm2 = table.get("pm2")?;
            match &pm2.value {
                Value::Table(inner) => match inner.get("apps") {
                    Some(apps) => apps.as_list(),
                    None => Some(std::slice::from_ref(pm2)),
                },
                _ => pm2.as_list(),
            }
        }
        _ => None,
    }
}

/// Translates `root`. `None`: it is no ecosystem file.
pub(crate) fn translate(
    root: &Written,
    profile: Option<&str>,
    findings: &mut Findings,
) -> Option<Ecosystem> {
    let items = apps(root)?;
    let saved;
    let items = match dump::is_dump(items) {
        true => {
            saved = dump::apps(items);
            &saved
        }
        false => items,
    };
    let mut ecosystem = Ecosystem::default();
    if items.is_empty() {
        findings.add(root.span(), "there is no app in the file");
    }
    for (key, span, _) in root.as_table().into_iter().flat_map(in_order) {
        if matches!(key, "deploy" | "static") {
            let note = format!("{key:?} is left out: {}", options::section(key));
            ecosystem.notes.push((span, note));
        }
    }
    let chosen = Chosen { profile, deployed: deployed(root, profile, &mut ecosystem) };
    let mut names = BTreeSet::new();
    for item in items {
        let Some(table) = findings.table("each app", item) else { continue };
        let app = app::translate(table, item, &chosen, &mut ecosystem, findings);
        if !names.insert(app.name.clone()) {
            let message = format!("two apps are called {:?}: give each a \"name\"", app.name);
            findings.add(item.span(), message);
        }
        ecosystem.apps.push(app);
    }
    Some(ecosystem)
}

/// The variables that `deploy.NAME` has for every app. The names of such parts are environments.
fn deployed<'t>(
    root: &'t Written,
    profile: Option<&str>,
    ecosystem: &mut Ecosystem,
) -> Option<&'t Written> {
    let parts = root.as_table()?.get("deploy")?.as_table()?;
    let mut found = None;
    for (name, _, part) in in_order(parts) {
        let Some(env) = part.as_table().and_then(|part| part.get("env")) else { continue };
        ecosystem.profiles.insert(name.to_owned());
        if profile == Some(name) {
            found = Some(env);
        }
    }
    found
}

#[cfg(test)]
mod tests;
