//! Values that are one of a few words, and others that only the command line has.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use config::spec::{Balance, Engine, ReadyRule, RestartOn};

use crate::runtime::LogFormat;

/// A value that is written as one of a few words: the word, what it means, the help.
pub(crate) type Words<T, const N: usize> = [(&'static str, T, &'static str); N];

pub(crate) static BALANCES: Words<Balance, 5> = [
    ("round-robin", Balance::RoundRobin, "each ready worker in turn"),
    ("sticky", Balance::Sticky, "the same client address, the same worker"),
    ("least-connections", Balance::LeastConnections, "the worker with the fewest connections"),
    ("hash", Balance::Hash, "each connection is placed evenly by the kernel"),
    ("shared", Balance::Shared, "one socket for all; whichever worker accepts first"),
];

pub(crate) static ENGINES: Words<Engine, 3> = [
    ("auto", Engine::Auto, "kernel where it can, else primary"),
    ("kernel", Engine::Kernel, "no connection passes through the primary"),
    ("primary", Engine::Primary, "the primary accepts and hands over"),
];

pub(crate) static READY_RULES: Words<ReadyRule, 4> = [
    ("auto", ReadyRule::Auto, "it listens on what its predecessor served"),
    ("listen", ReadyRule::Listen, "like auto, and never to listen is a failure"),
    ("notify", ReadyRule::Notify, "it says READY=1 on NOTIFY_SOCKET"),
    ("uptime", ReadyRule::Uptime, "it has lived for min-uptime"),
];

pub(crate) static FORMATS: Words<LogFormat, 2> = [
    ("lines", LogFormat::Lines, "as the workers write, with the slot in front"),
    ("json", LogFormat::Json, "an object a line: time, app, slot, stream, message"),
];

pub(crate) static RESTARTS: Words<RestartOn, 3> = [
    ("always", RestartOn::Always, "every one"),
    ("on-failure", RestartOn::Failure, "an exit code other than 0, or a signal"),
    ("never", RestartOn::Never, "none"),
];

pub(crate) fn words<T, const N: usize>(
    table: &'static Words<T, N>,
) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let known = table.iter().map(|(word, _, help)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(known).try_map(|text| {
        let found = table.iter().find(|(word, _, _)| *word == text);
        found.map(|(_, value, _)| *value).ok_or("not one of the known words")
    })
}

pub(crate) fn signal(text: &str) -> Result<i32, String> {
    config::signal::number(text)
        .ok_or_else(|| "no such signal: write a name such as TERM, or a number 1 to 64".to_owned())
}
