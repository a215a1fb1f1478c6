//! `reload --config`: the workers on the bus get the `shared` values that their file has now, and
//! nobody is replaced.
//!
//! Refuses if anything else in the file has changed: that takes a reload.

use config::cpus::Cpus;
use config::keys::{self, Change};
use config::spec::AppSpec;
use ipc::control::Request;
use ipc::talk::BusRequest;

use super::Session;
use super::args::ReloadArgs;
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::reload::{apart, held_spec, keep_scale};
use super::start_plan::read_again;
use super::targets::{Said, Targets};

pub(super) fn run(args: &ReloadArgs, session: &mut Session) -> Result<Exit, Failure> {
    let (specs, mut names) = apart(&args.names, session)?;
    names.extend(specs.iter().map(|spec| spec.name.clone()));
    let targets = Targets::resolve(session, &names)?;
    targets.each(session, args.waiting.json, |session, name| {
        let given = specs.iter().find(|spec| spec.name == name);
        one(args, session, name, given)
    })
}

/// `given`: the app as the file has it that was named; else it is the file that the app came from.
fn one(
    args: &ReloadArgs,
    session: &Session,
    name: &str,
    given: Option<&AppSpec>,
) -> Result<Said, Failure> {
    let held = held_spec(session, name)?;
    let Some(source) = &held.source else {
        return Err(Failure::usage(format!(
            "{name} came from no file, so it has no values to share: start it from a configuration file"
        )));
    };
    let found = match given {
        Some(spec) => Some(spec.clone()),
        None => read_again(session, source)?.into_iter().find(|spec| spec.name == name),
    };
    let Some(mut spec) = found else {
        return Err(Failure::usage(format!("{name} is not in {} any more", source.display())));
    };
    let source = spec.source.clone().unwrap_or_else(|| source.clone());
    let overrides = held.overrides.as_deref().cloned().unwrap_or_default();
    overrides.attach(&mut spec, &Cpus::read());
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

/// The keys in which the file says something new that only a reload can bring to the workers.
fn changed(held: &AppSpec, mut spec: AppSpec) -> Vec<&'static str> {
    // Older versions did not note what was added on the command line.
    for (key, value) in &held.env {
        spec.env.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let keys = keys::changed(held, &spec).into_iter();
    let keys = keys.filter(|key| key.change != Change::Config);
    let mut others: Vec<&str> = keys.map(|key| key.name).collect();
    if held.pools != spec.pools {
        others.push("pool");
    }
    spec.shared.clone_from(&held.shared);
    match others.is_empty() && *held != spec {
        true => vec!["something"],
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
        assert!(changed(&held, file.clone()).is_empty());
        file.command.push("x".to_owned());
        file.stop_signal = 2;
        assert_eq!(changed(&held, file.clone()), ["command", "stop_signal"]);
        let other = AppSpec { env: [("PORT".to_owned(), "81".to_owned())].into(), ..held.clone() };
        assert_eq!(changed(&held, other), ["env"]);
    }
}
