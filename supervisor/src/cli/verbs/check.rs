//! `check`: reads configuration files as `start` does, and starts nothing.

use std::path::PathBuf;

use config::spec::PoolSpec;
use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::file_set::FileSet;
use crate::cli::output::Stdout;
use crate::cli::specs::CONFIG_FILE;

/// Check configuration files for mistakes, and change nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration files, or patterns such as 'conf.d/*.toml'.
    #[arg(value_name = "FILE", default_value = CONFIG_FILE)]
    pub(crate) files: Vec<PathBuf>,
    /// Choose the profile of this name, in each app that has it.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Print an array of the apps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One app of `--json`. Values of environment variables are left out.
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

/// One pool of an app beside its own.
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

/// Runs the verb. Fails with every mistake in the files.
pub(crate) fn run(args: &Args, out: &mut Stdout) -> Result<Exit, Failure> {
    let set = FileSet::read(&args.files, args.profile.as_deref())?;
    let specs = set.apps.into_iter().map(|app| app.spec);
    let apps = specs.map(|spec| App {
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
    for file in &args.files {
        out.line(format_args!("{} is fine", file.display()));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn the_file_has_a_default() {
        assert_eq!(parse::<Args>(&[]).unwrap().files, [PathBuf::from("supervisor.toml")]);
    }
}
