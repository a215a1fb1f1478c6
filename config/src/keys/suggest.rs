//! The key that was probably meant by one that does not exist.

use super::nearest::nearest;

/// Tables that are no keys themselves.
pub(crate) const TABLES: [&str; 4] = ["app", "defaults", "pool", "profile"];

/// The key or table that was probably meant by `key`.
pub(crate) fn meant(key: &str) -> Option<&'static str> {
    let tables = TABLES.into_iter().map(|table| (table, &[][..]));
    nearest(key, super::all().map(|key| (key.name, key.elsewhere)).chain(tables))
}

/// `unknown key "x": did you mean "y"?`
pub(crate) fn message(key: &str) -> String {
    match meant(key) {
        Some(ours) => format!("unknown key {key:?}: did you mean {ours:?}?"),
        None => format!("unknown key {key:?}: remove it"),
    }
}
