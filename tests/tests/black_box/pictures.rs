//! The pictures of the documents: a real run with Node, Python and Go apps, seen by `list`,
//! `describe`, `explain`, `monit` and `dash`. What must be on each picture is checked.
//! `REGENERATE=1` runs for some minutes, so that the charts have something to show, and writes the
//! pictures into docs/images.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::run::{self, Outcome, Running};
use tests::wait::{let_pass, try_until};
use tests::{Home, Pty, fixtures, picture, process, staging, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// How long the apps run under load before the pictures are taken. Those of the browser wait until
/// the charts have two steps.
const SHORT: Duration = Duration::from_secs(9);
/// The same for the pictures that the documents show.
const LONG: Duration = Duration::from_secs(240);
/// What all pictures of the documents may take.
const BYTES: u64 = 1_500_000;

const DOWN: &str = "\x1b[B";
const HOME: &str = "\x1b[H";

/// Mounts the folder `$1` at /srv and waits to be killed. It has a network of its own, so that the
/// apps have the ports that a person would give them.
const STAGE: &str = "mount --bind \"$1\" /srv && ip link set lo up && echo ready && \
                     exec sleep 100000";

/// A machine on which no picture shows a path or a name of the real one.
struct Stage {
    home: Home,
    world: Running,
    node: String,
    python: String,
    chromium: String,
}

impl Stage {
    /// `None`, and a line on stderr, where something is missing; on CI the test fails.
    fn new() -> Option<Self> {
        if !fixtures::need_root("make a network of its own") {
            return None;
        }
        fixtures::need("unshare")?;
        fixtures::need("ip")?;
        let (node, python) = (fixtures::need("node")?, fixtures::need("python3")?);
        let (chromium, search) = (fixtures::need("chromium")?, fixtures::go("pictures/search.go")?);
        let home = tests::home!();
        for folder in ["srv/shop", "srv/state"] {
            fs::create_dir_all(home.path().join(folder)).expect("make a folder");
        }
        for name in ["shop.js", "api.py", "mailer.py", "clients.js"] {
            let text = fs::read_to_string(fixtures::file(&format!("pictures/{name}")));
            home.write(&format!("srv/shop/{name}"), &text.expect("a fixture"));
        }
        staging::copy_program(Path::new(&search), &home.path().join("srv/shop/search"));
        let mut command = home.command_of("unshare");
        command.args(["--mount", "--net", "--fork", "--kill-child", "sh", "-c", STAGE, "sh"]);
        let world = run::spawn(command.arg(home.path().join("srv")), home.path());
        wait_until("its namespaces", SOON, || world.stdout().contains("ready").then_some(()));
        Some(Self { home, world, node, python, chromium })
    }

    /// A command on the stage.
    fn command(&self, program: &str) -> Command {
        // unshare forks: its child has the namespaces too, and so has unshare itself.
        let target = self.world.pid().to_string();
        let mut command = self.home.command_of("nsenter");
        command
            .args(["--target", &target, "--mount", "--net", "--wdns=/srv/shop", "--", program])
            .env("SUPERVISOR_HOME", "/srv/state")
            .env("HOME", "/srv");
        command
    }

    fn supervisor(&self, arguments: &[&str], port: &str) -> Outcome {
        let mut command = self.command(&self.home.binary().display().to_string());
        run::spawn(command.args(arguments).env("PORT", port), self.home.path()).end(SOON)
    }

    /// Starts the apps: three that serve, one that is stopped and one that fails.
    fn start_apps(&self) {
        let (node, python) = (self.node.as_str(), self.python.as_str());
        let start = |name, workers, command: &[&str], port: &str| {
            let options = ["start", "--name", name, "-i", workers, "--"];
            self.supervisor(&[&options, command].concat(), port)
        };
        start("shop", "3", &[base(node), "shop.js"], "8080").ok();
        start("api", "2", &[base(python), "api.py"], "8081").ok();
        start("search", "2", &["./search"], "8082").ok();
        start("reports", "1", &[base(python), "api.py"], "8083").ok();
        self.supervisor(&["stop", "reports"], "").ok();
        start("mailer", "1", &[base(python), "mailer.py"], "").code(1);
    }

    /// A screen with the supervisor on it.
    fn screen(&self, arguments: &[&str], size: (u16, u16)) -> Pty {
        let mut command = self.command(&self.home.binary().display().to_string());
        Pty::start(command.args(arguments), size)
    }

    /// The screen that shows a command and what it printed.
    fn printed(&self, words: &str, size: (u16, u16)) -> Pty {
        // The cursor is hidden at the end, by which one sees that everything has been read.
        let script = format!(
            "printf '\\033[1;32m$\\033[0m supervisor {words}\\n'; \"$0\" {words} && \
             printf '\\033[?25l'"
        );
        let mut command = self.command("sh");
        let mut screen = Pty::start(command.args(["-c", &script]).arg(self.home.binary()), size);
        assert!(screen.end(SOON).success(), "supervisor {words}");
        wait_until("the end of what it prints", SOON, || {
            screen.with_screen(vt100::Screen::hide_cursor).then_some(())
        });
        screen
    }
}

/// The name of a program, as a person types it.
fn base(program: &str) -> &str {
    program.rsplit('/').next().expect("a name")
}

/// The pictures, in the folder for which they are made.
struct Pictures {
    folder: PathBuf,
}

impl Pictures {
    /// Takes one of what a command prints. On a busy machine a primary may answer too late to be
    /// on it; then the command runs again.
    #[track_caller]
    fn print(&self, stage: &Stage, name: &str, size: (u16, u16), words: &str, expected: &[&str]) {
        let screen = wait_until(&format!("{expected:?} in {words}"), 2 * SOON, || {
            let screen = stage.printed(words, size);
            let text = screen.text();
            expected.iter().all(|word| text.contains(word)).then_some(screen)
        });
        self.take(name, &format!("supervisor {words}"), &screen, expected);
    }

    /// Takes one of a screen that shows all this, down to its last line that is not empty.
    #[track_caller]
    fn take(&self, name: &str, title: &str, screen: &Pty, expected: &[&str]) {
        screen.shows(expected, SOON);
        let svg = wait_until(&format!("{expected:?} again"), SOON, || {
            screen.with_screen(|screen| {
                let text = screen.contents();
                assert!(!text.contains("sv-") && !text.contains("/tmp"), "a path in\n{text}");
                let lines = u16::try_from(text.trim_end().lines().count()).ok()?;
                let is_whole = expected.iter().all(|word| text.contains(word));
                is_whole.then(|| picture::svg(screen, lines, title))
            })
        });
        fs::write(self.folder.join(name), svg).expect("write a picture");
    }
}

/// Where on a screen of `monit` the graphs are, and that they show something.
#[track_caller]
fn has_graphs(screen: &Pty) {
    let text = screen.text();
    let bars = text.chars().filter(|c| ('▁'..='█').contains(c)).count();
    assert!(bars >= 20, "{bars} bars in the graphs of\n{text}");
}

/// Marks an app in `monit`.
fn choose(screen: &mut Pty, app: &str) {
    let marked = |screen: &Pty| {
        let text = screen.text();
        let (_, row) = text.split_once('▸')?;
        row.split_whitespace().nth(1).map(str::to_owned)
    };
    let end = Instant::now() + SOON;
    loop {
        let now = wait_until("a marked app", SOON, || marked(screen));
        if now == app {
            return;
        }
        assert!(Instant::now() < end, "{app} is never marked");
        screen.keys(DOWN);
        // An app whose state changes moves, so that the mark may be on the last one already.
        let next = || marked(screen).filter(|name| *name != now);
        if try_until(Duration::from_secs(2), next).is_none() {
            screen.keys(HOME);
        }
    }
}

#[test]
fn heavy_pictures_of_the_documents() {
    let _exclusive = tests::under_load();
    let Some(stage) = Stage::new() else { return };
    let keeps = env::var_os("REGENERATE").is_some();
    let folder = match keeps {
        true => Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images"),
        false => stage.home.path().join("pictures"),
    };
    fs::create_dir_all(&folder).expect("make a folder");
    let pictures = Pictures { folder };
    stage.start_apps();
    let mut clients = stage.command(&stage.node);
    clients.args(["clients.js", "8080:14", "8081:6", "8082:3"]);
    let clients = run::spawn(&mut clients, stage.home.path());
    let mut small = stage.screen(&["monit"], (80, 24));
    let mut large = stage.screen(&["monit"], (200, 60));
    let mut dash = stage.command(&stage.home.binary().display().to_string());
    dash.args(["dash", "--listen", "9616", "--allow-actions"]);
    let dash = run::spawn(&mut dash, stage.home.path());
    choose(&mut small, "shop");
    choose(&mut large, "shop");

    let span = if keeps { LONG } else { SHORT };
    let_pass(span * 2 / 3);
    stage.supervisor(&["reload", "shop"], "").ok();
    stage.home.write("srv/shop/api.py", "import flask_that_is_not_there\n");
    stage.supervisor(&["reload", "api"], "").code(4);
    let_pass(span / 3);
    let said = clients.stderr();
    assert!(process::is_alive(clients.pid()) && said.is_empty(), "the clients say: {said}");

    let apps = ["shop", "api", "search", "reports", "mailer"];
    let list = [&apps[..], &["ready", "3/3", "stopped", "errored", "8080"]].concat();
    pictures.print(&stage, "list.svg", (112, 30), "list", &list);
    let describe = ["node shop.js", "3 of 3 ready", "round-robin", "/srv/state/logs/shop/out.log"];
    pictures.print(&stage, "describe.svg", (112, 60), "describe shop", &describe);
    let explain = ["mailer is errored", "exit code 1", "connection refused", "what you can do"];
    pictures.print(&stage, "explain.svg", (112, 40), "explain mailer", &explain);
    let monit = [&apps[..], &["▸● shop", "3/3", "log of shop", "GET /cart 200"]].concat();
    for (screen, name) in [(&mut small, "monit-80x24.svg"), (&mut large, "monit-200x60.svg")] {
        has_graphs(screen);
        pictures.take(name, "supervisor monit", screen, &monit);
    }
    browser(&stage, &dash, &pictures);
    let sizes = fs::read_dir(&pictures.folder).expect("the folder").flatten();
    let bytes: u64 = sizes.map(|file| file.metadata().expect("its size").len()).sum();
    assert!(bytes < BYTES, "the pictures take {bytes} bytes");
    process::kill(dash.pid(), Signal::SIGTERM);
    drop((clients, dash));
}

/// The pictures of the dashboard; Chromium also reads those of the terminal.
fn browser(stage: &Stage, dash: &Running, pictures: &Pictures) {
    let url = wait_until("the address", SOON, || {
        dash.stdout().strip_prefix("dashboard: ").map(|rest| rest.trim().to_owned())
    });
    let mut command = stage.command(&stage.node);
    command.args([&fixtures::file("browser/pictures.mjs"), &stage.chromium, &url]);
    command.arg(&pictures.folder);
    let taken = run::spawn(&mut command, stage.home.path()).end(Duration::from_secs(60)).ok();
    assert!(taken.stdout.contains("all pictures taken"), "{taken:#?}");
}
