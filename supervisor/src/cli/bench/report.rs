//! What was measured: for people, for programs, and for documents.

use std::collections::BTreeMap;

use config::spec::Balance;
use serde::Serialize;

use super::figures::{Against, Sample, Spread, Summary, What};
use super::setup::Setup;
use crate::cli::exit::Exit;
use crate::cli::output::table::table;
use crate::cli::trial::report as trial;

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) command: Vec<String>,
    pub(super) address: String,
    pub(super) path: String,
    pub(super) status: u16,
    /// Copies, or workers.
    pub(super) copies: u16,
    pub(super) cpus: u16,
    pub(super) connections: u16,
    pub(super) span_ms: u64,
    /// Rounds that were asked for.
    pub(super) rounds: u32,
    /// What the ratios are to.
    pub(super) base: Option<Setup>,
    pub(super) rows: Vec<Row>,
    /// Setups without figures, and why.
    pub(super) not_measured: Vec<Missing>,
    /// Whether the time was over, or a signal came, before all rounds were done.
    pub(super) ended_early: Option<&'static str>,
    pub(super) first_errors: Vec<String>,
}

/// One setup with one kind of load.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) what: What,
    pub(super) setup: Setup,
    #[serde(flatten)]
    pub(super) summary: Summary,
    pub(super) samples: Vec<Sample>,
}

/// A setup without figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) setup: Setup,
    pub(super) reason: String,
}

/// What was measured of each setup, in the order of the table.
#[derive(Debug, Default)]
pub(super) struct Measured {
    samples: Vec<(What, Setup, Vec<Sample>)>,
}

impl Measured {
    pub(super) fn push(&mut self, what: What, setup: Setup, sample: Sample) {
        let known = self.samples.iter_mut().find(|(w, s, _)| (*w, *s) == (what, setup));
        match known {
            Some((.., samples)) => samples.push(sample),
            None => self.samples.push((what, setup, vec![sample])),
        }
    }

    fn of(&self, what: What, setup: Setup) -> Option<&[Sample]> {
        let found = self.samples.iter().find(|(w, s, _)| (*w, *s) == (what, setup));
        found.map(|(.., samples)| samples.as_slice())
    }

    /// What the others are compared with: bare copies, or else the single process.
    pub(super) fn base(&self) -> Option<Setup> {
        let is_measured = |setup: &Setup| self.of(What::NewConnections, *setup).is_some();
        [Setup::Bare, Setup::Single].into_iter().find(is_measured)
    }

    /// The rows, in the order of the setups.
    pub(super) fn rows(&self) -> Vec<Row> {
        let base = self.base();
        let mut rows = Vec::new();
        for what in What::ALL {
            for setup in Setup::all() {
                let Some(samples) = self.of(what, setup) else { continue };
                let base = base.filter(|base| *base != setup).and_then(|base| self.of(what, base));
                let summary = Summary::of(what, samples, base);
                rows.push(Row { what, setup, summary, samples: samples.to_vec() });
            }
        }
        rows
    }
}

impl trial::Report for Report {
    /// 0 if everything that was begun has figures without errors.
    fn exit(&self) -> Exit {
        let is_good = |row: &Row| row.summary.valid;
        let is_whole = self.ended_early != Some(INTERRUPTED);
        match !self.rows.is_empty() && self.rows.iter().all(is_good) && is_whole {
            true => Exit::Done,
            false => Exit::Failed,
        }
    }

    fn text(&self, width: Option<u16>) -> String {
        let of = |what| format!("{}\n{}\n\n", title(what), table(&HEADER, self.cells(what), width));
        What::ALL.map(of).concat() + &trial::lines(&self.sentences())
    }

    fn markdown(&self) -> String {
        let of = |what| {
            let table = trial::table(&HEADER, &self.cells(what), 1);
            format!("**{}**\n\n{table}\n", title(what))
        };
        What::ALL.map(of).concat() + &trial::list(&self.sentences())
    }
}

impl Report {
    fn cells(&self, what: What) -> Vec<Vec<String>> {
        self.rows.iter().filter(|row| row.what == what).map(Row::cells).collect()
    }

    fn sentences(&self) -> Vec<String> {
        let base = self.base.map_or_else(|| "nothing".to_owned(), Setup::word);
        let mut lines = vec![
            format!(
                "{} on {}, which answers {}; {} copies or workers, {} clients, {} CPUs",
                self.path, self.address, self.status, self.copies, self.connections, self.cpus
            ),
            format!(
                "medians, with the least and the most, of up to {} rounds of {} ms; ratios to {base}, \
                 within a round",
                self.rounds, self.span_ms
            ),
        ];
        lines.extend(self.ended_early.map(str::to_owned));
        let missing =
            |one: &Missing| format!("not measured: {} ({})", one.setup.word(), one.reason);
        lines.extend(self.not_measured.iter().map(missing));
        lines.extend(self.first_errors.iter().map(|error| format!("error: {error}")));
        lines
    }
}

/// Why a run was not done to its end.
pub(super) const INTERRUPTED: &str = "ended early by a signal";
pub(super) const TIME_OVER: &str = "ended early: the time of --duration was over";

const HEADER: [&str; 9] =
    ["setup", "per second", "ratio", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs", "rounds", "notes"];

fn title(what: What) -> &'static str {
    match what {
        What::NewConnections => "New connections, one request each",
        What::KeptConnections => "Requests over kept connections",
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let summary = &self.summary;
        let valid = |spread: Option<Spread>| spread.filter(|_| summary.valid);
        let median = |spread: Option<Spread>, digits: usize| {
            valid(spread).map_or_else(|| "-".to_owned(), |one| format!("{:.digits$}", one.median))
        };
        let rate = valid(summary.per_second)
            .map(|one| format!("{:.0} ({:.0}..{:.0})", one.median, one.least, one.most));
        let ratio = valid(summary.ratio)
            .map(|one| format!("{:.2} ({:.2}..{:.2})", one.median, one.least, one.most));
        let outside = match self.setup {
            Setup::Single | Setup::Bare => "-".to_owned(),
            _ => median(summary.outside_us, 1),
        };
        vec![
            self.setup.word(),
            rate.unwrap_or_else(|| "invalid".to_owned()),
            ratio.unwrap_or_else(|| "-".to_owned()),
            median(summary.p50_ms, 2),
            median(summary.p99_ms, 2),
            median(summary.p999_ms, 2),
            outside,
            self.samples.len().to_string(),
            self.notes(),
        ]
    }

    fn notes(&self) -> String {
        let summary = &self.summary;
        let mut notes: Vec<String> = Vec::new();
        match summary.against_base {
            Some(Against::Faster) => notes.push("faster".to_owned()),
            Some(Against::Slower) => notes.push("slower".to_owned()),
            Some(Against::Unclear) | None => {}
        }
        notes.extend(counts(&summary.errors));
        if summary.no_room > 0 {
            notes.push(format!("{} without a port or descriptor", summary.no_room));
        }
        if self.samples.iter().all(|sample| sample.answered == 0) {
            notes.push("nothing was answered".to_owned());
        }
        if summary.client_limited {
            notes.push("client-limited".to_owned());
        }
        if summary.keeps_nothing {
            notes.push("keeps no connection".to_owned());
        }
        if let Setup::Kernel(Balance::Sticky) | Setup::Primary(Balance::Sticky) = self.setup {
            notes.push("one client address: one worker".to_owned());
        }
        notes.join(", ")
    }
}

fn counts(errors: &BTreeMap<crate::cli::trial::kind::Kind, u64>) -> Vec<String> {
    errors.iter().map(|(kind, count)| format!("{count} {}", kind.word())).collect()
}

#[cfg(test)]
mod tests {
    use super::trial::Report as _;
    use super::*;
    use crate::cli::trial::kind::Kind;

    fn sample(round: u32, per_second: f64) -> Sample {
        Sample { round, answered: 50, per_second, app_us: 5.0, ..Sample::default() }
    }

    fn report(measured: &Measured) -> Report {
        Report {
            command: vec!["node".to_owned()],
            address: "127.0.0.1:80".to_owned(),
            path: "/".to_owned(),
            status: 200,
            copies: 2,
            cpus: 2,
            connections: 16,
            span_ms: 400,
            rounds: 3,
            base: measured.base(),
            rows: measured.rows(),
            not_measured: vec![Missing { setup: Setup::Pm2, reason: "none".to_owned() }],
            ended_early: None,
            first_errors: Vec::new(),
        }
    }

    fn measured() -> Measured {
        let mut measured = Measured::default();
        for what in What::ALL {
            for round in 0..3 {
                measured.push(what, Setup::Pm2, sample(round, 50.0));
                measured.push(what, Setup::Single, sample(round, 100.0));
            }
        }
        measured
    }

    #[test]
    fn the_single_process_is_the_base_where_there_are_no_bare_copies() {
        let mut measured = measured();
        assert_eq!(measured.base(), Some(Setup::Single));
        let rows = measured.rows();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0].setup, Setup::Single, "in the order of the setups");
        assert_eq!(rows[1].summary.ratio.unwrap().median, 0.5);
        measured.push(What::NewConnections, Setup::Bare, sample(0, 200.0));
        assert_eq!(measured.base(), Some(Setup::Bare));
    }

    #[test]
    fn a_report_for_people_and_documents() {
        let report = report(&measured());
        assert_eq!(report.exit(), Exit::Done);
        let text = report.text(None);
        for part in ["New connections", "pm2", "0.50 (0.50..0.50)", "slower", "not measured: pm2"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let markdown = report.markdown();
        assert!(markdown.contains("| pm2 | 50 (50..50) | 0.50 (0.50..0.50) |"), "{markdown}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rows"][1]["ratio"]["median"], 0.5);
        assert_eq!(json["rows"][1]["samples"][2]["round"], 2);
    }

    #[test]
    fn a_row_with_errors_has_no_figures() {
        let mut measured = measured();
        let mut bad = sample(3, 900.0);
        bad.errors.insert(Kind::Truncated, 2);
        measured.push(What::NewConnections, Setup::Pm2, bad);
        let report = report(&measured);
        assert_eq!(report.exit(), Exit::Failed);
        let cells = report.rows[1].cells();
        assert_eq!(cells[1..4], ["invalid", "-", "-"]);
        assert!(cells[8].contains("2 truncated"), "{cells:?}");
    }

    #[test]
    fn nothing_is_no_success() {
        assert_eq!(report(&Measured::default()).exit(), Exit::Failed);
    }
}
