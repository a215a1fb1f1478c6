//! Replaces the workers of apps with the configuration as it is now. `reload` and `restart` do
//! that. The primary of each app reads its file and merges the change (`config::change`).

mod options;
mod overrides;

use std::collections::BTreeMap;

use config::change::SpecChange;
use config::cpus::Cpus;
use config::spec::AppSpec;
use ipc::control::{Method, Request};

pub(crate) use options::ReplaceOptions;

use super::exit::{Exit, Failure};
use super::launch::start_app;
use super::launch::zygote::ManyStarts;
use super::session::Session;
use super::side_by_side::{Work, side_by_side};
use super::specs::Exports;
use super::targets::probe::{self, AppState};
use super::targets::{Outcome, Results, Targets, ask, running_spec, split_files_and_names};
use crate::home::Home;

/// What happens to one app.
#[derive(Debug)]
enum Plan {
    /// Its primary merges the change with what stands, and replaces its workers.
    Change {
        change: Box<SpecChange>,
        /// What stands.
        running: Box<AppSpec>,
    },
    /// It does not exist and is started.
    Start(Box<AppSpec>),
}

/// Sends, for each app of `groups`, its change and the method that `method` makes of the pool;
/// several at once. Prints each result in the order of the apps, and returns the worst exit code.
/// `activity` names what happens meanwhile ("reloading").
pub(crate) fn replace(
    groups: &[ReplaceOptions],
    session: &mut Session,
    activity: &str,
    method: impl Fn(Option<String>) -> Method + Sync,
) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    for options in groups {
        all.extend(plans(options, session)?.into_iter().map(|planned| (options, planned)));
    }
    // A primary finds the faults of a file before it changes anything. With several apps, the
    // faults of the last one are to be found before the first one changes; and nobody would hear
    // of them with --no-wait.
    let home = session.home.clone();
    let mut exports = Exports::new(&home);
    if all.len() > 1 || groups.iter().any(|options| options.wait.no_wait) {
        for (_, (name, plan)) in &all {
            plan.as_ref().map_or(Ok(()), |plan| check_file(&mut exports, name, plan))?;
        }
    }
    let json = groups.iter().any(|options| options.wait.json);
    let mut jobs = Vec::new();
    for (options, (name, plan)) in all {
        let plan = plan.and_then(|plan| with_exports(plan, &mut exports));
        jobs.push(Job { options, name, plan });
    }
    let starts = jobs.iter().filter(|job| matches!(job.plan, Ok(Plan::Start(_)))).count();
    let _many = ManyStarts::expect(starts);
    let mut results = Results::new(json);
    let take = |job: &Job<'_>, result| results.take(session, &job.name, result);
    side_by_side(Work::Replaces, &jobs, |job| job.run(&home, activity, &method), take);
    results.finish(session)
}

/// What is done for one app.
struct Job<'o> {
    options: &'o ReplaceOptions,
    name: String,
    plan: Result<Plan, Failure>,
}

impl Job<'_> {
    fn run(
        &self,
        home: &Home,
        activity: &str,
        method: impl Fn(Option<String>) -> Method,
    ) -> Result<Outcome, Failure> {
        let Self { options, name, plan } = self;
        match plan.as_ref().map_err(Clone::clone)? {
            Plan::Change { change, .. } => {
                let (change, method) = ((**change).clone(), method(options.pool.pool.clone()));
                let request = Request::Configure { change, method };
                let outcome = ask(home, name, &request, activity, &options.wait)?;
                let kept = match options.wait.no_wait {
                    true => String::new(),
                    false => overrides::note(home, name),
                };
                Ok(Outcome { message: outcome.message + &kept, ..outcome })
            }
            Plan::Start(spec) => start_app(home, spec, None, &options.wait),
        }
    }
}

/// The plan with what the file of the app exports, if that file is a program.
fn with_exports(mut plan: Plan, exports: &mut Exports<'_>) -> Result<Plan, Failure> {
    if let Plan::Change { change, running } = &mut plan
        && let Some(file) = change.source(running)
    {
        change.exports = exports.of(file)?.map(str::to_owned);
    }
    Ok(plan)
}

/// The name of an app, and its plan or why there can be none.
type PlannedChange = (String, Result<Plan, Failure>);

/// The plans of all apps. Fails, before anything is changed, if the command line or a file that the
/// user named is wrong.
fn plans(options: &ReplaceOptions, session: &Session) -> Result<Vec<PlannedChange>, Failure> {
    let (files, names) =
        split_files_and_names(&options.names, options.profile.as_deref(), session)?;
    let mut plans = Vec::new();
    let known = session.home.apps()?;
    let is_meant = |spec: &AppSpec| spec.autostart || known.contains(&spec.name);
    let home = &session.home;
    let files: Vec<AppSpec> = files.into_iter().filter(is_meant).collect();
    let plan = |spec: &AppSpec| from_file(options, home, spec.clone());
    side_by_side(Work::Waits, &files, plan, |spec, plan| plans.push((spec.name.clone(), plan)));
    if names.is_empty() {
        return Ok(plans);
    }
    let targets = Targets::resolve(session, &names)?;
    let mut wrong = None;
    let plan = |name: &String| from_running(options, home, name);
    side_by_side(Work::Waits, &targets.names, plan, |name, plan| match plan {
        Err(failure) if failure.exit == Exit::Usage => _ = wrong.get_or_insert(failure),
        Err(failure) if targets.all && failure.exit == Exit::NoSuchApp => {}
        plan => plans.push((name.clone(), plan)),
    });
    wrong.map_or(Ok(plans), Err)
}

/// The plan for an app in a file that the user named: the app is started if it does not exist.
fn from_file(options: &ReplaceOptions, home: &Home, mut spec: AppSpec) -> Result<Plan, Failure> {
    match probe::probe(home, &spec.name)? {
        AppState::Absent if options.pool.pool.is_some() => Err(probe::no_such_app(&spec.name)),
        AppState::Absent => {
            overrides::put(options, &mut spec)?;
            Ok(Plan::Start(Box::new(spec)))
        }
        AppState::Stranded(workers) => Err(workers.failure(&spec.name)),
        AppState::Answers(_) | AppState::Silent(_) => {
            options.pool.find(home, &spec.name)?;
            let running = running_spec(home, &spec.name)?;
            // Of an operator the primary takes only its own reading of the file.
            let variables = if home.may_see_all() { spec.variables } else { BTreeMap::new() };
            let change = SpecChange { file: spec.source, variables, ..options.change() };
            Ok(Plan::Change { change: Box::new(change), running: Box::new(running) })
        }
    }
}

/// The plan for an app that the user named: it gets its file as it is now, if it came from one.
fn from_running(options: &ReplaceOptions, home: &Home, name: &str) -> Result<Plan, Failure> {
    options.pool.find(home, name)?;
    let running = running_spec(home, name)?;
    Ok(Plan::Change { change: Box::new(options.change()), running: Box::new(running) })
}

/// Reads the file of an app, so that its faults are found now. A file that the user named has been
/// read already.
fn check_file(exports: &mut Exports<'_>, name: &str, plan: &Plan) -> Result<(), Failure> {
    let Plan::Change { change, running } = plan else { return Ok(()) };
    let Some(source) = running.source.as_ref().filter(|_| change.file.is_none()) else {
        return Ok(());
    };
    if exports.of(source)?.is_none() && exports.may_see_all() {
        // With the variables that the primary will take.
        return change.read(running, &Cpus::read()).map(drop).map_err(Failure::usage);
    }
    let profile = change.profile.as_deref().or(running.profile.as_deref());
    let found = exports.read_file(source, profile)?;
    match found.iter().any(|spec| spec.name == name) {
        true => Ok(()),
        false => Err(Failure::usage(format!("{name} is no longer in {}", source.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::targets::fake_primary::{self as fake, FakePrimary};
    use ipc::control::{FailureKind, Reply};

    fn reload(argv: &[&str], session: &mut Session) -> Result<Exit, Failure> {
        let options: ReplaceOptions = parse(argv).unwrap();
        replace(&[options], session, "reloading", |pool| Method::Rolling { pool })
    }

    #[test]
    fn a_rolled_back_reload_is_exit_code_four() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = fake::session(dir.path());
        let primary = FakePrimary::start(
            &session.home,
            "web",
            |request| matches!(request, Request::Configure { .. }),
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
        let env = vec![("A".to_owned(), "1".to_owned())];
        let change = SpecChange { env, ..SpecChange::default() };
        let method = Method::Rolling { pool: None };
        assert_eq!(primary.end().last(), Some(&Request::Configure { change, method }));
    }

    #[test]
    fn a_broken_file_is_found_before_any_app_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = fake::session(dir.path());
        let start = |name: &'static str| {
            let mut spec = fake::spec(name);
            spec.source = Some(dir.path().join(format!("{name}.toml")));
            let answer = move |_: &Request| vec![Reply::Spec(Box::new(spec.clone()))];
            FakePrimary::start(&session.home, name, |request| *request == Request::Spec, answer)
        };
        let primaries = ["a", "b"].map(start);
        std::fs::write(dir.path().join("a.toml"), "name = \"a\"\ncommand = \"true\"\n").unwrap();
        let failure = reload(&["a", "b", "--timeout", "1m"], &mut session).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        for primary in primaries {
            assert_eq!(primary.end(), [Request::Spec]);
        }
    }
}
