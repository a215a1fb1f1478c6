//! The servers: where each runtime is, what has to be built, and the command line that a person
//! would type. A test whose runtime is not installed is skipped with a line on stderr. On CI
//! (`CI=true`), where everything is installed, it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::home::Home;
use crate::{Port, process, run, staging};

/// An unmodified server of some language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// net/http, a static binary.
    Go,
    /// http.createServer.
    Node,
    /// The same, started by `npm start`.
    Npm,
    /// http.server, HTTP/1.1, without a signal handler.
    Python,
    /// TCPServer and threads.
    Ruby,
    /// `php -S`.
    Php,
    /// com.sun.net.httpserver.
    Java,
    /// nginx with `daemon off` and one worker process.
    Nginx,
    /// std::net and threads.
    Rust,
}

/// All servers.
pub const ALL: [Kind; 9] = [
    Kind::Go,
    Kind::Node,
    Kind::Npm,
    Kind::Python,
    Kind::Ruby,
    Kind::Php,
    Kind::Java,
    Kind::Nginx,
    Kind::Rust,
];

/// The absolute path of a program. `None`, and a line on stderr, if it is not installed.
/// The system's folders come first, since `nobody` cannot run a program that lies in a home.
pub fn need(program: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin"].into_iter();
    let found = folders
        .chain(path.split(':'))
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(!on_ci(), "{program} is not installed, and on CI it must be");
        eprintln!("SKIPPED: {program} is not installed");
    }
    found.map(|path| path.display().to_string())
}

/// Whether the tests run as root, as they must on CI; if not, a line on stderr says that only root
/// can do `what`.
pub fn need_root(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        assert!(!on_ci(), "only root can {what}, and on CI the tests must be root");
        eprintln!("SKIPPED: only root can {what}");
    }
    root
}

/// Whether the tests run on CI, where everything that they need is installed.
pub fn on_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
}

/// Runs a command that installs packages, in this folder. `None`, and a line on stderr, if they
/// cannot be installed; on CI the test fails.
pub(crate) fn installs(command: &mut Command, folder: &Path, limit: Duration) -> Option<()> {
    let outcome = run::spawn(command, folder).end(limit);
    if outcome.code == Some(0) {
        return Some(());
    }
    let reason = outcome.stderr.trim();
    assert!(!on_ci(), "{command:?} failed, and on CI it must not: {reason}");
    eprintln!("SKIPPED: the packages cannot be installed here: {reason}");
    None
}

/// The path of a fixture file.
pub fn file(path: &str) -> String {
    let path = staging::fixtures().join(path);
    assert!(path.exists(), "no fixture {}", path.display());
    path.display().to_string()
}

/// `python3 fixtures/python/SCRIPT ARGUMENTS`.
pub fn python<S: ToString>(script: &str, arguments: &[S]) -> Option<Vec<String>> {
    let mut command = vec![need("python3")?, file(&format!("python/{script}"))];
    command.extend(arguments.iter().map(S::to_string));
    Some(command)
}

/// The well-behaved Python server.
pub fn pid_server(port: impl ToString) -> Option<Vec<String>> {
    python("pid_server.py", &[port.to_string().as_str(), "--protocol", "HTTP/1.1"])
}

impl Kind {
    /// The command that serves on this port. `None` if its runtime is not installed.
    pub fn command(self, home: &Home, port: u16) -> Option<Vec<String>> {
        let number = port.to_string();
        Some(match self {
            Self::Go => vec![go("go/main.go")?, number],
            Self::Node => vec![need("node")?, file("node/plain.js"), number],
            Self::Npm => {
                let parts = [&need("npm")?, "--prefix", &file("node/npm"), "start", "--", &number];
                parts.map(str::to_owned).to_vec()
            }
            Self::Python => pid_server(port)?,
            Self::Ruby => vec![need("ruby")?, file("ruby/server.rb"), number],
            Self::Php => {
                let address = format!("127.0.0.1:{port}");
                vec![need("php")?, "-S".to_owned(), address, file("php/index.php")]
            }
            Self::Java => {
                let classes = java_classes()?.display().to_string();
                vec![need("java")?, "-cp".into(), classes, "Server".into(), number]
            }
            Self::Nginx => nginx(home, &number)?,
            Self::Rust => vec![plain_server(home), number],
        })
    }
}

fn nginx(home: &Home, port: &str) -> Option<Vec<String>> {
    let nginx = need("nginx")?;
    let conf = fs::read_to_string(file("nginx/nginx.conf")).expect("read nginx.conf");
    let conf = home.write("nginx/nginx.conf", &conf.replace("PORT", port));
    let folder = conf.parent().expect("a file is in a folder").display().to_string();
    let errors = format!("{folder}/start.log");
    let conf = conf.display().to_string();
    Some(vec![nginx, "-p".into(), folder, "-e".into(), errors, "-c".into(), conf])
}

/// The Rust server, which lies beside the binary under test.
fn plain_server(home: &Home) -> String {
    let folder = home.built().parent().expect("a binary is in a folder").to_owned();
    staging::program(&folder.join("plain-server")).display().to_string()
}

/// A static Go binary of this source, built once.
pub fn go(source: &str) -> Option<String> {
    let go = need("go")?;
    let name = format!("go-{}", source.replace('/', "-").trim_end_matches(".go"));
    let built = build(&file(source), &name, |source, target| {
        let mut command = Command::new(go);
        command
            .args(["build", "-trimpath", "-o"])
            .arg(target)
            .arg(source)
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "")
            .env("GOCACHE", staging::root().join("go-cache"))
            .env("GOPATH", staging::root().join("go-path"));
        command
    });
    Some(built.display().to_string())
}

fn java_classes() -> Option<PathBuf> {
    let javac = need("javac")?;
    Some(build(&file("java/Server.java"), "java", |source, target| {
        let mut command = Command::new(javac);
        command.arg("-d").arg(target).arg(source);
        command
    }))
}

/// Builds `name` from `source`, unless it was built since the source changed.
fn build(source: &str, name: &str, how: impl FnOnce(&Path, &Path) -> Command) -> PathBuf {
    let _lock = staging::lock(&format!("build-{}", name.replace('/', "-")));
    let folder = staging::root().join("build");
    staging::make_folder(&folder);
    let target = folder.join(name);
    let newer = || -> std::io::Result<bool> {
        Ok(fs::metadata(&target)?.modified()? >= fs::metadata(source)?.modified()?)
    };
    if !newer().unwrap_or(false) {
        let mut command = how(Path::new(source), &target);
        run::spawn(&mut command, &folder).end(Duration::from_secs(300)).ok();
    }
    target
}

/// Deploys as many people do them: a folder for each version, and a symlink `current`.
#[derive(Debug)]
pub struct Deploys<'a> {
    home: &'a Home,
    count: u32,
}

impl<'a> Deploys<'a> {
    /// Versions of one app in this home.
    pub fn new(home: &'a Home) -> Self {
        Self { home, count: 0 }
    }

    /// The app `web` with the version `old` of the server that returns its pid. `None` if Python is
    /// not installed.
    pub fn start(home: &'a Home, options: &[&str], port: &Port) -> Option<Self> {
        let mut deploys = Self::new(home);
        deploys.put("old", "pid_server.py");
        home.start("web", options, &deploys.command(&[port])?).ok();
        Some(deploys)
    }

    /// Makes `script` (of fixtures/python) the current `server.py`, in a new folder with this
    /// VERSION.
    pub fn put(&mut self, version: &str, script: &str) {
        self.count += 1;
        let folder = format!("versions/{}-{version}", self.count);
        for (name, source) in [("server.py", script), ("pid_server.py", "pid_server.py")] {
            let text = fs::read_to_string(file(&format!("python/{source}"))).expect("a fixture");
            self.home.write(&format!("{folder}/{name}"), &text);
        }
        self.home.write(&format!("{folder}/VERSION"), version);
        let fresh = self.home.path().join("current.new");
        std::os::unix::fs::symlink(self.home.path().join(folder), &fresh).expect("make a symlink");
        fs::rename(&fresh, self.home.path().join("current")).expect("put the symlink in place");
    }

    /// The command that runs the current version.
    pub fn command<S: ToString>(&self, arguments: &[S]) -> Option<Vec<String>> {
        let server = self.home.path().join("current/server.py").display().to_string();
        let mut command = vec![need("python3")?, server];
        command.extend(arguments.iter().map(S::to_string));
        Some(command)
    }
}

/// Those pids that the fixture `brood.py` wrote to the app's log and that still live.
pub fn live_children(log: &str) -> Vec<u32> {
    log.lines()
        .filter_map(|line| line.split_once("child ")?.1.trim().parse().ok())
        .filter(|pid| process::is_alive(*pid))
        .collect()
}
