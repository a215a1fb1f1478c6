//! The limits among the shared values, in every client: a worker never has more connections than
//! allowed, further connections wait without loss, and requests beyond the rate are refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::bus::metric;
use tests::wait::let_pass;
use tests::{Home, Load, Port, fixtures, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// Starts the app `web` with this program. Returns a function that gives it new limits.
fn start(home: &Home, command: &[String], workers: u8, limits: &str) -> impl Fn(&str) {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker");
    let env = format!(
        "env = {{ BUS_NODE = {:?}, PYTHONPATH = {:?} }}",
        clients.join("node"),
        clients.join("python")
    );
    let fixed = format!("instances = {workers}\nready = \"notify\"\nmin_uptime = \"100ms\"\n{env}");
    let write = move |limits: &str| {
        home.config("web", command, &format!("{fixed}\n[shared.limits]\n{limits}"))
    };
    home.run(&["start", &write(limits)]).ok();
    move |limits: &str| {
        write(limits);
        let said = home.run(&["reload", "web", "--config"]).ok();
        let all = format!("applied by {workers} of {workers} workers");
        assert!(said.stdout.contains(&all), "{said:#?}");
    }
}

/// How many connections each worker serves, and the most since the last call of this.
fn most(home: &Home) -> Vec<(u64, u64)> {
    let answers = tests::bus::trigger(home, "most", "null", None);
    let number = |value: &Value| value.as_u64().expect("a count");
    answers.values().map(|seen| (number(&seen[0]), number(&seen[1]))).collect()
}

/// Under load: 3 connections for each worker, then 8, then 2. With `exact`, connections that wait
/// are not accepted either.
fn connections(command: &[String], port: &Port, home: &Home, exact: bool) {
    let reload = start(home, command, 2, "connections = 3");
    let mut load = Load::new(port.v4());
    load.clients = 24;
    load.hang = SOON;
    let load = load.start();
    let more = |count: u64| {
        let now = load.so_far().ok;
        wait_until("more answers", SOON, || (load.so_far().ok >= now + count).then_some(()));
    };
    let holds = |limit: u64| {
        wait_until("the connections from before to end", SOON, || {
            most(home).iter().all(|(open, _)| *open <= limit).then_some(())
        });
        let _ = most(home);
        for _ in 0..10 {
            more(20);
            let app = home.app("web");
            let open: Vec<_> = app.workers.iter().map(|w| w.connections.unwrap_or(0)).collect();
            // A client that accepts first may show a connection that it is about to close.
            assert!(!exact || open.iter().all(|open| u64::from(*open) <= limit), "{open:?}");
        }
        let seen = most(home);
        println!("limit {limit}: {seen:?}");
        assert!(seen.iter().all(|(_, most)| *most <= limit), "{seen:?}");
        assert!(seen.iter().any(|(_, most)| *most == limit), "{seen:?}");
    };
    holds(3);
    let note = "each worker on the bus is limited to 3 connections";
    assert!(home.app("web").notes.iter().any(|other| other == note));
    reload("connections = 8");
    holds(8);
    reload("connections = 2");
    holds(2);
    // A reload loses no connection that waits in a queue.
    home.run(&["reload", "web"]).ok();
    more(50);
    reload("connections = 0");
    more(50);
    let tally = load.stop();
    println!("{tally}");
    assert_eq!(tally.lost(), 0, "{tally}");
}

/// The status of one answer. A refusal must say when to try again.
fn ask(port: &Port, path: &str) -> u16 {
    let mut stream = TcpStream::connect(port.v4()).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("a limit");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    assert_eq!(status == 429, answer.contains("Retry-After: 1\r\n"), "{answer}");
    assert!(answer.contains("pid="), "{answer}");
    status
}

/// One worker: requests beyond 5 per second are refused with a time to try again.
fn rate(command: &[String], port: &Port, home: &Home) {
    let reload = start(home, command, 1, "rate = \"5/s\"\nburst = 10");
    let ask = |path: &str| ask(port, path);
    let begun = Instant::now();
    let statuses: Vec<u16> = (0..60).map(|_| ask("/rated")).collect();
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    let most = 11.0 + 5.0 * begun.elapsed().as_secs_f64();
    println!("{admitted} admitted and {refused} refused within {:.2?}", begun.elapsed());
    assert_eq!(admitted + refused, 60);
    assert!(admitted >= 10 && refused > 0, "{admitted}");
    assert!(f64::from(u16::try_from(admitted).expect("few")) <= most, "{admitted} of {most}");
    assert!(
        (0..20).all(|_| ask("/") == 200),
        "a request that does not ask the limiter was refused"
    );
    reload("rate = 100000");
    assert!((0..40).all(|_| ask("/rated") == 200));
    wait_until("the count of refused requests", SOON, || {
        ask("/rated");
        let counted = metric(home, "requests_limited").round();
        (counted >= f64::from(u16::try_from(refused).expect("few"))).then_some(())
    });
    reload("rate = 0");
    assert!((0..40).all(|_| ask("/rated") == 200));
}

macro_rules! in_every_client {
    ($($name:ident: $command:expr, $exact:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn heavy_connections_wait() {
                let _exclusive = tests::exclusive();
                let (home, port) = (tests::home!(), Port::new());
                let Some(command) = ($command)(&home, &port) else { return };
                connections(&command, &port, &home, $exact);
            }

            #[test]
            fn requests_are_refused() {
                let (home, port) = (tests::home!(), Port::new());
                let Some(command) = ($command)(&home, &port) else { return };
                rate(&command, &port, &home);
            }
        }
    )*};
}

fn rust_server(home: &Home, port: &Port) -> Option<Vec<String>> {
    let server = home.built().with_file_name("limited-server");
    Some(vec![server.display().to_string(), port.to_string()])
}

fn node_server(_: &Home, port: &Port) -> Option<Vec<String>> {
    Some(vec![fixtures::need("node")?, fixtures::file("bus/limited.js"), port.to_string()])
}

fn python_server(_: &Home, port: &Port) -> Option<Vec<String>> {
    Some(vec![fixtures::need("python3")?, fixtures::file("bus/limited.py"), port.to_string()])
}

fn asyncio_server(home: &Home, port: &Port) -> Option<Vec<String>> {
    let mut command = python_server(home, port)?;
    command.push("aio".to_owned());
    Some(command)
}

in_every_client! {
    rust: rust_server, true;
    node: node_server, false;
    python: python_server, true;
    asyncio: asyncio_server, true;
}

#[test]
fn invalid_limits_are_refused_with_their_place() {
    let home = tests::home!();
    let command = ["true".to_owned()];
    let file = home.config("web", &command, "[shared.limits]\nconections = 5\nrate = \"fast\"");
    let refused = home.run(&["start", &file]).code(2);
    refused.says(&["did you mean \"connections\"?", "shared.limits.rate \"fast\"", "web.toml:"]);
}

/// It takes no waiting connections, as a hung worker would.
#[test]
fn a_full_worker_is_not_taken_for_hung() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = rust_server(&home, &port) else { return };
    let more = "ready = \"notify\"\nhang_timeout = \"1s\"\nshared.limits.connections = 1";
    home.run(&["start", &home.config("web", &command, more)]).ok();
    let before = home.pids("web");
    let quiet = TcpStream::connect(port.v4()).expect("connect");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| ask(&port, "/"));
        home.wait_app("web", "a waiting connection", SOON, |app| app.workers[0].backlog == Some(1));
        let_pass(Duration::from_secs(4));
        assert!(!waits.is_finished());
        drop(quiet);
        assert_eq!(waits.join().expect("an answer"), 200);
    });
    assert_eq!((home.pids("web"), home.app("web").restarts), (before, 0));
}
