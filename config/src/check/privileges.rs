//! The keys that say what workers may do, and who may ask the primary.

use toml::de::DeValue;

use super::draft::items;
use crate::privileges::{Limit, RESOURCES, umask, within};
use crate::raw::{Findings, Written, in_order};
use crate::spec::AppSpec;

/// Reads the key, if it is one of these.
pub(super) fn read(
    spec: &mut AppSpec,
    key: &str,
    value: &Written<'_>,
    findings: &mut Findings,
) -> bool {
    let wanted = &mut spec.privileges;
    match key {
        "groups" => {
            wanted.groups =
                items(key, value, findings).into_iter().map(|(_, group)| group).collect();
        }
        "umask" => wanted.umask = mask(value, findings),
        "nice" => {
            let text = findings.text_or_integer(key, value);
            wanted.nice = text.and_then(|text| findings.keep(key, value, within(&text, -20, 19)));
        }
        "oom_score_adj" => {
            let text = findings.text_or_integer(key, value);
            wanted.oom_score_adj =
                text.and_then(|text| findings.keep(key, value, within(&text, -1000, 1000)));
        }
        "no_new_privs" => findings.flag(key, value, &mut wanted.no_new_privs),
        "limits" => limits(spec, value, findings),
        "operators" => spec.operators = findings.text_or_integer(key, value),
        "observers" => spec.observers = findings.text_or_integer(key, value),
        _ => return false,
    }
    true
}

/// A string in octal, or an integer that is written in octal: 27 would be another mask than meant.
fn mask(value: &Written<'_>, findings: &mut Findings) -> Option<u16> {
    let text = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 8 => number.as_str().to_owned(),
        DeValue::Integer(_) => {
            findings.add(value.span(), "umask must be octal: write \"027\" or 0o027");
            return None;
        }
        _ => findings.text("umask", value)?,
    };
    findings.keep("umask", value, umask(&text))
}

fn limits(spec: &mut AppSpec, value: &Written<'_>, findings: &mut Findings) {
    let Some(table) = findings.table("limits", value) else { return };
    for (name, span, value) in in_order(table) {
        let Some((_, resource)) = RESOURCES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = RESOURCES.iter().map(|(known, _)| *known).collect();
            let known = known.join(", ");
            findings.add(span, format!("there is no limit {name:?}: choose one of {known}"));
            continue;
        };
        let key = format!("limits.{name}");
        let Some(text) = findings.text_or_integer(&key, value) else { continue };
        if let Some(limit) = findings.keep(&key, value, text.parse::<Limit>()) {
            spec.privileges.limits.insert(*resource, limit);
        }
    }
}
