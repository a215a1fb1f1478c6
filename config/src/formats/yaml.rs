//! YAML 1.2 with its core schema, read by the `saphyr-parser` crate.
//!
//! Aliases and merge keys (`<<`) are followed, within [`MOST_VALUES`]. Refuses several documents,
//! tags other than those of the core schema, keys that are no scalars, and keys that are there
//! twice.

mod scalar;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{Mistake, twice};
use crate::tree::{Entry, Table, Value, Written};

/// The most values that a file may have, with those that aliases repeat.
const MOST_VALUES: usize = 200_000;
/// How deep values may be nested.
const DEEPEST: usize = 64;

pub(super) fn parse(text: &str) -> Result<Written, Mistake> {
    let mut builder = Builder { bytes: Bytes::of(text), ..Builder::default() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| builder.refused(&error))?;
        let span = builder.bytes.range(&span);
        builder.event(event, span)?;
    }
    builder.root.ok_or_else(|| (0..0, "the file is empty".to_owned()))
}

/// Where each character of a text begins: the parser counts characters.
#[derive(Default)]
struct Bytes {
    /// Empty for a text of ASCII.
    starts: Vec<usize>,
    length: usize,
}

impl Bytes {
    fn of(text: &str) -> Self {
        let starts = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().map(|(at, _)| at).collect(),
        };
        Self { starts, length: text.len() }
    }

    fn at(&self, character: usize) -> usize {
        if self.starts.is_empty() {
            return character.min(self.length);
        }
        self.starts.get(character).copied().unwrap_or(self.length)
    }

    fn range(&self, span: &Span) -> Range<usize> {
        self.at(span.start.index())..self.at(span.end.index())
    }
}

/// A collection that has begun and not ended.
enum Open {
    List { items: Vec<Written>, start: usize, anchor: usize },
    Table(OpenTable),
}

struct OpenTable {
    table: Table,
    known: BTreeSet<String>,
    /// What `<<` names; it goes under the table's own keys.
    merged: Vec<Table>,
    /// The key whose value comes next.
    key: Option<(String, Range<usize>)>,
    start: usize,
    anchor: usize,
}

#[derive(Default)]
struct Builder {
    bytes: Bytes,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Written, usize)>,
    values: usize,
    root: Option<Written>,
}

impl Builder {
    fn refused(&self, error: &ScanError) -> Mistake {
        let at = self.bytes.at(error.marker().index());
        (at..at, error.info().to_owned())
    }

    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Mistake> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err((span, "a second document begins here: the file may have one".to_owned()))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = scalar::value(&text, plain, core_tag(tag.as_deref(), &span)?)
                    .map_err(|message| (span.clone(), message))?;
                self.whole(Written { value, span }, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                core_tag(tag.as_deref(), &span)?;
                self.begin(Open::List { items: Vec::new(), start: span.start, anchor }, &span)
            }
            Event::MappingStart(anchor, tag) => {
                core_tag(tag.as_deref(), &span)?;
                let table = OpenTable {
                    table: Table::default(),
                    known: BTreeSet::new(),
                    merged: Vec::new(),
                    key: None,
                    start: span.start,
                    anchor,
                };
                self.begin(Open::Table(table), &span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span.end),
            Event::Alias(anchor) => {
                let Some((value, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err((span, "the alias stands inside of what it names".to_owned()));
                };
                self.whole(value, 0, size)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, open: Open, span: &Range<usize>) -> Result<(), Mistake> {
        let needs_key = matches!(self.open.last(), Some(Open::Table(table)) if table.key.is_none());
        if needs_key {
            return Err((span.clone(), "a key must be a string or a number".to_owned()));
        }
        if self.open.len() == DEEPEST {
            return Err((span.clone(), format!("more than {DEEPEST} values are nested here")));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, end: usize) -> Result<(), Mistake> {
        let (value, start, anchor) = match self.open.pop() {
            Some(Open::List { items, start, anchor }) => (Value::List(items), start, anchor),
            Some(Open::Table(open)) => {
                let (start, anchor) = (open.start, open.anchor);
                (Value::Table(open.finish()), start, anchor)
            }
            None => return Ok(()),
        };
        let written = Written { value, span: start..end.max(start) };
        // What is inside has been counted as it came, and counts again where it is kept.
        if anchor != 0 {
            let size = size(&written);
            self.count(size, &written.span)?;
            self.anchors.insert(anchor, (written.clone(), size));
        }
        self.whole(written, 0, 1)
    }

    /// A value with all that is in it. `size`: how many values that are.
    fn whole(&mut self, written: Written, anchor: usize, size: usize) -> Result<(), Mistake> {
        self.count(size, &written.span)?;
        if anchor != 0 {
            self.anchors.insert(anchor, (written.clone(), size));
        }
        match self.open.last_mut() {
            None => self.root = Some(written),
            Some(Open::List { items, .. }) => items.push(written),
            Some(Open::Table(table)) => return table.take(written),
        }
        Ok(())
    }
}

impl Builder {
    /// Counts values that are kept.
    fn count(&mut self, size: usize, span: &Range<usize>) -> Result<(), Mistake> {
        self.values += size;
        if self.values > MOST_VALUES {
            let message = format!("the file has more than {MOST_VALUES} values, with its aliases");
            return Err((span.clone(), message));
        }
        Ok(())
    }
}

impl OpenTable {
    /// A key, or the value of the last key.
    fn take(&mut self, written: Written) -> Result<(), Mistake> {
        let Some((key, span)) = self.key.take() else {
            let span = written.span();
            let key = scalar::key(&written.value)
                .ok_or_else(|| (span.clone(), "a key must be a string or a number".to_owned()))?;
            if key != "<<" && !self.known.insert(key.clone()) {
                return Err((span, twice(&key)));
            }
            self.key = Some((key, span));
            return Ok(());
        };
        if key == "<<" {
            return self.merge(written);
        }
        self.table.entries.push(Entry { key, span, value: written });
        Ok(())
    }

    fn merge(&mut self, written: Written) -> Result<(), Mistake> {
        let span = written.span();
        let tables = match written.value {
            Value::List(items) => items,
            value => vec![Written { value, span: span.clone() }],
        };
        for table in tables {
            let Value::Table(table) = table.value else {
                return Err((span, "\"<<\" takes a table, or an array of tables".to_owned()));
            };
            self.merged.push(table);
        }
        Ok(())
    }

    /// The table's own keys, then those of each table that it merges, first come, first served.
    fn finish(mut self) -> Table {
        for merged in self.merged {
            for entry in merged.entries {
                if self.known.insert(entry.key.clone()) {
                    self.table.entries.push(entry);
                }
            }
        }
        self.table
    }
}

/// The name of a tag of the core schema, without its handle.
fn core_tag<'t>(tag: Option<&'t Tag>, span: &Range<usize>) -> Result<Option<&'t str>, Mistake> {
    match tag {
        None => Ok(None),
        Some(tag) if tag.is_yaml_core_schema() => Ok(Some(&tag.suffix)),
        Some(tag) => Err((span.clone(), format!("the tag {tag} is not known: remove it"))),
    }
}

/// How many values there are in a value, itself included.
fn size(written: &Written) -> usize {
    1 + match &written.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Table(table) => table.entries.iter().map(|entry| size(&entry.value)).sum(),
        _ => 0_usize,
    }
}

#[cfg(test)]
mod tests;
