//! The order in which apps are started that depend on each other.

use std::collections::BTreeSet;

use config::spec::{AppSpec, Dependency};

use super::completion;
use super::exit::Failure;
use super::launch::zygote::ManyStarts;
use super::output;
use super::session::Session;
use super::side_by_side::{Work, side_by_side};
use super::targets::{Outcome, Results};

/// The indices of the apps, each after those that it depends on, and otherwise in the given order.
/// What is not among the apps is no reason to wait.
///
/// # Errors
///
/// The names of a circle, the first one again at its end.
pub(crate) fn order(apps: &[&AppSpec]) -> Result<Vec<usize>, Vec<String>> {
    let names: BTreeSet<&str> = apps.iter().map(|app| app.name.as_str()).collect();
    let (mut order, mut placed) = (Vec::new(), BTreeSet::new());
    let mut left: Vec<usize> = (0..apps.len()).collect();
    while !left.is_empty() {
        let waits = |at: &usize, placed: &BTreeSet<&str>| {
            let mut others = apps[*at].depends_on.keys().map(String::as_str);
            others.any(|other| names.contains(other) && !placed.contains(other))
        };
        let before = left.len();
        left.retain(|at| {
            let waits = waits(at, &placed);
            if !waits {
                placed.insert(apps[*at].name.as_str());
                order.push(*at);
            }
            waits
        });
        if left.len() == before {
            return Err(circle(apps, left[0], &placed));
        }
    }
    Ok(order)
}

/// Puts apps into this [`order`].
pub(crate) fn arranged<T>(apps: Vec<T>, order: Vec<usize>) -> Vec<T> {
    let mut apps: Vec<Option<T>> = apps.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| apps[at].take()).collect()
}

/// Something that is done for an app, which may depend on other apps.
pub(crate) trait Dependent: Sync {
    /// The name of the app.
    fn name(&self) -> &str;
    /// What the app is to be; `None`: it goes.
    fn spec(&self) -> Option<&AppSpec>;
}

impl Dependent for AppSpec {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self) -> Option<&AppSpec> {
        Some(self)
    }
}

/// Calls `act` for each of the apps, which are in [`order`], side by side as far as no app depends
/// on another. `act` is told which apps have failed so far. Gives each result to `results`, in
/// order.
pub(crate) fn in_stages<T: Dependent>(
    work: Work,
    ordered: &[T],
    (session, results): (&mut Session, &mut Results),
    act: impl Fn(&T, &BTreeSet<String>) -> Result<Outcome, Failure> + Sync,
) {
    let _many = ManyStarts::expect(ordered.len());
    let home = session.home.clone();
    for stage in stages(ordered) {
        let mut failed = results.failed();
        let jobs: BTreeSet<&str> = stage.iter().flat_map(jobs_of).collect();
        let jobs: Vec<&str> = jobs.into_iter().filter(|job| !failed.contains(*job)).collect();
        side_by_side(
            Work::Waits,
            &jobs,
            |job| completion::wait(&home, job),
            |job, done| {
                if let Err(failure) = done {
                    output::above_progress(|| output::report(&failure));
                    failed.insert((*job).to_owned());
                }
            },
        );
        let take = |app: &T, result| results.take(session, app.name(), result);
        side_by_side(work, stage, |app| act(app, &failed), take);
    }
}

/// The apps that must have done their work before this one is started.
fn jobs_of<T: Dependent>(app: &T) -> impl Iterator<Item = &str> {
    let others = app.spec().into_iter().flat_map(|spec| &spec.depends_on);
    others.filter(|(_, wait)| **wait == Dependency::Completed).map(|(name, _)| name.as_str())
}

/// Splits apps that are in [`order`] into stages. No app depends on another one of its own stage.
fn stages<T: Dependent>(ordered: &[T]) -> Vec<&[T]> {
    let depends = |app: &T, other: &T| {
        app.spec().is_some_and(|spec| spec.depends_on.contains_key(other.name()))
    };
    let (mut stages, mut begun) = (Vec::new(), 0);
    for at in 0..ordered.len() {
        if ordered[begun..at].iter().any(|other| depends(&ordered[at], other)) {
            stages.push(&ordered[begun..at]);
            begun = at;
        }
    }
    if begun < ordered.len() {
        stages.push(&ordered[begun..]);
    }
    stages
}

/// A circle that is reached from an app that can never be placed.
fn circle(apps: &[&AppSpec], from: usize, placed: &BTreeSet<&str>) -> Vec<String> {
    let mut way = vec![apps[from].name.as_str()];
    loop {
        let last = way[way.len() - 1];
        let app = apps.iter().find(|app| app.name == last);
        let waits =
            |name: &&str| !placed.contains(*name) && apps.iter().any(|other| other.name == **name);
        let next = app.and_then(|app| app.depends_on.keys().map(String::as_str).find(waits));
        let Some(next) = next else { break };
        let known = way.iter().position(|name| *name == next);
        way.push(next);
        if let Some(known) = known {
            way.drain(..known);
            break;
        }
    }
    way.into_iter().map(str::to_owned).collect()
}

/// The app whose failure keeps this one from being started, if there is one.
pub(crate) fn blocked<'a>(spec: &'a AppSpec, failed: &BTreeSet<String>) -> Option<&'a str> {
    let mut needed = spec.depends_on.iter().filter(|(_, wait)| **wait != Dependency::Started);
    needed.find(|(name, _)| failed.contains(*name)).map(|(name, _)| name.as_str())
}

/// The failure of an app that was not started because of another one.
pub(crate) fn not_started(name: &str, other: &str) -> Failure {
    Failure::failed(format!("{name}: not started, because {other}, which it depends on, failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str, depends_on: &[&str]) -> AppSpec {
        let mut spec = AppSpec::new(name, vec!["true".into()], "/".into());
        let depends = depends_on.iter().map(|&name| (name.to_owned(), Dependency::Ready));
        spec.depends_on = depends.collect();
        spec
    }

    fn ordered(apps: &[AppSpec]) -> Result<Vec<&str>, Vec<String>> {
        let apps: Vec<&AppSpec> = apps.iter().collect();
        Ok(order(&apps)?.into_iter().map(|at| apps[at].name.as_str()).collect())
    }

    #[test]
    fn each_app_comes_after_what_it_depends_on() {
        let apps =
            [app("web", &["db", "cache"]), app("cache", &["db"]), app("x", &[]), app("db", &[])];
        assert_eq!(ordered(&apps).unwrap(), ["x", "db", "cache", "web"]);
        assert_eq!(ordered(&[app("b", &["elsewhere"]), app("a", &[])]).unwrap(), ["b", "a"]);
    }

    #[test]
    fn no_app_depends_on_another_one_of_its_stage() {
        let apps = [app("x", &[]), app("db", &[]), app("cache", &["db"]), app("web", &["cache"])];
        let lengths = |apps: &[AppSpec]| -> Vec<usize> {
            stages(apps).iter().map(|stage| stage.len()).collect()
        };
        assert_eq!(lengths(&apps), [2, 1, 1]);
        assert_eq!(lengths(&apps[..2]), [2]);
        assert!(lengths(&[]).is_empty());
    }

    #[test]
    fn a_circle_is_named() {
        let apps = [app("in", &["a"]), app("a", &["b"]), app("b", &["c"]), app("c", &["a"])];
        assert_eq!(ordered(&apps).unwrap_err(), ["a", "b", "c", "a"]);
        assert_eq!(ordered(&[app("a", &["a"])]).unwrap_err(), ["a", "a"]);
    }

    #[test]
    fn only_an_app_that_must_be_ready_keeps_others_back() {
        let mut web = app("web", &["db"]);
        let failed = ["db".to_owned()].into();
        assert_eq!(blocked(&web, &failed), Some("db"));
        web.depends_on.insert("db".to_owned(), Dependency::Started);
        assert_eq!(blocked(&web, &failed), None);
        assert!(jobs_of(&web).next().is_none());
        web.depends_on.insert("db".to_owned(), Dependency::Completed);
        assert_eq!(blocked(&web, &failed), Some("db"));
        assert!(jobs_of(&web).eq(["db"]));
        assert_eq!(blocked(&app("web", &[]), &failed), None);
    }
}
