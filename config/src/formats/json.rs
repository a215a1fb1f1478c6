//! JSON, and what JSON5 adds: comments, trailing commas, single quotes, bare keys, hexadecimal
//! numbers. Read by the `jsonc-parser` crate, which bounds the nesting.

use std::collections::BTreeSet;
use std::ops::Range;

use jsonc_parser::ast::{Object, Value as Found};
use jsonc_parser::common::{Range as Place, Ranged as _};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::{Mistake, twice};
use crate::tree::{Entry, Integer, Table, Value, Written};

/// JSON5, except that commas between entries are needed.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: true,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: true,
    allow_hexadecimal_numbers: true,
    allow_unary_plus_numbers: true,
    allow_bare_decimal_point_numbers: true,
    allow_non_finite_numbers: true,
    allow_extended_string_escapes: true,
};

pub(super) fn parse(text: &str) -> Result<Written, Vec<Mistake>> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &OPTIONS)
        .map_err(|error| vec![(range(error.range()), sentence(&error.kind().to_string()))])?;
    let root = parsed.value.ok_or_else(|| vec![(0..0, "the file is empty".to_owned())])?;
    let mut mistakes = Vec::new();
    let tree = written(&root, &mut mistakes);
    if mistakes.is_empty() { Ok(tree) } else { Err(mistakes) }
}

fn range(found: Place) -> Range<usize> {
    found.start..found.end
}

/// A message of the crate, as ours are: lower case, without a full stop.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect::<String>().trim_end_matches('.').to_owned()
}

fn written(found: &Found<'_>, mistakes: &mut Vec<Mistake>) -> Written {
    let value = match found {
        Found::StringLit(text) => Value::text(text.value.as_ref()),
        Found::NumberLit(number) => self::number(number.value),
        Found::BooleanLit(flag) => Value::Boolean(flag.value),
        Found::NullKeyword(_) => Value::Null,
        Found::Array(array) => {
            Value::List(array.elements.iter().map(|item| written(item, mistakes)).collect())
        }
        Found::Object(object) => Value::Table(table(object, mistakes)),
    };
    Written { value, span: range(found.range()) }
}

fn table(object: &Object<'_>, mistakes: &mut Vec<Mistake>) -> Table {
    let mut known = BTreeSet::new();
    let mut entries = Vec::new();
    for property in &object.properties {
        let key = property.name.as_str();
        let span = range(property.name.range());
        if !known.insert(key) {
            mistakes.push((span, twice(key)));
            continue;
        }
        let value = written(&property.value, mistakes);
        entries.push(Entry { key: key.to_owned(), span, value });
    }
    Table { entries }
}

fn number(text: &str) -> Value {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (sign, bare) = text.strip_prefix('-').map_or(("", text), |bare| ("-", bare));
    if let Some(digits) = bare.strip_prefix("0x").or_else(|| bare.strip_prefix("0X")) {
        return Value::Integer(Integer { digits: format!("{sign}{digits}"), radix: 16 });
    }
    if bare.bytes().all(|digit| digit.is_ascii_digit()) {
        return Value::Integer(Integer { digits: text.to_owned(), radix: 10 });
    }
    Value::Float(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(tree) => tree.shown(),
            Err(mistakes) => format!("{mistakes:?}"),
        }
    }

    #[test]
    fn json5_is_read() {
        let text =
            "// a comment\n{ a: 'x', \"b\": [1, -0x1f, +1.50, .5,], /* c */ d: null, e: true, }";
        assert_eq!(shown(text), "{a: \"x\", b: [1, -31, float 1.50, float .5], d: null, e: true}");
    }

    #[test]
    fn mistakes_have_their_places() {
        assert_eq!(
            shown("{ a: 1, a: 2 }"),
            "[(8..9, \"the key \\\"a\\\" is there twice: remove one of them\")]"
        );
        assert_eq!(shown("  "), "[(0..0, \"the file is empty\")]");
        for broken in ["{ a: 1 b: 2 }", "{ a: 'x", "[1, 2", "{ a }", "1 2", "{ a: b }"] {
            let mistakes = parse(broken).unwrap_err();
            assert!(!mistakes[0].1.is_empty() && !mistakes[0].1.ends_with('.'), "{mistakes:?}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
