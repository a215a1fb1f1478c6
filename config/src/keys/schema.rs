//! The JSON Schema of a configuration file, for editors and other programs.

use serde_json::{Map, Value, json};

use super::shared::LIMIT_KEYS;
use super::{Change, Key, all, of_pool};
use crate::pool::{MAX_POOLS, OWN};

/// The schema, as indented JSON with a newline at its end.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

fn schema() -> Value {
    let mut app = table(all());
    if let Some(keys) = app["properties"].as_object_mut() {
        let pools = json!({
            "description": "Further groups of workers, each with a program of its own",
            "type": "object",
            "additionalProperties": { "$ref": "#/$defs/pool" },
            "propertyNames": { "not": { "enum": [OWN, "all"] } },
            "maxProperties": MAX_POOLS,
        });
        keys.insert("pool".to_owned(), pools);
    }
    let limits: Map<String, Value> = LIMIT_KEYS
        .iter()
        .map(|key| (key.name.to_owned(), with(&(key.schema)(), key.doc, Some(key.unit))))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A configuration file of supervisor",
        "oneOf": [
            { "$ref": "#/$defs/app" },
            {
                "type": "object",
                "properties": { "app": {
                    "description": "Apps by their names",
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {
                        "allOf": [{ "$ref": "#/$defs/app" }, { "not": { "required": ["name"] } }],
                    },
                } },
                "required": ["app"],
                "additionalProperties": false,
            },
        ],
        "$defs": {
            "app": app,
            "pool": table(of_pool()),
            "limits": {
                "type": "object",
                "properties": limits,
                "additionalProperties": false,
            },
        },
    })
}

/// A table that says what to run.
fn table(keys: impl Iterator<Item = &'static Key>) -> Value {
    let properties: Map<String, Value> =
        keys.map(|key| (key.name.to_owned(), property(key))).collect();
    json!({
        "type": "object",
        "properties": properties,
        "oneOf": [{ "required": ["command"] }, { "required": ["script"] }],
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Value {
    let mut property = with(&key.kind.schema(), key.help, key.unit);
    property["x-change"] = match key.change {
        Change::Start => "start",
        Change::Reload => "reload",
        Change::Config => "config",
    }
    .into();
    if let Some(default) = key.default() {
        property["default"] = default;
    }
    if let Some(flag) = key.flag_name() {
        property["x-flag"] = format!("--{flag}").into();
    }
    property
}

fn with(schema: &Value, description: &str, unit: Option<&str>) -> Value {
    let mut schema = schema.clone();
    schema["description"] = description.into();
    if let Some(unit) = unit {
        schema["x-unit"] = unit.into();
    }
    schema
}
