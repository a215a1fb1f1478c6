//! Does what a plan says, app by app.

use config::difference;
use config::spec::AppSpec;
use ipc::control::{Method, Request};

use super::decide::{Planned, Step};
use crate::cli::args::WaitOptions;
use crate::cli::deletion::delete;
use crate::cli::dependencies::{Dependent, blocked, in_stages, not_started};
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::start_app;
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Outcome, Results, ask, running_spec};
use crate::home::Home;

/// Does every step of the plan, prints each result, and returns the worst exit code. Apps that do
/// not depend on each other are done side by side. An app that fails leaves the others as planned.
pub(crate) fn carry_out(
    plan: &[Planned],
    session: &mut Session,
    wait: &WaitOptions,
) -> Result<Exit, Failure> {
    let home = session.home.clone();
    let due: Vec<&Planned> = plan.iter().filter(|planned| planned.step != Step::Nothing).collect();
    if due.is_empty() && !wait.json {
        session.out.line("nothing to do");
    }
    let mut results = Results::new(wait.json);
    in_stages(Work::Replaces, &due, (session, &mut results), |planned, failed| {
        match planned.to.as_ref().and_then(|to| blocked(to, failed)) {
            Some(other) if planned.step == Step::Start => Err(not_started(&planned.name, other)),
            Some(_) | None => one(planned, &home, wait),
        }
    });
    results.finish(session)
}

impl Dependent for &Planned {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self) -> Option<&AppSpec> {
        self.to.as_deref()
    }
}

/// Does the step of one app.
fn one(planned: &Planned, home: &Home, wait: &WaitOptions) -> Result<Outcome, Failure> {
    let Planned { name, .. } = planned;
    match (planned.step, &planned.to) {
        (Step::Start, Some(spec)) => start_app(home, spec, None, wait),
        (Step::Restart, Some(spec)) => {
            delete(home, name, false, &WaitOptions { no_wait: false, ..wait.clone() })?;
            start_app(home, spec, None, wait)
        }
        (Step::Delete, _) => delete(home, name, false, wait),
        (Step::Live, Some(spec)) => live(planned, spec, home, wait),
        (Step::Reload, _) => {
            configure(planned, Method::Rolling { pool: None }, "reloading", home, wait)
        }
        (Step::Nothing | Step::Fail | Step::Start | Step::Restart | Step::Live, _) => {
            let why = planned.why.as_deref().unwrap_or("there is nothing to do");
            Err(Failure::failed(format!("{name}: {why}")))
        }
    }
}

fn configure(
    planned: &Planned,
    method: Method,
    activity: &str,
    home: &Home,
    wait: &WaitOptions,
) -> Result<Outcome, Failure> {
    let change = planned.change.clone().unwrap_or_default();
    ask(home, &planned.name, &Request::Configure { change, method }, activity, wait)
}

/// Changes an app while its workers run: first what no worker depends on, so that the spec says the
/// new number of workers, then the number itself, then the shared values.
fn live(
    planned: &Planned,
    to: &AppSpec,
    home: &Home,
    wait: &WaitOptions,
) -> Result<Outcome, Failure> {
    let name = &planned.name;
    let waits = WaitOptions { no_wait: false, ..wait.clone() };
    let mut done = vec![configure(planned, Method::Adopt, "changing", home, &waits)?];
    let running = running_spec(home, name)?;
    let pools = to.pools.iter().filter_map(|pool| {
        let now = running.pools.iter().find(|now| now.name == pool.name)?;
        let scaled = now.wanted != pool.wanted;
        scaled.then(|| (Some(pool.name.clone()), pool.wanted, pool.wanted_because.clone()))
    });
    let wanted = to.instances.going_on_from(running.wanted, to.wanted);
    let own = (running.wanted != wanted).then(|| (None, wanted, to.wanted_because.clone()));
    for (pool, wanted, because) in own.into_iter().chain(pools) {
        let request = Request::Scale { wanted, because, pool };
        done.push(ask(home, name, &request, "scaling", &waits)?);
    }
    let values = difference::between(&running, to);
    if values.iter().any(|change| change.takes == config::keys::Change::Config) {
        let activity = "giving the workers new values";
        done.push(configure(planned, Method::SharedValues, activity, home, wait)?);
    }
    // The first one says that no worker depends on it; the others say what the workers do.
    let said = if done.len() > 1 { &done[1..] } else { &done[..] };
    let said: Vec<&str> = said.iter().map(|outcome| outcome.message.as_str()).collect();
    Ok(Outcome::new(said.join("; ")))
}
