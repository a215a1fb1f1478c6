//! Workers on the bus: every language with every other.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::control::{Contract, NoticeKind, Request, WorkerState};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::bus::{by_slot, metric, rust, start, trigger};
use tests::wait::let_pass;
use tests::{Port, fixtures, process, wait_until};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn three_languages_on_one_bus() {
    let (Some(node), Some(python)) = (fixtures::need("node"), fixtures::need("python3")) else {
        return;
    };
    let home = tests::home!();
    let node = format!("{node} {}", fixtures::file("bus/worker.js"));
    let python = format!("{python} {}", fixtures::file("bus/worker.py"));
    let app = start(&home, &[rust(&home, ""), node, python], &[]);
    let native = |w: &ipc::control::WorkerStatus| w.contract.contains(&Contract::Native);
    assert!(app.workers.iter().all(native), "{app:#?}");
    // Every worker emits an event, and every worker gets all of them, its own included.
    let mut follow = home.ask("web", &Request::Subscribe);
    assert_eq!(trigger(&home, "shout", "null", None).len(), 3);
    let shout = follow.notice_of(NoticeKind::WorkerMessage, SOON);
    assert!(shout.message.starts_with(r#"{"topic":"shout","data":"#), "{shout:?}");
    let all = serde_json::json!(["node", "python", "rust"]);
    wait_until("all events at all workers", SOON, || {
        let heard = trigger(&home, "heard", "null", None);
        heard.values().all(|heard| *heard == all).then_some(())
    });
    // Every worker calls every pool.
    let asked = trigger(&home, "ask", "null", None);
    for (slot, me) in [(0, "rust"), (1, "node"), (2, "python")] {
        let expected = serde_json::json!([["node", me], ["python", me], ["rust", me]]);
        assert_eq!(asked[&slot], expected);
    }
    // An operator sends an event to all.
    let sent = home.run(&["send", "web", "shout", "\"person\""]).ok().stdout;
    assert_eq!(sent, "web: sent to 3 workers\n");
    home.run(&["send", "web", "nobody", "1"]).code(1);
    home.run(&["trigger", "web", "nothing"]).code(1).says(&["known: ask,", "heard", "shout"]);
    assert!((metric(&home, "bus_test_starts") - 3.0).abs() < 0.1);
    let text = home.run(&["metrics", "web", "--openmetrics"]).ok().stdout;
    assert!(text.contains(
        "bus_test_starts_total{app=\"web\",language=\"node\",pool=\"default\",slot=\"1\"} 1"
    ));
    assert!(text.ends_with("# EOF\n"), "{text}");
    // Every family of our own says what it means.
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE supervisor_"));
    let names: Vec<&str> = types.filter_map(|family| family.split(' ').next()).collect();
    assert!(names.len() > 20, "{text}");
    for name in names {
        assert!(text.contains(&format!("# HELP supervisor_{name} ")), "{name} has no help");
    }
    // After a reload all calls work again.
    home.run(&["reload", "web"]).ok();
    let asked = trigger(&home, "ask", "null", None);
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[test]
fn shared_values_reach_every_worker() {
    let home = tests::home!();
    let command: Vec<String> = rust(&home, "").split(' ').map(str::to_owned).collect();
    let more =
        "instances = 2\nready = \"notify\"\nmin_uptime = \"300ms\"\nshared = { limit = 7 }\n";
    let file = home.config("web", &command[..1], more);
    home.run(&["start", &file]).ok();
    let limits = |wanted: u64| {
        let seen = trigger(&home, "limit", "null", None);
        assert!(seen.len() == 2 && seen.values().all(|limit| *limit == wanted), "{seen:?}");
    };
    limits(7);
    let noted = |words: &str| {
        home.wait_app("web", words, SOON, |app| app.notes.iter().any(|note| note.contains(words)));
    };
    noted("version 1: applied by 2 of 2 workers");
    home.config("web", &command[..1], &more.replace('7', "8"));
    home.run(&["reload", "web"]).ok();
    limits(8);
    noted("version 2: applied by 2 of 2 workers");
    // A generation that refuses its values is rolled back.
    let pids = home.pids("web");
    home.config("web", &command[..1], &more.replace('7', "666"));
    home.run(&["reload", "web"]).code(4).says(&["slot 0: it refused the shared values: too high"]);
    limits(8);
    noted("version 2: applied by 2 of 2 workers");
    assert_eq!(home.pids("web"), pids);
}

/// `reload --config`: workers of every language get new values, and none is replaced.
#[test]
fn new_values_replace_no_worker() {
    let (Some(node), Some(python)) = (fixtures::need("node"), fixtures::need("python3")) else {
        return;
    };
    let home = tests::home!();
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker");
    let (js, py) = (fixtures::file("bus/worker.js"), fixtures::file("bus/worker.py"));
    let programs = [rust(&home, ""), format!("{node} {js}"), format!("{python} {py}")];
    let command = by_slot(&programs);
    let configure = |shared: &str, more: &str| {
        let paths = format!(
            "env = {{ BUS_NODE = {:?}, PYTHONPATH = {:?} }}",
            clients.join("node"),
            clients.join("python")
        );
        let fixed = "instances = 3\nready = \"notify\"\nmin_uptime = \"100ms\"";
        home.config("web", &command, &format!("{fixed}\n{paths}\nshared = {shared}\n{more}"))
    };
    let limits = || {
        let seen = trigger(&home, "limit", "null", None);
        (0..3).map(|slot| seen.get(&slot).and_then(Value::as_u64)).collect::<Vec<_>>()
    };
    home.run(&["start", &configure("{ limit = 7 }", "")]).ok();
    assert_eq!(limits(), [Some(7); 3]);
    let pids = home.pids("web");

    configure("{ limit = 8 }", "");
    let said = home.run(&["reload", "web", "--config"]).ok().stdout;
    assert_eq!(said, "web: shared values, version 2: applied by 3 of 3 workers\n");
    assert_eq!(limits(), [Some(8); 3]);
    assert!(home.app("web").notes.contains(&said.trim_start_matches("web: ").trim().to_owned()));
    // Nothing has changed: all workers still have the values.
    home.run(&["reload", "web.toml", "--config"]).ok();

    configure("{ limit = 666 }", "");
    home.run(&["reload", "web", "--config"]).code(1).says(&[
        "version 3: applied by 0 of 3 workers",
        "refused by slot 0: too high",
        "refused by slot 1: too high",
        "refused by slot 2:",
    ]);
    assert_eq!(limits(), [Some(8); 3]);

    configure("{ limit = 9 }", "stop_signal = \"INT\"");
    let refused = home.run(&["reload", "web", "--config"]).code(2);
    refused.says(&["stop_signal", "supervisor reload web"]);
    configure("{ limit = 9 }", "");
    home.run(&["restart", "web", "--config"]).code(2);
    home.run(&["reload", "web", "--config"]).ok();
    assert_eq!((home.pids("web"), home.app("web").generation), (pids.clone(), 1));

    // A worker that starts later has them as well.
    process::kill(pids[2], Signal::SIGKILL);
    home.wait_app("web", "another worker", SOON, |app| app.restarts == 1 && app.ready == 3);
    assert_eq!(limits(), [Some(9); 3]);
}

/// Writes down the values that each generation got. It exits at a limit of 13.
const TELLS: &str = "
import os, threading, supervisor_worker as s
worker = s.join()
def configure(values):
    with open(os.environ['SEEN'], 'a') as file:
        file.write(f'{s.identity().generation}:{values[\"limit\"]}\\n')
    if values['limit'] == 13:
        os._exit(1)
worker.on_config(configure)
worker.ready()
threading.Event().wait()
";

/// A new generation starts with its own values. If it fails, no other worker got them.
#[test]
fn values_belong_to_a_generation() {
    let Some(python) = fixtures::need("python3") else { return };
    let home = tests::home!();
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/python");
    let seen = home.path().join("seen");
    let command = [python, home.write("tells.py", TELLS).display().to_string()];
    let configure = |limit: u32| {
        let env = format!("env = {{ PYTHONPATH = {clients:?}, SEEN = {seen:?} }}");
        let fixed = "instances = 2\nready = \"notify\"\nmin_uptime = \"200ms\"";
        home.config("web", &command, &format!("{fixed}\n{env}\nshared = {{ limit = {limit} }}"))
    };
    // Each worker may look twice: when it joins, and when it registers its handler.
    let written = || {
        let mut written: Vec<String> = std::fs::read_to_string(&seen)
            .expect("a worker has written")
            .lines()
            .map(str::to_owned)
            .collect();
        written.dedup();
        written
    };
    home.run(&["start", &configure(1)]).ok();
    assert_eq!(written(), ["1:1"]);
    configure(13);
    home.run(&["reload", "web"]).code(4);
    assert_eq!(written(), ["1:1", "2:13"]);
    // A worker that starts afterwards has the values of the others.
    process::kill(home.pids("web")[1], Signal::SIGKILL);
    home.wait_app("web", "another worker", SOON, |app| app.restarts == 1 && app.ready == 2);
    assert_eq!(written(), ["1:1", "2:13", "1:1"]);
    configure(2);
    home.run(&["reload", "web"]).ok();
    let written = written();
    assert_eq!(written[3], "3:2", "{written:?}");
    // The old workers may get them once all new ones serve.
    let known = |line: &String| ["3:2", "1:2"].contains(&line.as_str());
    assert!(written[3..].iter().all(known), "{written:?}");
    let note = "shared values, version 3: applied by 2 of 2 workers".to_owned();
    assert!(home.app("web").notes.contains(&note));
}

#[test]
fn node_programs_talk_without_a_client() {
    let Some(node) = fixtures::need("node") else { return };
    let home = tests::home!();
    let program = home.write(
        "plain.js",
        "process.on('message', (m) => { if (m.topic === 'ask') process.send({ topic: 'shout', data: 'plain' }); });\n\
         process.send('ready'); setInterval(() => {}, 1000);\n",
    );
    let command = [node, program.display().to_string()];
    home.start("plain", &["--ready", "notify"], &command).ok();
    let mut follow = home.ask("plain", &Request::Subscribe);
    let sent = home.run(&["send", "plain", "ask", "1"]).ok().stdout;
    assert_eq!(sent, "plain: sent to 1 worker\n");
    let said = follow.notice_of(NoticeKind::WorkerMessage, SOON);
    assert!(said.message.contains("\"plain\""), "{said:?}");
    wait_until("the relay to have it", SOON, || {
        let outcome = home.run(&["metrics", "plain", "--json"]).ok().json();
        let all = outcome[0]["metrics"].as_array().cloned().unwrap_or_default();
        let emitted = all.iter().find(|m| m["name"] == "supervisor_bus_emitted")?;
        (emitted["value"].as_f64()? >= 1.0).then_some(())
    });
}

#[test]
fn heavy_calls_survive_a_worker_that_is_killed_every_second() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let client = rust(&home, "");
    let programs = [rust(&home, "hash"), client.clone(), client.clone(), client.clone(), client];
    start(&home, &programs, &["--min-uptime", "100ms"]);
    let seconds: u64 = 6;
    std::thread::scope(|scope| {
        let ends = scope.spawn(|| {
            let mut all = BTreeMap::new();
            let clients: Vec<_> = (1..5)
                .map(|slot| {
                    let home = &home;
                    let data = seconds.to_string();
                    scope.spawn(move || trigger(home, "load", &data, Some(slot)))
                })
                .collect();
            for client in clients {
                all.extend(client.join().expect("a client"));
            }
            all
        });
        let mut killed = 0;
        while !ends.is_finished() {
            let worker = home.wait_worker("web", "the pool's worker", SOON, |w| {
                w.slot == 0 && w.state == WorkerState::Ready && w.pid.is_some()
            });
            process::kill(worker.pid.expect("it has one"), Signal::SIGKILL);
            killed += 1;
            if killed >= seconds {
                break;
            }
            let_pass(Duration::from_secs(1));
        }
        let ends = ends.join().expect("all clients");
        println!("{killed} kills: {ends:?}");
        assert_eq!(ends.len(), 4);
        for end in ends.values() {
            let right = end["ends"]["right"].as_u64().unwrap_or(0);
            assert!(right > 0 && end["ends"]["wrong"].is_null(), "{end}");
            assert!(end["longest_ms"].as_u64().is_some_and(|ms| ms < 8_000), "{end}");
        }
    });
    assert!(metric(&home, "supervisor_bus_calls_retried") > 0.0);
}

/// The example `shop`, started as its first lines say.
#[test]
fn the_shop_goes_on_without_its_mailer() {
    if fixtures::need("node").is_none() {
        return;
    }
    let (home, port) = (tests::home!(), Port::new());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/shop/shop.toml");
    let port_is = format!("PORT={port}");
    home.run(&["start", &file.display().to_string(), "--env", &port_is]).ok();
    let order = |item: &str| {
        let body = format!("{{\"item\":\"{item}\"}}");
        let mut stream = TcpStream::connect(port.v4()).expect("connect");
        write!(
            stream,
            "POST /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    let report = |orders: u64, emails: u64| {
        wait_until(&format!("{orders} orders and {emails} emails"), SOON, || {
            let said = home.run(&["trigger", "shop", "report", "--json"]).ok().json();
            let counts = &said[0]["data"];
            (counts["orders"] == orders && counts["emails"] == emails).then_some(())
        });
    };
    order("book");
    report(1, 1);
    order("bomb");
    order("lamp");
    home.wait_app("shop", "a new mailer", SOON, |app| app.restarts == 1 && app.ready == 4);
    order("book");
    wait_until("another email", SOON, || {
        let said = home.run(&["trigger", "shop", "report", "--json"]).ok().json();
        (said[0]["data"]["orders"] == 4 && said[0]["data"]["emails"].as_u64() >= Some(2))
            .then_some(())
    });
}

/// Prints how fast the bus is. The bounds allow for a busy machine and a build without
/// optimisation.
#[test]
fn heavy_speed() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    start(&home, &[rust(&home, "hash"), rust(&home, "")], &[]);
    // Fewer than the client queues for its handlers, so that only the primary can drop messages.
    let sent = 15_000_u64;
    let begun = Instant::now();
    trigger(&home, "emit", &sent.to_string(), Some(1));
    let accounted = || {
        let read = trigger(&home, "fast", "null", Some(0))[&0].as_u64()?;
        let lost = metric(&home, "supervisor_bus_worker_lost");
        (read + lost.round() as u64 >= sent).then_some(read)
    };
    let read = wait_until("every message to be read or counted as lost", SOON, accounted);
    println!("{read} of {sent} messages read within {:.2?}", begun.elapsed());
    assert!(read > sent / 10);
    let times = &trigger(&home, "round-trips", "500", Some(1))[&1];
    println!("round trip of a call: {times}");
    assert!(times["p50_us"].as_u64().is_some_and(|us| us < 50_000), "{times}");
}

/// The Node and Python clients have tests of their own, in their own languages.
#[test]
fn the_clients_own_tests() {
    let home = tests::home!();
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker");
    let tests: [(&str, &str, &[&str]); 2] =
        [("node", "node", &["--test"]), ("python3", "python", &["-m", "unittest", "-q"])];
    for (program, folder, args) in tests {
        let Some(program) = fixtures::need(program) else { continue };
        let mut command = home.command_of(program);
        command.args(args).current_dir(clients.join(folder)).env("PYTHONDONTWRITEBYTECODE", "1");
        tests::run::spawn(&mut command, home.path()).end(Duration::from_secs(120)).ok();
    }
}
