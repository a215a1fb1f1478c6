//! Variables of the environment in the strings of a file: `${NAME}`, `${NAME:-default}`, `$$`.
//!
//! A file names them, and messages show them by their names: a value may be a secret.

use std::collections::BTreeMap;
use std::env;

/// What is only known when a worker starts, in an argument: the number of a listening socket, the
/// slot and the generation. These are no variables of a file.
const OF_A_WORKER: [&str; 3] = ["${fd:", "${SUPERVISOR_SLOT}", "${SUPERVISOR_GENERATION}"];
/// Shorter values are no secrets, and would be found everywhere in a message.
const SECRET: usize = 4;

/// The variables that a file may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    values: BTreeMap<String, String>,
}

/// A string with the values of its variables.
#[derive(Debug, PartialEq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Each variable that was used, as `${NAME}`, and its value.
    pub(crate) used: Vec<(String, String)>,
    /// Each variable that the string names, and its value, if it is set.
    pub(crate) named: Vec<(String, Option<String>)>,
}

/// Why a string cannot be expanded.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    /// The part of the string that it is about.
    pub(crate) part: String,
    pub(crate) message: String,
}

impl Variables {
    /// Those of this process, as far as they are text.
    pub(crate) fn of_this_process() -> Self {
        let pairs = env::vars_os();
        let pairs = pairs
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Self { values: pairs.collect() }
    }

    /// Those of this environment alone.
    pub(crate) fn only(environment: &BTreeMap<String, String>) -> Self {
        Self { values: environment.clone() }
    }

    /// These with the values that some of them had once; `None`: not set.
    pub(crate) fn over(mut self, known: &BTreeMap<String, Option<String>>) -> Self {
        for (name, value) in known {
            match value {
                Some(value) => _ = self.values.insert(name.clone(), value.clone()),
                None => _ = self.values.remove(name),
            }
        }
        self
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self { values: pairs.collect() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Puts the values into `text`. `None`: nothing is to be put in.
    pub(crate) fn expand(&self, text: &str) -> Result<Option<Expanded>, Refusal> {
        let mut expanded = Expanded { text: String::new(), used: Vec::new(), named: Vec::new() };
        let (mut rest, mut changed) = (text, false);
        while let Some(at) = rest.find('$') {
            expanded.text.push_str(&rest[..at]);
            rest = &rest[at..];
            let taken = if rest.starts_with("$$") {
                expanded.text.push('$');
                changed = true;
                2
            } else if rest.starts_with("${") && !OF_A_WORKER.iter().any(|own| rest.starts_with(own))
            {
                changed = true;
                self.reference(rest, &mut expanded)?
            } else {
                expanded.text.push('$');
                1
            };
            rest = &rest[taken..];
        }
        expanded.text.push_str(rest);
        Ok(changed.then_some(expanded))
    }

    /// The reference at the beginning of `text`; returns its length.
    fn reference(&self, text: &str, expanded: &mut Expanded) -> Result<usize, Refusal> {
        let refuse = |part: &str, message| Err(Refusal { part: part.to_owned(), message });
        let Some(end) = text.find('}') else {
            let message =
                "\"${\" has no \"}\": write \"$${\" for the characters themselves".to_owned();
            return refuse("${", message);
        };
        let (whole, inside) = (&text[..=end], &text[2..end]);
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            let message = format!(
                "{whole:?} names no variable: write ${{NAME}} or ${{NAME:-default}}, or \"$${{\" for \
                 the characters themselves"
            );
            return refuse(whole, message);
        }
        expanded.named.push((name.to_owned(), self.get(name).map(str::to_owned)));
        let value = self.get(name).filter(|value| default.is_none() || !value.is_empty());
        match (value, default) {
            (Some(value), _) => {
                expanded.text.push_str(value);
                expanded.used.push((format!("${{{name}}}"), value.to_owned()));
            }
            (None, Some(default)) => expanded.text.push_str(default),
            (None, None) => {
                let message = format!(
                    "the variable {name:?} is not set: set it, or write ${{{name}:-default}}"
                );
                return refuse(whole, message);
            }
        }
        Ok(end + 1)
    }
}

/// Whether a file can refer to the variable of this name.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The text as a file has it, so that expanding it gives `text` again.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let of_a_worker = OF_A_WORKER.iter().any(|own| text[at..].starts_with(own));
        if character == '$' && !of_a_worker {
            escaped.push('$');
        }
        escaped.push(character);
    }
    escaped
}

/// A message without the values of variables that the file uses: their names stand for them.
pub(crate) fn without_values(message: String, used: &BTreeMap<String, String>) -> String {
    let mut message = message;
    for (value, name) in used {
        let debug = format!("{value:?}");
        message = message.replace(&debug, &format!("{name:?}"));
        if value.len() >= SECRET {
            message = message.replace(value, name).replace(debug.trim_matches('"'), name);
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let variables = Variables::of(&[("A", "one"), ("EMPTY", ""), ("B_2", "$A ${A}")]);
        match variables.expand(text) {
            Ok(expanded) => {
                Ok(expanded.map_or_else(|| "unchanged".to_owned(), |expanded| expanded.text))
            }
            Err(refusal) => Err(format!("{}: {}", refusal.part, refusal.message)),
        }
    }

    #[test]
    fn references() {
        for (text, expected) in [
            ("plain", "unchanged"),
            ("$A 5$ $", "unchanged"),
            ("--fd ${fd:web} --pid ${SUPERVISOR_SLOT}-${SUPERVISOR_GENERATION}", "unchanged"),
            ("${A}/${A}x", "one/onex"),
            ("${NO:-two words}", "two words"),
            ("${NO:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("$${A} $$$$", "${A} $$"),
            ("${B_2}", "$A ${A}"),
            ("é${A}é", "éoneé"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("x${NO}", "${NO}: the variable \"NO\" is not set: set it, or write ${NO:-default}"),
            ("${A", "${: \"${\" has no \"}\": write \"$${\" for the characters themselves"),
            ("${A%x}", "${A%x}: \"${A%x}\" names no variable"),
            ("${}", "${}: \"${}\" names no variable"),
            ("${2}", "${2}: \"${2}\" names no variable"),
        ] {
            let refusal = expand(text).unwrap_err();
            assert!(refusal.starts_with(expected), "{text}: {refusal}");
        }
    }

    #[test]
    fn messages_name_variables_instead_of_showing_them() {
        let used = [("hunter2", "${A}"), ("a\"b\"", "${B}"), ("x", "${C}")];
        let used = used.map(|(value, name)| (value.to_owned(), name.to_owned())).into();
        let hidden = |message: &str| without_values(message.to_owned(), &used);
        assert_eq!(hidden("cannot use cwd /srv/hunter2"), "cannot use cwd /srv/${A}");
        assert_eq!(hidden("name \"a\\\"b\\\"\" is wrong"), "name \"${B}\" is wrong");
        assert_eq!(hidden("next \"x\""), "next \"${C}\"");
    }
}
