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
use tests::fixtures::Kind;
use tests::{Home, Load, Mode, Port, fixtures, npm, pip, process, staging};

const SOON: Duration = Duration::from_secs(60);
const RELOADS: usize = 3;

/// What runs a server. In words, `PORT` stands for the port, and the name of a file of
/// fixtures/servers for its path.
#[derive(Clone, Copy)]
enum Program {
    /// `python WORDS` with the packages of requirements.txt.
    Python(&'static str),
    /// A file of fixtures/node/apps, with the port in PORT.
    Node(&'static str),
    /// A program of the distribution, and its arguments.
    Installed(&'static str, &'static str),
    /// One of the servers that other tests use, too.
    Common(Kind),
}
use Program::{Common, Installed, Node, Python};

impl Program {
    fn command(self, home: &Home, port: &Port) -> Option<Vec<String>> {
        let with = |program: String, words: &str| {
            let words = words.split(' ').map(|word| {
                let path = staging::fixtures().join("servers").join(word);
                match path.is_file() {
                    true => path.display().to_string(),
                    false => word.replace("PORT", &port.to_string()),
                }
            });
            [program].into_iter().chain(words).collect()
        };
        match self {
            Python(words) => Some(with(pip::program("python")?, words)),
            Node(file) => Some(vec![fixtures::need("node")?, npm::app(file)?]),
            Installed(program, words) => Some(with(fixtures::need(program)?, words)),
            Common(kind) => kind.command(home, port.number()),
        }
    }
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/servers.md");
    fs::read_to_string(path).expect("read docs/servers.md")
}

/// The row of docs/servers.md about this server.
fn row(server: &str) -> String {
    let (page, begin) = (page(), format!("| {server} |"));
    let found = page.lines().find(|line| line.starts_with(&begin));
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

fn check(server: &str, program: Program) {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = program.command(&home, &port) else { return };
    let apps = format!("PYTHONPATH={}", fixtures::file("servers"));
    let number = format!("PORT={port}");
    let began = Instant::now();
    home.start("web", &["-i", "2", "--env", &apps, "--env", &number], &command).ok();
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
        fresh.more(50);
        kept.more(50);
        took.push(home.run(&["reload", "web"]).ok().took);
    }
    fresh.more(50);
    kept.more(50);
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

/// `name: "row of docs/servers.md", program;`
macro_rules! matrix {
    ($($name:ident: $row:literal, $program:expr;)*) => {
        $(#[test]
        fn $name() {
            check($row, $program);
        })*

        /// Every row of the table is a test.
        #[test]
        fn the_page_lists_what_is_tested() {
            let page = page();
            let (_, table) = page.split_once("| server |").expect("a table of servers");
            let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
            let mut listed: Vec<_> =
                rows.filter_map(|row| row.split_once(" |")).map(|(name, _)| name).collect();
            let mut tested = [$($row),*];
            listed.sort_unstable();
            tested.sort_unstable();
            assert_eq!(listed, tested);
        }
    };
}

matrix! {
    heavy_aiohttp: "aiohttp", Python("aiohttp_app.py PORT");
    heavy_cheroot: "Cheroot", Python("-m cheroot --bind 127.0.0.1:PORT app:wsgi");
    heavy_daphne: "Daphne", Python("-m daphne -b 127.0.0.1 -p PORT app:asgi");
    heavy_django: "Django's runserver", Python("django_app.py runserver --noreload 127.0.0.1:PORT");
    heavy_express: "Express", Node("express.js");
    heavy_fastify: "Fastify", Node("fastify.js");
    heavy_flask: "Flask's own server", Python("-m flask --app flask_app run --port PORT");
    heavy_gevent: "gevent", Python("gevent_app.py PORT");
    heavy_go: "Go net/http", Common(Kind::Go);
    heavy_granian: "Granian", Python("-m granian --interface asgi --port PORT app:asgi");
    heavy_gunicorn: "gunicorn (sync)", Python("-m gunicorn -b 127.0.0.1:PORT app:wsgi");
    heavy_gunicorn_gevent: "gunicorn (gevent)",
        Python("-m gunicorn -k gevent -b 127.0.0.1:PORT app:wsgi");
    heavy_gunicorn_threads: "gunicorn (gthread)",
        Python("-m gunicorn --threads 4 -b 127.0.0.1:PORT app:wsgi");
    heavy_hapi: "hapi", Node("hapi.js");
    heavy_hypercorn: "Hypercorn", Python("-m hypercorn -b 127.0.0.1:PORT app:asgi");
    heavy_java: "Java's HttpServer", Common(Kind::Java);
    heavy_koa: "Koa", Node("koa.js");
    heavy_nginx: "nginx", Common(Kind::Nginx);
    heavy_node: "Node http", Common(Kind::Node);
    heavy_npm: "Node by npm start", Common(Kind::Npm);
    heavy_php: "PHP's own server", Common(Kind::Php);
    heavy_polka: "Polka", Node("polka.js");
    heavy_puma: "Puma", Installed("puma", "-q -b tcp://127.0.0.1:PORT config.ru");
    heavy_python: "Python http.server", Common(Kind::Python);
    heavy_ruby: "Ruby TCPServer", Common(Kind::Ruby);
    heavy_rust: "Rust std::net", Common(Kind::Rust);
    heavy_sanic: "Sanic", Python("sanic_app.py PORT");
    heavy_starman: "Starman", Installed("starman", "--listen 127.0.0.1:PORT --workers 2 app.psgi");
    heavy_tornado: "Tornado", Python("tornado_app.py PORT");
    heavy_unicorn: "Unicorn", Installed("unicorn", "-l 127.0.0.1:PORT config.ru");
    heavy_uvicorn: "uvicorn", Python("-m uvicorn --port PORT app:asgi");
    heavy_waitress: "Waitress", Python("-m waitress --listen=127.0.0.1:PORT app:wsgi");
}
