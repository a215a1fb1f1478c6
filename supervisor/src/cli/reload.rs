//! `reload`: every worker is replaced, with the configuration as it is now. All files are read
//! before anything is touched.

use std::path::Path;

use config::spec::AppSpec;
use ipc::control::{Reply, Request};

use super::Session;
use super::args::ReloadArgs;
use super::ask::{ask, refused};
use super::exit::{Exit, Failure};
use super::overrides;
use super::probe::{self, Seen};
use super::share;
use super::start::start_one;
use super::start_plan::{read_again, read_file};
use super::targets::{Said, Targets, finish, show};

/// How long a primary may take to tell its spec.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// What is to be done with one app.
#[derive(Debug)]
enum Step {
    /// Replace its workers; with the spec, if it is not the one that runs.
    Replace(Option<Box<AppSpec>>),
    /// Start it.
    Start(Box<AppSpec>),
}

pub(super) fn run(args: &ReloadArgs, session: &mut Session) -> Result<Exit, Failure> {
    if args.config {
        return share::run(args, session);
    }
    let groups = groups(args)?;
    replace(&groups, session, "reloading", |spec, pool| Request::Reload { spec, pool })
}

/// What is meant, by pool.
pub(super) fn groups(args: &ReloadArgs) -> Result<Vec<ReloadArgs>, Failure> {
    let mut groups: Vec<ReloadArgs> = Vec::new();
    for given in &args.names {
        let (name, pool) = args.pool.of(given)?;
        match groups.iter_mut().find(|group| group.pool == pool) {
            Some(group) => group.names.push(name),
            None => groups.push(ReloadArgs { names: vec![name], pool, ..args.clone() }),
        }
    }
    Ok(groups)
}

/// Replaces the workers of all targets by what `request` asks for.
pub(super) fn replace(
    groups: &[ReloadArgs],
    session: &mut Session,
    doing: &str,
    request: impl Fn(Option<Box<AppSpec>>, Option<String>) -> Request,
) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    for args in groups {
        all.extend(steps(args, session)?.into_iter().map(|planned| (args, planned)));
    }
    let json = groups.iter().any(|args| args.waiting.json);
    let mut results = Vec::new();
    for (args, (name, step)) in all {
        let result = step.and_then(|step| match step {
            Step::Replace(spec) => {
                let kept = overrides::remark(spec.as_deref());
                let request = request(spec, args.pool.pool.clone());
                let said = ask(&session.home, &name, &request, doing, &args.waiting)?;
                Ok(Said { message: said.message + &kept, ..said })
            }
            Step::Start(spec) => start_one(session, &spec, &args.waiting),
        });
        if !json {
            show(session, &name, &result);
        }
        results.push((name, result));
    }
    finish(session, json, &results)
}

/// The apps of the files that were given, and the names that were.
pub(super) fn apart(
    given: &[String],
    session: &Session,
) -> Result<(Vec<AppSpec>, Vec<String>), Failure> {
    let known = session.home.apps()?;
    let is_file = |given: &String| {
        let path = Path::new(given);
        !known.contains(given)
            && path.extension().is_some_and(|ending| ending == "toml")
            && (path.is_file() || given.contains('/'))
    };
    let (files, names): (Vec<String>, Vec<String>) = given.iter().cloned().partition(is_file);
    let mut specs = Vec::new();
    for file in files {
        specs.extend(read_file(Path::new(&file))?);
    }
    Ok((specs, names))
}

/// One app and what is to be done with it, or why nothing can be.
type Planned = (String, Result<Step, Failure>);

/// Reads every file and asks for every spec, so that a mistake is found before anything happens.
fn steps(args: &ReloadArgs, session: &Session) -> Result<Vec<Planned>, Failure> {
    let (files, names) = apart(&args.names, session)?;
    let mut steps = Vec::new();
    for spec in files {
        let (name, step) = (spec.name.clone(), from_file(args, session, spec));
        steps.push((name, step));
    }
    if names.is_empty() {
        return Ok(steps);
    }
    let targets = Targets::resolve(session, &names)?;
    for name in targets.names {
        let step = from_running(args, session, &name);
        match &step {
            Err(failure) if failure.exit == Exit::Usage => return Err(failure.clone()),
            Err(failure) if targets.all && failure.exit == Exit::NoSuchApp => continue,
            _ => steps.push((name, step)),
        }
    }
    Ok(steps)
}

/// An app of a file that was named: reload it if it is there, start it if not.
fn from_file(args: &ReloadArgs, session: &Session, mut spec: AppSpec) -> Result<Step, Failure> {
    match probe::look(&session.home, &spec.name)? {
        Seen::Nothing if args.pool.pool.is_some() => Err(probe::no_such_app(&spec.name)),
        Seen::Nothing => {
            overrides::put(args, session, None, &mut spec)?;
            Ok(Step::Start(Box::new(spec)))
        }
        Seen::Lost(lost) => {
            Err(Failure::failed(format!("{}: {}", spec.name, lost.reason(&spec.name))))
        }
        Seen::Status(_) | Seen::Silent(_) => {
            args.pool.find(session, &spec.name)?;
            let held = held_spec(session, &spec.name)?;
            overrides::put(args, session, Some(&held), &mut spec)?;
            keep_scale(&mut spec, &held);
            Ok(Step::Replace(Some(Box::new(spec))))
        }
    }
}

/// An app that was named: with its file as it is now, if it came from one.
fn from_running(args: &ReloadArgs, session: &Session, name: &str) -> Result<Step, Failure> {
    args.pool.find(session, name)?;
    let held = held_spec(session, name)?;
    let Some(source) = &held.source else {
        return from_no_file(args, name, held);
    };
    let found = read_again(session, source)?.into_iter().find(|spec| spec.name == name);
    let Some(mut spec) = found else {
        return Err(Failure::usage(format!(
            "{name} is not in {} any more: put it back, or \"supervisor delete {name}\"",
            source.display()
        )));
    };
    overrides::put(args, session, Some(&held), &mut spec)?;
    keep_scale(&mut spec, &held);
    Ok(Step::Replace(Some(Box::new(spec))))
}

/// An app that came from the command line: as it is held, and what is set now.
fn from_no_file(args: &ReloadArgs, name: &str, mut held: AppSpec) -> Result<Step, Failure> {
    if args.as_written {
        return Err(Failure::usage(format!(
            "{name} came from no file, so --as-written means nothing: leave it away"
        )));
    }
    if args.env.is_empty() {
        return Ok(Step::Replace(None));
    }
    add_environment(args, &mut held);
    Ok(Step::Replace(Some(Box::new(held))))
}

/// A count that was changed by "scale" stays, unless the file asks for another than before.
pub(super) fn keep_scale(spec: &mut AppSpec, held: &AppSpec) {
    if spec.instances == held.instances {
        spec.wanted = held.wanted;
        spec.wanted_because.clone_from(&held.wanted_because);
    }
    for pool in &mut spec.pools {
        let before = held.pools.iter().find(|held| held.name == pool.name);
        if let Some(held) = before.filter(|held| held.instances == pool.instances) {
            pool.wanted = held.wanted;
            pool.wanted_because.clone_from(&held.wanted_because);
        }
    }
}

/// What is set on the command line, for the workers that are meant.
fn add_environment(args: &ReloadArgs, spec: &mut AppSpec) {
    let pool = args.pool.pool.as_ref();
    let mut pools = spec.pools.iter_mut();
    match pools.find(|found| pool == Some(&found.name)) {
        Some(pool) => pool.env.extend(args.env.iter().cloned()),
        None => spec.env.extend(args.env.iter().cloned()),
    }
}

/// The spec as the primary of `name` holds it.
pub(super) fn held_spec(session: &Session, name: &str) -> Result<AppSpec, Failure> {
    let mut client = probe::connect(&session.home, name)?;
    match client.ask(&Request::Spec, Some(PATIENCE), |_| {})? {
        Reply::Spec(spec) => Ok(*spec),
        Reply::Failed { kind, reason, last_lines } => Err(refused(name, kind, &reason, last_lines)),
        Reply::Notice(_)
        | Reply::Done { .. }
        | Reply::Status(_)
        | Reply::Answers { .. }
        | Reply::Metrics { .. } => Err(Failure::failed(format!(
            "the primary of {name} answered something that was not asked for"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::spec::Instances;

    #[test]
    fn a_scale_outlives_a_reload_unless_the_file_changed() {
        let mut held = AppSpec::new("web", vec!["true".into()], "/".into());
        (held.instances, held.wanted) = (Instances::Count(2), 5);
        held.wanted_because = "5 asked for".to_owned();
        let mut same = held.clone();
        (same.wanted, same.wanted_because) = (2, "2 asked for".to_owned());
        keep_scale(&mut same, &held);
        assert_eq!((same.wanted, same.wanted_because.as_str()), (5, "5 asked for"));
        let mut changed = held.clone();
        (changed.instances, changed.wanted) = (Instances::Count(3), 3);
        keep_scale(&mut changed, &held);
        assert_eq!(changed.wanted, 3);
    }
}
