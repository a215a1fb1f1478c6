//! Flags whose value is one of a few words.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use config::words::{self, Word};

use crate::runtime::LogFormat;

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("lines", Self::Lines, "as the workers write, with the slot in front"),
        ("json", Self::Json, "an object a line: time, app, slot, stream, message"),
    ];
}

/// A parser for the words of `T`.
pub(crate) fn words<T: Word>() -> impl TypedValueParser<Value = T> {
    let known = T::WORDS.iter().map(|(word, _, help)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(known)
        .try_map(|text| words::value(&text).ok_or("not one of the known words"))
}
