//! Real servers, unmodified, in pinned versions, under the default options: two processes answer on
//! one port, three reloads under load lose nothing, a killed worker is replaced, and `delete`
//! leaves nothing. docs/servers.md has a row for each of them. The versions stand in
//! fixtures/servers/requirements.txt.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::control::{AppStatus, Status};
use nix::sys::signal::Signal;
use tests::{Home, Load, Mode, Port, fixtures, pip, process};

const SOON: Duration = Duration::from_secs(60);
const RELOADS: usize = 3;

/// What is typed after `start -i 2`.
struct Launch {
    /// Options, such as `--env A=B`.
    options: Vec<String>,
    command: Vec<String>,
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
    heavy_django: "Django's runserver", |home, port|
        python(&format!("django_app.py runserver --noreload 127.0.0.1:{port}"));
    heavy_flask: "Flask's own server", |home, port|
        python(&format!("-m flask --app flask_app run --port {port}"));
    heavy_gevent: "gevent", |home, port| python(&format!("gevent_app.py {port}"));
    heavy_granian: "Granian", |home, port|
        python(&format!("-m granian --interface asgi --port {port} app:asgi"));
}
