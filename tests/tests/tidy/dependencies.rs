//! Licences, sources and duplicate versions of all dependencies, as `deny.toml` allows them, and
//! dependencies that nothing uses.
//!
//! `cargo deny check licenses bans sources` reads the same file. It takes minutes to install, so
//! every test run makes these checks by itself, over `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

use crate::sources::{code, files, has_word, none, root};

#[derive(Deserialize)]
struct Deny {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

fn deny() -> Deny {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("read deny.toml");
    toml::from_str(&text).expect("deny.toml has the keys that this check reads")
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--all-features"])
        .args(deny().graph.targets.iter().flat_map(|target| ["--filter-platform", target]))
        .current_dir(root())
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata.packages
}

/// Whether these licences cover an SPDX expression such as `(MIT OR Apache-2.0) AND Unicode-3.0`.
fn covers(allowed: &[String], expression: &str) -> bool {
    // In crates of before 2018 a slash means OR.
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let allowed = |license: &str| allowed.iter().any(|one| one == license.trim());
    expression.split(" AND ").all(|part| part.split(" OR ").any(allowed))
}

#[test]
fn every_licence_is_allowed() {
    let allowed = deny().licenses.allow;
    let broken: Vec<String> = packages()
        .into_iter()
        .filter(|one| !one.license.as_ref().is_some_and(|text| covers(&allowed, text)))
        .map(|one| format!("{} {}: {:?}", one.name, one.version, one.license))
        .collect();
    none("deny.toml does not allow the licence of these", &broken);
}

#[test]
fn every_package_comes_from_an_allowed_registry() {
    let allowed = deny().sources.allow_registry;
    let known = |source: &str| {
        source.strip_prefix("registry+").is_some_and(|url| allowed.iter().any(|one| one == url))
    };
    let broken: Vec<String> = packages()
        .into_iter()
        .filter(|one| one.source.as_ref().is_some_and(|source| !known(source)))
        .map(|one| format!("{} {}: {:?}", one.name, one.version, one.source))
        .collect();
    none("deny.toml does not allow the source of these", &broken);
}

/// What a registry delivers is compared with these.
#[test]
fn every_package_of_a_registry_has_a_checksum() {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).expect("read Cargo.lock");
    let lock: toml::Table = toml::from_str(&text).expect("Cargo.lock is TOML");
    let all = lock["package"].as_array().expect("packages");
    let text = |one: &toml::Value, key: &str| {
        one.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    let is_bad =
        |one: &&toml::Value| one.get("source").is_some() && text(one, "checksum").len() != 64;
    let broken: Vec<String> = all.iter().filter(is_bad).map(|one| text(one, "name")).collect();
    none("these have no checksum in Cargo.lock", &broken);
}

#[test]
fn no_package_is_there_in_two_versions() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in packages() {
        versions.entry(one.name).or_default().insert(one.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let skipped: BTreeSet<String> = deny().bans.skip.into_iter().map(|skip| skip.name).collect();
    let skipped: BTreeSet<&str> =
        skipped.iter().map(|skip| skip.split('@').next().unwrap_or_default()).collect();
    let broken: Vec<String> = versions
        .iter()
        .filter(|(name, _)| !skipped.contains(name.as_str()))
        .map(|(name, versions)| format!("{name}: {versions:?}"))
        .collect();
    none("two versions of one package; update, or add a skip with its reason", &broken);
    let idle: Vec<String> = skipped
        .into_iter()
        .filter(|name| !versions.contains_key(*name))
        .map(str::to_owned)
        .collect();
    none("deny.toml skips packages that have one version", &idle);
}

#[test]
fn every_dependency_is_used() {
    let sources = files(".rs");
    let mut broken = Vec::new();
    let mut inherited = BTreeSet::new();
    let mut offered = Vec::new();
    for file in files("Cargo.toml").into_iter().filter(|file| !file.path.contains("fuzz/")) {
        let manifest: toml::Table = toml::from_str(&file.text).expect("a manifest is TOML");
        let folder = file.path.trim_end_matches("Cargo.toml");
        let table = |name: &str| manifest.get(name).and_then(toml::Value::as_table);
        let workspace = table("workspace").and_then(|table| table.get("dependencies"));
        offered.extend(
            workspace.and_then(toml::Value::as_table).into_iter().flat_map(|t| t.keys().cloned()),
        );
        for section in ["dependencies", "dev-dependencies"] {
            for name in table(section).into_iter().flat_map(toml::Table::keys) {
                inherited.insert(name.clone());
                let word = name.replace('-', "_");
                let uses = |line: &str| has_word(code(line), &word);
                let own = sources.iter().filter(|source| source.path.starts_with(folder));
                if !own.clone().any(|source| source.text.lines().any(uses)) {
                    broken.push(format!("{}: {name}", file.path));
                }
            }
        }
    }
    let idle = offered.into_iter().filter(|name| !inherited.contains(name));
    broken.extend(idle.map(|name| format!("Cargo.toml: {name}")));
    none("nothing uses these dependencies", &broken);
}

#[test]
fn expressions_of_licences_are_read() {
    let allowed = ["MIT", "Unicode-3.0"].map(str::to_owned);
    for good in ["MIT", "MIT/Apache-2.0", "Apache-2.0 OR MIT", "(MIT OR ISC) AND Unicode-3.0"] {
        assert!(covers(&allowed, good), "{good}");
    }
    for bad in ["ISC", "MIT AND ISC", "Apache-2.0 / ISC", ""] {
        assert!(!covers(&allowed, bad), "{bad}");
    }
}
