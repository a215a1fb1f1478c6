//! The packages: each is made of the program under test, installed where nothing of ours is, and
//! used as its first page says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tests::packaging::{self, Packager};
use tests::wait::try_until;
use tests::{Home, Load, Machine, Port, fixtures, pip, run, wait_until};

const SOON: Duration = Duration::from_secs(60);
const DEB_TOOLS: [&str; 3] = ["dpkg", "dpkg-deb", "dpkg-shlibdeps"];

/// Runs a program with the environment of the home.
fn call(home: &Home, command: &[&str]) -> run::Outcome {
    let mut process = home.command_of(command[0]);
    run::spawn(process.args(&command[1..]), home.path()).end(SOON)
}

/// An installed program does what the README's first commands say.
fn works(home: &Home, supervisor: &str) {
    let (demo, port) = (Port::new(), Port::new());
    let number = demo.number().to_string();
    call(home, &[supervisor, "demo", "--port", &number, "-i", "2"]).ok();
    let Some(server) = fixtures::pid_server(&port) else { return };
    let words: Vec<&str> = server.iter().map(String::as_str).collect();
    let start = [supervisor, "start", "-i", "max", "--name", "server", "--"];
    call(home, &[&start, words.as_slice()].concat()).ok();
    for (port, what) in [(&demo, "the demo"), (&port, "a server")] {
        let mut load = Load::new(port.v4());
        load.requests = 100;
        load.run().nothing_lost(what);
    }
    call(home, &[supervisor, "reload", "server"]).ok();
    call(home, &[supervisor, "delete", "all"]).ok();
    home.nothing_left();
}

/// A machine with two apps of the package's program: a service, and one that root started.
struct Installed {
    machine: Machine,
    service: Port,
    started: Port,
}

impl Installed {
    fn new(home: &Home, package: &str) -> Option<Self> {
        let (service, started) = (Port::new(), Port::new());
        let (web, api) = (fixtures::pid_server(&service)?, fixtures::pid_server(&started)?);
        let machine = Machine::boot(home)?;
        machine.run(&["dpkg", "--no-triggers", "-i", package]).ok();
        let command = serde_json::to_string(&web).expect("strings");
        let text =
            format!("name = \"web\"\ncommand = {command}\ninstances = 2\nmin_uptime = \"300ms\"\n");
        machine.write("/etc/supervisor/web.toml", &text);
        machine.run(&["systemctl", "enable", "--now", "supervisor@web"]).ok();
        let start = ["supervisor", "start", "-n", "api", "-i", "2", "--min-uptime", "300ms", "--"];
        let words: Vec<&str> = api.iter().map(String::as_str).collect();
        machine.run(&[&start, words.as_slice()].concat()).ok();
        Some(Self { machine, service, started })
    }

    /// Version, pid of the primary and pids of the workers, as the program under test sees them.
    fn app(&self, name: &str) -> (String, i64, Vec<i64>) {
        let shown = self.machine.supervisor(&["describe", name, "--json"]).ok().json();
        let app = &shown[0];
        let workers = app["workers"].as_array().expect("workers").iter();
        (
            app["version"].as_str().expect("a version").to_owned(),
            app["primary_pid"].as_i64().expect("a pid"),
            workers.filter_map(|worker| worker["pid"].as_i64()).collect(),
        )
    }
}

#[test]
fn heavy_debian_package_is_upgraded_under_load_and_removed() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(packager) = Packager::new(&home, &DEB_TOOLS) else { return };
    let (first, next) = (packager.make("deb"), packager.make_version("deb", "0.9.0"));
    let Some(installed) = Installed::new(&home, &first) else { return };
    let machine = &installed.machine;
    machine.run(&["getent", "passwd", "supervisor-worker"]).ok();
    machine.run(&["getent", "group", "supervisor-operators"]).ok();
    machine.write("/etc/default/prefork-supervisor", "GREETING=hello\n");
    // An app of another user, which the upgrade must name and leave alone.
    machine.run(&["install", "-d", "-o", "nobody", "/run/of-nobody"]).ok();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env"];
    let start = ["supervisor", "start", "-n", "mine", "--min-uptime=0s", "--", "sleep", "1000"];
    let theirs = ["SUPERVISOR_HOME=/run/of-nobody"];
    machine.run(&[nobody.as_slice(), &theirs, &start].concat()).ok();

    let before = [installed.app("web"), installed.app("api")];
    let loads = [&installed.service, &installed.started].map(|port| {
        let mut load = Load::new(port.v4());
        load.clients = 8;
        let load = load.start();
        load.warm(100);
        load
    });
    let upgraded = machine.run(&["dpkg", "--no-triggers", "-i", &next]).ok();
    let wanted = [
        "web: supervisor 0.9.0 took over",
        "api: supervisor 0.9.0 took over",
        "mine of nobody runs on with the old program",
    ];
    let upgraded = upgraded.shows(&wanted);
    for (name, before) in ["web", "api"].iter().zip(&before) {
        let after = installed.app(name);
        assert_eq!((after.0.as_str(), &after.2), ("0.9.0", &before.2), "{upgraded:#?}");
        assert_ne!(after.1, before.1);
    }
    let kept = machine.run(&["cat", "/etc/default/prefork-supervisor"]).ok();
    assert_eq!(kept.stdout, "GREETING=hello\n");
    assert_eq!(machine.property("supervisor@web", "NRestarts"), "0");
    loads.iter().for_each(|load| load.more(100));

    // The apps run on without the package, also when their primary dies.
    let removed = machine.run(&["dpkg", "--no-triggers", "-r", "prefork-supervisor"]).ok();
    let removed = removed.shows(&["run on without the package", "web of root", "mine of nobody"]);
    machine.run(&["test", "-e", "/usr/bin/supervisor"]).code(1);
    let (_, primary, workers) = installed.app("api");
    machine.run(&["kill", "-s", "KILL", &primary.to_string()]).ok();
    wait_until("another primary", SOON, || {
        let outcome = machine.supervisor(&["describe", "api", "--json"]);
        (outcome.code == Some(0) && installed.app("api").1 != primary).then_some(())
    });
    assert_eq!(installed.app("api").2, workers);
    loads.iter().for_each(|load| load.more(100));
    for (load, name) in loads.into_iter().zip(["the service", "the app that root started"]) {
        load.stop().nothing_lost(&format!("{name}, over an upgrade and a removal"));
    }

    // What the removal said is true: a signal to that process stops the app.
    let line = removed.stdout.lines().find(|line| line.contains("api of root")).expect("a line");
    let keeper = line.rsplit("kill ").next().expect("a pid");
    machine.run(&["kill", keeper]).ok();
    wait_until("the app to stop", SOON, || {
        (machine.run(&["kill", "-0", keeper]).code != Some(0)).then_some(())
    });
    machine.run(&["dpkg", "--no-triggers", "--purge", "prefork-supervisor"]).ok();
    machine.run(&["test", "-e", "/etc/default/prefork-supervisor"]).code(1);
}

/// What a person does on a Debian that has nothing but the package. `go` is the test's answer.
const CLEAN: &str = r"
dpkg -i PACKAGE
dpkg --status prefork-supervisor | grep '^Status: install ok installed$'
getent passwd supervisor-worker
supervisor demo --port DEMO -i 2
supervisor start -i max --name server -- node HOME/server.js PORT
touch HOME/up
until [ -e HOME/go ]; do sleep 0.02; done
supervisor reload server
supervisor delete all
dpkg --purge prefork-supervisor
[ ! -e /usr/bin/supervisor ]
";

#[test]
fn heavy_debian_package_on_a_clean_root() {
    let _load = tests::under_load();
    let home = tests::home!();
    let Some(packager) = Packager::new(&home, &DEB_TOOLS) else { return };
    let Some(root) = packaging::debian() else { return };
    let (demo, port) = (Port::new(), Port::new());
    let server = fs::read_to_string(fixtures::file("node/plain.js")).expect("a fixture");
    home.write("server.js", &server);
    let package = packager.make_twice("deb");

    let script = CLEAN.replace("PACKAGE", &package).replace("DEMO", &demo.number().to_string());
    let script = script.replace("PORT", &port.number().to_string());
    let script = script.replace("HOME", &home.path().display().to_string());
    let running = packaging::in_clean_root(&home, root, &script);
    let up = try_until(SOON, || home.path().join("up").exists().then_some(()));
    assert!(up.is_some(), "{}{}", running.stdout(), running.stderr());
    for port in [&demo, &port] {
        let mut load = Load::new(port.v4());
        load.requests = 100;
        load.run().nothing_lost("the package on a clean root");
    }
    home.write("go", "");
    packaging::ends_well(running).shows(&["generation 2 serves"]);
}

#[test]
fn heavy_debian_package_passes_lintian() {
    let _load = tests::under_load();
    let home = tests::home!();
    let Some(packager) = Packager::new(&home, &DEB_TOOLS) else { return };
    let Some(lintian) = fixtures::need("lintian") else { return };
    let package = packager.make("deb");
    let lintian = call(&home, &[&lintian, "--allow-root", "--fail-on", "error,warning", &package]);
    assert!(lintian.code == Some(0) && lintian.stdout.is_empty(), "{lintian:#?}");
    let files = call(&home, &["dpkg-deb", "--contents", &package]).ok();
    files.shows(&[
        " ./usr/bin/supervisor\n",
        " ./usr/share/man/man1/supervisor.1prefork.gz\n",
        " ./usr/share/man/man1/supervisor-reload.1.gz\n",
        " ./usr/share/bash-completion/completions/supervisor\n",
        " ./usr/share/zsh/vendor-completions/_supervisor\n",
        " ./usr/share/fish/vendor_completions.d/supervisor.fish\n",
        " ./lib/systemd/system/supervisor@.service\n",
        " ./usr/lib/sysusers.d/prefork-supervisor.conf\n",
        " ./etc/default/prefork-supervisor\n",
    ]);
}

#[test]
fn heavy_npm_package() {
    let _load = tests::under_load();
    let home = tests::home!();
    let Some(packager) = Packager::new(&home, &["npm", "node"]) else { return };
    let package = packager.make_twice("npm");
    let prefix = home.path().join("prefix");
    let target = prefix.display().to_string();
    let install = ["npm", "install", "--global", "--offline", "--no-audit", "--no-fund"];
    call(&home, &[&install, ["--prefix", &target, &package].as_slice()].concat()).ok();
    let bin = prefix.join("bin");
    works(&home, &bin.join("supervisor").display().to_string());

    // The link that the package's page speaks of.
    std::os::unix::fs::symlink("supervisor", bin.join("pm2")).expect("make a link");
    call(&home, &[&bin.join("pm2").display().to_string(), "list"]).ok().shows(&["restarts"]);
    let mut client = home.command_of("node");
    client.env("NODE_PATH", prefix.join("lib/node_modules"));
    client.args(["-p", "typeof require('supervisor-worker').join"]);
    run::spawn(&mut client, home.path()).end(SOON).ok().shows(&["function"]);
}

#[test]
fn heavy_wheel() {
    let _load = tests::under_load();
    let home = tests::home!();
    let Some(packager) = Packager::new(&home, &["python3"]) else { return };
    let package = packager.make_twice("wheel");
    let prefix = home.path().join("venv");
    let target = prefix.display().to_string();
    call(&home, &["python3", "-m", "venv", &target]).ok();
    let program = |name: &str| prefix.join("bin").join(name).display().to_string();
    call(&home, &[&program("pip"), "install", "--quiet", "--no-index", &package]).ok();
    works(&home, &program("supervisor"));
    let client = "import supervisor_worker; print(callable(supervisor_worker.join))";
    call(&home, &[&program("python"), "-c", client]).ok().shows(&["True"]);
    // pip has a digest of each file, and finds them all.
    call(&home, &[&program("pip"), "uninstall", "--yes", "supervisor-worker"]).ok();
    assert!(!prefix.join("bin/supervisor").exists());
}

#[test]
fn heavy_archive() {
    let _load = tests::under_load();
    let home = tests::home!();
    let Some(packager) = Packager::new(&home, &["tar", "gzip"]) else { return };
    let package = packager.make_twice("archive");
    let options = ["--extract", "--strip-components=1", "--file"];
    call(&home, &[&["tar"], options.as_slice(), &[&package]].concat()).ok();
    works(&home, &home.path().join("bin/supervisor").display().to_string());
    for file in ["man/man1/supervisor.1", "zsh/site-functions/_supervisor"] {
        assert!(home.path().join("share").join(file).exists(), "{file}");
    }
}

/// In a root that has what each container has, and nothing else: no library, no shell, no file.
const EMPTY_ROOT: &str = r#"
mount --bind /proc "$1/proc"
mount --bind /dev/null "$1/dev/null"
exec chroot "$1" /bin/supervisor "${@:2}"
"#;

/// The program is linked again, as `packaging/binary --static` links it; all else of it is that of
/// the program under test.
#[test]
fn heavy_archive_runs_in_an_empty_root() {
    let _load = tests::under_load();
    let home = tests::home!();
    if !fixtures::need_root("chroot") {
        return;
    }
    let Some(packager) = Packager::new(&home, &["tar", "gzip"]) else { return };
    let package = packager.make_static("archive");
    assert!(package.ends_with("-static.tar.gz"), "{package}");
    let root = home.path().join("root");
    let state = home.path().strip_prefix("/").expect("an absolute path");
    for folder in [Path::new("proc"), Path::new("dev/shm"), state] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    fs::write(root.join("dev/null"), "").expect("a place for the device");
    let target = root.display().to_string();
    let options = ["--extract", "--strip-components=1", "--directory", &target, "--file"];
    call(&home, &[&["tar"], options.as_slice(), &[&package]].concat()).ok();
    let inside = |words: &[&str]| {
        let mut command = home.command_of("unshare");
        command.args(["--mount", "bash", "-ec", EMPTY_ROOT, "-"]).arg(&root).args(words);
        run::spawn(&mut command, home.path()).end(SOON)
    };
    inside(&["--version"]).ok().shows(&["supervisor "]);
    let port = Port::new();
    inside(&["demo", "--port", &port.number().to_string(), "-i", "2"]).ok();
    let mut load = Load::new(port.v4());
    load.requests = 100;
    load.run().nothing_lost("a static program in an empty root");
    inside(&["reload", "demo"]).ok();
    inside(&["delete", "all"]).ok();
}

/// The image of examples/container, as strict as its manifest, under the seccomp rules of podman.
#[test]
fn heavy_image() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    for program in ["podman", "crun", "unshare"] {
        if fixtures::need(program).is_none() {
            return;
        }
    }
    let Some(packager) = Packager::new(&home, &[]) else { return };
    let Some(root) = packaging::debian() else { return };
    let port = Port::new();
    let mut image = home.command_of("unshare");
    image.args(["--mount", "bash", &fixtures::file("container/image.sh")]);
    image.arg(tests::staging::root().join("images")).arg(root).arg(example(""));
    // The program is in a folder of its own, which podman copies.
    let folder = home.path().join("program");
    fs::create_dir(&folder).expect("a new folder");
    fs::hard_link(packager.program(), folder.join("supervisor")).expect("the program");
    image.arg(folder).arg(home.path()).arg(port.number().to_string());
    let running = run::spawn(&mut image, home.path());
    let comes = |file: &str| {
        let came = try_until(SOON, || home.path().join(file).exists().then_some(()));
        assert!(came.is_some(), "no {file}: {}{}", running.stdout(), running.stderr());
    };
    comes("up");
    let load = Load { expect: "hello from ".to_owned(), ..Load::new(port.v4()) }.start();
    load.warm(100);
    home.write("go", "");
    comes("reloaded");
    load.more(100);
    load.stop().nothing_lost("a reload in a container");
    home.write("stop", "");
    packaging::ends_well(running).shows(&["generation 2 serves", "exit code 0"]);
}

/// A file of examples/container.
fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/container");
    folder.join(name).display().to_string()
}

#[test]
fn heavy_manifests_follow_their_schemas() {
    let _load = tests::under_load();
    let home = tests::home!();
    let manifest = fs::read_to_string(example("deployment.yaml")).expect("the manifest");
    if let Some(validate) = pip::program("kubernetes-validate") {
        call(&home, &[&validate, "--strict", &example("deployment.yaml")]).ok();
        let wrong = home.write("wrong.yaml", &manifest.replace("replicas:", "replicates:"));
        call(&home, &[&validate, "--strict", &wrong.display().to_string()]).code(1);
    }
    for name in ["availability.yaml", "autoscale.yaml"] {
        if let Some(validate) = pip::program("kubernetes-validate") {
            call(&home, &[&validate, "--strict", &example(name)]).ok();
        }
    }
    if let Some(ansible) = fixtures::need("ansible-playbook") {
        let playbook = example("../ansible/site.yml");
        call(&home, &[&ansible, "--inventory", "web1,", "--syntax-check", &playbook]).ok();
    }
    if let Some(compose) = fixtures::need("docker-compose") {
        call(&home, &[&compose, "--file", &example("compose.yaml"), "config", "--quiet"]).ok();
    }
}

#[test]
fn the_list_of_crates_is_that_of_the_program() {
    let home = tests::home!();
    if fixtures::need("python3").is_none() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/sbom");
    let mut sbom = std::process::Command::new(script);
    let list = run::spawn(&mut sbom, home.path()).end(SOON).ok().json();
    let components = list["components"].as_array().expect("components");
    let has = |name: &str| components.iter().any(|one| one["name"] == name);
    // What it is linked with, directly or not; no macros, and nothing of the tests.
    assert!(has("clap") && has("mio") && has("supervisor-config"));
    assert!(!has("serde_derive") && !has("syn") && !has("proptest") && !has("tests"));
    let ours = ["supervisor-config", "supervisor-ipc", "systemd", "worker"];
    for one in components {
        let is_ours = ours.contains(&one["name"].as_str().expect("a name"));
        let digest = one["hashes"][0]["content"].as_str().map_or(0, str::len);
        assert!(is_ours || digest == 64, "{one:#}");
        // A reader would take ours for those of the registry.
        assert_eq!(one["purl"].is_string(), !is_ours, "{one:#}");
        assert!(one["licenses"][0]["expression"].is_string(), "{one:#}");
    }
}

/// A static program that looks its own user up, since it has no HOME.
const STATIC: &str = r#"
#[path = "NAME_SOURCES"]
mod name_sources;

fn main() {
    name_sources::only_built_in();
    println!("{:?}", std::env::home_dir());
}
"#;

/// `looks NSSWITCH PASSWD PROGRAM` runs the program with these files in place of the machine's.
const LOOKS: &str = r#"
mount --bind "$1" /etc/nsswitch.conf
mount --bind "$2" /etc/passwd
exec env -u HOME "$3"
"#;

/// nsswitch.conf names a source that is a shared library: the lookup finds no user there, and the
/// program goes on.
#[test]
fn a_static_program_looks_users_up() {
    let home = tests::home!();
    if !fixtures::need_root("mount") {
        return;
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = checkout.join("supervisor/src/sys/name_sources.rs").display().to_string();
    let text = home.write("looks_up.rs", &STATIC.replace("NAME_SOURCES", &source));
    let program = home.path().join("looks-up");
    let mut rustc = std::process::Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-o"]);
    run::spawn(rustc.arg(&program).arg(text), home.path()).end(SOON).ok();
    let sources = home.write("nsswitch.conf", "passwd: files systemd\n");
    for (passwd, found) in [("root:x:0:0::/of-root:/bin/sh\n", "/of-root"), ("", "None")] {
        let passwd = home.write("passwd", passwd);
        let mut looks = home.command_of("unshare");
        looks.args(["--mount", "sh", "-ec", LOOKS, "-"]).arg(&sources).arg(passwd).arg(&program);
        run::spawn(&mut looks, home.path()).end(SOON).ok().shows(&[found]);
    }
}
