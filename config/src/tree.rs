//! What a file says, whatever its format: values, each with its place in the file.
//!
//! [`crate::formats`] makes a tree of a text. Keys are looked up in it and tables are put over each
//! other; nothing here knows which keys there are.

use std::collections::BTreeMap;
use std::ops::Range;

/// A value and the bytes of the file that it is written in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    pub(crate) value: Value,
    pub(crate) span: Range<usize>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(Text),
    Integer(Integer),
    /// The digits as they are written.
    Float(String),
    Boolean(bool),
    /// A date of TOML, as it is written.
    Date(String),
    /// YAML and JSON have it; no key takes it.
    Null,
    List(Vec<Written>),
    Table(Table),
}

/// A string.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// What the file has, if variables were put into it.
    pub(crate) written: Option<String>,
}

/// A whole number, of any size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Integer {
    /// With a sign, and without what tells the radix.
    pub(crate) digits: String,
    pub(crate) radix: u32,
}

/// Keys and their values, in the order of the file. No key is there twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key is.
    pub(crate) span: Range<usize>,
    pub(crate) value: Written,
}

impl Written {
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn as_table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(&text.text),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }
}

#[cfg(test)]
impl Written {
    /// The value without places, for tests.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("{:?}", text.text),
            Value::Integer(number) => number.decimal(),
            Value::Float(number) => format!("float {number}"),
            Value::Boolean(flag) => flag.to_string(),
            Value::Date(_) | Value::Null => self.value.kind().to_owned(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(Self::shown).collect::<Vec<_>>().join(", "))
            }
            Value::Table(table) => {
                let pairs = table.entries.iter();
                let pairs = pairs.map(|entry| format!("{}: {}", entry.key, entry.value.shown()));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl Value {
    /// A string without variables.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Text { text: text.into(), written: None })
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Date(_) => "a date",
            Self::Null => "null",
            Self::List(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl Integer {
    /// In decimal. One that is too large to convert stays as it is written.
    pub(crate) fn decimal(&self) -> String {
        i128::from_str_radix(&self.digits, self.radix)
            .map_or_else(|_| self.digits.clone(), |number| number.to_string())
    }
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Written> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Written> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// Puts the keys of `over` over these. Where both have a table, so for its keys.
    pub(crate) fn put_over(&mut self, over: Self) {
        let at: BTreeMap<String, usize> =
            self.entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
        for entry in over.entries {
            let Some(below) = at.get(&entry.key).map(|at| &mut self.entries[*at]) else {
                self.entries.push(entry);
                continue;
            };
            match (&mut below.value.value, entry.value.value) {
                (Value::Table(below), Value::Table(over)) => below.put_over(over),
                (_, value) => {
                    let value = Written { value, span: entry.value.span };
                    *below = Entry { key: entry.key, span: entry.span, value };
                }
            }
        }
    }
}

/// The entries of a table in the order of the file.
pub(crate) fn in_order(table: &Table) -> impl Iterator<Item = (&str, Range<usize>, &Written)> {
    table.entries.iter().map(|entry| (entry.key.as_str(), entry.span.clone(), &entry.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        match crate::formats::parse(text, crate::formats::Format::Toml).unwrap().value {
            Value::Table(table) => table,
            other => panic!("{other:?}"),
        }
    }

    fn keys(table: &Table) -> Vec<&str> {
        table.entries.iter().map(|entry| entry.key.as_str()).collect()
    }

    #[test]
    fn tables_are_put_over_each_other() {
        let mut below = table("command = 'a'\nenv = { A = 'x', B = 'x' }\nlisten = [80, 81]\n");
        below.put_over(table("cwd = 'b'\nenv = { B = 'y', C = 'y' }\nlisten = [82]"));
        assert_eq!(keys(&below), ["command", "env", "listen", "cwd"]);
        let env = below.get("env").unwrap().as_table().unwrap();
        let values: Vec<_> = in_order(env).map(|(key, _, value)| (key, value.as_str())).collect();
        assert_eq!(values, [("A", Some("x")), ("B", Some("y")), ("C", Some("y"))]);
        assert_eq!(below.get("listen").unwrap().as_list().unwrap().len(), 1);
    }

    #[test]
    fn integers() {
        let decimal = |digits: &str, radix| Integer { digits: digits.into(), radix }.decimal();
        assert_eq!(decimal("-1f", 16), "-31");
        assert_eq!(decimal(&"9".repeat(60), 10), "9".repeat(60));
    }
}
