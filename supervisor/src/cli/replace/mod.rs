//! Replaces the workers of apps with the configuration as it is now. `reload` and `restart` do
//! that.
//!
//! All files are read, and all primaries asked for their specs, before any worker is replaced.

mod options;
pub(crate) mod overrides;

use std::path::Path;

use config::spec::AppSpec;
use ipc::control::Request;

pub(crate) use options::ReplaceOptions;

use super::exit::{Exit, Failure};
use super::launch::start_app;
use super::session::Session;
use super::specs::{is_config_path, read_file, read_file_for};
use super::targets::probe::{self, AppState};
use super::targets::{Outcome, Targets, ask, finish, print, running_spec};

/// What happens to one app.
#[derive(Debug)]
enum Change {
    /// Its workers are replaced, with a new spec if there is one.
    Replace(Option<Box<AppSpec>>),
    /// It does not exist and is started.
    Start(Box<AppSpec>),
}

/// Sends, for each app of `groups`, the request that `request` makes of the new spec and the pool.
/// Prints each result, and returns the worst exit code. `activity` names what happens meanwhile
/// ("reloading").
pub(crate) fn replace(
    groups: &[ReplaceOptions],
    session: &mut Session,
    activity: &str,
    request: impl Fn(Option<Box<AppSpec>>, Option<String>) -> Request,
) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    for options in groups {
        all.extend(changes(options, session)?.into_iter().map(|planned| (options, planned)));
    }
    let json = groups.iter().any(|options| options.wait.json);
    let mut results = Vec::new();
    for (options, (name, change)) in all {
        let result = change.and_then(|change| match change {
            Change::Replace(spec) => {
                let kept = overrides::note(spec.as_deref());
                let request = request(spec, options.pool.pool.clone());
                let outcome = ask(&session.home, &name, &request, activity, &options.wait)?;
                Ok(Outcome { message: outcome.message + &kept, ..outcome })
            }
            Change::Start(spec) => start_app(&session.home, &spec, None, &options.wait),
        });
        if !json {
            print(session, &name, &result);
        }
        results.push((name, result));
    }
    finish(session, json, &results)
}

/// Separates configuration files from names of apps: the specs of the files, and the names.
pub(crate) fn split_files_and_names(
    given: &[String],
    profile: Option<&str>,
    session: &Session,
) -> Result<(Vec<AppSpec>, Vec<String>), Failure> {
    let known = session.home.apps()?;
    let is_file = |given: &String| {
        let path = Path::new(given);
        !known.contains(given) && is_config_path(path) && (path.is_file() || given.contains('/'))
    };
    let (files, names): (Vec<String>, Vec<String>) = given.iter().cloned().partition(is_file);
    let mut specs = Vec::new();
    for file in files {
        specs.extend(read_file(Path::new(&file), profile)?);
    }
    Ok((specs, names))
}

/// The name of an app, and its change or why there can be none.
type PlannedChange = (String, Result<Change, Failure>);

/// The changes of all apps. Fails, before anything is changed, if the command line or a file is
/// wrong.
fn changes(options: &ReplaceOptions, session: &Session) -> Result<Vec<PlannedChange>, Failure> {
    let (files, names) =
        split_files_and_names(&options.names, options.profile.as_deref(), session)?;
    let mut changes = Vec::new();
    for spec in files {
        let (name, change) = (spec.name.clone(), from_file(options, session, spec));
        changes.push((name, change));
    }
    if names.is_empty() {
        return Ok(changes);
    }
    let targets = Targets::resolve(session, &names)?;
    for name in targets.names {
        let change = from_running(options, session, &name);
        match &change {
            Err(failure) if failure.exit == Exit::Usage => return Err(failure.clone()),
            Err(failure) if targets.all && failure.exit == Exit::NoSuchApp => continue,
            _ => changes.push((name, change)),
        }
    }
    Ok(changes)
}

/// The change of an app in a file that the user named: the app is started if it does not exist.
fn from_file(
    options: &ReplaceOptions,
    session: &Session,
    mut spec: AppSpec,
) -> Result<Change, Failure> {
    match probe::probe(&session.home, &spec.name)? {
        AppState::Absent if options.pool.pool.is_some() => Err(probe::no_such_app(&spec.name)),
        AppState::Absent => {
            overrides::put(options, session, None, &mut spec)?;
            Ok(Change::Start(Box::new(spec)))
        }
        AppState::Stranded(workers) => Err(workers.failure(&spec.name)),
        AppState::Answers(_) | AppState::Silent(_) => {
            options.pool.find(session, &spec.name)?;
            let running = running_spec(&session.home, &spec.name)?;
            spec = as_started(spec, &running)?;
            overrides::put(options, session, Some(&running), &mut spec)?;
            keep_scale(&mut spec, &running);
            Ok(Change::Replace(Some(Box::new(spec))))
        }
    }
}

/// A spec from a file, with the profile that the app was started with if no other was chosen.
pub(crate) fn as_started(spec: AppSpec, running: &AppSpec) -> Result<AppSpec, Failure> {
    let (None, Some(profile), Some(source)) = (&spec.profile, &running.profile, &spec.source)
    else {
        return Ok(spec);
    };
    let found = read_file(source, Some(profile))?.into_iter();
    Ok(found.into_iter().find(|found| found.name == spec.name).unwrap_or(spec))
}

/// The change of an app that the user named: it gets its file as it is now, if it came from one.
fn from_running(
    options: &ReplaceOptions,
    session: &Session,
    name: &str,
) -> Result<Change, Failure> {
    options.pool.find(session, name)?;
    let running = running_spec(&session.home, name)?;
    let Some(source) = &running.source else {
        return from_no_file(options, name, running);
    };
    let profile = options.profile.as_deref().or(running.profile.as_deref());
    let specs = read_file_for(&session.home, source, profile)?;
    let found = specs.into_iter().find(|spec| spec.name == name);
    let Some(mut spec) = found else {
        return Err(Failure::usage(format!(
            "{name} is no longer in {}: put it back, or \"supervisor delete {name}\"",
            source.display()
        )));
    };
    overrides::put(options, session, Some(&running), &mut spec)?;
    keep_scale(&mut spec, &running);
    Ok(Change::Replace(Some(Box::new(spec))))
}

/// The change of an app that came from no file: its spec stays, but for the environment.
fn from_no_file(
    options: &ReplaceOptions,
    name: &str,
    mut running: AppSpec,
) -> Result<Change, Failure> {
    if options.as_written {
        return Err(Failure::usage(format!(
            "{name} came from no file, so --as-written means nothing: leave it out"
        )));
    }
    if options.env.is_empty() {
        return Ok(Change::Replace(None));
    }
    add_environment(options, &mut running);
    Ok(Change::Replace(Some(Box::new(running))))
}

/// Keeps the number of workers that `scale` set, unless the file has another number than before.
pub(crate) fn keep_scale(spec: &mut AppSpec, running: &AppSpec) {
    if spec.instances == running.instances {
        spec.wanted = running.wanted;
        spec.wanted_because.clone_from(&running.wanted_because);
    }
    for pool in &mut spec.pools {
        let before = running.pools.iter().find(|running| running.name == pool.name);
        if let Some(running) = before.filter(|running| running.instances == pool.instances) {
            pool.wanted = running.wanted;
            pool.wanted_because.clone_from(&running.wanted_because);
        }
    }
}

/// Adds the variables of `--env` to the pool of `--pool`, or to the app.
fn add_environment(options: &ReplaceOptions, spec: &mut AppSpec) {
    let pool = options.pool.pool.as_ref();
    let mut pools = spec.pools.iter_mut();
    match pools.find(|found| pool == Some(&found.name)) {
        Some(pool) => pool.env.extend(options.env.iter().cloned()),
        None => spec.env.extend(options.env.iter().cloned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::targets::fake_primary::{self as fake, FakePrimary};
    use config::spec::Instances;
    use ipc::control::{FailureKind, Reply};

    fn reload(argv: &[&str], session: &mut Session) -> Result<Exit, Failure> {
        let options: ReplaceOptions = parse(argv).unwrap();
        replace(&[options], session, "reloading", |spec, pool| Request::Reload { spec, pool })
    }

    #[test]
    fn the_number_of_scale_stays_unless_the_file_has_changed() {
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

    #[test]
    fn a_rolled_back_reload_is_exit_code_four() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = fake::session(dir.path());
        let primary = FakePrimary::start(
            &session.home,
            "web",
            |request| matches!(request, Request::Reload { .. }),
            |request| match request {
                Request::Spec => vec![Reply::Spec(Box::new(fake::spec("web")))],
                _ => vec![Reply::Failed {
                    kind: FailureKind::RolledBack,
                    reason: "the new code exits: all is as before".into(),
                    last_lines: vec!["SyntaxError".into()],
                }],
            },
        );
        assert_eq!(
            reload(&["web", "-e", "A=1", "--timeout", "1m"], &mut session).unwrap(),
            Exit::RolledBack
        );
        let mut expected = fake::spec("web");
        expected.env.insert("A".into(), "1".into());
        assert_eq!(
            primary.end()[1],
            Request::Reload { spec: Some(Box::new(expected)), pool: None }
        );
    }

    #[test]
    fn a_broken_file_is_found_before_anything_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = fake::session(dir.path());
        let mut spec = fake::spec("web");
        spec.source = Some(dir.path().join("gone.toml"));
        let primary = FakePrimary::start(
            &session.home,
            "web",
            |_| true,
            move |_| vec![Reply::Spec(Box::new(spec.clone()))],
        );
        assert_eq!(
            reload(&["web", "--timeout", "1m"], &mut session).unwrap_err().exit,
            Exit::Usage
        );
        assert_eq!(primary.end(), [Request::Spec]);
    }
}
