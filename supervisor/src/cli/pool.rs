//! `--pool`: which of an app's groups of workers is meant.

use clap::Args;
use ipc::control::PoolStatus;

use super::Session;
use super::exit::Failure;
use super::survey;

#[derive(Debug, Args)]
pub(crate) struct PoolArg {
    /// Only the workers of this pool; "default" is the app's own.
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
}

impl PoolArg {
    /// The pool, as the app's primary knows it. One that knows of no pools is refused, since it
    /// would do to all workers what is meant for some.
    pub(super) fn find(&self, session: &Session, app: &str) -> Result<Option<PoolStatus>, Failure> {
        let Some(name) = &self.pool else { return Ok(None) };
        let status = survey::status(&session.home, app)?;
        let pools = status.ok_or_else(|| survey::no_such_app(app))?.pools;
        let known: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let known = known.join(", ");
        let found = pools.into_iter().find(|pool| pool.name == *name);
        found.map(Some).ok_or_else(|| {
            Failure::usage(match known.is_empty() {
                true => format!(
                    "the primary of {app} is of a version without pools: \"supervisor upgrade {app}\""
                ),
                false => format!("{app} has no pool {name}; its pools are {known}"),
            })
        })
    }
}
