//! The apps that a command works on: which they are, what state they are in, and what is asked of
//! their primaries.

mod named_files;
mod outcome;
mod pool;
pub(crate) mod probe;
pub(crate) mod recorded;
mod request;
mod stranded;

#[cfg(test)]
pub(crate) mod fake_primary;

pub(crate) use named_files::{refuse_other_procfile, resolve_with_files, split_files_and_names};
pub(crate) use outcome::{Outcome, Results};
pub(crate) use pool::PoolOption;
pub(crate) use request::{ask, running_spec, without_name};

use std::collections::BTreeSet;

use super::exit::{Exit, Failure};
use super::output;
use super::session::Session;
use super::side_by_side::{Work, side_by_side};
use crate::home::Home;

/// The word for every app.
const ALL: &str = "all";

/// The apps of a command: each once, in the order in which the user named them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) names: Vec<String>,
    /// Whether these are all the apps, rather than those that the user named.
    pub(crate) all: bool,
}

impl Targets {
    /// Every app, running or not.
    pub(crate) fn all(session: &Session) -> Result<Self, Failure> {
        Ok(Self { names: session.home.apps()?, all: true })
    }

    /// The named apps. No names stand for all apps.
    pub(crate) fn named_or_all(session: &Session, given: &[String]) -> Result<Self, Failure> {
        match given.is_empty() {
            true => Self::resolve(session, &[ALL.to_owned()]),
            false => Self::resolve(session, given),
        }
    }

    /// The named apps, for a command that watches them. `None`: all apps, with those that are
    /// started later.
    pub(crate) fn named(
        session: &Session,
        given: &[String],
    ) -> Result<Option<Vec<String>>, Failure> {
        match given.is_empty() || given.iter().any(|name| name == ALL) {
            true => Ok(None),
            false => Ok(Some(Self::resolve(session, given)?.names)),
        }
    }

    /// The named apps; the name `all` stands for all apps. Refuses a name that no app can have.
    /// Whether an app of a name exists is not checked.
    pub(crate) fn resolve(session: &Session, given: &[String]) -> Result<Self, Failure> {
        if given.iter().any(|name| name == ALL) {
            let targets = Self::all(session)?;
            if targets.names.is_empty() {
                output::note("supervisor: there are no apps");
            }
            return Ok(targets);
        }
        let mut names: Vec<String> = Vec::new();
        for given in given {
            if let Some(namespace) = given.strip_suffix(':') {
                let members = Self::of_namespace(session, namespace)?;
                names.extend(members);
                continue;
            }
            if let Some((app, pool)) = given.split_once(':') {
                return Err(Failure::usage(format!(
                    "\"{given}\": this is for whole apps; one pool ({pool} of {app}) can be scaled, \
                     reloaded and restarted"
                )));
            }
            config::name::check(given).map_err(Failure::usage)?;
            names.push(given.clone());
        }
        let mut known = BTreeSet::new();
        names.retain(|name| known.insert(name.clone()));
        Ok(Self { names, all: false })
    }

    /// The apps of a namespace, as their records say. Fails if there are none.
    fn of_namespace(session: &Session, namespace: &str) -> Result<Vec<String>, Failure> {
        let is_member = |name: &String| {
            let record = session.home.read_record(name);
            record.is_some_and(|record| record.spec.namespace.as_deref() == Some(namespace))
        };
        let names: Vec<String> = session.home.apps()?.into_iter().filter(is_member).collect();
        match names.is_empty() {
            true => Err(Failure::new(
                Exit::NoSuchApp,
                format!("no app is in the namespace \"{namespace}\""),
            )),
            false => Ok(names),
        }
    }

    /// Runs `action` for each app, several at once as `work` says, prints each result in the order
    /// of the names, and returns the worst exit code. Every app is tried, whatever becomes of the
    /// others.
    pub(crate) fn each(
        &self,
        session: &mut Session,
        json: bool,
        work: Work,
        action: impl Fn(&Home, &str) -> Result<Outcome, Failure> + Sync,
    ) -> Result<Exit, Failure> {
        let mut results = Results::new(json);
        let home = session.home.clone();
        let take = |name: &String, result: Result<Outcome, Failure>| {
            // The files of a dead primary have the name of an app until a probe removes them.
            if self.all && matches!(&result, Err(failure) if failure.exit == Exit::NoSuchApp) {
                return;
            }
            // "all" means the apps of another user that this user is allowed to command.
            if self.all
                && matches!(&result, Err(failure) if failure.exit == Exit::NotPermitted)
                && home.is_of_another_user()
            {
                return;
            }
            results.take(session, name, result);
        };
        side_by_side(work, &self.names, |name| action(&home, name), take);
        results.finish(session)
    }
}

#[cfg(test)]
mod tests {
    use super::fake_primary::session;
    use super::*;

    #[test]
    fn names_are_checked_and_each_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path());
        let resolve = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            Targets::resolve(&session, &names)
        };
        assert_eq!(resolve(&["b", "a", "b"]).unwrap().names, ["b", "a"]);
        assert_eq!(resolve(&["shop:"]).unwrap_err().exit, Exit::NoSuchApp);
        let mut spec = config::spec::AppSpec::new("y", vec!["true".into()], "/".into());
        spec.namespace = Some("shop".to_owned());
        session.home.prepare().unwrap();
        let record = crate::home::Record::new(1, Vec::new(), spec);
        session.home.write_record("y", &record).unwrap();
        assert_eq!(resolve(&["b", "shop:", "y"]).unwrap().names, ["b", "y"]);
        std::fs::remove_file(session.home.record("y")).unwrap();
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
            targets.each(&mut session, true, Work::Waits, |_, name| match name {
                "a" => Err(Failure::failed("no")),
                "b" => Err(Failure::new(Exit::NoSuchApp, "no such app")),
                _ => Ok(Outcome::new("fine")),
            })
        };
        assert_eq!(run(&targets).unwrap(), Exit::NoSuchApp);
        targets.all = true;
        assert_eq!(run(&targets).unwrap(), Exit::Failed);
    }
}
