//! Configuration files in every format: YAML and JSON start apps as TOML does; defaults, profiles,
//! variables and files of variables reach the workers, and no output shows their values.

use std::time::Duration;

use tests::run::{self, Outcome};
use tests::{Home, Port, fixtures, http};

const SOON: Duration = Duration::from_secs(15);

/// Runs a command with these variables beside those of the home.
fn run_with(home: &Home, variables: &[(&str, &str)], args: &[&str]) -> Outcome {
    let mut command = home.command();
    command.args(args).envs(variables.iter().copied());
    run::spawn(&mut command, home.path()).end(SOON)
}

/// The environment that the workers of `app` are given.
fn environment(home: &Home, app: &str) -> String {
    home.run(&["env", app, "--show"]).ok().stdout
}

#[test]
fn yaml_and_json_start_apps() {
    for name in ["apps.yaml", "apps.json"] {
        let (home, port) = (tests::home!(), Port::new());
        let Some(command) = fixtures::pid_server(&port) else { return };
        let command = serde_json::to_string(&command).unwrap();
        let text = match name {
            "apps.yaml" => format!("app:\n  web:\n    command: {command}\n    instances: 2\n"),
            _ => format!("// two\n{{ app: {{ web: {{ command: {command}, instances: 2, }} }} }}"),
        };
        let file = home.write(name, &text).display().to_string();
        let checked = home.run(&["check", &file]).ok().stdout;
        assert!(checked.contains("web: 2 workers"), "{checked}");
        home.run(&["start", &file]).ok();
        http::get(port.v4(), SOON).unwrap();
        let changed = text.replace("instances: 2", "instances: 3");
        home.write(name, &changed);
        home.run(&["reload", "web"]).ok();
        assert_eq!(home.pids("web").len(), 3);
        home.run(&["delete", "all"]).ok();
        home.nothing_left();
    }
}

#[test]
fn mistakes_in_yaml_and_json_have_their_places() {
    let home = tests::home!();
    let yaml = "name: web\ncommand: [sleep, '60']\ninstances: banana\nkill-timeout: 1s\n";
    let file = home.write("bad.yaml", yaml).display().to_string();
    for verb in ["check", "start"] {
        let outcome = home.run(&[verb, &file]).code(2);
        outcome.says(&["bad.yaml:3:12", "banana", "bad.yaml:4:1", "\"kill_timeout\"?"]);
    }
    let file = home.write("bad.json", "{\n  \"comand\": \"sleep 60\"\n}\n").display().to_string();
    home.run(&["check", &file]).code(2).says(&["bad.json:2:3", "comand", "\"command\"?"]);
    let file = home.write("open.json", "{\n  \"command\": [\n").display().to_string();
    home.run(&["check", &file]).code(2).says(&["open.json:"]);
    home.nothing_left();
}

const LAYERS: &str = r#"
[defaults]
command = ["sleep", "60"]
ready = "uptime"
env_file = "all.env"
[app.web]
env = { WHO = "web", TOKEN = "${TOKEN}" }
[app.web.profile.production]
env = { WHO = "production", GREETING = "${GREETING:-hello}" }
"#;

#[test]
fn a_profile_and_variables_reach_the_workers_and_stay() {
    let home = tests::home!();
    home.write("all.env", "WHO=file\nSHARED='two words'\n");
    let file = home.write("layers.toml", LAYERS).display().to_string();
    let token = [("TOKEN", "hunter2hunter2")];
    let started = run_with(&home, &token, &["start", "--profile", "production", &file]).ok();
    let shown = environment(&home, "web");
    for expected in ["WHO=production", "GREETING=hello", "SHARED=two words", "TOKEN=hunter2hunter2"]
    {
        assert!(shown.contains(expected), "{expected} is missing: {shown}");
    }
    home.write("all.env", "WHO=file\nSHARED=later\n");
    let reloaded = run_with(&home, &token, &["reload", "web"]).ok();
    let shown = environment(&home, "web");
    assert!(shown.contains("WHO=production") && shown.contains("SHARED=later"), "{shown}");
    let checked = run_with(&home, &token, &["check", "--profile", "production", &file]).ok();
    for outcome in [started, reloaded, checked] {
        assert!(!(outcome.stdout + &outcome.stderr).contains("hunter2"), "a secret is shown");
    }
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}

#[test]
fn a_missing_variable_and_an_unknown_profile_are_refused() {
    let home = tests::home!();
    home.write("all.env", "");
    let file = home.write("layers.toml", LAYERS).display().to_string();
    let says = ["layers.toml:7:31", "the variable \"TOKEN\" is not set", "${TOKEN:-default}"];
    home.run(&["start", &file]).code(2).says(&says);
    let unknown = run_with(&home, &[("TOKEN", "x")], &["start", "--profile", "prod", &file]);
    unknown.code(2).says(&["no profile \"prod\"", "production"]);
    home.nothing_left();
}
