//! What a row of the table of keys says.

use serde_json::Value;

use super::kind::{Choice, Kind};
use crate::spec::AppSpec;

/// Keys that belong together.
#[derive(Debug)]
pub struct Section {
    /// What the markers of its table in docs/configuration.md say.
    pub(crate) name: &'static str,
    /// Its heading in the file that `init` writes.
    pub(crate) title: &'static str,
    /// In the order in which they are documented.
    pub(crate) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// What it is called in a file.
    pub name: &'static str,
    /// Its type of value, and where in a spec that is.
    pub(crate) kind: &'static dyn Kind,
    /// What a number counts.
    pub unit: Option<&'static str>,
    /// What holds where it is left out, if the default is no value that can be written.
    pub absent: &'static str,
    /// The flag of `start` that goes before it.
    pub flag: Option<Flag>,
    /// One line of plain text, without a full stop; at most 64 characters.
    pub help: &'static str,
    /// The whole meaning, in Markdown.
    pub doc: &'static str,
    /// A value as a file has it, for the file that `init` writes. `None`: the default is shown.
    pub example: Option<&'static str>,
    /// What other tools call it.
    pub elsewhere: &'static [&'static str],
    /// What it takes for a change of it to have an effect.
    pub change: Change,
    /// Hides the value from those who may not see it.
    pub(crate) redact: Option<fn(&mut AppSpec, &str)>,
    /// Set where a pool can have a value of its own.
    pub pool: Option<InPool>,
    /// The key that this is another way to write.
    pub(crate) stands_for: Option<&'static str>,
}

/// What it takes for a change of a key to have an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing: the running app does not depend on it.
    Nothing,
    /// No worker is replaced: `reload --config` tells the workers.
    Config,
    /// No worker is replaced: workers are started or stopped.
    Scale,
    /// A reload replaces the workers one by one.
    Reload,
    /// The app must be deleted and started anew.
    Start,
}

/// How a pool has a key of its own.
#[derive(Debug, Clone, Copy)]
pub struct InPool {
    /// What holds where the pool leaves it out, in Markdown.
    pub absent: &'static str,
    /// What differs from the app's, in Markdown.
    pub doc: &'static str,
}

/// The flag of `start` that goes before a key.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The letter, if it has one.
    pub short: Option<char>,
    /// Another name, without the dashes.
    pub alias: Option<&'static str>,
    /// What its value is called. `None`: it is a switch.
    pub value: Option<&'static str>,
    /// The switch sets the key to `false`, and is called `--no-KEY`.
    pub negated: bool,
    /// What stands for the value where there is none. A value then follows an equals sign.
    pub without_value: Option<&'static str>,
    /// Whether it may be repeated.
    pub repeats: bool,
    /// Whether its value may begin with a minus.
    pub signed: bool,
    /// The key whose flag does not go with it.
    pub conflicts: Option<&'static str>,
    /// What the flag does, where the key's own help does not say it.
    pub help: Option<&'static str>,
    /// What of its value people are shown when flags are listed. `None`: the flag alone.
    pub(crate) shown: Option<fn(&AppSpec) -> Vec<String>>,
}

impl Flag {
    /// A flag with a value.
    pub(crate) const fn value(value: &'static str) -> Self {
        Self { value: Some(value), ..Self::SWITCH }
    }

    /// A flag without a value.
    pub(crate) const SWITCH: Self = Self {
        short: None,
        alias: None,
        value: None,
        without_value: None,
        negated: false,
        repeats: false,
        signed: false,
        conflicts: None,
        help: None,
        shown: None,
    };
}

impl Key {
    /// A row with nothing but its kind.
    pub(crate) const fn of(kind: &'static dyn Kind) -> Self {
        Self {
            name: "",
            kind,
            unit: None,
            absent: "none",
            flag: None,
            help: "",
            doc: "",
            example: None,
            elsewhere: &[],
            change: Change::Reload,
            redact: None,
            pool: None,
            stands_for: None,
        }
    }

    /// What its flag is called, without the dashes.
    pub fn flag_name(&self) -> Option<String> {
        let negated = self.flag.as_ref()?.negated;
        let name = self.name.replace('_', "-");
        Some(if negated { format!("no-{name}") } else { name })
    }

    /// The words to choose its value from; empty where it is no choice.
    pub fn choices(&self) -> Vec<Choice> {
        self.kind.choices()
    }

    /// Its default as a file would have it, if that can be written.
    pub fn default(&self) -> Option<Value> {
        self.kind.shown(&AppSpec::blank())
    }

    /// Why its flag cannot have the value `text`, if it cannot.
    pub fn check(&self, text: &str) -> Result<(), String> {
        self.kind.parse(text, &mut AppSpec::blank())
    }
}
