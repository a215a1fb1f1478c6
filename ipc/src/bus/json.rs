//! JSON text that passes through without being interpreted.
//!
//! Refuses text that is not one JSON value. Refuses line breaks, which would end a line of the
//! protocol.

use bincode::{Decode, Encode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value as text, without line breaks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Json(String);

impl Json {
    /// Encodes a value as JSON.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let mut text = Vec::with_capacity(128);
        serde_json::to_writer(&mut text, value)?;
        // serde_json writes UTF-8, and a `RawValue` that it copies was text.
        let text = String::from_utf8(text).map_err(serde::ser::Error::custom)?;
        Ok(Self(without_breaks(text)))
    }

    /// Wraps text that is known to be one value without line breaks.
    pub(super) fn known(text: String) -> Self {
        Self(text)
    }

    /// Checks and wraps text that is already JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        // Outside strings, line breaks are white space; inside strings JSON does not allow them.
        let text = without_breaks(text.trim().to_owned());
        serde_json::from_str::<IgnoredAny>(&text)?;
        Ok(Self(text))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Decodes the value.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

/// Whether the text is what [`Json`] promises. It may not be if it arrived in a forged frame.
pub(super) fn is_sound(text: &str) -> bool {
    let trimmed = text.trim_ascii().len() == text.len();
    !has_breaks(text) && trimmed && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn without_breaks(text: String) -> String {
    if has_breaks(&text) { text.replace(['\n', '\r'], " ") } else { text }
}

/// Works on bytes: decoding each character would cost more than everything else that happens to a
/// message.
fn has_breaks(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.contains(&b'\n') || bytes.contains(&b'\r')
}

impl Default for Json {
    fn default() -> Self {
        Self("null".to_owned())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(without_breaks(String::from(Box::<str>::from(raw)))))
    }
}
