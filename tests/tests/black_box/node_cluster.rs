//! Scenarios of Node's cluster API, once under Node's own primary and once under ours. The programs
//! and the clients outside must see the same.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipc::control::{NoticeKind, Request};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Home, Port, fixtures, process, run, wait, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// What the parties of a scenario saw.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// What each worker saw, by its id.
    workers: BTreeMap<u32, Vec<Value>>,
    /// What a client outside saw.
    outside: Vec<String>,
    /// The messages of the workers, in any order.
    said: Vec<Value>,
    /// Their exit codes, if all ended.
    exits: Vec<Value>,
}

/// One scenario of worker.js.
struct Scenario {
    name: &'static str,
    workers: u32,
    /// How many messages go to all workers.
    says: u32,
    /// The workers end by themselves.
    ends: bool,
    outside: fn(u16, &Path, &Seen) -> Vec<String>,
}

impl Scenario {
    /// How many messages the workers send: one each when they are up, and one for each message that
    /// they get.
    fn messages(&self) -> usize {
        if self.says == 0 { 0 } else { ((self.says + 1) * self.workers) as usize }
    }
}

const PLAIN: Scenario =
    Scenario { name: "", workers: 2, says: 0, ends: false, outside: |_, _, _| Vec::new() };

struct Setup {
    home: Home,
    port: Port,
    /// The one after it, for the scenario with two.
    _second: Port,
    folder: PathBuf,
    node: String,
}

impl Setup {
    fn new(name: &str) -> Option<Self> {
        let (home, node) = (tests::home!(), fixtures::need("node")?);
        let (port, second) = Port::pair();
        let folder = home.path().join(name);
        std::fs::create_dir(&folder).expect("a new folder");
        Some(Self { home, port, _second: second, folder, node })
    }

    fn transcripts(&self) -> BTreeMap<u32, Vec<Value>> {
        let files = std::fs::read_dir(&self.folder).expect("the folder");
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
        };
        files
            .filter_map(|entry| {
                let path = entry.expect("an entry").path();
                let id = path.file_name()?.to_str()?.parse().ok()?;
                Some((id, read(&path)))
            })
            .collect()
    }

    /// Waits until all workers have seen everything.
    fn finished(&self, scenario: &Scenario) -> BTreeMap<u32, Vec<Value>> {
        let done = |lines: &Vec<Value>| lines.last().is_some_and(|line| line["done"] == true);
        wait_until(scenario.name, SOON, || {
            let all = self.transcripts();
            let whole = all.len() == scenario.workers as usize && all.values().all(done);
            whole.then_some(all)
        })
    }

    /// Waits until every worker has got this many messages.
    fn heard(&self, scenario: &Scenario, times: u32) {
        wait_until("the messages", SOON, || {
            let all = self.transcripts();
            let heard = |lines: &&Vec<Value>| {
                lines.iter().filter(|line| line.get("process").is_some()).count() >= times as usize
            };
            (all.values().filter(heard).count() == scenario.workers as usize).then_some(())
        });
    }

    /// Waits until the port is served.
    fn served(&self) {
        wait_until("the port", SOON, || TcpStream::connect(self.port.v4()).ok().map(drop));
    }

    fn look(&self, scenario: &Scenario) -> Seen {
        let mut seen = Seen { workers: self.finished(scenario), ..Seen::default() };
        seen.outside = (scenario.outside)(self.port.number(), &self.folder, &seen);
        seen
    }
}

fn arguments(setup: &Setup, scenario: &Scenario) -> [String; 3] {
    [scenario.name.to_owned(), setup.port.to_string(), setup.folder.display().to_string()]
}

fn under_node(scenario: &Scenario) -> Option<Seen> {
    let setup = Setup::new("under-node")?;
    let mut command = setup.home.command_of(&setup.node);
    command
        .arg(fixtures::file("node/cluster/primary.js"))
        .arg(fixtures::file("node/cluster/worker.js"))
        .arg(scenario.workers.to_string())
        .args(arguments(&setup, scenario));
    let primary = run::spawn(&mut command, setup.home.path());
    for times in 1..=scenario.says {
        setup.served();
        process::kill(primary.pid(), Signal::SIGUSR2);
        setup.heard(scenario, times);
    }
    let mut seen = setup.look(scenario);
    let lines = || -> Vec<Value> {
        let text = primary.stdout();
        let whole = text.lines().filter(|line| line.ends_with('}'));
        whole.map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let ended = || -> Vec<Value> {
        let lines = lines();
        lines.iter().filter(|line| line.get("code").is_some()).map(|l| l["code"].clone()).collect()
    };
    if scenario.ends {
        seen.exits = wait_until("the workers to end", SOON, || {
            Some(ended()).filter(|ended| ended.len() == scenario.workers as usize)
        });
    }
    let said = || -> Vec<Value> {
        lines().iter().filter_map(|line| line.get("message").cloned()).collect()
    };
    // The workers have written down everything, but the primary may still have to print the last
    // message.
    seen.said = match scenario.messages() {
        0 => said(),
        wanted => wait_until("the messages of the workers", SOON, || {
            Some(said()).filter(|said| said.len() >= wanted)
        }),
    };
    Some(seen)
}

fn under_us(scenario: &Scenario, engine: &str) -> Option<Seen> {
    let setup = Setup::new("under-us")?;
    let workers = scenario.workers.to_string();
    let command = {
        let [name, port, folder] = arguments(&setup, scenario);
        [setup.node.clone(), fixtures::file("node/cluster/worker.js"), name, port, folder]
    };
    let config = setup.home.config(
        "web",
        &command,
        &format!("instances = {workers}\nengine = \"{engine}\"\nrestart = \"never\"\nlisten_wait = \"300ms\""),
    );
    // Some scenarios end before they can count as started.
    let started = setup.home.spawn(&["start", &config]);
    let mut notices = wait_until("the primary", SOON, || {
        let socket = setup.home.socket("web");
        UnixStream::connect(&socket).ok().map(|_| setup.home.ask("web", &Request::Subscribe))
    });
    for times in 1..=scenario.says {
        setup.served();
        let message = json!({"said": times, "text": "ä\n"}).to_string();
        setup.home.run(&["send", "web", &message]).ok();
        setup.heard(scenario, times);
    }
    let mut seen = setup.look(scenario);
    for _ in 0..scenario.messages() {
        let said = notices.notice_of(NoticeKind::WorkerMessage, SOON).message;
        seen.said.push(serde_json::from_str(&said).expect(&said));
    }
    if scenario.ends {
        let app = setup.home.wait_app("web", "the workers to end", SOON, |app| {
            app.workers.iter().all(|worker| worker.pid.is_none())
        });
        let code = |exit: &Option<String>| {
            let exit = exit.as_deref().expect("it ended");
            exit.strip_prefix("exit code ").and_then(|code| code.parse::<i32>().ok())
        };
        seen.exits = app.workers.iter().map(|worker| json!(code(&worker.last_exit))).collect();
    }
    started.end(SOON);
    Some(seen)
}

/// Replaces ports and folders, which differ from run to run, by numbers in order of appearance.
fn normal(seen: Seen) -> Value {
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    let mut said: Vec<String> = seen.said.iter().map(Value::to_string).collect();
    said.sort();
    let Seen { workers, outside, exits, .. } = seen;
    let mut value = json!({"workers": workers, "outside": outside, "exits": exits, "said": said});
    rename(&mut value, &mut names);
    value
}

fn rename(value: &mut Value, names: &mut BTreeMap<u64, String>) {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|n| (1024..65536).contains(&n)) => {
            let known = names.len();
            let number = number.as_u64().expect("it is one");
            *value = json!(names.entry(number).or_insert_with(|| format!("port {known}")));
        }
        Value::String(text) => {
            for folder in ["under-node", "under-us"] {
                if let Some(at) = text.find(folder) {
                    *text = format!("FOLDER{}", &text[at + folder.len()..]);
                }
            }
            if let Some(at) = text.find("127.0.0.1:") {
                text.truncate(at + 9);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rename(value, names)),
        Value::Object(values) => values.values_mut().for_each(|value| rename(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[track_caller]
fn looks_the_same(scenario: &Scenario) {
    let Some(theirs) = under_node(scenario).map(normal) else { return };
    for engine in ["kernel", "primary"] {
        let ours = under_us(scenario, engine).map(normal).expect("node is there");
        assert_eq!(
            serde_json::to_string_pretty(&ours).ok(),
            serde_json::to_string_pretty(&theirs).ok(),
            "{}: ours, engine {engine} (left), and Node's own primary (right)",
            scenario.name
        );
    }
    println!("{}: {theirs:#}", scenario.name);
}

fn get(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a worker reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.lines().last().unwrap_or_default().to_owned()
}

fn ask(port: u64) -> String {
    let port = u16::try_from(port).expect("a port");
    get(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("a connection"))
}

#[test]
fn identity_of_workers() {
    looks_the_same(&Scenario {
        name: "identity",
        outside: |port, _, _| (0..6).map(|_| ask(port.into())).collect(),
        ..PLAIN
    });
}

#[test]
fn the_listening_event_has_the_address() {
    looks_the_same(&Scenario { name: "listening", ..PLAIN });
}

#[test]
fn a_port_that_another_process_has() {
    // Held until both primaries have run.
    let stranger = TcpListener::bind("127.0.0.1:0").expect("any port");
    let port = stranger.local_addr().expect("bound").port();
    let Some(node) = fixtures::need("node") else { return };
    let errors = |under_us: bool| -> Value {
        let home = tests::home!();
        let folder = home.path().join("seen");
        std::fs::create_dir(&folder).expect("a new folder");
        let (worker, port) = (fixtures::file("node/cluster/worker.js"), port.to_string());
        let folder_text = folder.display().to_string();
        let running = if under_us {
            let command = [&node, &worker, "taken", &port, &folder_text].map(str::to_owned);
            let config = home.config("web", &command, "restart = \"never\"\nlisten_wait = \"1s\"");
            home.spawn(&["start", &config])
        } else {
            let mut command = home.command_of(&node);
            let primary = fixtures::file("node/cluster/primary.js");
            command.args([&primary, &worker, "1", "taken", &port, &folder_text]);
            run::spawn(&mut command, home.path())
        };
        let text = wait_until("the error", SOON, || {
            let text = std::fs::read_to_string(folder.join("1")).ok()?;
            text.contains("done").then_some(text)
        });
        drop(running);
        serde_json::from_str(text.lines().next().expect("a line")).expect(&text)
    };
    let theirs = errors(false);
    assert_eq!(errors(true), theirs, "ours (left) and Node's own (right)");
    assert_eq!(theirs["error"]["code"], "EADDRINUSE");
}

#[test]
fn port_zero_is_one_port_for_all_workers() {
    looks_the_same(&Scenario {
        name: "anyPort",
        outside: |_, _, seen| {
            let ports = seen.workers.values().flat_map(|lines| lines[0]["ports"].as_array());
            let ports = ports.flatten().map(|port| port.as_u64().expect("a port"));
            ports.map(ask).collect()
        },
        ..PLAIN
    });
}

#[test]
fn several_servers_and_one_that_closes_and_listens_again() {
    looks_the_same(&Scenario {
        name: "severalServers",
        outside: |port, _, _| {
            let ask = |port: u16| ask(port.into());
            (0..4).flat_map(|_| [ask(port), ask(port + 1)]).collect()
        },
        ..PLAIN
    });
}

#[test]
fn exclusive_servers_have_a_port_each() {
    looks_the_same(&Scenario {
        name: "exclusive",
        outside: |_, _, seen| {
            let ports = seen.workers.values().map(|lines| lines[0]["port"].as_u64());
            ports.map(|port| ask(port.expect("a port"))).collect()
        },
        ..PLAIN
    });
}

#[test]
fn unix_sockets() {
    looks_the_same(&Scenario {
        name: "unixSocket",
        outside: |_, folder, _| {
            (0..6).map(|_| get(UnixStream::connect(folder.join("socket")).expect("it"))).collect()
        },
        ..PLAIN
    });
}

#[test]
fn datagrams() {
    looks_the_same(&Scenario {
        name: "datagrams",
        outside: |port, _, _| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("any port");
            socket.set_read_timeout(Some(SOON)).expect("a timeout");
            let one = |index: u32| {
                let mut bytes = [0; 64];
                socket.send_to(index.to_string().as_bytes(), ("127.0.0.1", port)).expect("sent");
                let count = wait::uninterrupted(|| socket.recv(&mut bytes)).expect("an echo");
                String::from_utf8_lossy(&bytes[..count]).into_owned()
            };
            (0..20).map(one).collect()
        },
        ..PLAIN
    });
}

#[test]
fn messages_both_ways() {
    looks_the_same(&Scenario { name: "messages", says: 3, ..PLAIN });
}

#[test]
fn a_worker_disconnects() {
    looks_the_same(&Scenario { name: "disconnect", ends: true, ..PLAIN });
}

#[test]
fn a_worker_closes_its_channel() {
    looks_the_same(&Scenario { name: "processDisconnect", ends: true, ..PLAIN });
}

#[test]
fn a_worker_kills_itself() {
    looks_the_same(&Scenario { name: "kill", ends: true, ..PLAIN });
}
