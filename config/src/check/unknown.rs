//! What somebody may have meant by a key that does not exist.

use super::KEYS;

/// What other tools call our keys.
const ELSEWHERE: [(&str, &str); 24] = [
    ("args", "command"),
    ("cmd", "command"),
    ("exec", "command"),
    ("run", "command"),
    ("file", "script"),
    ("directory", "cwd"),
    ("workdir", "cwd"),
    ("working_directory", "cwd"),
    ("environment", "env"),
    ("count", "instances"),
    ("processes", "instances"),
    ("replicas", "instances"),
    ("scale", "instances"),
    ("workers", "instances"),
    ("address", "listen"),
    ("bind", "listen"),
    ("port", "listen"),
    ("strategy", "balance"),
    ("autorestart", "restart"),
    ("signal", "stop_signal"),
    ("supplementary_groups", "groups"),
    ("rlimits", "limits"),
    ("ulimits", "limits"),
    ("oom_score_adjust", "oom_score_adj"),
];

/// The key that was probably meant.
pub(super) fn meant(key: &str) -> Option<&'static str> {
    // Longer words would only cost time; none of ours is half as long.
    if key.len() > 40 {
        return None;
    }
    let plain = key.to_ascii_lowercase().replace('-', "_");
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == plain) {
        return Some(ours);
    }
    KEYS.into_iter()
        .chain(["app"])
        .map(|ours| (strsim::damerau_levenshtein(&plain, ours), ours))
        .filter(|(distance, ours)| *distance <= 1.max(ours.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, ours)| ours)
}

/// `unknown key "x": did you mean "y"?`
pub(super) fn message(key: &str) -> String {
    match meant(key) {
        Some(ours) => format!("unknown key {key:?}: did you mean {ours:?}?"),
        None => format!("unknown key {key:?}: remove it"),
    }
}
