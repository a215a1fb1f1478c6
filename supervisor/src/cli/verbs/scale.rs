//! `scale`: changes the number of workers, to a number or by a number.

use ipc::control::Request;

use crate::cli::args::{WaitOptions, values};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::side_by_side::Work;
use crate::cli::targets::{Outcome, PoolOption, Targets, ask, probe};
use crate::home::Home;

/// Change the number of workers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which app; NAME:POOL is one pool of it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How many workers: a number, +N more, -N fewer, "max" or P%.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    pub(crate) count: String,
    #[command(flatten)]
    pub(crate) pool: PoolOption,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

/// The number that the user typed.
#[derive(Debug, PartialEq)]
enum Change {
    By(i32),
    To { wanted: u16, because: String },
}

/// Runs the verb. Fails if the number makes no sense, or if no worker would be left.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let change = read_change(&args.count)?;
    let (name, pool) = args.pool.split(&args.name)?;
    let targets = Targets::resolve(session, &[name])?;
    targets.each(session, args.wait.json, Work::Replaces, |home, name| {
        scale(args, home, name, &pool, &change)
    })
}

/// Reads the number.
fn read_change(text: &str) -> Result<Change, Failure> {
    if let Some(rest) = text.strip_prefix(['+', '-']) {
        let by = rest.parse::<u16>().ok().filter(|by| *by > 0).map(i32::from);
        let by = by.ok_or_else(|| {
            Failure::usage(format!(
                "\"{text}\" does not change the number of workers: write +1 or -1"
            ))
        })?;
        return Ok(Change::By(if text.starts_with('-') { -by } else { by }));
    }
    let asked = values::instances(text)
        .map_err(|reason| Failure::usage(format!("cannot scale to \"{text}\": {reason}")))?;
    let resolved = asked.resolve(&config::cpus::Cpus::read());
    Ok(Change::To { wanted: resolved.count, because: resolved.because })
}

fn scale(
    args: &Args,
    home: &Home,
    name: &str,
    pool: &PoolOption,
    change: &Change,
) -> Result<Outcome, Failure> {
    let found = pool.find(home, name)?;
    let pool = pool.pool.clone();
    let request = match change {
        Change::To { wanted, because } => {
            Request::Scale { wanted: *wanted, because: because.clone(), pool }
        }
        Change::By(by) => {
            let status = probe::existing(home, name)?;
            let now =
                found.as_ref().or_else(|| status.pools.first()).map_or(status.wanted, |p| p.wanted);
            let wanted = u16::try_from(i32::from(now) + by).ok().filter(|wanted| *wanted > 0);
            let wanted = wanted.ok_or_else(|| {
                Failure::usage(format!(
                    "{name} has {now} workers and needs at least 1: use \"supervisor stop {name}\" \
                     to have none"
                ))
            })?;
            Request::Scale { wanted, because: format!("{wanted} asked for"), pool }
        }
    };
    ask(home, name, &request, "scaling", &args.wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn its_arguments() {
        for count in ["4", "+1", "-1", "max"] {
            let args: Args = parse(&["web", count]).unwrap();
            assert_eq!((args.name.as_str(), args.count.as_str()), ("web", count));
        }
        assert!(parse::<Args>(&["web"]).is_err());
    }

    #[test]
    fn signs_are_relative() {
        assert_eq!(read_change("+2").unwrap(), Change::By(2));
        assert_eq!(read_change("-1").unwrap(), Change::By(-1));
        assert!(matches!(read_change("4").unwrap(), Change::To { wanted: 4, .. }));
        assert!(matches!(read_change("max").unwrap(), Change::To { wanted: 1.., .. }));
        for wrong in ["0", "+0", "+", "-x", "banana", ""] {
            assert_eq!(read_change(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
