//! The pools of an app: further groups of workers, each with a program of its own.
//!
//! The app's top level describes the first pool, [`OWN`]. Every other pool inherits from it what it
//! does not set itself, except the addresses and the probes: only the first pool's workers get
//! them. Refuses names that no pool can have.

use std::collections::BTreeMap;

use crate::cpus::Cpus;
use crate::name;
use crate::spec::{AppSpec, Instances, PoolSpec, ProbeSpec, ReadyRule};

/// The pool that an app's top level describes.
pub const OWN: &str = "default";

/// The most pools that an app may have besides its own.
pub const MAX_POOLS: usize = 10;

/// Refuses a name that no pool can have.
pub fn check_name(text: &str) -> Result<(), String> {
    if text == OWN {
        return Err(format!(
            "{OWN:?} is the app's own pool, which stands outside of every [pool.NAME] table"
        ));
    }
    if text == "all" {
        return Err("the name \"all\" means every pool: choose another".to_owned());
    }
    name::part(text)
}

impl PoolSpec {
    /// One worker of `command`, and every default.
    pub fn new(name: impl Into<String>, command: Vec<String>) -> Self {
        Self {
            name: name.into(),
            command,
            cwd: None,
            env: BTreeMap::new(),
            instances: Instances::Count(1),
            wanted: 1,
            wanted_because: "1 asked for".to_owned(),
            user: None,
            group: None,
            ready: ReadyRule::Auto,
        }
    }
}

impl AppSpec {
    /// The pool that this describes.
    pub fn pool(&self) -> &str {
        self.pool.as_deref().unwrap_or(OWN)
    }

    /// The spec that the workers of `pool` are started from.
    pub fn of_pool(&self, pool: &PoolSpec) -> Self {
        let mut spec = Self { pools: Vec::new(), shared: None, overrides: None, ..self.clone() };
        spec.pool = Some(pool.name.clone());
        spec.command.clone_from(&pool.command);
        spec.cwd = pool.cwd.clone().unwrap_or(spec.cwd);
        spec.env.extend(pool.env.clone());
        (spec.instances, spec.wanted) = (pool.instances, pool.wanted);
        spec.wanted_because.clone_from(&pool.wanted_because);
        if pool.user.is_some() {
            (spec.user, spec.group) = (pool.user.clone(), pool.group.clone());
        } else {
            spec.group = pool.group.clone().or(spec.group);
        }
        spec.ready = pool.ready;
        // They ask for an address or a command that only the app's own program has.
        (spec.readiness, spec.liveness) = (ProbeSpec::default(), ProbeSpec::default());
        spec
    }

    /// How many workers all its pools have together.
    pub fn total(&self) -> u16 {
        self.pools.iter().fold(self.wanted, |sum, pool| sum.saturating_add(pool.wanted))
    }

    /// Computes the number of workers of every pool from `instances`, for this machine.
    pub fn resolve(&mut self, cpus: &Cpus) {
        let resolved = self.instances.resolve(cpus);
        (self.wanted, self.wanted_because) = (resolved.count, resolved.because);
        for pool in &mut self.pools {
            let resolved = pool.instances.resolve(cpus);
            (pool.wanted, pool.wanted_because) = (resolved.count, resolved.because);
        }
    }

    /// Whether `scale` has changed the number of workers of any pool.
    pub fn is_scaled(&self, cpus: &Cpus) -> bool {
        let pools = self.pools.iter().map(|pool| (pool.instances, pool.wanted));
        let mut all = std::iter::once((self.instances, self.wanted)).chain(pools);
        all.any(|(instances, wanted)| !instances.allows(cpus, wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_takes_from_the_app_what_it_does_not_say() {
        let mut app = AppSpec::new("web", vec!["serve".into()], "/srv".into());
        app.env = [("A".to_owned(), "app".to_owned()), ("B".to_owned(), "app".to_owned())].into();
        (app.user, app.group) = (Some("www".into()), Some("www".into()));
        let mut pool = PoolSpec::new("hash", vec!["hasher".into()]);
        pool.env.insert("B".to_owned(), "pool".to_owned());
        (pool.instances, pool.wanted) = (Instances::Count(3), 3);
        app.pools.push(pool.clone());
        assert_eq!((app.pool(), app.total()), ("default", 4));
        let spec = app.of_pool(&pool);
        assert_eq!(
            (spec.pool(), spec.wanted, spec.command.clone()),
            ("hash", 3, vec!["hasher".to_owned()])
        );
        assert_eq!((spec.cwd, spec.group), (app.cwd.clone(), Some("www".into())));
        assert_eq!((spec.env["A"].as_str(), spec.env["B"].as_str()), ("app", "pool"));
        pool.user = Some("nobody".into());
        let spec = app.of_pool(&pool);
        assert_eq!((spec.user.as_deref(), spec.group), (Some("nobody"), None));
    }

    #[test]
    fn names() {
        assert_eq!(check_name("hash"), Ok(()));
        assert!(check_name("default").unwrap_err().contains("own pool"));
        assert!(check_name("all").unwrap_err().contains("every pool"));
        assert!(check_name("my app").unwrap_err().contains("\"my app\" contains \" \""));
    }
}
