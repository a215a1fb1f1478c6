//! The JSON Schema of a configuration file, for editors and other programs.

use serde_json::{Map, Value, json};

use super::forms::string;
use super::shared::LIMIT_KEYS;
use super::{Change, Key, all, of_pool};
use crate::pool::{MAX_POOLS, OWN};

/// The schema, as indented JSON with a newline at its end.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

fn schema() -> Value {
    let limits: Map<String, Value> = LIMIT_KEYS
        .iter()
        .map(|key| (key.name.to_owned(), with(&(key.schema)(), key.doc, Some(key.unit))))
        .collect();
    let single = app(Need::Command, Named::ByKey);
    let several = app(Need::Nothing, Named::ByTable);
    let layer = with_pools(table(nameless(), Need::Nothing), "pool_layer");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A configuration file of supervisor",
        "oneOf": [
            { "$ref": "#/$defs/file" },
            {
                "type": "object",
                "properties": {
                    "$schema": string(),
                    "app": {
                        "description": "Apps by their names",
                        "type": "object",
                        "minProperties": 1,
                        "additionalProperties": { "$ref": "#/$defs/app" },
                    },
                    "defaults": {
                        "description": "What every app has where it says nothing itself",
                        "$ref": "#/$defs/app",
                    },
                },
                "required": ["app"],
                "additionalProperties": false,
            },
        ],
        "$defs": {
            "file": single,
            "app": several,
            "layer": layer,
            "pool": table(of_pool(), Need::Command),
            "pool_layer": table(of_pool(), Need::Nothing),
            "limits": {
                "type": "object",
                "properties": limits,
                "additionalProperties": false,
            },
            "variable": { "type": "string", "pattern": r"\$\{" },
        },
    })
}

/// Whether a table must say what to run.
#[derive(Clone, Copy, PartialEq)]
enum Need {
    Command,
    /// Another table may.
    Nothing,
}

/// What names an app.
#[derive(Clone, Copy, PartialEq)]
enum Named {
    ByKey,
    ByTable,
}

fn nameless() -> impl Iterator<Item = &'static Key> {
    all().filter(|key| key.name != "name")
}

fn app(need: Need, named: Named) -> Value {
    let mut app = match named {
        Named::ByKey => table(all(), need),
        Named::ByTable => table(nameless(), need),
    };
    app["properties"]["profile"] = json!({
        "description": "Keys that go over the app's where --profile names the table",
        "type": "object",
        "additionalProperties": { "$ref": "#/$defs/layer" },
    });
    if named == Named::ByKey {
        app["properties"]["$schema"] = string();
    }
    with_pools(app, "pool")
}

/// An app's table with its pools.
fn with_pools(mut app: Value, pool: &str) -> Value {
    app["properties"]["pool"] = json!({
        "description": "Further groups of workers, each with a program of its own",
        "type": "object",
        "additionalProperties": { "$ref": format!("#/$defs/{pool}") },
        "propertyNames": { "not": { "enum": [OWN, "all"] } },
        "maxProperties": MAX_POOLS,
    });
    app
}

fn table(keys: impl Iterator<Item = &'static Key>, need: Need) -> Value {
    let properties: Map<String, Value> =
        keys.map(|key| (key.name.to_owned(), property(key))).collect();
    let mut table = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if need == Need::Command {
        table["oneOf"] = json!([{ "required": ["command"] }, { "required": ["script"] }]);
    }
    table
}

fn property(key: &Key) -> Value {
    let mut schema = key.kind.schema();
    // A variable may give any value that is not a table.
    if schema != string() && !key.kind.type_name().contains("table") {
        schema = json!({ "anyOf": [schema, { "$ref": "#/$defs/variable" }] });
    }
    let mut property = with(&schema, key.help, key.unit);
    property["x-change"] = match key.change {
        Change::Start => "start",
        Change::Reload => "reload",
        Change::Scale => "scale",
        Change::Config => "config",
        Change::Nothing => "nothing",
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
