//! Whose fault it is that a request was lost. Pure.
//!
//! - A request on a connection that a worker had accepted before chaos killed that worker is lost
//!   without a supervisor, too. It is *excused*.
//! - What the app loses by itself shows in the *baseline*, a time without faults. As much of a kind
//!   as that explains is the app's own.
//! - Everything else is *lost*.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::fault::Fault;
use super::loss::{Family, Loss};

/// How long after the end of a step its effects are still counted to it, in milliseconds.
const AFTERMATH: u64 = 300;

/// A step that was carried out. Times are milliseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) fault: Fault,
    pub(super) begun: u64,
    pub(super) ended: u64,
}

/// A worker that chaos killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) at: u64,
    /// The clients' ends of the connections that it had accepted.
    pub(super) clients: BTreeSet<SocketAddr>,
}

impl Death {
    /// Whether the request of this loss went down with the worker.
    fn explains(&self, loss: &Loss) -> bool {
        let was_accepted = loss.client.is_some_and(|client| self.clients.contains(&client));
        was_accepted && loss.opened <= self.at && self.at <= loss.ended
    }
}

/// Requests without faults, and how many of them were lost in which way. All styles of clients
/// count together: they have the same shares of the requests with faults and without.
#[derive(Debug, Clone, Default)]
pub(super) struct Baseline {
    pub(super) requests: u64,
    pub(super) lost: BTreeMap<Family, u64>,
}

impl Baseline {
    /// Splits the losses of a run at the time of the first fault. A request that was under way then
    /// may have been lost by the fault.
    pub(super) fn split(losses: Vec<Loss>, until: u64, requests: u64) -> (Self, Vec<Loss>) {
        let (before, after): (Vec<Loss>, Vec<Loss>) =
            losses.into_iter().partition(|loss| loss.ended < until);
        let mut lost: BTreeMap<Family, u64> = BTreeMap::new();
        for loss in before {
            *lost.entry(Family::of(loss.kind)).or_default() += 1;
        }
        (Self { requests, lost }, after)
    }

    /// How many were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// The losses of a run, judged.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Lost, and the step to which each belongs; `None`: between the steps.
    pub(super) lost: Vec<(Option<Fault>, Loss)>,
    /// Those of a worker that chaos killed, in the same form.
    pub(super) excused: Vec<(Option<Fault>, Loss)>,
    /// Those that the app loses by itself.
    pub(super) own: Vec<(Option<Fault>, Loss)>,
}

/// Judges the losses of a run of this many requests.
pub(super) fn judge(
    losses: Vec<Loss>,
    spans: &[Span],
    deaths: &[Death],
    baseline: &Baseline,
    requests: u64,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut counts: BTreeMap<Family, u64> = BTreeMap::new();
    let mut open = Vec::new();
    for loss in losses {
        let step = step_of(&loss, spans);
        if deaths.iter().any(|death| death.explains(&loss)) {
            verdict.excused.push((step, loss));
        } else {
            *counts.entry(Family::of(loss.kind)).or_default() += 1;
            open.push((step, loss));
        }
    }
    for (step, loss) in open {
        let family = Family::of(loss.kind);
        let is_own = counts[&family] <= allowance(baseline, family, requests);
        if is_own { &mut verdict.own } else { &mut verdict.lost }.push((step, loss));
    }
    verdict
}

/// The last step that the request of this loss met.
fn step_of(loss: &Loss, spans: &[Span]) -> Option<Fault> {
    let meets = |span: &&Span| span.begun <= loss.ended && loss.begun <= span.ended + AFTERMATH;
    spans.iter().rfind(meets).map(|span| span.fault)
}

/// How many of `made` requests the app may lose by itself: three standard deviations above what the
/// baseline leads to expect. Both the count and what is expected of it vary, and independently, so
/// their variances add. Nothing, if the baseline saw none.
fn allowance(baseline: &Baseline, family: Family, made: u64) -> u64 {
    let seen = baseline.lost.get(&family).copied().unwrap_or(0) as f64;
    let of = baseline.requests as f64;
    if seen == 0.0 || of == 0.0 {
        return 0;
    }
    let scale = made as f64 / of;
    let expected = seen * scale;
    (expected + 3.0 * (expected + expected * scale).sqrt()).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::chaos::loss::Style;
    use crate::cli::trial::kind::Kind;

    fn loss(kind: Kind, port: u16, begun: u64, ended: u64) -> Loss {
        let text = String::new();
        let client = Some(client(port));
        Loss { kind, style: Style::New, client, opened: begun, begun, ended, text }
    }

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn span(fault: Fault, begun: u64, ended: u64) -> Span {
        Span { fault, begun, ended }
    }

    #[test]
    fn what_was_in_flight_on_a_killed_worker_is_excused() {
        // A client of another machine.
        let other = SocketAddr::from(([192, 0, 2, 1], 8));
        let deaths = [Death { at: 100, clients: [client(5), client(6), other].into() }];
        let spans = [span(Fault::KillWorker, 90, 200)];
        let losses = vec![
            loss(Kind::Truncated, 5, 80, 101),
            // The same port, opened after the death.
            loss(Kind::Reset, 6, 150, 160),
            // A connection that waited in the queue, which the successor must serve.
            loss(Kind::Reset, 7, 80, 101),
            // Another client had this port on another machine.
            loss(Kind::Truncated, 8, 80, 101),
            // It ended before the death.
            loss(Kind::Reset, 5, 50, 60),
        ];
        let verdict = judge(losses, &spans, &deaths, &Baseline::default(), 1000);
        assert_eq!(verdict.excused.len(), 1);
        assert_eq!(verdict.lost.len(), 4);
        assert!(verdict.own.is_empty());
    }

    #[test]
    fn a_loss_belongs_to_the_last_step_that_it_met() {
        let spans = [span(Fault::Reload, 100, 200), span(Fault::Scale, 600, 700)];
        let at = |begun, ended| step_of(&loss(Kind::Reset, 1, begun, ended), &spans);
        assert_eq!(at(0, 99), None);
        assert_eq!(at(0, 100), Some(Fault::Reload));
        assert_eq!(at(199, 650), Some(Fault::Scale));
        assert_eq!(at(200 + AFTERMATH, 590), Some(Fault::Reload));
        assert_eq!(at(201 + AFTERMATH, 590), None);
        assert_eq!(at(800 + AFTERMATH, 2000), None);
    }

    #[test]
    fn what_the_app_loses_by_itself_is_told_apart() {
        let lost = [(Family::Broken, 100)].into();
        let baseline = Baseline { requests: 1000, lost };
        let resets = |count: usize| vec![loss(Kind::Reset, 1, 0, 1); count];
        let judged = |losses| judge(losses, &[], &[], &baseline, 1000);
        assert!(judged(resets(130)).lost.is_empty());
        assert_eq!(judged(resets(300)).lost.len(), 300);
        // A connection that the server breaks ends one way or the other, as it happens.
        let verdict = judged(vec![loss(Kind::Truncated, 1, 0, 1)]);
        assert_eq!((verdict.lost.len(), verdict.own.len()), (0, 1));
        let verdict = judged(vec![loss(Kind::Refused, 1, 0, 1)]);
        assert_eq!((verdict.lost.len(), verdict.own.len()), (1, 0));
    }

    #[test]
    fn a_request_that_a_fault_met_is_not_of_the_baseline() {
        let losses = vec![loss(Kind::Reset, 1, 10, 20), loss(Kind::Reset, 2, 10, 50)];
        let (baseline, after) = Baseline::split(losses, 40, 100);
        assert_eq!((baseline.lost(), baseline.requests), (1, 100));
        assert_eq!(after, [loss(Kind::Reset, 2, 10, 50)]);
    }

    #[test]
    fn the_allowance_is_three_standard_deviations() {
        let allowed = |seen, of, made| {
            let lost = [(Family::Broken, seen)].into();
            allowance(&Baseline { requests: of, lost }, Family::Broken, made)
        };
        // 100, and three times the root of 100 + 100.
        assert_eq!(allowed(100, 1000, 1000), 142);
        // 900, and three times the root of 900 + 8100.
        assert_eq!(allowed(100, 1000, 9000), 1184);
        assert_eq!(allowed(1, 1000, 1000), 5);
    }

    #[test]
    fn a_clean_baseline_allows_nothing() {
        let baseline = Baseline { requests: 100_000, ..Baseline::default() };
        assert_eq!(allowance(&baseline, Family::Broken, 1_000_000), 0);
        let verdict = judge(vec![loss(Kind::Hung, 1, 0, 1)], &[], &[], &baseline, 1_000_000);
        assert_eq!(verdict.lost.len(), 1);
    }
}
