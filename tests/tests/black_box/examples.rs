//! The examples, started as their first lines say, do what these say. (The shop is in `bus.rs`.)

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Home, Port, fixtures, npm, run, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// How long it may take to build the service on a busy machine.
const BUILD: Duration = Duration::from_secs(600);

fn example(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path).display().to_string()
}

/// Status and body of one answer.
fn ask(port: &Port, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(port.v4()).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("a limit");
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
    (status, body)
}

#[test]
fn express_without_express() {
    if fixtures::need("node").is_none() {
        return;
    }
    let (home, port) = (tests::home!(), Port::new());
    let port_is = format!("PORT={port}");
    home.run(&["start", "-i", "2", "--env", &port_is, &example("express/app.js")]).ok();
    let get = |path: &str| {
        let (status, body) = ask(&port, &format!("GET {path}"), "");
        (status, serde_json::from_str::<Value>(&body).unwrap_or_default())
    };
    let pids: std::collections::BTreeSet<u64> =
        (0..10).filter_map(|_| get("/").1["pid"].as_u64()).collect();
    assert_eq!(pids.len(), 2);
    assert_eq!(get("/hello/w%20d?greeting=hi"), (200, json!({ "said": "hi, w d" })));
    assert_eq!(get("/nothing").0, 404);
    assert_eq!(get("/fails"), (500, json!({ "error": "this one always fails" })));
    assert_eq!(ask(&port, "POST /sum", "[1,2,39]"), (200, "{\"sum\":42}\n".to_owned()));
    assert_eq!(ask(&port, "POST /sum", "[1,").0, 400);
    assert_eq!(ask(&port, "POST /sum", "{}").0, 400);
    home.run(&["reload", "app"]).ok();
    assert_eq!(get("/").0, 200);
}

#[test]
fn every_client_of_the_chat_hears_all_others() {
    let (Some(node), Some(folder)) = (fixtures::need("node"), npm::example("chat")) else { return };
    let (home, port) = (tests::home!(), Port::new());
    let port_is = format!("PORT={port}");
    let file = folder.join("chat.toml").display().to_string();
    home.run(&["start", &file, "--env", &port_is]).ok();
    home.run(&["scale", "chat", "3"]).ok();
    let page = ask(&port, "GET /", "");
    assert!(page.0 == 200 && page.1.contains("WebSocket"), "{page:?}");
    let mut clients = home.command_of(node);
    clients.env("NODE_PATH", folder.join("node_modules"));
    clients.args([fixtures::file("node/chat-everybody.js"), port.to_string(), "12".to_owned()]);
    let said = run::spawn(&mut clients, home.path()).end(SOON).ok().json();
    assert_eq!(said["workers"], 3);
    let heard = said["heard"].as_array().cloned().unwrap_or_default();
    assert_eq!(heard.len(), 12);
    assert!(heard.iter().all(|all| all.as_array().map(Vec::len) == Some(12)), "{said}");
    // No client is connected any more, but the workers get what an operator sends.
    let sent = home.run(&["send", "chat", "say", "\"hello\""]).ok().stdout;
    assert_eq!(sent, "chat: sent to 3 workers\n");
    home.run(&["reload", "chat", "--env", &port_is]).ok();
}

/// Builds the service with cargo, as a user with the checkout would.
fn service(home: &Home) -> String {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "service"]);
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if home.built().parent().is_some_and(|folder| folder.ends_with("release")) {
        build.arg("--release");
    }
    run::spawn(&mut build, home.path()).end(BUILD).ok();
    home.built().with_file_name("service").display().to_string()
}

#[test]
fn heavy_an_axum_service_is_graceful() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let command = [service(&home)];
    let text = std::fs::read_to_string(example("service/service.toml")).expect("its file");
    let more = |greeting: &str| {
        let shared = format!("shared = {{ greeting = \"{greeting}\" }}");
        assert!(text.contains("shared = { greeting = \"hello\" }"), "{text}");
        format!("instances = 2\nready = \"notify\"\nenv = {{ PORT = \"{port}\" }}\n{shared}")
    };
    let file = home.config("service", &command, &more("hello"));
    home.run(&["start", &file]).ok();
    let greeted = || ask(&port, "GET /?name=world", "").1;
    assert!(greeted().starts_with("hello, world (worker "));
    home.config("service", &command, &more("hi"));
    home.run(&["reload", "service", "--config"]).ok();
    assert!(greeted().starts_with("hi, world (worker "));
    home.config("service", &command, &more(""));
    home.run(&["reload", "service", "--config"]).code(1).says(&["the greeting is empty"]);
    // An old worker answers its requests before it ends.
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| ask(&port, "GET /?name=slow&wait_ms=1500", "")))
            .collect();
        home.config("service", &command, &more("hey"));
        home.run(&["reload", "service"]).ok();
        for answer in slow {
            let (status, body) = answer.join().expect("an answer");
            assert!(status == 200 && body.contains("slow"), "{status} {body}");
        }
    });
    assert!(greeted().starts_with("hey, world"));
    let text = home.run(&["metrics", "service", "--openmetrics"]).ok().stdout;
    assert!(text.contains("request_seconds_count"), "{text}");
}

#[test]
fn heavy_an_axum_service_obeys_its_limits() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let command = [service(&home)];
    let configure = |limits: &str| {
        let shared = format!("shared = {{ greeting = \"hello\", limits = {{ {limits} }} }}");
        let env = format!("env = {{ PORT = \"{port}\" }}");
        home.config("service", &command, &format!("ready = \"notify\"\n{env}\n{shared}"))
    };
    home.run(&["start", &configure("connections = 3")]).ok();
    // The most open connections while a dozen clients send requests.
    let most = || {
        std::thread::scope(|scope| {
            let slow = || ask(&port, "GET /?wait_ms=400", "").0;
            let clients: Vec<_> = (0..12).map(|_| scope.spawn(slow)).collect();
            let mut most = 0;
            while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                most = most.max(home.app("service").workers[0].connections.unwrap_or(0));
            }
            assert!(clients.into_iter().all(|client| client.join().expect("an answer") == 200));
            most
        })
    };
    let few = most();
    assert!((1..=3).contains(&few), "{few}");
    configure("connections = 9");
    home.run(&["reload", "service", "--config"]).ok();
    let more = most();
    assert!((4..=9).contains(&more), "{more}");
    configure("rate = \"2/h\"");
    home.run(&["reload", "service", "--config"]).ok();
    let statuses: Vec<u16> = (0..3).map(|_| ask(&port, "GET /", "").0).collect();
    assert_eq!(statuses, [200, 429, 429]);
}

#[test]
fn a_bridge_joins_two_machines() {
    let Some(folder) = npm::example("bridge") else { return };
    let Some(redis) = fixtures::need("redis-server") else { return };
    let (home, port) = (tests::home!(), Port::new());
    let number = port.to_string();
    let mut server = home.command_of(redis);
    server.args(["--port", &number, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let _server = run::spawn(&mut server, home.path());
    wait_until("Redis", SOON, || TcpStream::connect(port.v4()).ok());
    let text = std::fs::read_to_string(folder.join("redis.toml")).expect("its file");
    let text = text.replace("6379", &number);
    for machine in ["east", "west"] {
        let text =
            text.replace("name = \"bridge\"", &format!("name = \"{machine}\"\ncwd = {:?}", folder));
        let file = home.write(&format!("{machine}.toml"), &text);
        home.run(&["start", &file.display().to_string()]).ok();
    }
    let heard = |machine: &str| home.run(&["trigger", machine, "heard", "--json"]).ok().json();
    let one = |topic: &str, data: Value| {
        let all = json!([[topic, data]]);
        json!([{ "slot": 0, "data": all }, { "slot": 1, "data": all }])
    };
    home.run(&["send", "east", "orders", "{\"id\":1}"]).ok();
    for machine in ["east", "west"] {
        wait_until(&format!("the order in the {machine}"), SOON, || {
            (heard(machine) == one("orders", json!({ "id": 1 }))).then_some(())
        });
    }
    // Topics that are not configured do not cross the bridge, and no event comes back.
    home.run(&["send", "west", "secrets", "1"]).code(1);
    home.run(&["trigger", "west", "order", "2", "--slot", "1"]).ok();
    let both = json!([["orders", { "id": 1 }], ["orders", 2]]);
    for machine in ["west", "east"] {
        wait_until(&format!("both orders in the {machine}"), SOON, || {
            let now = heard(machine);
            (now == json!([{ "slot": 0, "data": both }, { "slot": 1, "data": both }])).then_some(())
        });
    }
}

#[test]
fn the_hasher_answers_while_its_pool_is_replaced() {
    if fixtures::need("node").is_none() {
        return;
    }
    let (home, port) = (tests::home!(), Port::new());
    let port_is = format!("PORT={port}");
    home.run(&["start", &example("hasher/hasher.toml"), "--env", &port_is]).ok();
    let hash = || {
        let (status, body) = ask(&port, "POST /hash", "correct horse");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).expect("JSON")
    };
    let said = hash();
    assert!(said["slot"].as_u64().is_some_and(|slot| slot >= 2000), "{said}");
    let check = |password: &str| {
        let hash = said["hash"].as_str().expect("a hash");
        ask(&port, &format!("POST /check?hash={hash}"), password)
    };
    assert_eq!(check("correct horse"), (200, "{\"right\":true}\n".to_owned()));
    assert_eq!(check("battery staple"), (200, "{\"right\":false}\n".to_owned()));
    assert_eq!(ask(&port, "POST /check?hash=1", "x").0, 400);
    assert_eq!(ask(&port, "GET /", "").0, 404);
    let web = |home: &Home| home.pids("hasher")[..2].to_vec();
    let before = web(&home);
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| home.run(&["reload", "hasher", "--pool", "hash"]).ok());
        let mut answers = 0;
        while !reload.is_finished() {
            hash();
            answers += 1;
        }
        reload.join().expect("the reload");
        assert!(answers > 0);
    });
    assert_eq!(web(&home), before);
    home.run(&["scale", "hasher", "1", "--pool", "hash"]).ok();
    hash();
}
