//! JSON in the notation of Node's `util.inspect`, in which `pm2 prettylist` prints.

use std::fmt::Write;

use serde_json::Value;

/// The text of a value, an entry of a table on each line, unless it is short.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    put(&mut text, value, 0);
    text
}

/// What PM2 prints last of a process. Scripts cut values out of the lines, by the comma.
const LAST: [&str; 3] = ["pm2_env", "pm_id", "monit"];

/// The longest list or table that stands on one line, in characters.
const LINE: usize = 72;

fn put(text: &mut String, value: &Value, depth: usize) {
    if let Some(line) = on_one_line(value) {
        return text.push_str(&line);
    }
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
        Value::String(string) => quoted(text, string),
        Value::Array(items) => {
            let lines = items.iter().map(|item| (None, item));
            block(text, ['[', ']'], lines, depth);
        }
        Value::Object(entries) => {
            let mut lines: Vec<(Option<&str>, &Value)> =
                entries.iter().map(|(key, value)| (Some(key.as_str()), value)).collect();
            if entries.contains_key(LAST[2]) {
                let place = |key: &str| LAST.iter().position(|last| *last == key);
                lines.sort_by_key(|(key, _)| key.and_then(place).map_or(0, |at| at + 1));
            }
            let lines = lines.into_iter();
            block(text, ['{', '}'], lines, depth);
        }
    }
}

/// A list or a table that has only plain values and is short.
fn on_one_line(value: &Value) -> Option<String> {
    let is_plain = |value: &Value| !value.is_array() && !value.is_object();
    let (open, entries, close) = match value {
        Value::Array(items) if items.iter().all(is_plain) => {
            ("[ ", items.iter().map(text).collect::<Vec<_>>(), " ]")
        }
        Value::Object(entries) if entries.values().all(is_plain) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", name(key), text(value));
            ("{ ", entries.iter().map(entry).collect(), " }")
        }
        _ => return None,
    };
    let line = format!("{open}{}{close}", entries.join(", "));
    (!entries.is_empty() && line.chars().count() <= LINE).then_some(line)
}

/// A key, quoted where it is no plain word.
fn name(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
    if key.chars().all(is_plain) && !key.starts_with(|c: char| c.is_ascii_digit()) {
        return key.to_owned();
    }
    let mut text = String::new();
    quoted(&mut text, key);
    text
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
            text.push_str(&name(key));
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
                        f: [ true, null ]\n  }\n]";
        assert_eq!(text(&value), expected);
        assert_eq!(text(&json!([])), "[]");
        assert_eq!(text(&json!({ "a": 1, "b-c": "x" })), "{ a: 1, 'b-c': 'x' }");
        let process =
            text(&json!({ "monit": { "cpu": 0 }, "name": "a", "pm_id": 0, "pm2_env": [] }));
        assert_eq!(process, "{\n  name: 'a',\n  pm2_env: [],\n  pm_id: 0,\n  monit: { cpu: 0 }\n}");
        let long = "x".repeat(70);
        assert_eq!(text(&json!([long])), format!("[\n  '{long}'\n]"));
    }
}
