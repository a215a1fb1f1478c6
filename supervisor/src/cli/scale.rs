//! `scale`: another number of workers, absolute or relative to the present one.

use clap::Args;
use ipc::control::Request;

use super::Session;
use super::args::Waiting;
use super::ask::ask;
use super::exit::{Exit, Failure};
use super::pool::PoolArg;
use super::probe;
use super::targets::{Said, Targets};

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Which app; NAME:POOL is one pool of it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How many workers: a number, +N more, -N fewer, "max" or P%.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    pub(crate) count: String,
    #[command(flatten)]
    pub(crate) pool: PoolArg,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// A number of workers, as typed.
#[derive(Debug, PartialEq)]
enum Change {
    By(i32),
    To { wanted: u16, because: String },
}

pub(super) fn run(args: &ScaleArgs, session: &mut Session) -> Result<Exit, Failure> {
    let change = parse(&args.count)?;
    let (name, pool) = args.pool.of(&args.name)?;
    let targets = Targets::resolve(session, &[name])?;
    targets
        .each(session, args.waiting.json, |session, name| one(args, session, name, &pool, &change))
}

fn parse(text: &str) -> Result<Change, Failure> {
    if let Some(rest) = text.strip_prefix(['+', '-']) {
        let by = rest.parse::<u16>().ok().filter(|by| *by > 0).map(i32::from);
        let by = by.ok_or_else(|| {
            Failure::usage(format!(
                "\"{text}\" is no change of the number of workers: write +1 or -1"
            ))
        })?;
        return Ok(Change::By(if text.starts_with('-') { -by } else { by }));
    }
    let asked = super::values::instances(text)
        .map_err(|reason| Failure::usage(format!("cannot scale to \"{text}\": {reason}")))?;
    let resolved = asked.resolve(&config::cpus::Cpus::read());
    Ok(Change::To { wanted: resolved.count, because: resolved.because })
}

fn one(
    args: &ScaleArgs,
    session: &Session,
    name: &str,
    pool: &PoolArg,
    change: &Change,
) -> Result<Said, Failure> {
    let found = pool.find(session, name)?;
    let pool = pool.pool.clone();
    let request = match change {
        Change::To { wanted, because } => {
            Request::Scale { wanted: *wanted, because: because.clone(), pool }
        }
        Change::By(by) => {
            let status = probe::status(&session.home, name)?;
            let status = status.ok_or_else(|| probe::no_such_app(name))?;
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
    ask(&session.home, name, &request, "scaling", &args.waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_relative() {
        assert_eq!(parse("+2").unwrap(), Change::By(2));
        assert_eq!(parse("-1").unwrap(), Change::By(-1));
        assert!(matches!(parse("4").unwrap(), Change::To { wanted: 4, .. }));
        assert!(matches!(parse("max").unwrap(), Change::To { wanted: 1.., .. }));
        for wrong in ["0", "+0", "+", "-x", "banana", ""] {
            assert_eq!(parse(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
