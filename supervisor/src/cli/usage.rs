//! What is wrong with a command line, in the form of all failures.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::elsewhere;
use super::exit::Failure;

/// The failure for a command line that clap refused.
pub(crate) fn failure(error: &Error) -> Failure {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let foreign = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            word(ContextKind::InvalidSubcommand).and_then(elsewhere::verb)
        }
        ErrorKind::UnknownArgument => word(ContextKind::InvalidArg).and_then(elsewhere::flag),
        _ => None,
    };
    Failure::usage(foreign.unwrap_or_else(|| reason(&error.render().to_string())))
}

/// The text of clap without its first word and its closing advice.
fn reason(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    text.trim_end().to_owned()
}
