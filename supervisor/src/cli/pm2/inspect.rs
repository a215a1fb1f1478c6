//! JSON in the notation of Node's `util.inspect`, in which `pm2 prettylist` prints.

use std::fmt::Write;

use serde_json::Value;

/// The text of a value, an entry of a table on each line.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    put(&mut text, value, 0);
    text
}

fn put(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
        Value::String(string) => quoted(text, string),
        Value::Array(items) => {
            let lines = items.iter().map(|item| (None, item));
            block(text, ['[', ']'], lines, depth);
        }
        Value::Object(entries) => {
            let lines = entries.iter().map(|(key, value)| (Some(key.as_str()), value));
            block(text, ['{', '}'], lines, depth);
        }
    }
}

fn block<'v>(
    text: &mut String,
    [open, close]: [char; 2],
    lines: impl ExactSizeIterator<Item = (Option<&'v str>, &'v Value)>,
    depth: usize,
) {
    text.push(open);
    let last = lines.len().checked_sub(1);
    for (at, (key, value)) in lines.enumerate() {
        text.push('\n');
        indent(text, depth + 1);
        if let Some(key) = key {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
            match key.chars().all(is_plain) && !key.starts_with(|c: char| c.is_ascii_digit()) {
                true => text.push_str(key),
                false => quoted(text, key),
            }
            text.push_str(": ");
        }
        put(text, value, depth + 1);
        if Some(at) != last {
            text.push(',');
        }
    }
    if last.is_some() {
        text.push('\n');
        indent(text, depth);
    }
    text.push(close);
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn quoted(text: &mut String, string: &str) {
    text.push('\'');
    for c in string.chars() {
        match c {
            '\'' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '\n' => text.push_str("\\n"),
            c if c.is_control() => _ = write!(text, "\\x{:02X}", u32::from(c)),
            c => text.push(c),
        }
    }
    text.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_as_node_shows_them() {
        let value = json!([{ "a": 1, "b-c": "it's\n\u{1b}", "d": [], "e": {}, "f": [true, null] }]);
        let expected = "[\n  {\n    a: 1,\n    'b-c': 'it\\'s\\n\\x1B',\n    d: [],\n    e: {},\n    \
                        f: [\n      true,\n      null\n    ]\n  }\n]";
        assert_eq!(text(&value), expected);
        assert_eq!(text(&json!([])), "[]");
    }
}
