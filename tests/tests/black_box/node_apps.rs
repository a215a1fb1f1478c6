//! Unmodified Node programs as people write them for `node`, `cluster` and PM2. Each runs with two
//! workers, does its job, and is reloaded under load without loss.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipc::control::{NoticeKind, Request, Status};
use tests::fixtures::{self, Kind};
use tests::{Home, Load, Mode, Port, npm, run, wait_until};

const SOON: Duration = Duration::from_secs(20);
const RELOADS: u32 = 3;

/// Starts a program of fixtures/node/apps as its users would.
fn start(home: &Home, port: &Port, program: &str, options: &[&str]) -> Option<()> {
    let file = npm::app(program)?;
    let port = format!("PORT={port}");
    let fixed = [
        "start",
        &file,
        "--name",
        "web",
        "--env",
        &port,
        "--min-uptime",
        "300ms",
        "--observe",
        "300ms",
    ];
    home.run(&[&fixed, options].concat()).ok();
    Some(())
}

/// Every worker answers, before and after reloads under load, and nothing is lost.
fn serves_and_reloads(what: &str, home: &Home, port: &Port, workers: u16, contract: &str) {
    let app = home.app("web");
    assert_eq!((app.status, app.ready), (Status::Ready, workers), "{app:#?}");
    let known =
        |worker: &ipc::control::WorkerStatus| worker.contract.iter().any(|c| c.word() == contract);
    assert!(app.workers.iter().all(known), "{what} speaks {contract}: {app:#?}");
    for mode in [Mode::NewConnection, Mode::KeepAlive { requests_per_connection: 20 }] {
        let mut load = Load::new(port.v4());
        load.clients = 16;
        load.mode = mode;
        let load = load.start();
        load.warm(100);
        for _ in 0..RELOADS {
            home.run(&["reload", "web"]).ok();
            load.more(50);
        }
        let tally = load.stop().nothing_lost(&format!("{what}, {mode:?}, {RELOADS} reloads"));
        let generations = RELOADS as usize + 1;
        assert!(tally.by_pid.len() > generations, "not every worker answers: {tally}");
    }
    assert_eq!(home.app("web").restarts, 0);
}

fn app_is_clustered(program: &str, options: &[&str]) {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let options = [&["-i", "2"], options].concat();
    let Some(()) = start(&home, &port, program, &options) else { return };
    serves_and_reloads(program, &home, &port, 2, "node");
}

/// The program that every introduction shows. The supervisor starts its workers instead of `fork`.
#[test]
fn heavy_the_classic_cluster_program() {
    app_is_clustered("cluster.js", &[]);
}

#[test]
fn heavy_the_classic_cluster_program_once_per_cpu() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, "cluster.js", &["-i", "max"]) else { return };
    let app = home.app("web");
    let cpus = std::thread::available_parallelism().expect("a number of CPUs").get();
    assert_eq!(usize::from(app.wanted), cpus, "{app:#?}");
    serves_and_reloads("cluster.js -i max", &home, &port, app.wanted, "node");
    // No worker has forked others of its own.
    for worker in home.app("web").workers {
        let pid = worker.pid.expect("a live worker");
        let children = tests::process::all().into_iter().filter(|one| one.parent == pid).count();
        assert_eq!(children, 0, "worker {pid} has children");
    }
}

#[test]
fn heavy_express() {
    app_is_clustered("express.js", &[]);
}

#[test]
fn heavy_express_by_the_primary_engine() {
    app_is_clustered("express.js", &["--engine", "primary"]);
}

#[test]
fn heavy_fastify() {
    app_is_clustered("fastify.js", &[]);
}

#[test]
fn heavy_an_es_module() {
    app_is_clustered("module.mjs", &[]);
}

#[test]
fn heavy_hashing_in_worker_threads() {
    app_is_clustered("hashing.js", &[]);
}

#[test]
fn heavy_workers_may_shut_down_gracefully() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some(()) = start(&home, &port, "graceful.js", &["-i", "2"]) else { return };
    let mut notices = home.ask("web", &Request::Subscribe);
    serves_and_reloads("graceful.js", &home, &port, 2, "node");
    let exited = notices.notice_of(NoticeKind::WorkerStopped, SOON);
    assert!(exited.message.contains("exit code 0"), "it ends by itself: {exited:?}");
    let old = 2 * 2 * RELOADS as usize;
    let closings = home.log("web", "out.log").matches("closing").count();
    assert_eq!(closings, old, "every old worker heard SIGTERM once");
}

#[test]
fn heavy_typescript_by_a_loader() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let (Some(node), Some(file)) = (fixtures::need("node"), npm::app("typed.ts")) else { return };
    let env = format!("PORT={port}");
    let options = ["-i", "2", "--env", &env, "--min-uptime", "300ms", "--observe", "300ms"];
    let folder = file.trim_end_matches("/typed.ts");
    let options = [&options[..], &["--cwd", folder]].concat();
    let command = [node.as_str(), "--import", "tsx", "typed.ts"];
    home.start("web", &options, &command).ok();
    serves_and_reloads("typed.ts by --import tsx", &home, &port, 2, "node");
    home.run(&["delete", "web"]).ok();

    // The command of the loader starts Node itself, so that Node is intercepted.
    let tsx = format!("{folder}/node_modules/.bin/tsx");
    home.start("web", &options, &[tsx.as_str(), "typed.ts"]).ok();
    serves_and_reloads("tsx typed.ts", &home, &port, 2, "intercept");
}

#[test]
fn heavy_npm_start() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = Kind::Npm.command(&home, port.number()) else { return };
    home.start("web", &["-i", "2", "--min-uptime", "300ms", "--observe", "300ms"], &command).ok();
    serves_and_reloads("npm start", &home, &port, 2, "intercept");
}

/// What one WebSocket client saw.
#[derive(Debug, serde::Deserialize)]
struct Client {
    pid: String,
    sent: u32,
    echoed: u32,
    others: u32,
    code: u16,
    ms: u64,
}

/// Starts WebSocket clients that stay until the server closes them.
fn chat(home: &Home, port: &Port, clients: u16, ping_ms: u32) -> Option<run::Running> {
    let (node, program) = (fixtures::need("node")?, npm::app("chat-clients.js")?);
    let mut command = home.command_of(node);
    let numbers = [port.to_string(), clients.to_string(), ping_ms.to_string()];
    command.arg(program).args(numbers);
    let running = run::spawn(&mut command, home.path());
    wait_until("all clients to be connected", SOON, || {
        running.stdout().contains("open").then_some(())
    });
    Some(running)
}

fn saw(clients: run::Running) -> Vec<Client> {
    let outcome = clients.end(Duration::from_secs(30)).ok();
    let line = outcome.stdout.lines().last().expect("a line of JSON");
    serde_json::from_str(line).expect(line)
}

/// WebSockets in use outlive a reload until `drain_timeout`. Then they end with their worker, and
/// the reload reports their number. Other clients notice nothing.
fn websockets_stay_until_the_drain_timeout(engine: &str, ping_ms: u32, options: &[&str]) {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let fixed = ["-i", "2", "--drain-timeout", "3s", "--engine", engine];
    let Some(()) = start(&home, &port, "chat.js", &[&fixed, options].concat()) else { return };
    let old: BTreeSet<String> = home.pids("web").iter().map(u32::to_string).collect();
    let Some(clients) = chat(&home, &port, 6, ping_ms) else { return };
    let mut notices = home.ask("web", &Request::Subscribe);
    let load = Load { clients: 8, ..Load::new(port.v4()) }.start();
    load.warm(50);
    let began = Instant::now();
    let done = home.run(&["reload", "web"]).ok();
    assert!(began.elapsed() >= Duration::from_secs(6), "each worker's drain takes 3 s");
    assert!(done.stdout.contains("6 connections cut by the drain timeout"), "{done:#?}");
    load.stop().nothing_lost("plain requests beside WebSockets");
    let said = notices.notice_of(NoticeKind::Warning, SOON);
    assert!(said.message.contains("drain timeout after 3"), "{said:?}");

    let all = saw(clients);
    assert_eq!(all.iter().map(|one| one.pid.clone()).collect::<BTreeSet<_>>(), old);
    for one in &all {
        assert_eq!(one.code, 1006, "closed with its worker: {all:#?}");
        assert!(one.ms >= 2900, "it was closed before the drain timeout: {all:#?}");
        if ping_ms > 0 {
            // The echo of the last message may be lost.
            assert!(one.sent > 10 && one.echoed + 2 >= one.sent, "{all:#?}");
            assert!(one.others > 0, "clients do not hear each other: {all:#?}");
        }
    }
}

#[test]
fn heavy_websockets_in_use_stay_until_the_drain_timeout_in_the_kernel_engine() {
    websockets_stay_until_the_drain_timeout("kernel", 100, &[]);
}

#[test]
fn heavy_websockets_in_use_stay_until_the_drain_timeout_in_the_primary_engine() {
    websockets_stay_until_the_drain_timeout("primary", 100, &[]);
}

/// To the kernel a quiet WebSocket looks like an idle keep-alive connection. After `drain_idle` of
/// silence it counts as idle.
#[test]
fn heavy_quiet_websockets_stay_as_long_as_drain_idle_says() {
    websockets_stay_until_the_drain_timeout("kernel", 0, &["--drain-idle", "1m"]);
}

#[test]
fn heavy_idle_websockets_are_closed_early_and_reported() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let options = ["-i", "1", "--drain-idle", "500ms"];
    let Some(()) = start(&home, &port, "chat.js", &options) else { return };
    let Some(clients) = chat(&home, &port, 3, 0) else { return };
    let mut notices = home.ask("web", &Request::Subscribe);
    home.run(&["reload", "web"]).ok();
    let said = notices.notice_of(NoticeKind::WorkerStopping, SOON);
    assert!(said.message.contains("3 idle connections are closed"), "{said:?}");
    assert_eq!(saw(clients).len(), 3);
}

/// Programs written for PM2 rely on these, which Node's own primary does not have.
#[test]
fn instance_numbers_and_reported_readiness() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(node) = fixtures::need("node") else { return };
    let program = home.write(
        "ready.js",
        "require('http').createServer((q, r) => r.end(process.env.NODE_APP_INSTANCE))\n\
         .listen(process.argv[2], '127.0.0.1', () => setTimeout(() => process.send('ready'), 700))\n",
    );
    let command = [node, program.display().to_string(), port.to_string()];
    let started =
        home.start("web", &["-i", "2", "--wait-ready", "--ready-timeout", "3s"], &command).ok();
    assert!(started.took >= Duration::from_millis(700), "{started:#?}");
    let ask = || tests::http::get(port.v4(), SOON).expect("an answer").body;
    let mut answers: Vec<_> = (0..8).map(|_| ask()).collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers, ["0", "1"]);
    // A program that never reports readiness is not ready, even if it listens.
    let mute = home.write(
        "ready.js",
        "require('http').createServer((q, r) => r.end('new')).listen(process.argv[2], '127.0.0.1')\n",
    );
    assert_eq!(mute, program);
    home.run(&["reload", "web"]).code(4).says(&["not ready within 3s"]);
    assert_eq!(ask().len(), 1, "the old ones serve on");
}

/// As when it is started by hand, although each worker has a channel to the primary. Programs that
/// wait for messages, and servers that listen late, stay.
#[test]
fn a_program_without_work_ends() {
    let home = tests::home!();
    let Some(node) = fixtures::need("node") else { return };
    let port = Port::new();
    let programs = [
        ("nothing", "globalThis.x = 1".to_owned(), false),
        ("timer", "setTimeout(() => {}, 50)".to_owned(), false),
        ("message", "process.on('message', () => {})".to_owned(), true),
        ("cluster", "require('cluster').worker.on('message', () => {})".to_owned(), true),
        (
            "late",
            format!(
                "setTimeout(() => require('http').createServer().listen({port}, '127.0.0.1'), 100)"
            ),
            true,
        ),
    ];
    for engine in ["kernel", "primary"] {
        for (name, program, stays) in &programs {
            let file = home.write(&format!("{name}.js"), program).display().to_string();
            let options = ["-i", "2", "--restart", "never", "--engine", engine];
            let outcome = home.start(name, &options, &[&node, &file]).ok();
            let done = format!("{name}: done: 2 of 2 workers ended with exit code 0\n");
            let is_done = outcome.stdout == done;
            assert_eq!(is_done, !stays, "{name} in the {engine} engine: {outcome:?}");
            if *stays {
                let app = home.app(name);
                assert_eq!((app.status, app.ready), (Status::Ready, 2), "{name}: {app:#?}");
            }
            home.run(&["delete", name]).ok();
        }
    }
}
