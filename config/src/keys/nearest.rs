//! The known word that is nearest to an unknown one.

/// Longer words are not compared: that would only take time, and no key is half as long.
const LONGEST: usize = 40;

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
