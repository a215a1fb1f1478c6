//! Node programs are measured, and the programs cannot see it.

use std::time::Duration;

use ipc::control::{NoticeKind, Request};
use serde_json::{Value, json};
use tests::{Home, fixtures, home, node, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Sends what a program can see of its surroundings.
const LOOK: &str = "
const seen = {
  options: process.execArgv,
  arguments: process.argv.length,
  listeners: process.listenerCount('message') + process.listenerCount('disconnect')
    + process.listenerCount('exit') + process.listenerCount('internalMessage'),
  patched: Object.hasOwn(require('http').ServerResponse.prototype, '_storeHeader'),
  handles: process._getActiveHandles().length,
  node_options: process.env.NODE_OPTIONS ?? null,
};
process.send(seen);
";

const PLAIN: [&str; 3] = ["--wait-ready", "--no-node-metrics", "--no-node-drain"];

fn metrics(home: &Home, app: &str, name: &str) -> Vec<f64> {
    let said = home.run(&["metrics", app, "--json"]).ok().json();
    let all = said[0]["metrics"].as_array().cloned().unwrap_or_default();
    all.iter().filter(|m| m["name"] == name).filter_map(|m| m["value"].as_f64()).collect()
}

/// Starts a program and returns what it sees.
fn seen(home: &Home, name: &str, command: &[String], options: &[&str]) -> Value {
    // It answers a message, so that no answer comes before the subscription.
    home.start(name, options, command).ok();
    let mut follow = home.ask(name, &Request::Subscribe);
    home.run(&["send", name, "\"look\""]).ok();
    let said = follow.notice_of(NoticeKind::WorkerMessage, SOON);
    serde_json::from_str(&said.message).expect("what it sees")
}

#[test]
fn every_node_is_measured_and_cannot_see_it() {
    for (version, node) in node::all() {
        let home = home!();
        let body = format!("process.on('message', () => {{ {LOOK} }});");
        let block =
            "setTimeout(() => { const end = Date.now() + 300; while (Date.now() < end); }, 300);";
        let esm = format!(
            "import {{ createRequire }} from 'node:module'; const require = createRequire('/'); process.send('ready'); {block} {body}"
        );
        let cjs = format!(
            "if (require.main !== module || Object.keys(require.cache).length !== 1) process.exit(9); \
             process.send('ready'); {block} {body}"
        );
        for (name, file, text) in [("cjs", "app.js", &cjs), ("esm", "app.mjs", &esm)] {
            let file = home.write(file, text).display().to_string();
            let command = [node.clone(), file];
            let wait = ["--wait-ready"];
            let measured = seen(&home, name, &command, &wait);
            let plain = format!("{name}-plain");
            let without = seen(&home, &plain, &command, &PLAIN);
            assert_eq!(measured, without, "Node {version}, {name}");
            assert_eq!(measured["options"], json!([]));
            wait_until("the measurements", SOON, || {
                let heap = metrics(&home, name, "supervisor_node_heap_used_bytes");
                (heap.len() == 1 && heap[0] > 1e6).then_some(())
            });
            let delays = metrics(&home, name, "supervisor_node_event_loop_delay_seconds");
            assert!(delays.len() == 2 && delays[1] > 0.1, "Node {version}, {name}: {delays:?}");
            assert!(delays[0] < delays[1]);
            assert!(metrics(&home, &plain, "supervisor_node_heap_used_bytes").is_empty());
        }
    }
}

#[test]
fn it_keeps_no_program_alive_and_lets_programs_start_others() {
    let Some(node) = fixtures::need("node") else { return };
    let home = home!();
    let file = home.write(
        "starts.js",
        "const { fork } = require('child_process'); const { Worker } = require('worker_threads');\n\
         if (process.argv[2] === 'child') { console.log('child', process.execArgv.length); return; }\n\
         fork(__filename, ['child'], { env: { PATH: process.env.PATH } }).on('exit', (code) => {\n\
           new Worker('console.log(\"thread\", process.execArgv.length)', { eval: true })\n\
             .on('exit', (code2) => { console.log('codes', code, code2); process.disconnect(); });\n\
         });\n",
    );
    let command = [node, file.display().to_string()];
    home.start(
        "once",
        &["--restart", "never", "--ready", "uptime", "--min-uptime", "0s"],
        &command,
    );
    wait_until("the program to end by itself", SOON, || {
        let log = home.log("once", "out.log");
        (log.contains("child 0") && log.contains("thread 0") && log.contains("codes 0 0"))
            .then_some(())
    });
    home.wait_app("once", "no worker to be left", SOON, |app| app.ready == 0 && app.restarts == 0);
}

/// The bus client of a program and the preload script do not disturb each other.
#[test]
fn a_program_that_joins_the_bus_is_measured_too() {
    let Some(node) = fixtures::need("node") else { return };
    let home = home!();
    let client = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/node");
    let file = home.write(
        "joins.js",
        "const worker = require(process.env.BUS_NODE).join();\n\
         worker.action('hi', () => 'hello'); worker.joined.then(() => worker.ready());\n",
    );
    let client = format!("BUS_NODE={}", client.display());
    let command = [node, file.display().to_string()];
    home.start("joins", &["--ready", "notify", "--env", &client], &command).ok();
    home.run(&["trigger", "joins", "hi"]).ok();
    wait_until("the measurements", SOON, || {
        (metrics(&home, "joins", "supervisor_node_heap_used_bytes").len() == 1).then_some(())
    });
    let text = home.run(&["metrics", "joins", "--openmetrics"]).ok().stdout;
    assert!(
        text.contains(
            "supervisor_node_event_loop_delay_seconds{app=\"joins\",quantile=\"0.99\",pool=\"default\",slot=\"0\"}"
        ),
        "{text}"
    );
}

/// Other users cannot read the folder of root. The script is also in a folder that they can read.
#[test]
fn workers_of_another_user_are_measured_too() {
    if !fixtures::need_root("start workers as another user") {
        return;
    }
    let Some(node) = fixtures::need("node") else { return };
    let home = home!();
    let command = [node, fixtures::file("node/plain.js"), tests::Port::new().to_string()];
    home.start("nobodys", &["--user", "nobody"], &command).ok();
    let app = home.app("nobodys");
    assert!(app.ready == 1 && app.notes.is_empty(), "{app:#?}");
    wait_until("the measurements", SOON, || {
        (metrics(&home, "nobodys", "supervisor_node_heap_used_bytes").len() == 1).then_some(())
    });
}
