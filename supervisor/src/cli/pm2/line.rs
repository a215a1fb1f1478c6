//! A command line of PM2: its verb, what the verb is for, and flags anywhere.

use serde_json::{Map, Value as Json};

use super::flags::{self, Flag, Here, Value};
use crate::cli::exit::Failure;

/// A command line that was read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Line {
    pub(super) verb: String,
    /// Names, numbers, files.
    pub(super) targets: Vec<String>,
    /// What follows `--`.
    pub(super) rest: Vec<String>,
    /// Flags that are options of PM2's files, by the names of those.
    pub(super) options: Map<String, Json>,
    /// The other flags, by their first names, with their values.
    flags: Vec<(&'static str, String)>,
}

impl Line {
    /// Reads the arguments after the program's name. Fails where PM2 does not know a flag, a value
    /// is missing, or a flag is not supported here.
    pub(super) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut line = Self::default();
        let mut left = arguments.peekable();
        while let Some(word) = left.next() {
            if word == "--" {
                line.rest = left.collect();
                break;
            }
            if !word.starts_with('-') || word == "-" || word.parse::<i32>().is_ok() {
                match line.verb.is_empty() {
                    true => line.verb = word,
                    false => line.targets.push(word),
                }
                continue;
            }
            let (flag, mut value) = find(&word)?;
            let is_value = |next: &String| !next.starts_with('-');
            let mut several = Vec::new();
            match flag.value {
                Value::None => {}
                Value::One if value.is_none() => {
                    value = Some(
                        left.next()
                            .ok_or_else(|| Failure::usage(format!("{word} needs a value")))?,
                    )
                }
                Value::Maybe if value.is_none() => value = left.next_if(is_value),
                Value::One | Value::Maybe => {}
                Value::Several => {
                    several.extend(value.take());
                    while let Some(next) = left.next_if(is_value) {
                        several.push(next);
                    }
                }
            }
            line.take(flag, value, several)?;
        }
        Ok(line)
    }

    fn take(
        &mut self,
        flag: &'static Flag,
        value: Option<String>,
        several: Vec<String>,
    ) -> Result<(), Failure> {
        let name = flag.names[0];
        match flag.here {
            Here::Option(option) if flag.value == Value::Several => {
                let codes = several.iter().flat_map(|text| text.split(','));
                self.options.insert(option.to_owned(), codes.map(json).collect());
            }
            Here::Option(option) => {
                let read = |text: String| match TEXTS.contains(&option) {
                    true => Json::from(text),
                    false => json(&text),
                };
                let value = value.map_or(Json::Bool(true), read);
                self.options.insert(option.to_owned(), value);
            }
            Here::Off(option) => _ = self.options.insert(option.to_owned(), Json::Bool(false)),
            Here::Read => self.flags.push((name, value.unwrap_or_default())),
            Here::Nothing => {}
            Here::Refused(reason) => {
                return Err(Failure::usage(format!("{name} is not supported: {reason}")));
            }
        }
        Ok(())
    }

    /// Whether the flag of this first name is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The last value of the flag of this first name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self.flags.iter().rev().find(|(flag, _)| *flag == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The flag that a word is, and the value that it has in the same word (`--name=web`, `-i4`).
fn find(word: &str) -> Result<(&'static Flag, Option<String>), Failure> {
    let unknown = || Failure::usage(format!("PM2 has no flag {word}, or only for its own service"));
    if let Some((name, value)) = word.split_once('=') {
        return Ok((flags::find(name).ok_or_else(unknown)?, Some(value.to_owned())));
    }
    if let Some(flag) = flags::find(word) {
        return Ok((flag, None));
    }
    let short = word.get(..2).filter(|short| *short != "--").and_then(flags::find);
    let short = short.filter(|flag| flag.value != Value::None).ok_or_else(unknown)?;
    Ok((short, Some(word[2..].to_owned())))
}

/// The options that are text, though it may be digits.
const TEXTS: [&str; 3] = ["name", "namespace", "cwd"];

/// A number as a number, other text as text: PM2's files tell them apart.
fn json(text: &str) -> Json {
    text.parse::<i64>().map_or_else(|_| Json::from(text), Json::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(line: &str) -> Result<Line, Failure> {
        Line::read(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn flags_stand_anywhere() {
        let line = read("-i 2 start app.js --name=web -k 500 --no-autorestart -f -- -x 1").unwrap();
        assert_eq!((line.verb.as_str(), line.targets.join(" ")), ("start", "app.js".into()));
        assert_eq!(line.rest, ["-x", "1"]);
        let options =
            json!({"instances": 2, "name": "web", "kill_timeout": 500, "autorestart": false});
        assert_eq!(Json::Object(line.options.clone()), options);
        assert!(line.has("--force") && !line.has("--only"));
    }

    #[test]
    fn values_in_the_same_word_and_negative_numbers() {
        assert_eq!(read("start a.js -i-1").unwrap().options["instances"], -1);
        assert_eq!(read("start a.js -i max").unwrap().options["instances"], "max");
        assert_eq!(read("scale web -1").unwrap().targets, ["web", "-1"]);
        let codes = read("start a.js --stop-exit-codes 0 2 --time").unwrap();
        assert_eq!(codes.options["stop_exit_codes"], json!([0, 2]));
        assert_eq!(codes.options["time"], true);
        assert_eq!(read("logs --lines 3 web").unwrap().value("--lines"), Some("3"));
    }

    #[test]
    fn what_is_refused() {
        for (line, expected) in [
            ("start a.js --wach", "no flag --wach"),
            ("start a.js --name", "--name needs a value"),
            ("start a.js --attach", "--attach is not supported: use"),
        ] {
            let failure = read(line).unwrap_err();
            assert!(failure.reason.contains(expected), "{}", failure.reason);
        }
    }

    #[test]
    fn no_flag_is_in_the_table_twice() {
        let mut known = std::collections::BTreeSet::new();
        for name in flags::FLAGS.iter().flat_map(|flag| flag.names) {
            assert!(known.insert(name), "{name}");
        }
    }
}
