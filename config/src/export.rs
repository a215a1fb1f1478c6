//! Writes the file that describes apps: every key whose value differs from its default, so that
//! reading the file gives the same specs again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::cpus::Cpus;
use crate::difference::alone;
use crate::formats::Format;
use crate::keys::{self, Key};
use crate::spec::{AppSpec, Instances};
use crate::variables;

/// What is written for the variables of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// `${NAME}` for each: the file holds no secret, and the reader's environment has the values.
    References,
    /// The values.
    Values,
}

/// The text of a file with these apps.
///
/// # Errors
///
/// Which value cannot be written so, and what to do.
pub fn text(
    apps: &[AppSpec],
    format: Format,
    environment: Environment,
    cpus: &Cpus,
) -> Result<String, String> {
    let mut tables = Map::new();
    for spec in apps {
        tables.insert(spec.name.clone(), Value::Object(app(spec, environment, cpus)?));
    }
    let root = Value::Object(Map::from_iter([("app".to_owned(), Value::Object(tables))]));
    match format {
        Format::Json => serde_json::to_string_pretty(&root)
            .map(|text| text + "\n")
            .map_err(|error| format!("cannot write JSON: {error}")),
        Format::Toml => {
            let root = toml::Value::try_from(&root);
            root.and_then(|root| toml::to_string(&root)).map_err(|error| {
                format!("cannot write TOML: {error}; use --format yaml or --format json")
            })
        }
        Format::Yaml => {
            let mut text = String::new();
            yaml(&root, 0, &mut text);
            Ok(text)
        }
        Format::Procfile => {
            Err("a Procfile has no keys: name a file with the ending .toml, .yaml or .json".into())
        }
    }
}

fn app(
    spec: &AppSpec,
    environment: Environment,
    cpus: &Cpus,
) -> Result<Map<String, Value>, String> {
    let mut table = Map::new();
    let own = keys::all().filter(|key| key.name != "name");
    put(own, &counted(spec, cpus), environment, &mut table)?;
    let mut pools = Map::new();
    for pool in &spec.pools {
        let mut table = Map::new();
        put(keys::of_pool(), &counted(&alone(pool), cpus), environment, &mut table)?;
        pools.insert(pool.name.clone(), Value::Object(table));
    }
    if !pools.is_empty() {
        table.insert("pool".to_owned(), Value::Object(pools));
    }
    Ok(table)
}

/// The spec with the number of workers that runs, where `scale` set it.
fn counted(spec: &AppSpec, cpus: &Cpus) -> AppSpec {
    // The load leads back into a range.
    let ranges = matches!(spec.instances, Instances::Between { .. });
    let scaled = !ranges && !spec.instances.allows(cpus, spec.wanted);
    let instances = if scaled { Instances::Count(spec.wanted) } else { spec.instances };
    AppSpec { instances, ..spec.clone() }
}

/// Puts the keys that differ from their defaults into `table`.
fn put(
    keys: impl Iterator<Item = &'static Key>,
    spec: &AppSpec,
    environment: Environment,
    table: &mut Map<String, Value>,
) -> Result<(), String> {
    let blank = AppSpec::blank();
    for key in keys.filter(|key| key.stands_for.is_none()) {
        if !key.kind.differs(&blank, spec) {
            continue;
        }
        let Some(value) = key.kind.shown(spec) else { continue };
        let value = match environment {
            Environment::References if key.name == "env" => references(&spec.env)?,
            Environment::References | Environment::Values => escaped(value),
        };
        table.insert(key.name.to_owned(), value);
    }
    Ok(())
}

fn references(env: &BTreeMap<String, String>) -> Result<Value, String> {
    let reference = |name: &String| match variables::is_name(name) {
        true => Ok((name.clone(), Value::from(format!("${{{name}}}")))),
        false => Err(format!(
            "the variable {name:?} cannot be referred to in a file: use --with-env, which writes its \
             value"
        )),
    };
    env.keys().map(reference).collect::<Result<Map<_, _>, _>>().map(Value::Object)
}

/// The value with every text written so that reading it gives the same text.
fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(variables::escape(&text)),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(entries) => {
            Value::Object(entries.into_iter().map(|(key, value)| (key, escaped(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Tables as blocks, everything else as in JSON, of which YAML is a superset.
fn yaml(value: &Value, indent: usize, text: &mut String) {
    let Some(table) = value.as_object() else {
        let _ = writeln!(text, " {value}");
        return;
    };
    if table.is_empty() {
        text.push_str(" {}\n");
        return;
    }
    if indent > 0 {
        text.push('\n');
    }
    for (key, value) in table {
        let is_plain = keys::find(key).is_some() || matches!(key.as_str(), "app" | "pool");
        let key = if is_plain { key.clone() } else { Value::from(key.as_str()).to_string() };
        let _ = write!(text, "{:indent$}{key}:", "");
        yaml(value, indent + 2, text);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::cpus::CpuLimit;
    use crate::difference;
    use crate::spec::PoolSpec;

    const CPUS: Cpus = Cpus { count: 4, limit: CpuLimit::Machine };
    const FORMATS: [(Format, &str); 3] = [
        (Format::Toml, "/etc/apps.toml"),
        (Format::Yaml, "/etc/apps.yaml"),
        (Format::Json, "/etc/apps.json"),
    ];

    /// A spec with those keys set that have an example and are chosen.
    fn with_examples(chosen: &[bool]) -> AppSpec {
        let has_example = |key: &&Key| {
            key.stands_for.is_none()
                && !matches!(key.name, "name" | "command")
                && key.example.is_some_and(|example| example != "\".\"")
        };
        let mut text = "name = \"web\"\ncommand = [\"serve\"]\n".to_owned();
        for (key, _) in keys::all().filter(has_example).zip(chosen).filter(|(_, chosen)| **chosen) {
            let _ = writeln!(text, "{} = {}", key.name, key.example.unwrap_or_default());
        }
        crate::parse(&text, Path::new("/srv/f.toml"), &CPUS).unwrap().remove(0)
    }

    fn read_again(spec: &AppSpec, environment: Environment) {
        for (format, path) in FORMATS {
            let text = text(std::slice::from_ref(spec), format, environment, &CPUS).unwrap();
            let read = crate::parse(&text, Path::new(path), &CPUS);
            let read = read.unwrap_or_else(|report| panic!("{report}\n{text}")).remove(0);
            assert_eq!(read.name, spec.name);
            assert_eq!(difference::between(spec, &read), [], "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_exported_is_read_as_it_was(
            chosen in prop::collection::vec(any::<bool>(), 60),
            words in prop::collection::vec("[ -~\u{e9}\n]{1,12}", 1..4),
            value in "[ -~\u{e9}\n$]{0,16}",
            folder in "/[a-z$ ]{1,8}",
            count in 1u16..9,
            scaled in 1u16..9,
        ) {
            let mut spec = with_examples(&chosen);
            spec.command.extend(words);
            spec.cwd = folder.into();
            spec.env.insert("VALUE".to_owned(), value.clone());
            (spec.instances, spec.wanted) = (Instances::Count(count), scaled);
            let mut pool = PoolSpec::new("hash", vec!["hasher".into(), value]);
            pool.instances = Instances::Max;
            pool.wanted = 4;
            spec.pools.push(pool);
            read_again(&spec, Environment::Values);
        }
    }

    #[test]
    fn every_example_alone_is_read_as_it_was() {
        for at in 0..60 {
            let chosen: Vec<bool> = (0..60).map(|other| other == at).collect();
            read_again(&with_examples(&chosen), Environment::Values);
        }
    }

    #[test]
    fn only_what_differs_from_the_defaults_is_written_and_no_value_of_a_variable() {
        let mut spec = AppSpec::new("web", vec!["serve".into(), "a$b".into()], "/srv".into());
        spec.env.insert("TOKEN".into(), "hunter2".into());
        let written =
            |format| text(&[spec.clone()], format, Environment::References, &CPUS).unwrap();
        let toml = written(Format::Toml);
        assert_eq!(
            toml,
            "[app.web]\ncommand = [\"serve\", \"a$$b\"]\ncwd = \"/srv\"\n\n[app.web.env]\nTOKEN = \
             \"${TOKEN}\"\n"
        );
        assert_eq!(
            written(Format::Yaml),
            "app:\n  \"web\":\n    command: [\"serve\",\"a$$b\"]\n    cwd: \"/srv\"\n    env:\n      \
             \"TOKEN\": \"${TOKEN}\"\n"
        );
        spec.env.insert("odd.name".into(), "x".into());
        let refused = text(&[spec.clone()], Format::Toml, Environment::References, &CPUS);
        assert!(refused.unwrap_err().contains("--with-env"));
    }
}
