//! Builds of different versions talk over the control socket. `fixtures/control/golden` has the
//! conversation of each version of the protocol, as the first build that spoke it had it: what a
//! client said, and what the primary answered. This build's primary must still answer that way, and
//! this build's clients must still understand those answers.
//!
//! Never write a golden file anew. `RECORD=FILE` writes what this build answers to the requests of
//! the newest one: the beginning of the file of a new version.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Home, Port, fixtures, run};

use crate::api;

const SOON: Duration = Duration::from_secs(60);

/// A request and its answers, the final one last.
struct Exchange {
    request: Value,
    answers: Vec<Value>,
}

/// The golden files, the oldest version first.
fn golden() -> Vec<(String, Vec<Exchange>)> {
    let folder = fixtures::file("control/golden");
    let entries = fs::read_dir(folder).expect("read the golden files");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let mut exchanges: Vec<Exchange> = Vec::new();
        for line in fs::read_to_string(path).expect("read a golden file").lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            if line.get("request").is_some() {
                exchanges.push(Exchange { request: line, answers: Vec::new() });
            } else {
                exchanges.last_mut().expect("a request comes first").answers.push(line);
            }
        }
        (name, exchanges)
    };
    paths.into_iter().map(read).collect()
}

/// Sends a request to a primary. The answers come one by one.
fn ask(socket: &Path, request: &Value) -> impl Iterator<Item = Value> + use<> {
    let mut stream = UnixStream::connect(socket).expect("connect to the primary");
    stream.set_read_timeout(Some(SOON)).expect("a limit");
    stream.write_all(format!("{request}\n").as_bytes()).expect("send a request");
    let lines = BufReader::new(stream).lines();
    lines.map(|line| serde_json::from_str(&line.expect("a line in time")).expect("JSON"))
}

fn is_notice(answer: &Value) -> bool {
    answer["reply"] == "notice"
}

/// What differs from one machine or run to the other is not recorded.
fn scrubbed(value: &Value) -> Value {
    match value {
        Value::String(text) if text.contains('/') => json!("/path"),
        Value::Array(all) => all.iter().map(scrubbed).collect(),
        Value::Object(all) => {
            all.iter().map(|(key, value)| (key.clone(), scrubbed(value))).collect()
        }
        other => other.clone(),
    }
}

/// What of the golden answer the answer of today lacks: fields, and types of values. Words that
/// programs decide by are equal.
fn lacks(at: &str, golden: &Value, now: &Value, found: &mut Vec<String>) {
    match (golden, now) {
        // Optional fields come and go.
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(golden), Value::Object(now)) => {
            for (key, value) in golden {
                let at = format!("{at}.{key}");
                match now.get(key) {
                    Some(now) if ["reply", "kind"].contains(&key.as_str()) && value != now => {
                        found.push(format!("{at}: {now} instead of {value}"));
                    }
                    Some(now) => lacks(&at, value, now, found),
                    None => found.push(format!("{at} is missing")),
                }
            }
        }
        (Value::Array(golden), Value::Array(now)) => {
            if let (Some(golden), Some(now)) = (golden.first(), now.first()) {
                lacks(&format!("{at}[0]"), golden, now, found);
            }
        }
        (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_))
        | (Value::Bool(_), Value::Bool(_)) => {}
        _ => found.push(format!("{at}: {now} instead of {golden}")),
    }
}

fn events(answers: &[Value]) -> Vec<&str> {
    answers.iter().filter_map(|answer| answer["event"].as_str()).collect()
}

/// Plays the requests to a new app, and returns what this build answers.
fn played(home: &Home, exchanges: &[Exchange]) -> Option<Vec<Exchange>> {
    let port = Port::new();
    let server = fixtures::pid_server(&port)?;
    let options = ["-i", "2", "--observe", "100ms", "--min-uptime", "100ms"];
    home.start("web", &options, &server).ok();
    let socket = home.path().join("run/web.sock");
    let mut subscription = None;
    let mut played: Vec<Exchange> = Vec::new();
    for exchange in exchanges {
        let request = exchange.request.clone();
        let mut answers = Vec::new();
        if request["request"] == "subscribe" {
            // It has no final answer. Its notices are those of the whole conversation.
            subscription = Some((played.len(), ask(&socket, &request)));
        } else {
            for answer in ask(&socket, &request) {
                let last = !is_notice(&answer);
                answers.push(answer);
                if last {
                    break;
                }
            }
        }
        played.push(Exchange { request, answers });
    }
    if let Some((at, notices)) = subscription {
        played[at].answers = notices.collect();
    }
    Some(played)
}

#[test]
fn heavy_conversations_of_all_versions_are_still_answered() {
    let _beside = tests::under_load();
    let golden = golden();
    for (name, exchanges) in &golden {
        let home = tests::home!();
        let Some(now) = played(&home, exchanges) else { return };
        let mut found = Vec::new();
        for (golden, now) in exchanges.iter().zip(&now) {
            let at = golden.request.to_string();
            if let (Some(golden), Some(now)) = (golden.answers.last(), now.answers.last()) {
                lacks(&at, golden, now, &mut found);
            } else {
                found.push(format!("{at} has no answer"));
            }
            let said = events(&now.answers);
            for notice in golden.answers.iter().filter(|answer| is_notice(answer)) {
                let event = notice["event"].as_str().expect("a word");
                if !said.contains(&event) {
                    found.push(format!("{at}: no notice {event}"));
                }
            }
        }
        assert_eq!(found, [""; 0], "{name}");
    }
    let (home, newest) = (tests::home!(), &golden.last().expect("a version").1);
    if let Some(file) = std::env::var_os("RECORD") {
        let mut text = String::new();
        for exchange in played(&home, newest).expect("Python") {
            text += &format!("{}\n", exchange.request);
            for answer in &exchange.answers {
                text += &format!("{}\n", scrubbed(answer));
            }
        }
        fs::write(file, text).expect("write the record");
    }
}

/// A primary that answers as an earlier build did. The first reload is done; the second one takes
/// for ever. Subscribers hear of the first.
fn earlier_primary(listener: UnixListener, exchanges: Vec<Exchange>) {
    let exchanges = Arc::new(exchanges);
    let reloads = Arc::new((Mutex::new(0), Condvar::new()));
    for stream in listener.incoming() {
        let (exchanges, reloads) = (Arc::clone(&exchanges), Arc::clone(&reloads));
        let stream = stream.expect("a client");
        thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("a request");
            let request: Value = serde_json::from_str(&line).expect("JSON");
            let word = request["request"].as_str().unwrap_or_default();
            if word == "subscribe" {
                let count = reloads.0.lock().expect("no thread panics");
                let limit = SOON;
                drop(reloads.1.wait_timeout_while(count, limit, |count| *count == 0));
            }
            if word == "configure" {
                let mut count = reloads.0.lock().expect("no thread panics");
                *count += 1;
                reloads.1.notify_all();
                if *count > 1 {
                    drop(count);
                    // Until the client leaves.
                    drop(BufReader::new(&stream).read_line(&mut line));
                    return;
                }
            }
            // The same number of workers, as far as the request has one.
            let same = |one: &&Exchange| {
                one.request["request"] == word && one.request["wanted"] == request["wanted"]
            };
            let found = exchanges.iter().find(same).map(|one| one.answers.as_slice());
            let mut text: VecDeque<u8> = VecDeque::new();
            for answer in found.unwrap_or_default() {
                text.extend(format!("{answer}\n").into_bytes());
            }
            // The client may have left.
            drop((&stream).write_all(text.make_contiguous()));
        });
    }
}

/// It stands for the command `supervisor`, of which the clients need `start` alone.
const COMMAND: &str =
    "#!/bin/sh\nfor word; do [ \"$word\" = /nonexistent ] && exit 1; done; exit 0\n";

#[test]
fn clients_understand_primaries_of_all_versions() {
    for (name, _) in golden() {
        for client in api::CLIENTS {
            let home = tests::home!();
            let again = golden().into_iter().find(|(other, _)| *other == name);
            let (_, exchanges) = again.expect("the same files");
            let run_folder = home.path().join("run");
            fs::create_dir(&run_folder).expect("a new folder");
            let listener = UnixListener::bind(run_folder.join("web.sock")).expect("a socket");
            thread::spawn(move || earlier_primary(listener, exchanges));
            let command = home.write("supervisor", COMMAND);
            fs::set_permissions(&command, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("a program");
            let Some(mut client) = api::client(&home, client) else { continue };
            client.arg(command).arg("server");
            let said = run::spawn(&mut client, home.path()).end(SOON).ok();
            assert_eq!(said.stdout, api::CONVERSATION, "{name}: {said:#?}");
        }
    }
}
