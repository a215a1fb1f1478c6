//! `check`: reads a configuration file as `start` would, and touches nothing.

use config::spec::PoolSpec;
use serde::Serialize;

use super::args::CheckArgs;
use super::exit::{Exit, Failure};
use super::output::Out;
use super::start_plan::read_file;

/// One app of `--json`. Environment values stay out of it.
#[derive(Serialize)]
struct App {
    name: String,
    command: Vec<String>,
    cwd: String,
    wanted: u16,
    wanted_because: String,
    listen: Vec<String>,
    pools: Vec<Pool>,
}

/// One of its further pools.
#[derive(Serialize)]
struct Pool {
    name: String,
    command: Vec<String>,
    wanted: u16,
    wanted_because: String,
}

impl From<PoolSpec> for Pool {
    fn from(spec: PoolSpec) -> Self {
        let PoolSpec { name, command, wanted, wanted_because, .. } = spec;
        Self { name, command, wanted, wanted_because }
    }
}

pub(super) fn run(args: &CheckArgs, out: &mut Out) -> Result<Exit, Failure> {
    let specs = read_file(&args.file)?;
    let apps = specs.into_iter().map(|spec| App {
        name: spec.name,
        command: spec.command,
        cwd: spec.cwd.display().to_string(),
        wanted: spec.wanted,
        wanted_because: spec.wanted_because,
        listen: spec.listen.iter().map(|listen| listen.address.to_string()).collect(),
        pools: spec.pools.into_iter().map(Pool::from).collect(),
    });
    let apps: Vec<App> = apps.collect();
    if args.json {
        out.json(&apps)?;
        return Ok(Exit::Done);
    }
    let mut line = |name: &str, wanted: u16, because: &str, command: &[String]| {
        let workers = if wanted == 1 { "worker" } else { "workers" };
        out.line(format_args!("{name}: {wanted} {workers} ({because}) of {}", command.join(" ")));
    };
    for App { name, wanted, wanted_because, command, pools, .. } in &apps {
        line(name, *wanted, wanted_because, command);
        for pool in pools {
            let name = format!("{name}, pool {}", pool.name);
            line(&name, pool.wanted, &pool.wanted_because, &pool.command);
        }
    }
    out.line(format_args!("{} is fine", args.file.display()));
    Ok(Exit::Done)
}
