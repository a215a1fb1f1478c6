//! Apps whose workers use the bus: one program for each slot, and the answers to actions.

use std::collections::BTreeMap;
use std::path::Path;

use ipc::control::AppStatus;
use serde_json::Value;

use crate::{Home, fixtures};

/// One command that runs another program in each slot.
pub fn by_slot(programs: &[String]) -> Vec<String> {
    let arms: Vec<String> = programs
        .iter()
        .enumerate()
        .map(|(slot, program)| format!("{slot}) exec {program};;"))
        .collect();
    let script = format!("case $SUPERVISOR_SLOT in {} esac", arms.join(" "));
    ["sh".to_owned(), "-c".to_owned(), script].to_vec()
}

/// The Rust worker of these tests, in a role that it knows.
pub fn rust(home: &Home, role: &str) -> String {
    let bin = home.built().with_file_name("bus-worker");
    format!("{} {role}", bin.display())
}

/// A Python program that writes raw bytes to the bus. `None` if Python is not installed.
pub fn raw(how: &str) -> Option<String> {
    let python = fixtures::need("python3")?;
    Some(format!("{python} {} {how}", fixtures::file("bus/raw.py")))
}

/// Starts the app `web` with one program for each slot, and waits until all are ready.
pub fn start(home: &Home, programs: &[String], options: &[&str]) -> AppStatus {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker");
    let node = format!("BUS_NODE={}", clients.join("node").display());
    let python = format!("PYTHONPATH={}", clients.join("python").display());
    let count = programs.len().to_string();
    let fixed = ["-i", &count, "--ready", "notify", "--env", &node, "--env", &python];
    home.start("web", &[&fixed, options].concat(), &by_slot(programs)).ok();
    home.app("web")
}

/// What each slot answered to an action: all slots, or one.
pub fn trigger(home: &Home, action: &str, data: &str, slot: Option<u16>) -> BTreeMap<u16, Value> {
    let mut args = vec!["trigger", "web", action, data, "--json", "--timeout", "50s"];
    let slot = slot.map(|slot| slot.to_string());
    if let Some(slot) = &slot {
        args.extend(["--slot", slot]);
    }
    let outcome = home.run(&args).ok();
    let answers: Vec<ipc::talk::Answered> =
        serde_json::from_value(outcome.json()).expect("an array of answers");
    answers.into_iter().map(|a| (a.slot, a.data.unwrap_or_default())).collect()
}

/// The sum of all values of this metric in the app `web`.
pub fn metric(home: &Home, name: &str) -> f64 {
    let outcome = home.run(&["metrics", "web", "--json"]).ok();
    let apps = outcome.json();
    let all = apps[0]["metrics"].as_array().expect("metrics").clone();
    all.iter().filter(|m| m["name"] == name).filter_map(|m| m["value"].as_f64()).sum()
}
