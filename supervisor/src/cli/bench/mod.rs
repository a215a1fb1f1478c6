//! `bench`: measures the user's own app by itself, as bare copies, under us and under others.
//!
//! `setup` says what applies to a command, `figures` what the measurements come to; both are pure.
//! `stage` starts and ends the app in each setup, `load` has the clients. The setups take turns in
//! every round, so that other work of the machine meets all of them, and ratios are those within a
//! round.

mod figures;
mod load;
mod options;
mod report;
mod setup;
mod stage;

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, Instant};

use config::cpus::Cpus;

pub(crate) use options::BenchOptions;

use figures::{Sample, What};
use report::{INTERRUPTED, Measured, Missing, Report, TIME_OVER};
use setup::{Program, Setup};
use stage::{Processes, Running, Stage};

use super::exit::{Exit, Failure};
use super::output::{note, stderr_is_terminal};
use super::session::Session;
use super::specs::in_path;
use super::trial::guard::{self, Duty, Guard};
use super::trial::interrupt::Interrupt;
use super::trial::own_app::{self, own_name};
use super::trial::report::{Report as _, print};
use super::trial::site::Site;
use crate::base::time::millis;
use crate::sys::{random, usage};

/// What the names of own apps begin with.
const VERB: &str = "bench";
/// The load before a measurement, a part of its time between these.
const SHORTEST_WARM_UP: Duration = Duration::from_millis(100);
const LONGEST_WARM_UP: Duration = Duration::from_secs(1);
/// A setup that uses less CPU time than the first within the second has done its start; and the
/// longest wait for that. Without it, the start of some copies would be measured with the others.
const QUIET: Duration = Duration::from_millis(10);
const QUIET_WITHIN: Duration = Duration::from_millis(100);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Errors that are shown.
const EXAMPLES: usize = 5;

/// Measures, and prints the tables.
pub(crate) fn run(options: &BenchOptions, session: &mut Session) -> Result<Exit, Failure> {
    guard::guarded(&options.trial, session, (VERB, true), |session, guard, interrupt| {
        let report = measure(options, &stage(options, session, guard, interrupt)?)?;
        print(&report, &options.trial, session)?;
        Ok(report.exit())
    })
}

fn stage<'a>(
    options: &BenchOptions,
    session: &Session,
    guard: &'a Guard,
    interrupt: &'a Interrupt,
) -> Result<Stage<'a>, Failure> {
    let program = Program::of(&options.rest);
    let name = own_name(VERB);
    // What gunicorn would have for itself.
    let instances = match program {
        Program::Gunicorn { workers } => workers.to_string(),
        Program::Node { .. } | Program::Other => "max".to_owned(),
    };
    let defaults = [("name", name.as_str()), ("instances", &instances)];
    let spec = own_app::fresh(&options.app, &options.rest, &defaults)?;
    own_app::must_be_new(&session.home, &spec.name)?;
    let folder = std::env::temp_dir().join(format!("supervisor-bench-{:016x}", random::number()));
    DirBuilder::new().mode(0o700).create(&folder).map_err(|error| {
        Failure::io(format_args!("cannot make the folder {}", folder.display()), &error)
    })?;
    guard.tell(Duty::Folder { path: folder.clone() })?;
    let patience = options.duration.min(stage::START_TIMEOUT);
    let pm2 = options.peer.clone().or_else(|| in_path("pm2"));
    Ok(Stage { home: session.home.clone(), spec, program, pm2, folder, guard, interrupt, patience })
}

/// A run that goes on.
struct Bench<'a> {
    options: &'a BenchOptions,
    stage: &'a Stage<'a>,
    site: Site,
    measured: Measured,
    missing: Vec<Missing>,
    errors: Vec<String>,
}

/// Finds out what the app answers, and measures it in all setups.
fn measure(options: &BenchOptions, stage: &Stage<'_>) -> Result<Report, Failure> {
    let end = Instant::now() + options.duration;
    let (running, address) = stage.single(options.address)?;
    let site = Site::learn(address, &options.trial.path, Some(options.status));
    stage.end(running, Some(address));
    let mut bench = Bench {
        options,
        stage,
        site: site?,
        measured: Measured::default(),
        missing: Vec::new(),
        errors: Vec::new(),
    };
    let setups = bench.setups();
    let ended_early = bench.rounds(setups, end)?;
    Ok(Report {
        command: options.rest.clone(),
        address: address.to_string(),
        path: options.trial.path.clone(),
        status: options.status,
        copies: stage.spec.wanted,
        cpus: Cpus::read().count,
        connections: options.trial.connections,
        span_ms: millis(options.span),
        rounds: options.rounds,
        base: bench.measured.base(),
        rows: bench.measured.rows(),
        not_measured: bench.missing,
        ended_early,
        first_errors: bench.errors,
    })
}

impl Bench<'_> {
    /// The setups that the user wants and that apply.
    fn setups(&mut self) -> Vec<Setup> {
        let wanted = Setup::all().into_iter().filter(|setup| self.options.wants(*setup));
        let mut setups = Vec::new();
        for setup in wanted {
            let stage = self.stage;
            match stage.program.refuses(setup, stage.spec.wanted, stage.pm2.is_some()) {
                Some(reason) => self.missing.push(Missing { setup, reason }),
                None => setups.push(setup),
            }
        }
        setups
    }

    /// All rounds, each with another setup first. Returns why they ended early, if they did. A
    /// setup that fails is not tried again.
    fn rounds(
        &mut self,
        mut setups: Vec<Setup>,
        end: Instant,
    ) -> Result<Option<&'static str>, Failure> {
        for round in 0..self.options.rounds {
            let shift = usize::from(round > 0 && !setups.is_empty());
            setups.rotate_left(shift);
            for setup in &setups {
                if self.stage.interrupt.came() {
                    return Ok(Some(INTERRUPTED));
                }
                if Instant::now() > end {
                    return Ok(Some(TIME_OVER));
                }
                if stderr_is_terminal() {
                    let rounds = self.options.rounds;
                    note(format_args!("round {} of {rounds}: {}", round + 1, setup.word()));
                }
                let address = self.site.address;
                let done = match self.stage.start(*setup, address) {
                    Ok(running) => {
                        let done = self.one(*setup, &running, round);
                        self.stage.end(running, Some(address));
                        done
                    }
                    Err(_) if self.stage.interrupt.came() => return Ok(Some(INTERRUPTED)),
                    Err(failure) => Err(failure),
                };
                if let Err(failure) = done {
                    self.missing.push(Missing { setup: *setup, reason: described(&failure) });
                }
            }
            setups.retain(|setup| self.missing.iter().all(|one| one.setup != *setup));
        }
        Ok(None)
    }

    /// Measures one setup with each kind of load.
    fn one(&mut self, setup: Setup, running: &Running, round: u32) -> Result<(), Failure> {
        let Self { options, stage, site, .. } = self;
        let (options, stage) = (*options, *stage);
        let warm_up = (options.span / 4).clamp(SHORTEST_WARM_UP, LONGEST_WARM_UP);
        let load =
            |what, span| load::load(site, what, options.trial.connections, span, stage.interrupt);
        settle(stage, running)?;
        let mut found = Vec::new();
        for what in What::ALL {
            load(what, warm_up)?;
            let before = Used::by(&stage.processes(running)?);
            let seen = load(what, options.span)?;
            let after = Used::by(&stage.processes(running)?);
            if stage.interrupt.came() {
                // A part of a measurement is none.
                break;
            }
            found.push((
                what,
                after.since(&before, seen.sample(round, options.span)),
                seen.first_error,
            ));
        }
        for (what, sample, error) in found {
            let error = error.map(|text| format!("{}: {text}", setup.word()));
            if let Some(error) = error.filter(|_| self.errors.len() < EXAMPLES) {
                self.errors.push(error);
            }
            self.measured.push(what, setup, sample);
        }
        Ok(())
    }
}

/// Waits until the copies have done their start.
fn settle(stage: &Stage<'_>, running: &Running) -> Result<(), Failure> {
    let end = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let before = Used::by(&stage.processes(running)?);
        stage.interrupt.wait(QUIET_WITHIN);
        let used = Used::by(&stage.processes(running)?).server_since(&before);
        if used < QUIET || Instant::now() > end || stage.interrupt.came() {
            return Ok(());
        }
    }
}

/// A reason with the last line of the program that speaks of an error, or else its last one.
fn described(failure: &Failure) -> String {
    let lines = &failure.last_lines;
    let error = lines.iter().rfind(|line| line.contains("Error: ") || line.contains("error: "));
    match error.or_else(|| lines.last()) {
        Some(line) => format!("{}: {}", failure.reason, line.trim()),
        None => failure.reason.clone(),
    }
}

/// CPU time up to now.
#[derive(Debug)]
struct Used {
    client: Duration,
    app: BTreeMap<u32, Duration>,
    outside: BTreeMap<u32, Duration>,
}

impl Used {
    fn by(processes: &Processes) -> Self {
        let of = |pids: &std::collections::BTreeSet<u32>| {
            pids.iter().filter_map(|pid| Some((*pid, usage::cpu_time(*pid)?))).collect()
        };
        Self {
            client: usage::cpu_time(std::process::id()).unwrap_or_default(),
            app: of(&processes.app),
            outside: of(&processes.outside),
        }
    }

    /// What the app and what stands around it have used since then.
    fn server_since(&self, before: &Self) -> Duration {
        between(&self.app, &before.app) + between(&self.outside, &before.outside)
    }

    /// The sample, with what was used since then for each answer.
    fn since(&self, before: &Self, sample: Sample) -> Sample {
        let each = |used: Duration| used.as_secs_f64() * 1e6 / sample.answered.max(1) as f64;
        Sample {
            client_us: each(self.client.saturating_sub(before.client)),
            app_us: each(between(&self.app, &before.app)),
            outside_us: each(between(&self.outside, &before.outside)),
            ..sample
        }
    }
}

/// What these processes have used between two looks. One that began in between counts as a whole.
fn between(now: &BTreeMap<u32, Duration>, then: &BTreeMap<u32, Duration>) -> Duration {
    let of = |(pid, used): (&u32, &Duration)| {
        used.saturating_sub(then.get(pid).copied().unwrap_or_default())
    };
    now.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_told_apart_and_for_each_answer() {
        let ms = Duration::from_millis;
        let used = |client, app: &[(u32, u64)], outside: &[(u32, u64)]| {
            let of =
                |pairs: &[(u32, u64)]| pairs.iter().map(|(pid, used)| (*pid, ms(*used))).collect();
            Used { client: ms(client), app: of(app), outside: of(outside) }
        };
        let before = used(5, &[(1, 10), (2, 10)], &[(3, 1)]);
        // 2 has ended, 4 is new.
        let after = used(8, &[(1, 14), (4, 2)], &[(3, 2)]);
        let sample = after.since(&before, Sample { answered: 1000, ..Sample::default() });
        assert_eq!((sample.client_us, sample.app_us, sample.outside_us), (3.0, 6.0, 1.0));
        assert_eq!(after.server_since(&before), ms(7));
    }
}
