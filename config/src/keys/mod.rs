//! Every key of a configuration: one row for each, and all that is made from the rows.
//!
//! A row says what a key is called, what type of value it has and where in a spec, which flag of
//! `start` goes before it, and how it is explained. From the rows come the reader of a file and its
//! advice on unknown keys ([`suggest`]), the flags of `start` and their [`crate::overrides`], the
//! file that `init` writes ([`template`]), the tables in docs/configuration.md and docs/commands.md
//! (`page`) and the JSON Schema ([`schema`]). To add a key, add a field to a spec and a row here,
//! and use the field.

mod forms;
mod hooks;
mod key;
pub(crate) mod kind;
mod life;
mod logs;
mod nearest;
#[cfg(test)]
mod page;
mod privileges;
mod probes;
mod recycle;
mod restart;
mod run;
pub mod schema;
mod serving;
mod shared;
pub(crate) mod suggest;
pub mod template;
mod watch;

pub use key::{Change, Flag, InPool, Key, Section};
pub use kind::Choice;
pub use shared::{LIMIT_KEYS, LimitKey};

use crate::spec::AppSpec;

/// Every section.
pub(crate) static SECTIONS: [Section; 11] = [
    run::SECTION,
    serving::SECTION,
    life::SECTION,
    restart::SECTION,
    recycle::SECTION,
    watch::SECTION,
    logs::SECTION,
    probes::READINESS_SECTION,
    probes::LIVENESS_SECTION,
    hooks::SECTION,
    privileges::SECTION,
];

/// Every key of an app, in the order of the sections.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// Every key that a pool can have.
pub(crate) fn of_pool() -> impl Iterator<Item = &'static Key> {
    all().filter(|key| key.pool.is_some())
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// Whether the key is in the section of this name.
pub(crate) fn is_in(key: &Key, section: &str) -> bool {
    let mut of_name = SECTIONS.iter().filter(|known| known.name == section);
    of_name.any(|known| known.keys.iter().any(|known| known.name == key.name))
}

/// The keys in which two specs differ.
pub fn changed(one: &AppSpec, other: &AppSpec) -> Vec<&'static Key> {
    all().filter(|key| key.stands_for.is_none() && key.kind.differs(one, other)).collect()
}

#[cfg(test)]
mod tests;
