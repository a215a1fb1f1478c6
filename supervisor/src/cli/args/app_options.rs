//! The flags of `start` that set keys of an app: one for each row of the table of keys that has a
//! flag.

use std::path::Path;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use config::keys::{self, Flag, Key};
use config::spec::Overrides;

/// The heading of these flags in the help.
const HEADING: &str = "The app";

/// What the flags set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct AppOptions {
    pub(crate) overrides: Overrides,
    /// The profile that `--env NAME` chooses, as with PM2.
    pub(crate) named_env: Option<String>,
}

impl AppOptions {
    /// The flags as overrides of the keys of a file. A relative path starts at `working_dir`.
    pub(crate) fn overrides(&self, working_dir: &Path) -> Overrides {
        let mut overrides = self.overrides.clone();
        overrides.start_at(working_dir);
        overrides
    }
}

impl Args for AppOptions {
    fn augment_args(command: Command) -> Command {
        let arguments = keys::all().filter_map(|key| Some(argument(key, &key.flag?)));
        command.args(arguments)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AppOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut options = Self::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for key in keys::all() {
            let Some(flag) = key.flag else { continue };
            let mut add = |text: &str| {
                let added = self.overrides.add(key, text);
                added.map_err(|reason| Error::raw(ErrorKind::ValueValidation, reason))
            };
            if flag.value.is_some() {
                for text in matches.get_many::<String>(key.name).into_iter().flatten() {
                    if key.name == ENV && is_profile(text) {
                        self.named_env = Some(text.clone());
                    } else {
                        add(text)?;
                    }
                }
            } else if matches.get_flag(key.name) {
                add(if flag.negated { "false" } else { "true" })?;
            }
        }
        Ok(())
    }
}

/// The key whose flag also chooses a profile.
const ENV: &str = "env";

/// Whether the value of `--env` is the name of a profile instead of `KEY=VALUE`.
fn is_profile(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn argument(key: &'static Key, flag: &Flag) -> Arg {
    let name = key.flag_name().unwrap_or_default();
    let mut argument = Arg::new(key.name).long(name).help(help(key, flag)).help_heading(HEADING);
    if let Some(short) = flag.short {
        argument = argument.short(short);
    }
    if let Some(alias) = flag.alias {
        argument = argument.visible_alias(alias);
    }
    if let Some(other) = flag.conflicts {
        argument = argument.conflicts_with(other);
    }
    let Some(value) = flag.value else { return argument.action(ArgAction::SetTrue) };
    let action = if flag.repeats { ArgAction::Append } else { ArgAction::Set };
    argument = argument.value_name(value).action(action).allow_negative_numbers(flag.signed);
    if let Some(text) = flag.without_value {
        argument = argument.num_args(0..=1).require_equals(true).default_missing_value(text);
    }
    let choices = key.choices();
    if choices.is_empty() {
        return argument.value_parser(move |text: &str| {
            match key.name == ENV && is_profile(text) {
                true => Ok(text.to_owned()),
                false => key.check(text).map(|()| text.to_owned()),
            }
        });
    }
    let words = choices.into_iter().map(|(word, help)| PossibleValue::new(word).help(help));
    argument.value_parser(PossibleValuesParser::new(words))
}

/// What the flag does, and what holds without it.
fn help(key: &Key, flag: &Flag) -> String {
    let text = flag.help.unwrap_or(key.help);
    match key.default().filter(|_| flag.value.is_some()) {
        Some(serde_json::Value::String(default)) => format!("{text}. Default: {default}."),
        Some(default) => format!("{text}. Default: {default}."),
        None => format!("{text}."),
    }
}
