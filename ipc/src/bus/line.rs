//! Messages as JSON lines, for all languages but Rust: `{"emit":{"topic":"x","data":1}}`.
//!
//! Refuses lines beyond the limit and lines that are not the JSON of a message. Skips a message
//! whose name this build does not know.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::MAX_FRAME;
use super::codec::DecodeError;

/// Appends one message as a line.
pub fn write<T: Serialize>(message: &T, to: &mut Vec<u8>) -> Result<(), DecodeError> {
    let start = to.len();
    let written = serde_json::to_writer(&mut *to, message);
    to.push(b'\n');
    if let Err(error) = written {
        to.truncate(start);
        return Err(DecodeError::malformed(&error));
    }
    if to.len() - start > MAX_FRAME {
        to.truncate(start);
        return Err(DecodeError::TooLong);
    }
    Ok(())
}

/// Appends an event with the same bytes as [`write`], without scanning the data again. `from` is
/// JSON.
pub(super) fn write_event(
    topic: &str,
    data: &str,
    from: &[u8],
    to: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let start = to.len();
    to.extend_from_slice(br#"{"event":{"topic":"#);
    serde_json::to_writer(&mut *to, topic).map_err(|error| DecodeError::malformed(&error))?;
    to.extend_from_slice(br#","data":"#);
    to.extend_from_slice(data.as_bytes());
    to.extend_from_slice(br#","from":"#);
    to.extend_from_slice(from);
    to.extend_from_slice(b"}}\n");
    if to.len() - start > MAX_FRAME {
        to.truncate(start);
        return Err(DecodeError::TooLong);
    }
    Ok(())
}

/// A client may write a message without fields as a plain string: `"ready"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    Word(String),
    Message(BTreeMap<String, IgnoredAny>),
}

/// Decodes one line, given without its newline. `None` means an empty line, or a message that this
/// build does not know.
pub(super) fn read<T: DeserializeOwned>(line: &[u8]) -> Result<Option<T>, DecodeError> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let error = match serde_json::from_slice(line) {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    let unknown = error.to_string().starts_with("unknown variant");
    match serde_json::from_slice(line) {
        Ok(Shape::Word(word)) => {
            let message = serde_json::json!({ word: {} });
            Ok(serde_json::from_value(message).ok())
        }
        Ok(Shape::Message(parts)) if unknown && parts.len() == 1 => Ok(None),
        _ => Err(DecodeError::malformed(&error)),
    }
}
