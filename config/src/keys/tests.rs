//! The rows agree with each other, and the files that are made from them are as they would be made
//! now. `REGENERATE=1 cargo test -p supervisor-config generated` writes those files.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;

use super::*;
use crate::cpus::{CpuLimit, Cpus};

const CPUS: Cpus = Cpus { count: 4, limit: CpuLimit::Machine };

/// Longer explanations do not fit behind a key in 100 columns.
const LONGEST_HELP: usize = 64;

/// The file at `path` in this package is what `generate` makes of it.
fn assert_generated(path: &str, generate: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let found = fs::read_to_string(&path).unwrap_or_default();
    let generated = generate(&found);
    if env::var_os("REGENERATE").is_some() {
        return fs::write(&path, generated).unwrap();
    }
    let differ = found.lines().zip(generated.lines()).find(|(found, made)| found != made);
    assert!(
        found == generated,
        "{} is not what the table of keys makes of it ({differ:?}): run REGENERATE=1 cargo test -p \
         supervisor-config generated",
        path.display()
    );
}

#[test]
fn the_generated_tables_of_the_pages_are_up_to_date() {
    assert_generated("../docs/configuration.md", page::fill);
    assert_generated("../docs/commands.md", page::fill);
    assert_generated("../docs/pm2.md", page::fill);
}

#[test]
fn the_generated_schema_is_up_to_date() {
    assert_generated("schema.json", |_| schema::text());
}

#[test]
fn every_section_is_in_the_page() {
    let page = include_str!("../../../docs/configuration.md");
    for name in SECTIONS.iter().map(|section| section.name).chain(["pool", "limits"]) {
        assert!(page.contains(&format!("<!-- keys: {name} -->")), "{name}");
    }
    assert!(include_str!("../../../docs/commands.md").contains("<!-- keys: flags -->"));
}

#[test]
fn each_key_has_one_row_and_one_flag() {
    let (mut names, mut flags, mut letters) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for key in all() {
        assert!(names.insert(key.name), "{}", key.name);
        assert!(key.flag_name().is_none_or(|name| flags.insert(name)), "{}", key.name);
        let short = key.flag.and_then(|flag| flag.short);
        assert!(short.is_none_or(|short| letters.insert(short)), "{}", key.name);
    }
    for key in all() {
        let flag = key.flag.and_then(|flag| flag.conflicts);
        for other in flag.into_iter().chain(key.stands_for) {
            assert!(names.contains(other), "{}: there is no {other}", key.name);
        }
        for theirs in key.elsewhere {
            assert!(!names.contains(theirs), "{theirs} is a key");
            assert_eq!(suggest::meant(theirs), Some(key.name), "{theirs}");
        }
    }
}

#[test]
fn help_is_one_short_line() {
    for key in all() {
        let length = key.help.chars().count();
        assert!((1..=LONGEST_HELP).contains(&length), "{}: {length} characters", key.name);
        assert!(!key.help.contains(['\n', '`']) && !key.help.ends_with('.'), "{}", key.name);
        assert!(!key.doc.is_empty() && !key.doc.contains('\n'), "{}", key.name);
    }
}

/// A key whose place in the spec is that of another key would be lost here.
#[test]
fn each_default_and_each_example_is_read_from_a_file() {
    for key in all().filter(|key| !matches!(key.name, "command" | "env_file" | "script")) {
        let read = |value: &str| {
            let text = format!("name = \"web\"\ncommand = \"serve\"\n{} = {value}\n", key.name);
            crate::parse(&text, Path::new("/srv/f.toml"), &CPUS)
                .map(|mut specs| specs.remove(0))
                .unwrap_or_else(|report| panic!("{report}"))
        };
        let plain =
            crate::parse("name = \"web\"\ncommand = \"serve\"", Path::new("/srv/f.toml"), &CPUS);
        let plain = plain.unwrap().remove(0);
        if let Some(default) = key.default() {
            assert_eq!(read(&default.to_string()), plain, "{}", key.name);
        }
        let Some(example) = key.example.filter(|example| *example != "\".\"") else { continue };
        let other = read(example);
        let names: Vec<&str> = changed(&plain, &other).iter().map(|key| key.name).collect();
        assert_eq!(names, [key.name]);
    }
}

#[test]
fn each_flag_sets_its_key_and_no_other() {
    for key in all() {
        let Some(flag) = key.flag else { continue };
        let texts = ["7s", "7", "7M", "-7", "QUIT", "sticky", "kernel", "uptime", "never", "A=7"];
        let more = [
            "core=0",
            "unix:/run/x",
            "127.0.0.1:7",
            "/x",
            "true",
            "false",
            "x",
            "7000",
            "@daily",
            "journald",
            "UTC",
            "tcp",
            "204",
            "deny",
        ];
        let plain = AppSpec::blank();
        let set = texts.into_iter().chain(more).find_map(|text| {
            let mut overrides = crate::spec::Overrides::default();
            overrides.add(key, text).ok()?;
            let mut spec = plain.clone();
            overrides.apply(&mut spec, &CPUS);
            let changed: Vec<&str> = changed(&plain, &spec).iter().map(|key| key.name).collect();
            (!changed.is_empty()).then_some(changed)
        });
        let expected = key.stands_for.unwrap_or(key.name);
        assert_eq!(set.as_deref(), Some(&[expected][..]), "{}", key.name);
        assert_eq!(flag.value.is_none(), key.kind.type_name() == "boolean", "{}", key.name);
    }
}

#[test]
fn the_template_is_a_file_with_every_key() {
    let text = template::text();
    crate::parse(&text, Path::new("/srv/f.toml"), &CPUS)
        .unwrap_or_else(|report| panic!("{report}"));
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    for key in all().filter(|key| !matches!(key.name, "name" | "wait_ready")) {
        let line = |mark: &str| format!("\n{mark}{} = ", key.name);
        assert!(text.contains(&line("")) || text.contains(&line("# ")), "{}", key.name);
    }
}
