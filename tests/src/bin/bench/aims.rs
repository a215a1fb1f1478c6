//! The aims of the benchmark, as ratios of two setups in the same round, and whether they are met.

use crate::setup::Setup;
use crate::stats::Samples;
use crate::wrk::{Kind, Measured};

/// One setup must reach at least this multiple of another.
struct Aim {
    kind: Kind,
    ours: Setup,
    theirs: Setup,
    least: f64,
}

const AIMS: [Aim; 4] = [
    Aim { kind: Kind::NewConnections, ours: Setup::Ours, theirs: Setup::Bare, least: 0.97 },
    Aim { kind: Kind::KeepAlive, ours: Setup::Ours, theirs: Setup::Bare, least: 0.97 },
    Aim { kind: Kind::NewConnections, ours: Setup::Ours, theirs: Setup::Pm2, least: 2.3 },
    Aim {
        kind: Kind::NewConnections,
        ours: Setup::OursPrimary,
        theirs: Setup::NodeRoundRobin,
        least: 1.3,
    },
];

/// Prints for each aim whether these setups meet it. A p99 must not be more than a tenth above the
/// p99 of the other setup; a tenth is noise.
pub(crate) fn judge(kind: Kind, setups: &[Setup], measured: &[Vec<Measured>]) {
    let of = |wanted: Setup| {
        let at = setups.iter().position(|setup| *setup == wanted)?;
        measured.get(at)
    };
    for aim in AIMS.iter().filter(|aim| aim.kind == kind) {
        let (Some(ours), Some(theirs)) = (of(aim.ours), of(aim.theirs)) else { continue };
        let pairs = || ours.iter().zip(theirs);
        let ratio: Samples = pairs().map(|(a, b)| a.per_second / b.per_second).collect();
        let tail: Samples = pairs().map(|(a, b)| a.p99_ms / b.p99_ms).collect();
        let (ours, theirs) = (aim.ours.name(), aim.theirs.name());
        let fast = met(ratio.median() >= aim.least);
        println!("  aim {fast}: {ours} >= {} x {theirs}: {ratio}", aim.least);
        let short = met(tail.median() <= 1.1);
        println!("  aim {short}: its p99 is not above theirs: {tail} times theirs");
    }
}

fn met(is: bool) -> &'static str {
    if is { "met   " } else { "MISSED" }
}
