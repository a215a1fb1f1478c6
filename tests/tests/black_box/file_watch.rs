//! A change of a watched file reloads the app, without a lost request; folders that are left out
//! cost no watch.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ipc::control::{AppStatus, NoticeKind, Request, Status};
use nix::sys::signal::Signal;
use tests::wait::{let_pass, wait_until};
use tests::{Home, Load, Port, fixtures, http, process};

const SOON: Duration = Duration::from_secs(60);

/// A Node app in a folder of its own whose answers name the version of its code.
struct Watched {
    home: Home,
    port: Port,
    command: Vec<String>,
}

impl Watched {
    /// `None`: Node is not installed.
    fn new(home: Home) -> Option<Self> {
        let port = Port::new();
        let command = vec![fixtures::need("node")?, "server.js".to_owned(), port.to_string()];
        let app = Self { home, port, command };
        app.write("lib/version.js", "module.exports = 0;");
        app.write(
            "server.js",
            "const version = require('./lib/version');\n\
             const text = `pid=${process.pid} version=${version}\\n`;\n\
             require('http').createServer((_, answer) => answer.end(text)).listen(process.argv[2]);\n",
        );
        Some(app)
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("app")
    }

    /// Writes a file as editors do: the program reads the old text or the new one.
    fn write(&self, name: &str, text: &str) {
        let draft = self.home.write(&format!("app/{name}.draft~"), text);
        fs::rename(&draft, draft.with_file_name(PathBuf::from(name).file_name().expect("a name")))
            .expect("put a file in its place");
    }

    fn edit(&self, version: u32) {
        self.write("lib/version.js", &format!("module.exports = {version};"));
    }

    /// Starts it, and waits until its files are watched.
    fn start(&self, options: &[&str]) -> AppStatus {
        let folder = self.folder().display().to_string();
        let options = [&["--cwd", &folder, "--watch", "--watch-delay", "100ms"], options].concat();
        self.home.start("web", &options, &self.command).ok();
        self.is_watched()
    }

    fn is_watched(&self) -> AppStatus {
        self.home.wait_app("web", "the files are watched", SOON, |app| {
            app.watch.as_ref().is_some_and(|watch| watch.folders.is_some())
        })
    }

    fn load(&self) -> tests::client::Running {
        Load { clients: 4, ..Load::new(self.port.v4()) }.start()
    }

    /// Waits until all workers have this version and nothing is under way.
    fn serves(&self, version: u32) -> AppStatus {
        let wanted = version.to_string();
        let answers = || {
            let answer = http::get(self.port.v4(), SOON).ok()?;
            (answer.value("version") == Some(&wanted)).then_some(())
        };
        wait_until(&format!("version {version} to serve"), SOON, answers);
        self.home.wait_app("web", "the reload to end", SOON, |app| app.status == Status::Ready)
    }

    /// The process that watches.
    fn watcher(&self) -> u32 {
        let primary = self.home.app("web").primary_pid;
        wait_until("the process that watches", SOON, || {
            let is_it = |pid: u32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0).any(|word| word == b"file-watcher")
            };
            process::all().into_iter().find(|p| p.parent == primary && is_it(p.pid)).map(|p| p.pid)
        })
    }

    /// How many folders the kernel watches for that process.
    fn subscribed(&self) -> usize {
        let folder = format!("/proc/{}/fdinfo", self.watcher());
        let infos = fs::read_dir(folder).expect("read its descriptors");
        let texts = infos.flatten().filter_map(|info| fs::read_to_string(info.path()).ok());
        texts.map(|text| text.lines().filter(|line| line.starts_with("inotify wd:")).count()).sum()
    }
}

#[test]
fn an_edit_reloads_without_a_lost_request_and_a_broken_one_changes_nothing() {
    let Some(app) = Watched::new(tests::home!()) else { return };
    app.start(&["-i", "2"]);
    let mut notices = app.home.ask("web", &Request::Subscribe);
    let load = app.load();
    load.warm(50);
    app.edit(1);
    let notice = notices.notice_of(NoticeKind::FilesChanged, SOON);
    assert_eq!(notice.message, "lib/version.js has changed: every worker is replaced");
    assert_eq!(app.serves(1).generation, 2);

    app.write("lib/version.js", "module.exports = ;");
    let notice = notices.notice_of(NoticeKind::ReloadRolledBack, SOON);
    assert!(notice.message.contains("rolled back"), "{notice:?}");
    let status = app.serves(1);
    let is_told = |app: &AppStatus| {
        let told = app.notes.iter().find(|note| note.contains("was rolled back"));
        told.is_some() && app.reason == told.cloned()
    };
    assert!(is_told(&status), "{status:#?}");
    app.edit(2);
    let status = app.serves(2);
    assert!(!is_told(&status) && status.restarts == 0, "{status:#?}");
    load.stop().nothing_lost("while files were edited");
    let described = app.home.run(&["describe", "web"]).ok().stdout;
    let words: Vec<&str> = described.split_whitespace().collect();
    assert!(words.join(" ").contains(" watch 2 folders "), "{described}");
    app.home.run(&["list", "--format", "name,watch"]).ok().shows(&["web\tyes"]);
}

#[test]
fn a_burst_of_edits_ends_on_the_last_version_with_few_reloads() {
    let Some(app) = Watched::new(tests::home!()) else { return };
    app.start(&["-i", "2"]);
    let load = app.load();
    load.warm(50);
    for version in 1..=200 {
        app.edit(version);
        let_pass(Duration::from_millis(5));
    }
    let status = app.serves(200);
    load.stop().nothing_lost("during a burst of edits");
    assert!((2..=10).contains(&status.generation), "{status:#?}");
    // Nothing more comes of it.
    let_pass(Duration::from_secs(1));
    assert_eq!(app.home.app("web").generation, status.generation);
}

#[test]
fn folders_that_are_left_out_are_not_subscribed_to() {
    let Some(app) = Watched::new(tests::home!()) else { return };
    for number in 0..3000 {
        let folder = app.folder().join(format!("node_modules/package-{number}/lib"));
        fs::create_dir_all(folder).expect("make a package");
    }
    for folder in [".git/objects/aa", "coverage/deep", "uploads"] {
        fs::create_dir_all(app.folder().join(folder)).expect("make a folder");
    }
    app.write(".gitignore", "/coverage\n");
    let status = app.start(&["--watch-ignore", "uploads/"]);
    assert_eq!(status.watch.and_then(|watch| watch.folders), Some(2), "app and app/lib");
    assert_eq!(app.subscribed(), 2);
    for name in ["node_modules/package-1/index.js", "uploads/1", "coverage/deep/2", ".git/HEAD"] {
        app.write(name, "");
    }
    // A change that counts shows that the others did not.
    app.edit(1);
    assert_eq!(app.serves(1).generation, 2);
    // A folder that is new is watched as well.
    app.write("lib/deep/new.js", "");
    app.home.wait_app("web", "a reload", SOON, |app| app.generation == 3);
    wait_until("the new folder to be watched", SOON, || (app.subscribed() == 3).then_some(()));
}

#[test]
fn an_app_that_writes_into_its_own_folder_is_told_so() {
    let Some(app) = Watched::new(tests::home!()) else { return };
    let server = fs::read_to_string(app.folder().join("server.js")).expect("the program");
    let writes = "require('fs').writeFileSync('started.txt', `${process.pid}`);\n";
    app.write("server.js", &format!("{writes}{server}"));
    app.start(&["--min-uptime", "100ms", "--observe", "0s"]);
    let mut notices = app.home.ask("web", &Request::Subscribe);
    app.edit(1);
    let notice = notices.notice_of(NoticeKind::Warning, SOON);
    let expected = "started.txt changed during each of the last reloads";
    assert!(notice.message.contains(expected), "{notice:?}");
    assert!(notice.message.contains("watch_ignore"), "{notice:?}");
}

/// Each folder that is subscribed to costs the kernel memory, and there is a limit for each user.
#[test]
fn heavy_a_tree_of_200_000_files_costs_few_watches() {
    let _exclusive = tests::exclusive();
    let Some(app) = Watched::new(tests::home!()) else { return };
    for package in 0..2_000 {
        let lib = app.folder().join(format!("node_modules/package-{package}/lib"));
        fs::create_dir_all(&lib).expect("make a package");
        for file in 0..100 {
            fs::File::create(lib.join(format!("{file}.js"))).expect("make a file");
        }
    }
    for folder in 0..500 {
        app.write(&format!("src/{folder}/index.js"), "");
    }
    app.start(&[]);
    let subscribed = app.subscribed();
    println!("{subscribed} folders are subscribed to");
    assert!((503..1_000).contains(&subscribed), "{subscribed}");
    app.write("src/499/index.js", "// edited");
    app.home.wait_app("web", "a reload", SOON, |app| app.generation == 2);
}

#[test]
fn the_process_that_watches_is_replaced_and_ends_with_the_app() {
    let Some(app) = Watched::new(tests::home!()) else { return };
    app.start(&[]);
    let first = app.watcher();
    process::kill(first, Signal::SIGSTOP);
    // This edit is not reported by it, but by the next one.
    app.edit(1);
    process::kill(first, Signal::SIGKILL);
    app.serves(1);
    assert_ne!(app.watcher(), first);
    app.home.kill_primary("web", Signal::SIGKILL);
    app.is_watched();
    app.edit(2);
    app.serves(2);
    let last = app.watcher();
    app.home.run(&["stop", "web"]).ok();
    wait_until("the process to end", SOON, || (!process::is_alive(last)).then_some(()));
    app.home.run(&["restart", "web"]).ok();
    app.is_watched();
    app.edit(3);
    app.serves(3);
    app.home.run(&["delete", "web"]).ok();
}

#[test]
fn a_path_that_does_not_exist_is_told_and_watched_later() {
    let Some(app) = Watched::new(tests::home!()) else { return };
    let file = app.home.config("web", &app.command, "cwd = \"app\"\nwatch = [\"lib\", \"views\"]");
    app.home.run(&["start", &file]).ok();
    let status = app.is_watched();
    let problem = status.watch.and_then(|watch| watch.problem).unwrap_or_default();
    assert!(problem.starts_with("cannot watch ") && problem.contains("views"), "{problem}");
    app.write("views/index.html", "");
    let status = app.home.wait_app("web", "a reload", SOON, |app| app.generation == 2);
    assert_eq!(status.watch.expect("it is watched").problem, None);
    // What is not named does not count.
    app.write("other.js", "");
    app.edit(1);
    assert_eq!(app.serves(1).generation, 3);
}

#[test]
fn dev_runs_one_worker_here_and_waits_for_an_edit_that_mends_it() {
    let Some(app) = Watched::new(tests::home!()) else { return };
    app.write("lib/version.js", "module.exports = ;");
    let folder = app.folder().display().to_string();
    let mut args = vec!["dev", "--name", "web", "--cwd", &folder, "--watch-delay", "100ms", "--"];
    args.extend(app.command.iter().map(String::as_str));
    let dev = app.home.spawn(&args);
    app.home.wait_app("web", "the failed start", SOON, |app| app.status == Status::Errored);
    app.is_watched();
    app.edit(1);
    assert_eq!(app.serves(1).wanted, 1);
    app.edit(2);
    app.serves(2);
    process::kill(dev.pid(), Signal::SIGINT);
    let outcome = dev.end(SOON);
    let output = format!("{}{}", outcome.stdout, outcome.stderr);
    for words in ["SyntaxError", "lib/version.js has changed"] {
        assert!(output.contains(words), "{words}: {output}");
    }
    assert_eq!(outcome.code, Some(0), "{output}");
}

#[test]
fn heavy_a_thousand_edits_in_bursts_lose_nothing() {
    let _alone = tests::exclusive();
    let Some(app) = Watched::new(tests::home!()) else { return };
    app.start(&["-i", "2"]);
    let load = app.load();
    load.warm(50);
    let mut version = 0;
    for burst in 0..20 {
        for _ in 0..50 {
            version += 1;
            // One burst in four ends with code that does not run, which the next one mends.
            app.edit(version);
        }
        if burst % 4 == 1 {
            app.write("lib/version.js", "module.exports = ;");
        }
        let_pass(Duration::from_millis(100 * (burst % 7)));
    }
    app.edit(version + 1);
    let status = app.serves(version + 1);
    load.stop().nothing_lost("during a thousand edits");
    // A worker that is started while the broken code lies there ends and is started again, also one
    // of an old generation in a rollback. Its neighbour serves meanwhile.
    assert_eq!((status.status, status.ready), (Status::Ready, 2), "{status:#?}");
}
