//! `startup` and `unstartup` of several apps, of which one fails. Here a script is the `systemctl`
//! that refuses one unit; `systemd.rs` has the tests with a real systemd.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tests::Home;
use tests::run::{self, Outcome};
use tests::staging::write_program;

const SOON: Duration = Duration::from_secs(30);

/// Writes down what it is asked, and refuses to enable or disable the unit of `b`.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> "$SUPERVISOR_HOME/asked"
case "$*" in
  *enable*supervisor-b.service | *disable*supervisor-b.service) echo "no such luck" >&2; exit 1 ;;
esac
"#;

struct Machine {
    home: Home,
}

impl Machine {
    /// With the configuration files `a.toml`, `b.toml` and `c.toml`.
    fn new() -> Self {
        let home = tests::home!();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).expect("make a folder");
        write_program(&bin.join("systemctl"), SYSTEMCTL.as_bytes());
        for name in ["a", "b", "c"] {
            let text = format!("name = \"{name}\"\ncommand = [\"sleep\", \"1000\"]\n");
            fs::write(home.path().join(format!("{name}.toml")), text).expect("write a file");
        }
        Self { home }
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let path = format!("{}/bin:/usr/bin:/bin", self.home.path().display());
        let mut command = self.home.command();
        command.env("PATH", path).env("XDG_CONFIG_HOME", self.home.path().join("config"));
        run::spawn(command.args(arguments), self.home.path()).end(SOON)
    }

    fn unit(&self, app: &str) -> PathBuf {
        self.home.path().join(format!("config/systemd/user/supervisor-{app}.service"))
    }

    /// Which of the three apps have a unit.
    fn units(&self) -> Vec<&'static str> {
        ["a", "b", "c"].into_iter().filter(|app| self.unit(app).exists()).collect()
    }
}

#[test]
fn an_app_that_cannot_be_enabled_leaves_no_unit_and_the_others_are_enabled() {
    let machine = Machine::new();
    let started = machine.run(&["startup", "--user", "a.toml", "b.toml", "c.toml"]).code(1);
    let started = started.says(&["b: not made a service", "no such luck"]);
    assert_eq!(started.stdout.lines().count(), 2, "{started:#?}");
    assert_eq!(machine.units(), ["a", "c"]);
    let asked = fs::read_to_string(machine.home.path().join("asked")).expect("read a file");
    assert_eq!(asked.lines().last(), Some("--user enable supervisor-c.service"), "{asked}");

    // A unit that was there before is there again.
    fs::write(machine.unit("b"), "[Unit]\nDescription=by hand\n").expect("write a unit");
    machine.run(&["startup", "--user", "b.toml"]).code(1);
    let unit = fs::read_to_string(machine.unit("b")).expect("read the unit");
    assert!(unit.contains("by hand"), "{unit}");
}

#[test]
fn an_app_that_cannot_be_disabled_keeps_its_unit_and_the_others_lose_theirs() {
    let machine = Machine::new();
    machine.run(&["startup", "--user", "a.toml", "c.toml"]).ok();
    fs::write(machine.unit("b"), "[Unit]\n").expect("write a unit");
    let ended = machine.run(&["unstartup", "--user", "a", "missing", "b", "c"]).code(3);
    ended.says(&["missing has no unit", "no such luck"]);
    assert_eq!(machine.units(), ["b"]);
}
