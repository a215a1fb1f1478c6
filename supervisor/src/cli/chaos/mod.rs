//! `chaos`: does to an app what production does to it, under load, and counts what its clients
//! lose.
//!
//! The plan of the faults (`plan`) and the judgement of the losses (`verdict`) are pure. The
//! clients (`load`) run in threads of this process, beside the steps (`act`). What the run leaves
//! behind, its guard clears away (`trial`).

mod act;
mod clock;
mod fault;
mod footprint;
mod load;
mod loss;
mod options;
mod plan;
mod report;
mod subject;
mod verdict;
mod websocket;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use options::ChaosOptions;

use act::Actor;
use clock::Clock;
use fault::Fault;
use footprint::Footprint;
use load::{Load, Notes, Running, Tally};
use loss::Style;
use plan::{Plan, Step, kills_within_window};
use report::{FailedStep, Report, Row};
use subject::Subject;
use verdict::{Baseline, Span, judge};

use super::exit::{Exit, Failure};
use super::output::{note, stderr_is_terminal};
use super::session::Session;
use super::side_by_side::{Work, side_by_side};
use super::trial::guard::{self, Guard};
use super::trial::interrupt::Interrupt;
use super::trial::report::{Report as _, print};
use super::trial::site::{self, Site};
use crate::sys::random;

/// The time without faults before the first: a tenth of the run, between these.
const SHORTEST_BASELINE: Duration = Duration::from_secs(1);
const LONGEST_BASELINE: Duration = Duration::from_secs(10);
/// Load without faults after the last.
const AFTER: Duration = Duration::from_millis(500);
/// How often it is checked whether a step is done or a signal has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a step may take to break off after a signal.
const BREAKS_OFF_IN: Duration = Duration::from_secs(3);

/// The rows of the load: the baseline, the time between faults, and each fault.
const BASELINE: usize = 0;
const BETWEEN: usize = 1;

fn row_of(fault: Fault) -> usize {
    BETWEEN + 1 + fault as usize
}

fn rows() -> usize {
    BETWEEN + 1 + Fault::all().count()
}

/// Runs the faults, and prints what they did.
pub(crate) fn run(options: &ChaosOptions, session: &mut Session) -> Result<Exit, Failure> {
    if !options.trial.guarded {
        subject::may_be_used(options, session)?;
    }
    let verb = (subject::VERB, false);
    guard::guarded(&options.trial, session, verb, |session, guard, interrupt| {
        trial(options, session, guard, interrupt)
    })
}

/// The run itself.
fn trial(
    options: &ChaosOptions,
    session: &mut Session,
    guard: &Guard,
    interrupt: &Interrupt,
) -> Result<Exit, Failure> {
    let subject = Subject::take(options, session, guard, interrupt)?;
    let report = attack(options, session, &subject, guard, interrupt);
    let is_good = report.as_ref().is_ok_and(|report| report.exit() == Exit::Done);
    if is_good {
        subject.needs_no_logs()?;
    }
    let logs = (!is_good).then(|| subject.logs());
    let report = report?;
    print(&report, &options.trial, session)?;
    if let Some(logs) = logs {
        note(format_args!("the logs of the app are in {logs}"));
    }
    Ok(report.exit())
}

/// What happened in a run.
#[derive(Debug, Default)]
struct Course {
    spans: Vec<Span>,
    failed: Vec<FailedStep>,
    times: BTreeMap<Fault, u64>,
    /// When workers were killed.
    kills: Vec<u64>,
}

fn attack(
    options: &ChaosOptions,
    session: &Session,
    subject: &Subject,
    guard: &Guard,
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    let faults = faults(options, subject);
    if faults.is_empty() {
        return Err(Failure::usage("this app can have none of these faults: see docs/chaos.md"));
    }
    let status = subject.listening(interrupt)?;
    let address = site::address(&status, options.address, options.anywhere)?;
    let mut site = Site::learn(address, &options.trial.path, options.status)?;
    let seed = options.seed.unwrap_or_else(|| random::number() >> 32);
    let clock = Clock::begin();
    let (load, left_out) = clients(options, &mut site, seed, clock)?;
    let mut report = Report::new(&site, seed, Footprint::of(&status));
    report.app.clone_from(&subject.name);
    report.command.clone_from(&subject.spec.command);
    report.styles.clone_from(&load.styles);
    report.styles.sort_unstable();
    report.styles.dedup();
    report.left_out = left_out;

    let actor = Actor {
        home: session.home.clone(),
        name: subject.name.clone(),
        address,
        clock,
        interrupt: interrupt.clone(),
        guard: guard.clone(),
        deaths: Arc::new(Mutex::new(Vec::new())),
    };
    let running = load.start(clock, rows(), BASELINE)?;
    let quiet = (options.duration / 10).clamp(SHORTEST_BASELINE, LONGEST_BASELINE);
    interrupt.wait(quiet);
    let begun = clock.now();
    running.enter(BETWEEN);
    let end = begun + u64::try_from((options.duration - quiet).as_millis()).unwrap_or(u64::MAX);
    let course = carry_out(&actor, &running, Plan::new(seed, &faults), subject, end)?;
    interrupt.wait(AFTER);
    let notes = running.stop(interrupt);
    report.duration_ms = clock.now();
    report.interrupted = interrupt.came();
    report.after = subject.status().ok().map(|status| Footprint::of(&status));
    sum_up(&mut report, course, notes, begun, &actor);
    Ok(report)
}

/// The faults that the user wants and the app can have.
fn faults(options: &ChaosOptions, subject: &Subject) -> Vec<Fault> {
    let wanted = match options.only.is_empty() {
        true => Fault::all().collect(),
        false => options.only.clone(),
    };
    let can = |fault: &Fault| Actor::is_possible(*fault, &subject.spec, subject.is_own);
    wanted.into_iter().filter(can).collect()
}

/// The clients, and the styles that the server cannot do even without faults.
fn clients(
    options: &ChaosOptions,
    site: &mut Site,
    seed: u64,
    clock: Clock,
) -> Result<(Load, Vec<Style>), Failure> {
    site.socket.clone_from(&options.websocket);
    let mut load = Load {
        site: site.clone(),
        styles: Vec::new(),
        connections: usize::from(options.trial.connections),
        rate: options.rate,
        limit: options.limit,
        kept_for: options.kept_for,
        seed,
    };
    if site.status.is_none() {
        load.styles = vec![Style::Hold];
        return Ok((load, Vec::new()));
    }
    let mut found = Vec::new();
    let try_out = |style: &Style| load.can(*style, clock);
    side_by_side(Work::Waits, &Style::HTTP, try_out, |style, can| found.push((*style, can)));
    let of =
        |wanted: bool| found.iter().filter(move |(_, can)| *can == wanted).map(|(style, _)| *style);
    // Twice as many of those that most clients are.
    let common = of(true).filter(|style| matches!(style, Style::New | Style::Kept));
    let styles: Vec<Style> = of(true).chain(common).collect();
    let mut left_out: Vec<Style> = of(false).collect();
    match &options.websocket {
        Some(path) if left_out.contains(&Style::WebSocket) => {
            return Err(Failure::failed(format!(
                "{}{path} does not send back what a WebSocket sends",
                site.address
            )));
        }
        Some(_) => {}
        // Most servers have none.
        None => left_out.retain(|style| *style != Style::WebSocket),
    }
    load.styles = styles;
    match load.styles.is_empty() {
        true => Err(Failure::failed(format!("{} does not answer reliably", site.address))),
        false => Ok((load, left_out)),
    }
}

/// Carries out the steps of the plan until `end`.
fn carry_out(
    actor: &Actor,
    running: &Running,
    plan: Plan,
    subject: &Subject,
    end: u64,
) -> Result<Course, Failure> {
    let mut course = Course::default();
    let restart = &subject.spec.restart;
    let window = u64::try_from(restart.window.as_millis()).unwrap_or(u64::MAX);
    let most_kills = kills_within_window(restart.max_restarts);
    let mut skipped = 0;
    for step in plan {
        actor.interrupt.wait(step.pause);
        let begun = actor.clock.now();
        if begun >= end || actor.interrupt.came() {
            break;
        }
        if step.fault.kills_a_worker() {
            let recent = course.kills.iter().filter(|at| begun - **at < window).count();
            if recent >= most_kills {
                skipped += 1;
                continue;
            }
            course.kills.push(begun);
        }
        if stderr_is_terminal() {
            note(format_args!("{:>6.1} s  {}", begun as f64 / 1000.0, step.fault.meaning()));
        }
        running.enter(row_of(step.fault));
        let done = step_in_thread(actor, step)?;
        running.enter(BETWEEN);
        let ended = actor.clock.now();
        course.spans.push(Span { fault: step.fault, begun, ended });
        *course.times.entry(step.fault).or_default() += 1;
        if let Err(failure) = done {
            let reason = failure.reason;
            course.failed.push(FailedStep { fault: step.fault, at_ms: begun, reason });
        }
    }
    if skipped > 0 {
        note(format_args!(
            "{skipped} kills were left out: more would make the primary give the worker up \
             (max_restarts {})",
            restart.max_restarts
        ));
    }
    Ok(course)
}

/// Carries a step out in a thread, so that a signal ends the wait. A step that stopped a worker
/// lets it go on before that.
fn step_in_thread(actor: &Actor, step: Step) -> Result<Result<(), Failure>, Failure> {
    let (sender, done) = mpsc::channel();
    let mover = actor.clone();
    thread::Builder::new()
        .spawn(move || _ = sender.send(mover.perform(&step)))
        .map_err(|error| Failure::io("cannot start a thread for a step", &error))?;
    let mut broken_off = None;
    loop {
        match done.recv_timeout(LOOK_EVERY) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) if actor.interrupt.came() => {
                let since = *broken_off.get_or_insert_with(Instant::now);
                if since.elapsed() > BREAKS_OFF_IN {
                    return Ok(Ok(()));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Err(Failure::failed("the step ended without a result")));
            }
        }
    }
}

/// Judges the losses and fills the rows.
fn sum_up(report: &mut Report, course: Course, notes: Notes, begun: u64, actor: &Actor) {
    let made = |rows: &[Tally]| -> u64 { rows.iter().map(|row| row.requests).sum() };
    let before = made(&notes.rows[..BETWEEN]);
    let (baseline, after) = Baseline::split(notes.losses, begun, before);
    let requests = made(&notes.rows[BETWEEN..]);
    let deaths = actor.deaths.lock().unwrap_or_else(PoisonError::into_inner);
    let verdict = judge(after, &course.spans, &deaths, &baseline, requests);
    report.baseline = Row::new(None, 0, &notes.rows[BASELINE]).with_own(baseline.lost());
    report.rows.push(Row::new(None, 0, &notes.rows[BETWEEN]));
    for (fault, times) in &course.times {
        report.rows.push(Row::new(Some(*fault), *times, &notes.rows[row_of(*fault)]));
    }
    report.more_lost = notes.more;
    report.no_room = notes.no_room;
    report.failed = course.failed;
    report.judge(&verdict);
}
