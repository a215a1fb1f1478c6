//! Options that several verbs share, and the readers of their values.
//!
//! The same functions of the `config` package read the values of a configuration file.

mod app_options;
mod stop;
pub(crate) mod values;
mod wait;
pub(crate) mod when;
pub(crate) mod words;

pub(crate) use app_options::AppOptions;
pub(crate) use stop::StopOptions;
pub(crate) use wait::WaitOptions;

/// Reads `argv` as the arguments of the verb that `T` belongs to.
#[cfg(test)]
pub(crate) fn parse<T: clap::Args>(argv: &[&str]) -> Result<T, clap::Error> {
    let command = T::augment_args(clap::Command::new("verb")).no_binary_name(true);
    T::from_arg_matches(&command.try_get_matches_from(argv)?)
}
