//! Real servers, unmodified, in pinned versions, under the default options: two processes answer on
//! one port, three reloads under load lose nothing, a killed worker is replaced, and `delete`
//! leaves nothing. docs/servers.md has a row for each of them. The versions stand in
//! fixtures/servers/requirements.txt and fixtures/node/apps/package.json; the others are the
//! distribution's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::control::{AppStatus, Status};
use nix::sys::signal::Signal;
use tests::fixtures::{self, Kind};
use tests::{Home, Load, Mode, Port, npm, pip, process};

const SOON: Duration = Duration::from_secs(60);
const RELOADS: usize = 3;

/// What is typed after `start -i 2`.
struct Launch {
    /// Options, such as `--env A=B`.
    options: Vec<String>,
    command: Vec<String>,
}

fn command<S: ToString>(words: &[S]) -> Launch {
    Launch { options: Vec::new(), command: words.iter().map(ToString::to_string).collect() }
}

/// `python WORDS` with the packages of requirements.txt and the apps of fixtures/servers.
fn python(words: &str) -> Option<Launch> {
    let python = pip::program("python")?;
    let path = format!("PYTHONPATH={}", fixtures::file("servers"));
    let words = words.split(' ').map(|word| match word.strip_suffix("_app.py") {
        Some(_) => fixtures::file(&format!("servers/{word}")),
        None => word.to_owned(),
    });
    Some(Launch {
        options: vec!["--env".into(), path],
        command: std::iter::once(python).chain(words).collect(),
    })
}

/// `node PROGRAM` with PORT in its environment.
fn node(program: &str, port: &str) -> Option<Launch> {
    let file = npm::app(program)?;
    let node = fixtures::need("node")?;
    Some(Launch {
        options: vec!["--env".into(), format!("PORT={port}")],
        command: vec![node, file],
    })
}

fn of_kind(kind: Kind, home: &Home, port: &str) -> Option<Launch> {
    Some(command(&kind.command(home, port.parse().expect("a port"))?))
}

/// The row of docs/servers.md about this server.
fn row(server: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/servers.md");
    let text = fs::read_to_string(&path).expect("read docs/servers.md");
    let begin = format!("| {server} |");
    let found = text.lines().find(|line| line.starts_with(&begin));
    found.unwrap_or_else(|| panic!("docs/servers.md has no row for {server}")).to_owned()
}

fn contract(app: &AppStatus) -> String {
    let words = app.workers.iter().flat_map(|worker| &worker.contract).map(|c| c.word());
    let mut words: Vec<_> = words.collect();
    words.sort_unstable();
    words.dedup();
    words.join(" ")
}

fn load(port: &Port, mode: Mode, clients: usize) -> tests::client::Running {
    let mut load = Load::new(port.v4());
    (load.mode, load.clients) = (mode, clients);
    load.start()
}

fn check(server: &str, launch: impl Fn(&Home, &str) -> Option<Launch>) {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(Launch { options, command }) = launch(&home, &port.to_string()) else { return };
    let options: Vec<_> =
        ["-i", "2"].into_iter().chain(options.iter().map(String::as_str)).collect();
    let began = Instant::now();
    home.start("web", &options, &command).ok();
    let started = began.elapsed();

    let app = home.app("web");
    assert_eq!((app.status, app.ready), (Status::Ready, 2), "{server}: {app:#?}");
    let (contract, row) = (contract(&app), row(server));
    assert!(row.contains(&format!("| {contract} |")), "{server} uses {contract}: {row}");
    let mut first = Load::new(port.v4());
    (first.clients, first.requests) = (8, 200);
    let tally = first.run().nothing_lost(&format!("{server}, two workers"));
    assert!(tally.by_pid.len() >= 2, "{server}: answers from two processes: {tally}");

    let fresh = load(&port, Mode::NewConnection, 8);
    let kept = load(&port, Mode::KeepAlive { requests_per_connection: 20 }, 8);
    let mut took = Vec::new();
    for _ in 0..RELOADS {
        fresh.warm(fresh.so_far().ok + 50);
        kept.warm(kept.so_far().ok + 50);
        took.push(home.run(&["reload", "web"]).ok().took);
    }
    fresh.warm(fresh.so_far().ok + 50);
    kept.warm(kept.so_far().ok + 50);
    let fresh = fresh.stop().nothing_lost(&format!("{server}, new connections, {took:.1?}"));
    let kept = kept.stop().nothing_lost(&format!("{server}, kept connections, {took:.1?}"));

    let victim = home.app("web").workers[0].pid.expect("a ready worker has a pid");
    process::kill(victim, Signal::SIGKILL);
    home.wait_app("web", "replacement of a killed worker", SOON, |app| {
        app.ready == 2 && app.workers.iter().all(|worker| worker.pid != Some(victim))
    });
    let mut last = Load::new(port.v4());
    (last.clients, last.requests) = (8, 200);
    last.run().nothing_lost(&format!("{server}, after a kill"));
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
    println!(
        "{server} | {contract} | started in {started:.1?} | reloads {took:.1?} | answers {} + {}",
        fresh.ok, kept.ok
    );
}

/// `name: "row of docs/servers.md", |home, port| launch;`
macro_rules! matrix {
    ($($name:ident: $row:literal, |$home:ident, $port:ident| $launch:expr;)*) => {
        $(#[test]
        fn $name() {
            check($row, |$home: &Home, $port: &str| {
                let _ = $home;
                $launch
            });
        })*

        /// Every row of the table is a test.
        #[test]
        fn the_page_lists_what_is_tested() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/servers.md");
            let text = fs::read_to_string(path).expect("read docs/servers.md");
            let (_, table) = text.split_once("| server |").expect("the table of servers");
            let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
            let listed: Vec<_> = rows.filter_map(|row| row.split_once(" |")).map(|(name, _)| name).collect();
            let mut tested = vec![$($row),*];
            tested.sort_by_key(|name| name.to_lowercase());
            let mut sorted = listed.clone();
            sorted.sort_by_key(|name| name.to_lowercase());
            assert_eq!(sorted, tested);
        }
    };
}

matrix! {
    heavy_aiohttp: "aiohttp", |home, port| python(&format!("aiohttp_app.py {port}"));
    heavy_cheroot: "Cheroot", |home, port|
        python(&format!("-m cheroot --bind 127.0.0.1:{port} app:wsgi"));
    heavy_daphne: "Daphne", |home, port| python(&format!("-m daphne -b 127.0.0.1 -p {port} app:asgi"));
    heavy_django: "Django's runserver", |home, port|
        python(&format!("django_app.py runserver --noreload 127.0.0.1:{port}"));
    heavy_express: "Express", |home, port| node("express.js", port);
    heavy_fastify: "Fastify", |home, port| node("fastify.js", port);
    heavy_flask: "Flask's own server", |home, port|
        python(&format!("-m flask --app flask_app run --port {port}"));
    heavy_gevent: "gevent", |home, port| python(&format!("gevent_app.py {port}"));
    heavy_go: "Go net/http", |home, port| of_kind(Kind::Go, home, port);
    heavy_granian: "Granian", |home, port|
        python(&format!("-m granian --interface asgi --port {port} app:asgi"));
    heavy_gunicorn: "gunicorn (sync)", |home, port|
        python(&format!("-m gunicorn -b 127.0.0.1:{port} app:wsgi"));
    heavy_gunicorn_gevent: "gunicorn (gevent)", |home, port|
        python(&format!("-m gunicorn -k gevent -b 127.0.0.1:{port} app:wsgi"));
    heavy_gunicorn_threads: "gunicorn (gthread)", |home, port|
        python(&format!("-m gunicorn --threads 4 -b 127.0.0.1:{port} app:wsgi"));
    heavy_hapi: "hapi", |home, port| node("hapi.js", port);
    heavy_hypercorn: "Hypercorn", |home, port|
        python(&format!("-m hypercorn -b 127.0.0.1:{port} app:asgi"));
    heavy_java: "Java's HttpServer", |home, port| of_kind(Kind::Java, home, port);
    heavy_koa: "Koa", |home, port| node("koa.js", port);
    heavy_nginx: "nginx", |home, port| of_kind(Kind::Nginx, home, port);
    heavy_node: "Node http", |home, port| of_kind(Kind::Node, home, port);
    heavy_npm: "Node by npm start", |home, port| of_kind(Kind::Npm, home, port);
    heavy_php: "PHP's own server", |home, port| of_kind(Kind::Php, home, port);
    heavy_polka: "Polka", |home, port| node("polka.js", port);
    heavy_python: "Python http.server", |home, port| of_kind(Kind::Python, home, port);
    heavy_ruby: "Ruby TCPServer", |home, port| of_kind(Kind::Ruby, home, port);
    heavy_rust: "Rust std::net", |home, port| of_kind(Kind::Rust, home, port);
    heavy_sanic: "Sanic", |home, port| python(&format!("sanic_app.py {port}"));
    heavy_tornado: "Tornado", |home, port| python(&format!("tornado_app.py {port}"));
    heavy_uvicorn: "uvicorn", |home, port|
        python(&format!("-m uvicorn --port {port} app:asgi"));
    heavy_waitress: "Waitress", |home, port|
        python(&format!("-m waitress --listen=127.0.0.1:{port} app:wsgi"));
}
