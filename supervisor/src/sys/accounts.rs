//! Users and groups as they were last looked up. A directory service may take long to answer, or
//! hang, so the primary looks names up before its loop begins, and a helper process does so for
//! each new spec. What was not found is looked up again.
//!
//! The memory belongs to the thread; a primary has one.

use std::cell::RefCell;
use std::collections::BTreeMap;

use config::spec::AppSpec;
use serde::{Deserialize, Serialize};

use super::users::{self, Identity};

thread_local! {
    static KNOWN: RefCell<Accounts> = RefCell::default();
}

/// Users and groups that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accounts {
    identities: Vec<Known>,
    /// The numbers of groups, by name.
    groups: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    user: String,
    /// The group that was named beside the user.
    group: Option<String>,
    identity: Identity,
}

impl Accounts {
    /// Looks up every name in these specs and their pools. May take long.
    pub(crate) fn of(specs: &[&AppSpec]) -> Self {
        let mut accounts = Self::default();
        specs.iter().for_each(|spec| accounts.add(spec));
        accounts
    }

    fn add(&mut self, spec: &AppSpec) {
        let app = (spec.user.as_deref(), spec.group.as_deref());
        let pools = spec.pools.iter().map(|pool| (pool.user.as_deref(), pool.group.as_deref()));
        for (user, group) in std::iter::once(app).chain(pools) {
            let user = user.or(spec.user.as_deref());
            for group in [group, spec.group.as_deref(), None] {
                self.look_up(user, group);
            }
        }
        let names = spec.privileges.groups.iter().chain(&spec.operators).chain(&spec.observers);
        let found = names.filter_map(|name| Some((name.clone(), users::group(name).ok()?)));
        self.groups.extend(found);
    }

    fn look_up(&mut self, user: Option<&str>, group: Option<&str>) {
        let Some(user) = user.filter(|user| self.find(user, group).is_none()) else { return };
        if let Ok(identity) = users::resolve(user, group) {
            let (user, group) = (user.to_owned(), group.map(str::to_owned));
            self.identities.push(Known { user, group, identity });
        }
    }

    fn find(&self, user: &str, group: Option<&str>) -> Option<&Identity> {
        let is_it = |known: &&Known| known.user == user && known.group.as_deref() == group;
        self.identities.iter().find(is_it).map(|known| &known.identity)
    }
}

/// From now on these are the known ones.
pub(crate) fn remember(accounts: Accounts) {
    KNOWN.set(accounts);
}

/// All that are known, for a successor.
pub(crate) fn known() -> Accounts {
    KNOWN.with_borrow(Clone::clone)
}

/// The user to run as, see [`users::resolve`].
pub(crate) fn identity(user: &str, group: Option<&str>) -> Result<Identity, String> {
    let known = KNOWN.with_borrow(|known| known.find(user, group).cloned());
    known.map_or_else(|| users::resolve(user, group), Ok)
}

/// The number of a group, see [`users::group`].
pub(crate) fn group(name: &str) -> Result<u32, String> {
    let known = KNOWN.with_borrow(|known| known.groups.get(name).copied());
    known.map_or_else(|| users::group(name), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_looked_up() {
        let mut spec = AppSpec::new("web", vec!["true".into()], "/".into());
        spec.user = Some("root".to_owned());
        spec.privileges.groups = vec!["4321".to_owned(), "banana".to_owned()];
        let mut accounts = Accounts::of(&[&spec]);
        assert_eq!(accounts.groups.get("4321"), Some(&4321));
        assert!(!accounts.groups.contains_key("banana"), "it is looked up again");
        assert_eq!(accounts.find("root", None), users::resolve("root", None).ok().as_ref());
        // A name that only the memory knows.
        accounts.groups.insert("remembered".to_owned(), 7);
        let json = serde_json::to_string(&accounts).unwrap();
        remember(serde_json::from_str(&json).unwrap());
        assert_eq!(known(), accounts);
        assert_eq!(group("remembered"), Ok(7));
        assert_eq!(group("root"), Ok(0));
        assert_eq!(identity("root", None).unwrap().uid, 0);
        assert!(identity("no-such-user", None).is_err());
    }
}
