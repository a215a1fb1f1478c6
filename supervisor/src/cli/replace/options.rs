//! The options of `reload` and `restart`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Args;
use config::change::SpecChange;
use config::pool::OWN;

use crate::cli::args::WaitOptions;
use crate::cli::exit::Failure;
use crate::cli::targets::PoolOption;

/// Which workers to replace, and with what.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplaceOptions {
    /// Which apps (NAME:POOL: one pool of it); or a configuration file (.toml .yaml .json), whose
    /// apps are reloaded if they run and started if not. An app that came from a file is read from
    /// it again.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Set a variable in the environment of the new workers. May be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = config::environment::pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Give the new workers the environment of this command, and read the file with it. Later ones
    /// keep it.
    #[arg(long)]
    pub(crate) update_env: bool,
    /// Drop the flags that "start" was given beside the file; from now on only the file counts.
    #[arg(long)]
    pub(crate) as_written: bool,
    /// Choose the profile of this name, in each app of the file that has it. Default: the one that
    /// the app was started with.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    #[command(flatten)]
    pub(crate) pool: PoolOption,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

impl ReplaceOptions {
    /// The pool that gets the variables of `--env`, if it is not the app's own.
    pub(super) fn env_pool(&self) -> Option<&str> {
        self.pool.pool.as_deref().filter(|pool| *pool != OWN)
    }

    /// The environment of this command, as far as it is text, with `--update-env`. Where our files
    /// are is not for the workers to learn from it.
    pub(super) fn inherited(&self) -> Option<BTreeMap<String, String>> {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        self.update_env.then(|| std::env::vars_os().filter_map(text).collect())
    }

    /// The change that the options are, of an app that is named and not its file.
    pub(super) fn change(&self) -> SpecChange {
        SpecChange {
            file: None,
            profile: self.profile.clone(),
            exports: None,
            written: None,
            inherited: self.inherited(),
            variables: BTreeMap::new(),
            env: self.env.clone(),
            pool: self.env_pool().map(str::to_owned),
            as_written: self.as_written,
        }
    }

    /// The same options once for each pool, with the names that belong to it. Fails if a name is
    /// malformed.
    pub(crate) fn by_pool(&self) -> Result<Vec<Self>, Failure> {
        let mut groups: Vec<Self> = Vec::new();
        for given in &self.names {
            let (name, pool) = self.pool.split(given)?;
            match groups.iter_mut().find(|group| group.pool == pool) {
                Some(group) => group.names.push(name),
                None => groups.push(Self { names: vec![name], pool, ..self.clone() }),
            }
        }
        Ok(groups)
    }
}
