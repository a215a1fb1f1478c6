//! The key that was probably meant by one that does not exist.

/// Longer words are not compared: that would only take time, and no key is half as long.
const LONGEST: usize = 40;

/// Tables that are no keys themselves.
pub(crate) const TABLES: [&str; 2] = ["app", "pool"];

/// The known word that was probably meant by `word`: the one of that name in another tool, or the
/// nearest. `known`: each word, and what other tools call it.
pub(crate) fn nearest(
    word: &str,
    known: impl Iterator<Item = (&'static str, &'static [&'static str])>,
) -> Option<&'static str> {
    if word.len() > LONGEST {
        return None;
    }
    let plain = word.to_ascii_lowercase().replace('-', "_");
    let known: Vec<_> = known.collect();
    if let Some((ours, _)) = known.iter().find(|(_, theirs)| theirs.contains(&plain.as_str())) {
        return Some(ours);
    }
    known
        .into_iter()
        .map(|(ours, _)| (strsim::damerau_levenshtein(&plain, ours), ours))
        .filter(|(distance, ours)| *distance <= 1.max(ours.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, ours)| ours)
}

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
