//! What a run found: for people, for programs, and for documents.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::fault::Fault;
use super::footprint::{Footprint, Held};
use super::load::Tally;
use super::loss::{Loss, Style};
use super::verdict::Verdict;
use crate::cli::exit::Exit;
use crate::cli::output::table::{bytes, table};
use crate::cli::trial::kind::Kind;
use crate::cli::trial::report as trial;
use crate::cli::trial::site::Site;

/// Losses that are shown one by one.
const EXAMPLES: usize = 10;
/// What stands for the time between the faults.
const NONE: &str = "(no fault)";

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) app: String,
    pub(super) command: Vec<String>,
    pub(super) seed: u64,
    address: String,
    path: String,
    status: Option<u16>,
    pub(super) styles: Vec<Style>,
    /// What the server cannot do without a fault.
    pub(super) left_out: Vec<Style>,
    pub(super) duration_ms: u64,
    /// Whether a signal ended the run early.
    pub(super) interrupted: bool,
    pub(super) baseline: Row,
    pub(super) rows: Vec<Row>,
    pub(super) total: Row,
    /// Losses beyond those that were kept with their details; all of them count as lost.
    pub(super) more_lost: u64,
    /// Requests that this machine had no port or descriptor for; they do not count as lost.
    pub(super) no_room: u64,
    /// Steps that did not go as they should.
    pub(super) failed: Vec<FailedStep>,
    pub(super) before: Footprint,
    pub(super) after: Option<Footprint>,
    /// The first losses.
    pub(super) examples: Vec<String>,
}

/// A step that did not go as it should.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FailedStep {
    pub(super) fault: Fault,
    pub(super) at_ms: u64,
    pub(super) reason: String,
}

/// A row of the table.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Row {
    /// `None`: without a fault, or the sum.
    fault: Option<Fault>,
    times: u64,
    answered: u64,
    /// By kind, what was lost and would not have been without a supervisor.
    lost: BTreeMap<Kind, u64>,
    /// Requests on a worker that chaos killed.
    excused: u64,
    /// What the app loses by itself, as the baseline shows.
    own: u64,
    resent: u64,
    longest_ms: u64,
}

impl Row {
    /// The row of requests that began during this fault.
    pub(super) fn new(fault: Option<Fault>, times: u64, tally: &Tally) -> Self {
        Self {
            fault,
            times,
            answered: tally.answered,
            resent: tally.resent,
            longest_ms: u64::try_from(tally.longest.as_millis()).unwrap_or(u64::MAX),
            ..Self::default()
        }
    }

    /// Counts what the app lost by itself in the baseline.
    pub(super) fn with_own(mut self, own: u64) -> Self {
        self.own = own;
        self
    }

    fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    fn add(&mut self, other: &Self) {
        self.times += other.times;
        self.answered += other.answered;
        self.excused += other.excused;
        self.own += other.own;
        self.resent += other.resent;
        self.longest_ms = self.longest_ms.max(other.longest_ms);
        for (kind, count) in &other.lost {
            *self.lost.entry(*kind).or_default() += count;
        }
    }

    fn cells(&self, name: &str) -> Vec<String> {
        let kinds = Kind::ALL.map(|kind| self.lost.get(&kind).copied().unwrap_or(0).to_string());
        let pause = Duration::from_millis(self.longest_ms);
        [name.to_owned(), self.times.to_string(), self.answered.to_string()]
            .into_iter()
            .chain(kinds)
            .chain([self.excused, self.own, self.resent].map(|count| count.to_string()))
            .chain([humantime::format_duration(pause).to_string()])
            .collect()
    }
}

impl trial::Report for Report {
    /// 0 if anything was done, nothing was lost, and every step went as it should.
    fn exit(&self) -> Exit {
        let steps: u64 = self.rows.iter().map(|row| row.times).sum();
        let did = steps > 0 && self.total.answered > 0;
        let is_good = did && self.lost() == 0 && self.failed.is_empty();
        if is_good { Exit::Done } else { Exit::Failed }
    }

    fn text(&self, width: Option<u16>) -> String {
        table(&HEADER, self.table_rows(), width) + "\n\n" + &trial::lines(&self.sentences())
    }

    fn markdown(&self) -> String {
        trial::table(&HEADER, &self.table_rows(), 0) + "\n" + &trial::list(&self.sentences())
    }
}

impl Report {
    /// A report without results.
    pub(super) fn new(site: &Site, seed: u64, before: Footprint) -> Self {
        Self {
            app: String::new(),
            command: Vec::new(),
            seed,
            address: site.address.to_string(),
            path: site.path.clone(),
            status: site.status,
            styles: Vec::new(),
            left_out: Vec::new(),
            duration_ms: 0,
            interrupted: false,
            baseline: Row::default(),
            rows: Vec::new(),
            total: Row::default(),
            more_lost: 0,
            no_room: 0,
            failed: Vec::new(),
            before,
            after: None,
            examples: Vec::new(),
        }
    }

    /// Takes the verdict, and sums up.
    pub(super) fn judge(&mut self, verdict: &Verdict) {
        for (fault, loss) in &verdict.lost {
            *self.row(*fault).lost.entry(loss.kind).or_default() += 1;
        }
        for (fault, _) in &verdict.excused {
            self.row(*fault).excused += 1;
        }
        for (fault, _) in &verdict.own {
            self.row(*fault).own += 1;
        }
        self.total = Row::default();
        for row in &self.rows {
            self.total.add(row);
        }
        let examples = verdict.lost.iter().take(EXAMPLES);
        self.examples = examples.map(|(fault, loss)| example(*fault, loss)).collect();
    }

    fn row(&mut self, fault: Option<Fault>) -> &mut Row {
        let at = self.rows.iter().position(|row| row.fault == fault).unwrap_or_else(|| {
            self.rows.push(Row { fault, ..Row::default() });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// All requests that were lost and would not have been without a supervisor.
    pub(super) fn lost(&self) -> u64 {
        self.total.lost() + self.more_lost
    }

    fn table_rows(&self) -> Vec<Vec<String>> {
        let name = |fault: Option<Fault>| fault.map_or(NONE, Fault::word);
        let mut rows = vec![self.baseline.cells("(before)")];
        rows.extend(self.rows.iter().map(|row| row.cells(name(row.fault))));
        rows.push(self.total.cells("all"));
        rows
    }

    fn sentences(&self) -> Vec<String> {
        let styles: Vec<&str> = self.styles.iter().map(|style| style.word()).collect();
        let asked = match self.status {
            Some(status) => format!("{} on {}, which answers {status}", self.path, self.address),
            None => {
                format!("{}, which does not speak HTTP: the clients connect and hold", self.address)
            }
        };
        let mut lines = vec![
            format!("asked: {asked}; clients: {}", styles.join(", ")),
            format!(
                "seed {}, {}",
                self.seed,
                humantime::format_duration(Duration::from_secs(self.duration_ms / 1000))
            ),
        ];
        if !self.left_out.is_empty() {
            let words: Vec<&str> = self.left_out.iter().map(|style| style.word()).collect();
            lines
                .push(format!("the app does not serve, even without faults: {}", words.join(", ")));
        }
        if let Some(after) = &self.after {
            let held = |before: &Held, after: &Held| {
                let count = |held: &Held| {
                    held.descriptors.map_or_else(|| "?".to_owned(), |count| count.to_string())
                };
                format!(
                    "{} and {} descriptors before, {} and {} after",
                    bytes(Some(before.rss_bytes as f64)),
                    count(before),
                    bytes(Some(after.rss_bytes as f64)),
                    count(after)
                )
            };
            lines.push(format!(
                "keeper and primary: {}",
                held(&self.before.supervisor, &after.supervisor)
            ));
            lines.push(format!("workers: {}", held(&self.before.workers, &after.workers)));
        }
        if self.no_room > 0 {
            lines.push(format!("not counted, for want of ports or descriptors: {}", self.no_room));
        }
        lines.extend(self.failed.iter().map(|step| {
            format!(
                "{} after {} ms did not go as it should: {}",
                step.fault.word(),
                step.at_ms,
                step.reason
            )
        }));
        lines.extend(self.examples.iter().map(|example| format!("lost: {example}")));
        if self.interrupted {
            lines.push("ended early by a signal".to_owned());
        }
        lines.push(self.conclusion());
        lines
    }

    fn conclusion(&self) -> String {
        if self.total.answered == 0 {
            return "nothing was answered".to_owned();
        }
        match self.lost() {
            0 if self.failed.is_empty() => "nothing lost".to_owned(),
            0 => "nothing lost, but not every step went as it should".to_owned(),
            lost => format!("{lost} lost"),
        }
    }
}

const HEADER: [&str; 12] = [
    "what",
    "times",
    "answered",
    "refused",
    "reset",
    "truncated",
    "hung",
    "wrong",
    "excused",
    "own",
    "sent again",
    "longest",
];

fn example(fault: Option<Fault>, loss: &Loss) -> String {
    format!(
        "{} ({}) after {} ms, {} ms later, during {}: {}",
        loss.kind.word(),
        loss.style.word(),
        loss.begun,
        loss.ended.saturating_sub(loss.begun),
        fault.map_or(NONE, Fault::word),
        loss.text
    )
}

#[cfg(test)]
mod tests {
    use super::trial::Report as _;
    use super::*;
    use std::net::SocketAddr;

    fn report() -> Report {
        let held = Held { rss_bytes: 4 << 20, descriptors: Some(20) };
        let before = Footprint { supervisor: held, workers: held };
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let site = Site { address, path: "/".into(), status: Some(200), socket: None };
        let mut report = Report::new(&site, 7, before);
        let tally = Tally { answered: 10, longest: Duration::from_millis(12), ..Tally::default() };
        report.rows = vec![Row::new(None, 0, &tally), Row::new(Some(Fault::Reload), 2, &tally)];
        report.after = Some(before);
        report
    }

    fn reset() -> Loss {
        let (kind, style) = (Kind::Reset, Style::Kept);
        Loss { kind, style, client: None, opened: 1, begun: 5, ended: 9, text: "x".into() }
    }

    #[test]
    fn nothing_lost_is_exit_code_0() {
        let mut report = report();
        report.judge(&Verdict::default());
        assert_eq!((report.exit(), report.total.answered), (Exit::Done, 20));
        assert!(report.text(None).ends_with("nothing lost\n"), "{}", report.text(None));
    }

    #[test]
    fn losses_stand_in_the_row_of_their_fault() {
        let mut report = report();
        let (reload, scale) = (Some(Fault::Reload), Some(Fault::Scale));
        report.judge(&Verdict {
            lost: vec![(reload, reset()), (scale, reset())],
            excused: vec![(reload, reset())],
            own: vec![(None, reset())],
        });
        assert_eq!((report.exit(), report.lost()), (Exit::Failed, 2));
        assert_eq!(report.rows.len(), 3, "a row for a fault that had none");
        let cells = report.rows[1].cells("reload");
        assert_eq!(cells[..2], ["reload", "2"]);
        assert_eq!(cells[4], "1");
        assert_eq!(cells[8..], ["1", "0", "0", "12ms"]);
        assert!(
            report.text(None).contains("reset (kept) after 5 ms, 4 ms later, during reload: x")
        );
        let markdown = report.markdown();
        assert!(markdown.contains("| reload | 2 | 10 | 0 | 1 |"), "{markdown}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["total"]["lost"], serde_json::json!({"reset": 2}));
        assert_eq!(json["rows"][1]["fault"], "reload");
    }

    #[test]
    fn a_step_that_failed_and_silence_are_no_success() {
        let mut report = report();
        report.judge(&Verdict::default());
        let reason = "not ready".to_owned();
        report.failed.push(FailedStep { fault: Fault::Reload, at_ms: 5, reason });
        assert_eq!(report.exit(), Exit::Failed);
        report.failed.clear();
        report.total.answered = 0;
        assert_eq!(report.exit(), Exit::Failed);
    }
}
