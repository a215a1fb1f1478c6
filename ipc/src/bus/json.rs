//! JSON text that is carried without being understood.
//!
//! Refuses text that is not one JSON value, and line breaks, which would end a line.

use bincode::{Decode, Encode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value as text, without line breaks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaRead, wincode::SchemaWrite))]
pub struct Json(String);

impl Json {
    /// A value as JSON.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self)
    }

    /// Text that is JSON already.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        // Outside strings line breaks are blanks, and inside they cannot be.
        let text = text.trim().replace(['\n', '\r'], " ");
        serde_json::from_str::<IgnoredAny>(&text)?;
        Ok(Self(text))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What it means.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Whether it is what this type promises; it is not if it came in a frame that lies.
    pub(super) fn is_sound(&self) -> bool {
        let trimmed = self.0.trim_ascii().len() == self.0.len();
        !has_breaks(&self.0) && trimmed && serde_json::from_str::<IgnoredAny>(&self.0).is_ok()
    }
}

/// As bytes: looking at each character would cost more than all else that is done with a message.
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
        let text = String::from(Box::<str>::from(raw));
        if has_breaks(&text) {
            return Ok(Self(text.replace(['\n', '\r'], " ")));
        }
        Ok(Self(text))
    }
}
