//! Apps as services of a real systemd, which runs as PID 1 of its own namespaces.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::http::FaultKind;
use tests::{Home, Load, Machine, Port, fixtures, wait_until};

const SOON: Duration = Duration::from_secs(60);
const UNIT: &str = "supervisor-web.service";

/// A machine with a configuration file for two workers.
fn machine(home: &Home, port: &Port, more: &str) -> Option<Machine> {
    let program = fixtures::pid_server(port)?;
    let machine = Machine::boot(home)?;
    let command = serde_json::to_string(&program).expect("strings");
    let text = format!(
        "name = \"web\"\ncommand = {command}\ninstances = 2\nmin_uptime = \"300ms\"\n{more}\n"
    );
    machine.write("/etc/supervisor/web.toml", &text);
    Some(machine)
}

/// The same, with the app as a running service.
fn service(home: &Home, port: &Port, more: &str) -> Option<Machine> {
    let machine = machine(home, port, more)?;
    machine.supervisor(&["startup", "/etc/supervisor/web.toml", "--now"]).ok();
    assert_eq!(machine.property(UNIT, "ActiveState"), "active");
    Some(machine)
}

/// Waits until the status that systemd shows contains this.
fn status(machine: &Machine, wanted: &str) -> String {
    wait_until(wanted, SOON, || {
        let text = machine.property(UNIT, "StatusText");
        text.contains(wanted).then_some(text)
    })
}

#[test]
fn heavy_start_reload_under_load_and_stop() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(machine) = service(&home, &port, "") else { return };
    let started = status(&machine, "2/2 workers ready, generation 1");
    assert!(!started.contains("note"), "{started}");
    let app = machine.supervisor(&["describe", "web", "--json"]).ok().json();
    // Interception and the steering program work under the hardening of the unit.
    assert_eq!(machine.property(UNIT, "ProtectProc"), "invisible");
    assert_eq!(app[0]["workers"][1]["contract"][0], "intercept", "{app:#}");
    assert_eq!(app[0]["listeners"][0]["balance"], "round-robin", "{app:#}");
    assert_eq!(app[0]["notes"], serde_json::json!([]), "{app:#}");

    let load = Load::new(port.v4()).start();
    load.warm(100);
    for generation in 2..=4 {
        machine.run(&["systemctl", "reload", UNIT]).ok();
        status(&machine, &format!("2/2 workers ready, generation {generation}"));
        load.more(100);
    }
    load.stop().nothing_lost("systemctl reload, three times");
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");

    let stopped = machine.run(&["systemctl", "stop", UNIT]).ok();
    assert!(stopped.took < Duration::from_secs(15), "{stopped:#?}");
    assert_eq!(machine.property(UNIT, "Result"), "success");
    assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
    machine.supervisor(&["unstartup", "web"]).ok();
    assert_eq!(machine.property(UNIT, "LoadState"), "not-found");
}

#[test]
fn heavy_a_bad_deploy_fails_the_reload_and_nothing_else() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(machine) = service(&home, &port, "") else { return };
    let load = Load::new(port.v4()).start();
    load.warm(100);
    let config = fs::read_to_string(home.path().join("machine/text")).expect("the configuration");
    machine.write("/etc/supervisor/web.toml", &config.replace("pid_server.py", "exits.py"));
    machine.run(&["systemctl", "reload", UNIT]).code(1);
    let said = status(&machine, "rolled back");
    assert!(said.contains("generation 1") && said.contains("exit code 1"), "{said}");
    assert_eq!(machine.property(UNIT, "ActiveState"), "active");
    load.more(100);
    load.stop().nothing_lost("a bad deploy");

    machine.write("/etc/supervisor/web.toml", &config);
    machine.run(&["systemctl", "reload", UNIT]).ok();
}

/// The primary dies or hangs: its keeper replaces it, and systemd restarts nothing.
#[test]
fn heavy_the_primary_is_killed_and_hangs() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(machine) = service(&home, &port, "") else { return };
    let app = || machine.supervisor(&["describe", "web", "--json"]).ok().json()[0].clone();
    let workers = |app: &serde_json::Value| {
        let all = app["workers"].as_array().expect("workers").clone();
        all.iter().map(|worker| worker["pid"].as_u64()).collect::<Vec<_>>()
    };
    let (before, keeper) = (app(), machine.property(UNIT, "MainPID"));
    assert_eq!(before["keeper_pid"].to_string(), keeper);
    let load = Load::new(port.v4()).start();
    load.warm(100);
    for (signal, deaths) in [(Signal::SIGKILL, 1), (Signal::SIGSTOP, 2)] {
        let primary = app()["primary_pid"].to_string();
        machine.run(&["kill", "-s", signal.as_str(), &primary]).ok();
        wait_until("another primary", SOON, || {
            let outcome = machine.supervisor(&["describe", "web", "--json"]);
            let now = (outcome.code == Some(0)).then(|| outcome.json()[0].clone())?;
            (now["primary_deaths"] == deaths && now["status"] == "ready").then_some(())
        });
        assert_eq!(workers(&app()), workers(&before), "{signal}");
    }
    status(&machine, "2/2 workers ready");
    load.more(100);
    load.stop().nothing_lost("a primary that is killed, and one that hangs");
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");
    assert_eq!(machine.property(UNIT, "MainPID"), keeper);
    machine.run(&["systemctl", "reload", UNIT]).ok();
}

/// The keeper dies, and the whole service with it. systemd starts it again and returns the sockets
/// that it kept, in which clients have waited.
#[test]
fn heavy_the_keeper_is_killed() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(machine) = service(&home, &port, "") else { return };
    let mut load = Load::new(port.v4());
    load.hang = Duration::from_secs(30);
    let load = load.start();
    load.warm(100);
    for restarts in ["1", "2"] {
        let before = machine.property(UNIT, "MainPID");
        machine.run(&["kill", "-s", "SIGKILL", &before]).ok();
        wait_until("systemd to start it again", SOON, || {
            let again = machine.property(UNIT, "NRestarts") == restarts
                && machine.property(UNIT, "SubState") == "running";
            again.then_some(())
        });
        assert_ne!(machine.property(UNIT, "MainPID"), before);
        status(&machine, "2/2 workers ready");
        load.more(100);
    }
    // The workers die with their keeper, and the requests that they were serving are lost.
    let tally = load.stop();
    let lost = tally.count(FaultKind::Refused) + tally.count(FaultKind::Hung);
    assert!(lost == 0 && tally.ok > 0, "a client was refused or hung\n{tally}");
    println!("the keeper killed twice: no client refused\n{tally}");
    // A graceful restart loses nothing.
    let load = Load::new(port.v4()).start();
    load.warm(100);
    machine.run(&["systemctl", "restart", UNIT]).ok();
    load.more(100);
    load.stop().nothing_lost("systemctl restart");
}

#[test]
fn heavy_it_starts_with_the_machine() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(mut machine) = machine(&home, &port, "") else { return };
    // One app from a file, and one from a command line, which `startup` writes down.
    let other = Port::new();
    let Some(program) = fixtures::pid_server(&other) else { return };
    let words: Vec<&str> = program.iter().map(String::as_str).collect();
    let options = ["start", "--name", "api", "--env", "TOKEN=secret", "-i", "2", "--"];
    machine.supervisor(&[&options, words.as_slice()].concat()).ok();
    machine.supervisor(&["startup", "api", "--now"]).code(1).says(&["runs already"]);
    machine.supervisor(&["startup", "api", "/etc/supervisor/web.toml"]).ok();
    let mode = machine.run(&["stat", "-c", "%a", "/etc/supervisor/api.json"]).ok();
    assert_eq!(mode.stdout.trim(), "600", "it has the values of the environment");
    let unit = machine.supervisor(&["unit", "api"]).ok().stdout;
    assert!(!unit.contains("secret"), "{unit}");

    if !machine.keeps_files() {
        eprintln!("SKIPPED: this file system cannot keep a machine's files over a reboot");
        return;
    }
    machine.reboot();
    for (name, port) in [("web", &port), ("api", &other)] {
        let unit = format!("supervisor-{name}.service");
        wait_until("the app to be up", SOON, || {
            (machine.property(&unit, "ActiveState") == "active").then_some(())
        });
        let mut load = Load::new(port.v4());
        load.requests = 100;
        let tally = load.run().nothing_lost(&format!("{name} after a reboot"));
        assert_eq!(tally.by_pid.len(), 2, "{tally}");
    }
}

#[test]
fn heavy_a_start_that_fails_fails_the_service() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(machine) = machine(&home, &port, "") else { return };
    machine.write(
        "/etc/supervisor/bad.toml",
        "name = \"bad\"\ncommand = [\"sh\", \"-c\", \"echo no database >&2; exit 3\"]\n",
    );
    machine.supervisor(&["startup", "/etc/supervisor/bad.toml"]).ok();
    machine.run(&["systemctl", "start", "supervisor-bad.service"]).code(1);
    let journal = machine.run(&["journalctl", "--no-pager", "-u", "supervisor-bad.service"]).ok();
    assert!(journal.stdout.contains("no database"), "{}", journal.stdout);
}

/// systemd accepts the units, and their hardening has a good score.
#[test]
fn the_units_are_valid_and_hardened() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    if fixtures::need("systemd-analyze").is_none() {
        return;
    }
    let config = home.config("web", &command, "");
    // The unit contains its path, so every user must be able to run it.
    let program = tests::staging::program(home.built());
    let unit = |arguments: &[&str], name: &str| {
        let mut run = home.command_of(&program);
        let printed =
            tests::run::spawn(run.arg("unit").args(arguments), home.path()).end(SOON).ok();
        home.write(name, &printed.stdout).display().to_string()
    };
    let app = unit(&[&config], UNIT);
    let template = unit(&["--template"], "supervisor@.service");
    // It would hide the very file that says what runs.
    let mut private = home.command_of(&program);
    private.args(["unit", "--private", &config]);
    let refused = tests::run::spawn(&mut private, home.path()).end(SOON).code(2);
    refused.says(&["--private would hide /", "from web: leave it out, or move that"]);
    for file in [&app, &template] {
        let mut verify = home.command_of("systemd-analyze");
        let done = tests::run::spawn(verify.args(["verify", file]), home.path()).end(SOON).ok();
        let complaints: Vec<&str> =
            done.stderr.lines().filter(|line| line.contains("supervisor")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    let mut security = home.command_of("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager", "--threshold=40", &app]);
    let score = tests::run::spawn(&mut security, home.path()).end(SOON).ok();
    println!("{}", score.stdout.lines().last().unwrap_or_default());
}

/// systemd listens before the service runs: the first connection starts it, and is answered.
fn socket_activated(reuse_port: bool) {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(machine) = machine(&home, &port, "") else { return };
    machine.supervisor(&["startup", "/etc/supervisor/web.toml"]).ok();
    let option = if reuse_port { "ReusePort=yes\n" } else { "" };
    machine.write(
        "/etc/systemd/system/supervisor-web.socket",
        &format!("[Socket]\nListenStream={}\n{option}Backlog=4096\n", port.v4()),
    );
    machine.run(&["systemctl", "daemon-reload"]).ok();
    machine.run(&["systemctl", "start", "supervisor-web.socket"]).ok();
    assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
    for round in ["the first time", "and again"] {
        let mut load = Load::new(port.v4());
        (load.requests, load.hang) = (400, SOON);
        let tally =
            load.run().nothing_lost(&format!("connections to a service that did not run, {round}"));
        println!("{tally}");
        status(&machine, "2/2 workers ready");
        let app = machine.supervisor(&["describe", "web", "--json"]).ok().json();
        let listener = &app[0]["listeners"][0];
        let balance = if reuse_port { "round-robin" } else { "shared" };
        assert_eq!(listener["balance"], balance, "{listener:#}");
        assert_eq!(app[0]["notes"], serde_json::json!([]), "{app:#}");
        // Both workers serve, each through its own socket or through the shared one.
        let mut load = Load::new(port.v4());
        load.requests = 400;
        let tally = load.run().nothing_lost("socket-activated");
        assert_eq!(tally.by_pid.len(), 2, "{tally}");
        let load = Load::new(port.v4()).start();
        load.warm(100);
        machine.run(&["systemctl", "reload", UNIT]).ok();
        load.stop().nothing_lost("a reload on systemd's socket");
        machine.run(&["systemctl", "stop", UNIT]).ok();
    }
}

#[test]
fn heavy_activated_by_a_socket_with_reuseport() {
    socket_activated(true);
}

#[test]
fn heavy_activated_by_one_socket() {
    socket_activated(false);
}

/// Writes to both streams, and again when its file says so.
const TALKER: &str = "
import os, sys, time
slot = os.environ['SUPERVISOR_SLOT']
print('hello', slot, flush=True)
print('oh no ✓', file=sys.stderr, flush=True)
while not os.path.exists('/etc/say-more'):
    time.sleep(0.05)
print('still here', flush=True)
time.sleep(1000)
";

/// The entries of the app that `journalctl` shows with these words.
fn journal(machine: &Machine, words: &[&str]) -> Vec<serde_json::Value> {
    let command = ["journalctl", "--no-pager", "--output=json", "SUPERVISOR_APP=talker"];
    let shown = machine.run(&[&command, words].concat()).ok().stdout;
    shown.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Each line of `log = "journald"` is an entry with its app, slot, stream and priority, also after
/// the death of the primary.
#[test]
fn heavy_lines_are_entries_of_the_journal() {
    let _exclusive = tests::under_load();
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let Some(machine) = Machine::boot(&home) else { return };
    let command = serde_json::to_string(&[&python, "-c", TALKER]).expect("strings");
    let text = format!(
        "name = \"talker\"\ncommand = {command}\ninstances = 2\nlisten_wait = \"50ms\"\n\
         log = \"journald\"\n"
    );
    machine.write("/etc/supervisor/talker.toml", &text);
    machine.supervisor(&["startup", "/etc/supervisor/talker.toml", "--now"]).ok();
    let entries = wait_until("the lines of both workers", SOON, || {
        Some(journal(&machine, &[])).filter(|entries| entries.len() == 4)
    });
    for slot in ["0", "1"] {
        for (stream, priority, message) in
            [("stdout", "6", format!("hello {slot}")), ("stderr", "3", "oh no ✓".to_owned())]
        {
            let entry = entries.iter().find(|entry| {
                entry["SUPERVISOR_SLOT"] == slot && entry["SUPERVISOR_STREAM"] == stream
            });
            let entry = entry.unwrap_or_else(|| panic!("no {stream} of slot {slot}: {entries:#?}"));
            for (field, value) in [
                ("MESSAGE", message.as_str()),
                ("PRIORITY", priority),
                ("SYSLOG_IDENTIFIER", "talker"),
                // journald adds this itself, for the process that sent the entry.
                ("_SYSTEMD_UNIT", "supervisor-talker.service"),
            ] {
                assert_eq!(entry[field], value, "{field} of {entry:#}");
            }
        }
    }
    let errors = journal(&machine, &["--priority=err"]);
    assert!(errors.len() == 2 && errors.iter().all(|e| e["MESSAGE"] == "oh no ✓"), "{errors:#?}");
    assert_eq!(journal(&machine, &["SUPERVISOR_SLOT=1"]).len(), 2);

    let app = machine.supervisor(&["describe", "talker", "--json"]).ok().json();
    machine.run(&["kill", "-s", "KILL", &app[0]["primary_pid"].to_string()]).ok();
    machine.write("/etc/say-more", "");
    wait_until("the lines after the death of the primary", SOON, || {
        let more = journal(&machine, &[]);
        let said = |entry: &&serde_json::Value| entry["MESSAGE"] == "still here";
        (more.iter().filter(said).count() == 2).then_some(())
    });
    machine.supervisor(&["logs", "talker"]).ok().says(&["journalctl SUPERVISOR_APP=talker"]);
}
