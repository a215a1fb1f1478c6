//! One configuration in each format is the same app, and one mistake is the same message.

use std::path::Path;

use crate::cpus::{CpuLimit, Cpus};
use crate::spec::AppSpec;

const CPUS: Cpus = Cpus { count: 4, limit: CpuLimit::Machine };

fn read(text: &str, name: &str) -> Result<Vec<AppSpec>, String> {
    let mut specs = crate::parse(text, &Path::new("/srv").join(name), &CPUS)
        .map_err(|report| report.to_string().replace("/srv/", ""))?;
    // The only difference that there is.
    specs.iter_mut().for_each(|spec| spec.source = None);
    Ok(specs)
}

const TOML: &str = r#"
[defaults]
env = { A = "x", B = 2 }

[app.web]
command = ["node", "server.js"]
instances = "50%"
listen = { http = 8000, admin = "unix:/run/x" }
wait_ready = true
kill_timeout = "4s"
shared = { limit = 9, rate = 0.5, names = ["a"], limits = { rate = "600/m" } }
umask = 0o27
limits = { nofile = 1024 }
intercept = true

[app.web.pool.hash]
command = "hasher"
env = { C = true }

[app.api]
command = "api"
env = { B = "y" }
"#;

const YAML: &str = r#"
# yaml-language-server: $schema=./schema.json
defaults: &defaults
  env: { A: x, B: 2 }
app:
  web:
    command: [node, server.js]
    instances: 50%
    listen: { http: 8000, admin: "unix:/run/x" }
    wait_ready: true
    kill_timeout: 4s
    shared:
      limit: 9
      rate: 0.5
      names: [a]
      limits: { rate: 600/m }
    umask: 0o27
    limits: { nofile: 1024 }
    intercept: true
    pool:
      hash:
        command: hasher
        env:
          C: true
  api:
    command: api
    env: { B: y }
"#;

const JSON: &str = r#"{
  "$schema": "./schema.json",
  // JSON5 is read, too.
  defaults: { env: { A: 'x', B: 2 } },
  "app": {
    "web": {
      "command": ["node", "server.js"],
      "instances": "50%",
      "listen": { "http": 8000, "admin": "unix:/run/x" },
      "wait_ready": true,
      "kill_timeout": "4s",
      "shared": { "limit": 9, "rate": .5, "names": ["a",], "limits": { "rate": "600/m" } },
      "umask": "027",
      "limits": { "nofile": 0x400 },
      "intercept": true,
      "pool": { "hash": { "command": "hasher", "env": { "C": true } } },
    },
    "api": { "command": "api", "env": { "B": "y" } },
  },
}"#;

#[test]
fn one_configuration_in_three_formats() {
    let expected = read(TOML, "f.toml").unwrap();
    assert_eq!(expected.len(), 2);
    assert_eq!((expected[0].wanted, expected[0].pools[0].env.len()), (2, 1));
    assert_eq!(expected[1].env["A"], "x");
    for (text, name) in [(YAML, "f.yaml"), (YAML, "f.yml"), (JSON, "f.json"), (JSON, "f.json5")] {
        assert_eq!(read(text, name).unwrap(), expected, "{name}");
    }
}

#[test]
fn one_mistake_in_three_formats() {
    let files = [
        ("f.toml", "command = 'a'\ninstnaces = 4\nkill_timeout = 'soon'\n"),
        ("f.yaml", "command: 'a'\ninstnaces: 4\nkill_timeout: 'soon'\n"),
        ("f.json", "{ command: 'a',\ninstnaces: 4,\nkill_timeout: 'soon' }\n"),
    ];
    for (name, text) in files {
        let report = read(text, name).unwrap_err();
        let heads: Vec<&str> =
            report.lines().filter(|line| line.contains(": ") && !line.starts_with(' ')).collect();
        let column = text.lines().nth(2).unwrap().find('\'').unwrap() + 1;
        assert_eq!(
            heads[0],
            format!("{name}:2:1: unknown key \"instnaces\": did you mean \"instances\"?")
        );
        let timeout = format!("{name}:3:{column}: kill_timeout \"soon\": ");
        assert!(heads[1].starts_with(&timeout) && heads.len() == 2, "{report}");
        assert!(report.contains("\n    instnaces"), "{report}");
    }
}

#[test]
fn every_format_reports_its_syntax() {
    for (name, text, place) in [
        ("f.toml", "command = 'a'\ninstances =\n", "f.toml:2:12: "),
        ("f.yaml", "command: a\n  instances: 4\n", "f.yaml:2:"),
        ("f.json", "{\n  \"command\": a\n}", "f.json:2:14: "),
        ("f.yaml", "- a\n", "f.yaml:1:1: the file must be a table of keys, not an array"),
        ("f.json", "3", "f.json:1:1: the file must be a table of keys, not an integer"),
        ("f.yaml", "command: a\ncwd: ~\n", "f.yaml:2:6: cwd must be a string, not null"),
        ("f.json", "{ \"command\": null }", "f.json:1:14: command must be a string or an array"),
    ] {
        let report = read(text, name).unwrap_err();
        assert!(report.starts_with(place), "{report}");
    }
}
