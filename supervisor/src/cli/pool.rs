//! `--pool`, or `NAME:POOL`: which of an app's groups of workers is meant.

use std::path::Path;

use clap::Args;
use ipc::control::PoolStatus;

use super::Session;
use super::exit::Failure;
use super::probe;

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct PoolArg {
    /// Only the workers of this pool; "default" is the app's own. The same: NAME:POOL.
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
}

impl PoolArg {
    /// A name or file as it was typed, and the pool that is meant with it: `NAME`, `NAME:POOL`.
    pub(super) fn of(&self, given: &str) -> Result<(String, Self), Failure> {
        let is_file = Path::new(given).extension().is_some_and(|ending| ending == "toml");
        let Some((name, pool)) = given.rsplit_once(':').filter(|_| !is_file) else {
            return Ok((given.to_owned(), self.clone()));
        };
        if name.is_empty() || pool.is_empty() {
            return Err(Failure::usage(format!("\"{given}\" lacks a name: write NAME:POOL")));
        }
        if self.pool.is_some() {
            let reason = format!("\"{given}\" says which pool is meant: leave --pool away");
            return Err(Failure::usage(reason));
        }
        Ok((name.to_owned(), Self { pool: Some(pool.to_owned()) }))
    }

    /// The pool, as the app's primary knows it. One that knows of no pools is refused, since it
    /// would do to all workers what is meant for some.
    pub(super) fn find(&self, session: &Session, app: &str) -> Result<Option<PoolStatus>, Failure> {
        let Some(name) = &self.pool else { return Ok(None) };
        let status = probe::status(&session.home, app)?;
        let pools = status.ok_or_else(|| probe::no_such_app(app))?.pools;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_pools() {
        let none = PoolArg::default();
        let hash = PoolArg { pool: Some("hash".to_owned()) };
        for (given, name, pool) in [
            ("shop", "shop", &none),
            ("shop:hash", "shop", &hash),
            ("all:hash", "all", &hash),
            ("/srv/a:b/shop.toml", "/srv/a:b/shop.toml", &none),
            ("/srv/a:b/shop.toml:hash", "/srv/a:b/shop.toml", &hash),
        ] {
            assert_eq!(none.of(given).unwrap(), (name.to_owned(), pool.clone()));
        }
        assert_eq!(hash.of("shop").unwrap(), ("shop".to_owned(), hash.clone()));
        for wrong in ["shop:", ":hash", ":"] {
            assert_eq!(none.of(wrong).unwrap_err().exit, super::super::exit::Exit::Usage);
        }
        assert!(hash.of("shop:hash").unwrap_err().reason.contains("leave --pool away"));
    }
}
