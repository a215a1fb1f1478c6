//! `--pool`, or `NAME:POOL`: limits a command to one pool of an app.

use std::path::Path;

use clap::Args;
use ipc::control::PoolStatus;

use super::probe;
use crate::cli::exit::Failure;
use crate::cli::specs::is_config_path;
use crate::home::Home;

/// The pool that a command is limited to, if any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct PoolOption {
    /// Only the workers of this pool; "default" is the app's own. Short form: NAME:POOL.
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
}

impl PoolOption {
    /// Splits `NAME:POOL` into the name and its pool. A plain name, or the path of a file, has the
    /// pool of `--pool`. Fails if both are given.
    pub(crate) fn split(&self, given: &str) -> Result<(String, Self), Failure> {
        let is_file = is_config_path(Path::new(given));
        let Some((name, pool)) = given.rsplit_once(':').filter(|_| !is_file) else {
            return Ok((given.to_owned(), self.clone()));
        };
        if pool.is_empty() && !name.is_empty() {
            // All apps of a namespace.
            return Ok((given.to_owned(), self.clone()));
        }
        if name.is_empty() {
            return Err(Failure::usage(format!("\"{given}\" lacks a name: write NAME:POOL")));
        }
        if self.pool.is_some() {
            let reason = format!("\"{given}\" names a pool already: leave out --pool");
            return Err(Failure::usage(reason));
        }
        Ok((name.to_owned(), Self { pool: Some(pool.to_owned()) }))
    }

    /// The status of the pool. Fails if the app has no such pool, or if its primary is too old to
    /// know pools: it would apply the request to all workers.
    pub(crate) fn find(&self, home: &Home, app: &str) -> Result<Option<PoolStatus>, Failure> {
        let Some(name) = &self.pool else { return Ok(None) };
        let pools = probe::existing(home, app)?.pools;
        let known: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let known = known.join(", ");
        let found = pools.into_iter().find(|pool| pool.name == *name);
        found.map(Some).ok_or_else(|| {
            Failure::usage(match known.is_empty() {
                true => format!(
                    "the primary of {app} is of a version without pools: run \"supervisor upgrade \
                     {app}\""
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
        let none = PoolOption::default();
        let hash = PoolOption { pool: Some("hash".to_owned()) };
        for (given, name, pool) in [
            ("shop", "shop", &none),
            ("shop:hash", "shop", &hash),
            ("all:hash", "all", &hash),
            ("group:", "group:", &none),
            ("/srv/a:b/shop.toml", "/srv/a:b/shop.toml", &none),
            ("/srv/a:b/shop.toml:hash", "/srv/a:b/shop.toml", &hash),
        ] {
            assert_eq!(none.split(given).unwrap(), (name.to_owned(), pool.clone()));
        }
        assert_eq!(hash.split("shop").unwrap(), ("shop".to_owned(), hash.clone()));
        for wrong in [":hash", ":"] {
            assert_eq!(none.split(wrong).unwrap_err().exit, crate::cli::exit::Exit::Usage);
        }
        assert!(hash.split("shop:hash").unwrap_err().reason.contains("leave out --pool"));
    }
}
