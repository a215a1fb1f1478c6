//! `restart`: replaces every worker like `reload`, or with `--hard` stops all of them first.

use ipc::control::{Method, Request};

use crate::cli::exit::{Exit, Failure};
use crate::cli::replace::{ReplaceOptions, replace};
use crate::cli::session::Session;
use crate::cli::targets::{Results, Targets, ask};

/// Replace the workers of an app as reload does; with --hard, stop all, then start all.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop all workers first, then start them: connections are lost, listeners are not.
    #[arg(long)]
    pub(crate) hard: bool,
    /// Replace only the worker of this slot, with the configuration that runs; NAME:N is the same.
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["hard", "env", "update_env", "as_written", "profile", "pool"]
    )]
    pub(crate) slot: Option<u16>,
    #[command(flatten)]
    pub(crate) options: ReplaceOptions,
}

/// Runs the verb. Fails if `--hard` is limited to a pool, or if some names mean a worker and others
/// an app.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    if let Some(workers) = workers(args)? {
        return replace_workers(&workers, args, session);
    }
    let (hard, groups) = (args.hard, args.options.by_pool()?);
    if hard && groups.iter().any(|group| group.pool.pool.is_some()) {
        return Err(Failure::usage("--hard stops the workers of all pools: name no pool"));
    }
    replace(&groups, session, "restarting", |pool| match hard {
        true => Method::Hard,
        false => Method::Rolling { pool },
    })
}

/// The workers that the arguments mean, by app and slot: `NAME:N`, or all names with `--slot`.
/// `None`: they mean whole apps or pools.
fn workers(args: &Args) -> Result<Option<Vec<(String, u16)>>, Failure> {
    let names = &args.options.names;
    if let Some(slot) = args.slot {
        return Ok(Some(names.iter().map(|name| (name.clone(), slot)).collect()));
    }
    let worker = |name: &String| {
        let (name, slot) = name.split_once(':')?;
        Some((name.to_owned(), slot.parse::<u16>().ok()?))
    };
    let found: Vec<(String, u16)> = names.iter().filter_map(worker).collect();
    let brings = !args.options.env.is_empty()
        || args.options.update_env
        || args.options.as_written
        || args.options.profile.is_some();
    if found.is_empty() {
        Ok(None)
    } else if found.len() < names.len() {
        Err(Failure::usage("some names mean one worker and some an app: use two commands"))
    } else if args.hard || brings {
        Err(Failure::usage(
            "one worker is replaced with the configuration that runs: leave out the flags, or \
             restart the app",
        ))
    } else {
        Ok(Some(found))
    }
}

/// Replaces workers one after the other.
fn replace_workers(
    workers: &[(String, u16)],
    args: &Args,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let wait = &args.options.wait;
    let mut results = Results::new(wait.json);
    for (name, slot) in workers {
        for name in Targets::resolve(session, std::slice::from_ref(name))?.names {
            let request = Request::ReplaceWorker { slot: *slot };
            let result = ask(&session.home, &name, &request, "replacing a worker", wait);
            results.take(session, &name, result);
        }
    }
    results.finish(session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn a_worker_is_a_slot_of_an_app() {
        let read = |argv: &[&str]| workers(&parse::<Args>(argv).unwrap());
        assert_eq!(read(&["web", "shop:hash", "x:"]).unwrap(), None);
        assert_eq!(read(&["web", "--slot", "2"]).unwrap(), Some(vec![("web".to_owned(), 2)]));
        let two = vec![("web".to_owned(), 2), ("shop".to_owned(), 2000)];
        assert_eq!(read(&["web:2", "shop:2000"]).unwrap(), Some(two));
        assert!(read(&["web:2", "shop"]).unwrap_err().reason.contains("use two commands"));
        assert!(read(&["web:2", "-e", "A=1"]).unwrap_err().reason.contains("that runs"));
        assert!(parse::<Args>(&["web", "--slot", "2", "--hard"]).is_err());
    }

    #[test]
    fn its_arguments() {
        let args: Args = parse(&["--hard", "a", "b", "-e", "K=V"]).unwrap();
        assert!(args.hard);
        assert_eq!(args.options.names, ["a", "b"]);
        assert!(parse::<Args>(&[]).is_err());
        assert!(parse::<Args>(&["web", "--config"]).is_err(), "only reload has it");
    }
}
