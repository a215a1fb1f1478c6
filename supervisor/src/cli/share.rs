//! `reload --config`: the workers on the bus get the `shared` values that their file has now, and
//! nobody is replaced.
//!
//! Refuses if anything else in the file has changed: that takes a reload.

use std::path::Path;

use config::instances::Cpus;
use config::spec::AppSpec;
use ipc::control::Request;
use ipc::talk::BusRequest;

use super::Session;
use super::args::ReloadArgs;
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::plan::{is_for_others, read_file, read_file_of};
use super::reload::{held_spec, keep_scale};
use super::targets::{Said, Targets, finish, show};

pub(super) fn run(args: &ReloadArgs, session: &mut Session) -> Result<Exit, Failure> {
    let mut names = Vec::new();
    for given in &args.names {
        if Path::new(given).extension().is_some_and(|ending| ending == "toml") {
            names.extend(read_file(Path::new(given))?.into_iter().map(|spec| spec.name));
        } else {
            names.push(given.clone());
        }
    }
    let targets = Targets::resolve(session, &names)?;
    let mut results = Vec::new();
    for name in &targets.names {
        let result = one(args, session, name);
        if targets.all && matches!(&result, Err(failure) if failure.exit == Exit::NoSuchApp) {
            continue;
        }
        if !args.waiting.json {
            show(session, name, &result);
        }
        results.push((name.clone(), result));
    }
    finish(session, args.waiting.json, &results)
}

fn one(args: &ReloadArgs, session: &Session, name: &str) -> Result<Said, Failure> {
    let held = held_spec(session, name)?;
    let Some(source) = &held.source else {
        return Err(Failure::usage(format!(
            "{name} came from no file, so it has no values to share: start it from a configuration file"
        )));
    };
    let found = read_file_of(source, is_for_others(&session.home))?
        .into_iter()
        .find(|spec| spec.name == name);
    let Some(mut spec) = found else {
        return Err(Failure::usage(format!("{name} is not in {} any more", source.display())));
    };
    held.said.clone().map(|said| *said).unwrap_or_default().over(&mut spec, &Cpus::read());
    keep_scale(&mut spec, &held);
    let shared = spec.shared.clone();
    let others = changed(&held, spec);
    if !others.is_empty() {
        return Err(Failure::usage(format!(
            "{name}: more than the shared values has changed in {} ({}): use \"supervisor reload {name}\"",
            source.display(),
            others.join(", ")
        )));
    }
    let request = Request::Bus(BusRequest::Share { shared });
    ask(&session.home, name, &request, "giving the workers new values", &args.waiting)
}

/// The keys, other than the shared values, in which the file says something new.
fn changed(held: &AppSpec, mut spec: AppSpec) -> Vec<String> {
    spec.shared.clone_from(&held.shared);
    // Older versions did not note what was added on the command line.
    for (key, value) in &held.env {
        spec.env.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let fields = |spec: &AppSpec| match serde_json::to_value(spec) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (before, now) = (fields(held), fields(&spec));
    let differs = |(key, value): &(&String, &serde_json::Value)| before.get(*key) != Some(*value);
    let others: Vec<String> = now.iter().filter(differs).map(|(key, _)| key.clone()).collect();
    match others.is_empty() && *held != spec {
        true => vec!["something".to_owned()],
        false => others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_has_changed() {
        let mut held = AppSpec::new("web", vec!["true".into()], "/".into());
        held.env.insert("PORT".into(), "80".into());
        let mut file = held.clone();
        file.env.clear();
        file.shared = Some("{}".to_owned());
        assert_eq!(changed(&held, file.clone()), Vec::<String>::new());
        file.command.push("x".to_owned());
        file.stop_signal = 2;
        assert_eq!(changed(&held, file.clone()), ["command", "stop_signal"]);
        let other = AppSpec { env: [("PORT".to_owned(), "81".to_owned())].into(), ..held.clone() };
        assert_eq!(changed(&held, other), ["env"]);
    }
}
