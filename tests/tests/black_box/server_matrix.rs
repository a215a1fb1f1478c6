//! Real servers, unmodified, in pinned versions, under the default options: two processes answer on
//! one port, three reloads under load lose nothing, a killed worker is replaced, and `delete`
//! leaves nothing. docs/servers.md has a row for each of them. The versions stand in
//! fixtures/servers/requirements.txt.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::control::{AppStatus, Status};
use nix::sys::signal::Signal;
use tests::{Load, Mode, Port, fixtures, pip, process};

const SOON: Duration = Duration::from_secs(60);
const RELOADS: usize = 3;

/// `python WORDS` with the packages of requirements.txt. `PORT` stands for the port, and a word
/// that ends with `_app.py` for a file of fixtures/servers.
fn command(words: &str, port: &Port) -> Option<Vec<String>> {
    let words = words.split(' ').map(|word| match word.strip_suffix("_app.py") {
        Some(_) => fixtures::file(&format!("servers/{word}")),
        None => word.replace("PORT", &port.to_string()),
    });
    Some([pip::program("python")?].into_iter().chain(words).collect())
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

fn check(server: &str, words: &str) {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = command(words, &port) else { return };
    let apps = format!("PYTHONPATH={}", fixtures::file("servers"));
    let began = Instant::now();
    home.start("web", &["-i", "2", "--env", &apps], &command).ok();
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

/// `name: "row of docs/servers.md", "words after python";`
macro_rules! matrix {
    ($($name:ident: $row:literal, $words:literal;)*) => {
        $(#[test]
        fn $name() {
            check($row, $words);
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
    heavy_aiohttp: "aiohttp", "aiohttp_app.py PORT";
    heavy_django: "Django's runserver", "django_app.py runserver --noreload 127.0.0.1:PORT";
    heavy_flask: "Flask's own server", "-m flask --app flask_app run --port PORT";
    heavy_gevent: "gevent", "gevent_app.py PORT";
    heavy_granian: "Granian", "-m granian --interface asgi --port PORT app:asgi";
}
