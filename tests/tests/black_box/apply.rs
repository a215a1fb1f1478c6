//! `plan` shows what `apply` would do and changes nothing; `apply` does just that, and once more
//! does nothing; no output shows a value of a variable.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tests::run::Outcome;
use tests::{Home, Load, Port, fixtures, http, wait_until};

const SOON: Duration = Duration::from_secs(30);
const SECRET: &str = "hunter2hunter2";

/// A server, as a table of a file; it counts as stable after a short time.
fn table(name: &str, port: &Port, lines: &str) -> Option<String> {
    let command = serde_json::to_string(&fixtures::pid_server(port)?).expect("strings");
    let fast = "min_uptime = \"100ms\"\nobserve = \"100ms\"\n";
    Some(format!("[app.{name}]\ncommand = {command}\n{fast}{lines}\n"))
}

/// A table of a program that listens on nothing.
fn sleeper(name: &str, lines: &str) -> String {
    format!(
        "[app.{name}]\ncommand = [\"sleep\", \"1000\"]\nready = \"uptime\"\nmin_uptime = \"50ms\"\n\
         observe = \"50ms\"\n{lines}\n"
    )
}

/// The step of each app in the plan of this file.
fn steps(home: &Home, args: &[&str], code: i32) -> Vec<(String, String)> {
    let outcome = home.run(&[&["plan", "--json"], args].concat()).code(code);
    let apps = outcome.json();
    let apps = apps.as_array().expect("an array").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    apps.map(|app| (text(&app["name"]), text(&app["step"]))).collect()
}

fn step(name: &str, step: &str) -> (String, String) {
    (name.to_owned(), step.to_owned())
}

fn shows_no_secret(outcome: &Outcome) {
    let all = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(!all.contains(SECRET), "a secret is shown: {all}");
}

#[test]
fn plan_changes_nothing_apply_does_it_and_once_more_does_nothing() {
    let (home, port) = (tests::home!(), Port::new());
    let secret = format!("env = {{ TOKEN = \"{SECRET}\" }}");
    let Some(web) = table("web", &port, &secret) else { return };
    let file = home.write("apps.toml", &(web + &sleeper("job", ""))).display().to_string();
    assert_eq!(steps(&home, &[&file], 10), [step("web", "start"), step("job", "start")]);
    assert!(home.list().is_empty(), "the plan started an app");
    home.run(&["apply", "--dry-run", &file]).code(10);
    assert!(home.list().is_empty(), "the dry run started an app");

    shows_no_secret(&home.run(&["apply", &file]).ok());
    http::get(port.v4(), SOON).expect("an answer");
    let pids = home.pids("web");
    let again = home.run(&["apply", &file]).ok();
    assert_eq!(again.stdout, "nothing to do\n");
    assert_eq!(steps(&home, &[&file], 0), [step("web", "nothing"), step("job", "nothing")]);
    assert_eq!((home.pids("web"), home.app("web").generation), (pids, 1));
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}

#[test]
fn each_change_takes_what_it_needs_and_no_more() {
    let (home, port) = (tests::home!(), Port::new());
    let lines = |count: u16, token: &str| {
        let env = format!("instances = {count}\nenv = {{ TOKEN = \"{token}\" }}");
        table("web", &port, &env)
    };
    let Some(first) = lines(2, "first") else { return };
    let file = home.write("apps.toml", &first).display().to_string();
    home.run(&["apply", &file]).ok();
    let pids = home.pids("web");

    // More workers: the two that serve stay.
    home.write("apps.toml", &lines(3, "first").expect("as before"));
    assert_eq!(steps(&home, &[&file], 10), [step("web", "live")]);
    home.run(&["apply", &file]).ok();
    let three = home.pids("web");
    assert!(three.len() == 3 && pids.iter().all(|pid| three.contains(pid)), "{pids:?} {three:?}");
    assert_eq!(home.app("web").generation, 1);

    // A variable: every worker is replaced, under load and without a loss.
    home.write("apps.toml", &lines(3, SECRET).expect("as before"));
    let shown = home.run(&["plan", &file]).code(10);
    assert!(shown.stdout.contains("web: rolling reload\n  env.TOKEN changed\n"), "{shown:#?}");
    shows_no_secret(&shown);
    shows_no_secret(&home.run(&["plan", "--json", &file]).code(10));
    let load = Load { clients: 4, ..Load::new(port.v4()) }.start();
    load.warm(50);
    shows_no_secret(&home.run(&["apply", &file]).ok());
    load.stop().nothing_lost("a reload by apply");
    assert_eq!(home.app("web").generation, 2);

    // What scale sets is undone where the file says a number, and stays where it does not.
    home.run(&["scale", "web", "1"]).ok();
    assert_eq!(steps(&home, &[&file], 10), [step("web", "live")]);
    home.run(&["apply", &file]).ok();
    assert_eq!(home.pids("web").len(), 3);
    let silent = table("web", &port, &format!("env = {{ TOKEN = \"{SECRET}\" }}"));
    home.write("apps.toml", &silent.expect("as before"));
    home.run(&["scale", "web", "2"]).ok();
    home.run(&["apply", &file]).ok();
    assert_eq!(home.pids("web").len(), 2);
    assert_eq!(steps(&home, &[&file], 0), [step("web", "nothing")]);

    // The command.
    let other = silent_with_command(&port);
    home.write("apps.toml", &other);
    assert_eq!(steps(&home, &[&file], 10), [step("web", "reload")]);
    home.run(&["apply", &file]).ok();
    assert_eq!(steps(&home, &[&file], 0), [step("web", "nothing")]);
    http::get(port.v4(), SOON).expect("an answer");
}

/// The same server, called by way of `env`.
fn silent_with_command(port: &Port) -> String {
    let command = fixtures::pid_server(port).expect("as before");
    let command: Vec<String> = std::iter::once("env".to_owned()).chain(command).collect();
    let command = serde_json::to_string(&command).expect("strings");
    format!("[app.web]\ncommand = {command}\nmin_uptime = \"100ms\"\nobserve = \"100ms\"\n")
}

#[test]
fn values_for_the_bus_and_variables_of_the_caller_are_applied() {
    let home = tests::home!();
    let text = |limit: u8| {
        sleeper(
            "job",
            &format!("env = {{ TOKEN = \"${{TOKEN}}\" }}\nshared = {{ limit = {limit} }}"),
        )
    };
    let file = home.write("apps.toml", &text(1)).display().to_string();
    let run = |token: &str, verb: &str| {
        let mut command = home.command();
        command.env("TOKEN", token).args([verb, &file]);
        tests::run::spawn(&mut command, home.path()).end(SOON)
    };
    run("one", "apply").ok();
    home.write("apps.toml", &text(2));
    run("one", "plan").code(10);
    run("one", "apply").ok();
    assert_eq!(home.app("job").generation, 1);
    run("one", "plan").ok();
    // The primary has another value of the variable than the caller.
    shows_no_secret(&run(SECRET, "plan").code(10));
    shows_no_secret(&run(SECRET, "apply").ok());
    run(SECRET, "plan").ok();
    assert!(home.run(&["env", "job", "--show"]).ok().stdout.contains(SECRET));
}

#[test]
fn a_bad_deploy_of_one_app_leaves_the_others_as_planned() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(web) = table("web", &port, "") else { return };
    let text = |count: u8, web: &str| {
        sleeper("first", &format!("instances = {count}"))
            + web
            + &sleeper("last", &format!("instances = {count}"))
    };
    let file = home.write("apps.toml", &text(1, &web)).display().to_string();
    home.run(&["apply", &file]).ok();
    let pids = home.pids("web");
    let broken = "[app.web]\ncommand = [\"sh\", \"-c\", \"echo no such module >&2; exit 1\"]\n\
                  start_retries = 1\n";
    home.write("apps.toml", &text(2, broken));
    let outcome = home.run(&["apply", &file]).code(4).says(&["web", "no such module"]);
    assert!(
        outcome.stdout.contains("first: ") && outcome.stdout.contains("last: "),
        "{outcome:#?}"
    );
    assert_eq!((home.pids("first").len(), home.pids("last").len()), (2, 2));
    assert_eq!(home.pids("web"), pids);
    http::get(port.v4(), SOON).expect("an answer");
    assert_eq!(
        steps(&home, &[&file], 10),
        [step("first", "nothing"), step("web", "reload"), step("last", "nothing")]
    );
}

#[test]
fn prune_deletes_what_apply_started_and_nothing_else() {
    let home = tests::home!();
    let all = ["a", "b", "c"].map(|name| sleeper(name, "")).concat();
    let file = home.write("apps.toml", &all).display().to_string();
    home.run(&["start", &file, "--only", "c"]).ok();
    home.start("hand", &["--ready", "uptime"], &["sleep", "1000"]).ok();
    home.run(&["apply", &file]).ok();
    home.write("apps.toml", &sleeper("a", ""));
    assert_eq!(steps(&home, &[&file], 0), [step("a", "nothing")]);
    assert_eq!(steps(&home, &["--prune", &file], 10), [step("b", "delete"), step("a", "nothing")]);
    home.run(&["apply", "--prune", &file]).ok();
    let names: Vec<String> = home.list().into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["a", "c", "hand"]);
    assert_eq!(home.run(&["apply", "--prune", &file]).ok().stdout, "nothing to do\n");
    home.run(&["plan", "--prune", "--only", "a", &file]).code(2);
}

#[test]
fn a_mistake_in_any_file_changes_nothing() {
    let home = tests::home!();
    let good = home.write("good.toml", &sleeper("a", "")).display().to_string();
    let bad = home.write("bad.toml", "[app.b]\ncomand = \"true\"\n").display().to_string();
    home.run(&["apply", &good, &bad]).code(2).says(&["bad.toml:2:1", "comand"]);
    home.run(&["plan", "--only", "z", &good]).code(2).says(&["\"z\""]);
    let twice = home.write("twice.toml", &sleeper("a", "")).display().to_string();
    home.run(&["apply", &good, &twice]).code(2).says(&["twice.toml:1:6", "good.toml:1:6"]);
    assert!(home.list().is_empty());
    fs::remove_file(&twice).expect("remove it");
    home.run(&["plan", &good, &twice]).code(2).says(&["twice.toml"]);
}

#[test]
fn an_exported_app_has_nothing_to_do() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(server) = fixtures::pid_server(&port) else { return };
    let set = format!("TOKEN={SECRET}");
    let options = ["-i", "3", "-e", &set, "--stop-signal", "INT", "--namespace", "shop"];
    home.start("web", &options, &server).ok();
    home.run(&["scale", "web", "2"]).ok();
    let printed = home.run(&["export", "web"]).ok();
    shows_no_secret(&printed);
    assert!(printed.stdout.contains("TOKEN = \"${TOKEN}\""), "{printed:#?}");
    home.run(&["export", "web", "--with-env"]).code(2);
    for name in ["web.toml", "web.yaml", "web.json"] {
        let file = home.path().join(name).display().to_string();
        shows_no_secret(&home.run(&["export", "web", "--with-env", "-o", &file]).ok());
        let mode = fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(steps(&home, &[&file], 0), [step("web", "nothing")]);
        home.run(&["export", "web", "-o", &file]).code(1).says(&["is there already"]);
    }
    let references = home.write("references.toml", &printed.stdout).display().to_string();
    let mut command = home.command();
    command.env("TOKEN", SECRET).args(["plan", &references]);
    tests::run::spawn(&mut command, home.path()).end(SOON).ok();
    home.run(&["plan", &references]).code(2).says(&["\"TOKEN\" is not set"]);

    // All apps of the namespace.
    home.start("hand", &["--ready", "uptime"], &["sleep", "1000"]).ok();
    home.run(&["delete", "shop:"]).ok();
    let names: Vec<String> = home.list().into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["hand"]);
    home.run(&["stop", "shop:"]).code(3).says(&["no app is in the namespace \"shop\""]);
}

#[test]
fn apps_start_after_those_that_they_depend_on() {
    let home = tests::home!();
    let db = home.write("conf.d/db.toml", &sleeper("db", "")).display().to_string();
    let web = home.write("conf.d/web.toml", &sleeper("a-web", "depends_on = [\"db\"]"));
    let web = web.display().to_string();
    home.run(&["check", &web]).code(2).says(&["web.toml:6:14", "a-web depends on \"db\""]);
    home.run(&["check", &web, &db]).ok();
    let pattern = home.path().join("conf.d/*.toml").display().to_string();
    let started = home.run(&["start", &pattern]).ok();
    let at = |name: &str| started.stdout.find(&format!("{name}: ")).expect("a line of the app");
    assert!(at("db") < at("a-web"), "{started:#?}");
    home.run(&["save"]).ok();
    home.go_down();
    let again = home.run(&["resurrect"]).ok().stdout;
    assert!(again.find("db: ") < again.find("a-web: "), "{again}");
    home.run(&["delete", "all"]).ok();

    // The one that must be ready fails; the other one need only have been tried.
    let broken = "[app.db]\ncommand = [\"false\"]\nstart_retries = 1\n";
    home.write("conf.d/db.toml", broken);
    let started = sleeper("z-job", "depends_on = { db = \"started\" }");
    home.write("conf.d/job.toml", &started);
    let outcome = home.run(&["apply", &pattern]).code(1);
    outcome.says(&["a-web: not started, because db, which it depends on, failed"]);
    assert_eq!(home.pids("z-job").len(), 1);

    // A file of the pattern that is gone takes its apps with it.
    fs::remove_file(home.path().join("conf.d/job.toml")).expect("remove it");
    home.write("conf.d/db.toml", &sleeper("db", ""));
    home.run(&["apply", "--prune", &pattern]).ok();
    let names: Vec<String> = home.list().into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["a-web", "db"]);
}

#[test]
fn an_app_that_moves_to_another_file_is_of_that_file_from_then_on() {
    let home = tests::home!();
    let one = home.write("one.toml", &(sleeper("a", "") + &sleeper("b", "")));
    let one = one.display().to_string();
    home.run(&["apply", &one]).ok();
    let pids = home.pids("b");
    home.write("one.toml", &sleeper("a", ""));
    let two = home.write("two.toml", &sleeper("b", "")).display().to_string();
    assert_eq!(steps(&home, &[&two], 10), [step("b", "live")]);
    home.run(&["apply", &two]).ok();
    assert_eq!(home.pids("b"), pids, "no worker was replaced");
    assert_eq!(steps(&home, &[&two], 0), [step("b", "nothing")]);
    assert_eq!(steps(&home, &["--prune", &one], 0), [step("a", "nothing")]);
    home.run(&["reload", "b"]).ok();
}

#[test]
fn a_job_is_done_once() {
    let home = tests::home!();
    let job = |words: &str| {
        let lines = "restart = \"never\"\nready = \"uptime\"\nmin_uptime = \"50ms\"\n";
        format!("[app.job]\ncommand = [\"sh\", \"-c\", \"echo {words} >> ran\"]\n{lines}")
    };
    let file = home.write("job.toml", &job("one")).display().to_string();
    let ran = || fs::read_to_string(home.path().join("ran")).unwrap_or_default();
    for _ in 0..2 {
        home.run(&["apply", &file]).ok();
        wait_until("the job to be done", SOON, || {
            home.list().first().is_some_and(|app| app.done).then_some(())
        });
        assert_eq!(ran(), "one\n");
        assert_eq!(steps(&home, &[&file], 0), [step("job", "nothing")]);
    }
    home.write("job.toml", &job("two"));
    home.run(&["apply", &file]).ok();
    wait_until("the job to be done", SOON, || (ran() == "one\ntwo\n").then_some(()));
}

#[test]
fn shared_values_are_only_exported_into_a_file_of_the_user() {
    let home = tests::home!();
    let shared = format!("shared = {{ token = \"{SECRET}\" }}");
    let file = home.write("web.toml", &sleeper("web", &shared)).display().to_string();
    home.run(&["apply", &file]).ok();
    let refused = home.run(&["export", "web"]).code(2);
    shows_no_secret(&refused);
    refused.says(&["shared values", "--with-env"]);
    let copy = home.path().join("copy.toml").display().to_string();
    home.run(&["export", "web", "--with-env", "-o", &copy]).ok();
    assert_eq!(fs::metadata(&copy).expect("the file").permissions().mode() & 0o777, 0o600);
    home.run(&["delete", "web"]).ok();
    home.run(&["apply", &copy]).ok();
    assert_eq!(steps(&home, &[&copy], 0), [step("web", "nothing")]);
}

#[test]
fn a_namespace_is_started_again_and_the_last_file_of_a_set_is_pruned() {
    let home = tests::home!();
    home.write("conf.d/a.toml", &sleeper("a", "namespace = \"shop\""));
    let pattern = home.path().join("conf.d/*.toml").display().to_string();
    home.run(&["apply", &pattern]).ok();
    home.run(&["scale", "a", "3"]).ok();
    home.run(&["stop", "shop:"]).ok();
    home.run(&["start", "shop:"]).ok();
    home.run(&["stop", "shop:"]).ok();
    home.run(&["apply", &pattern]).ok();
    assert_eq!(home.pids("a").len(), 3, "the file says no number");
    fs::remove_file(home.path().join("conf.d/a.toml")).expect("remove it");
    home.run(&["plan", &pattern]).code(2).says(&["no configuration file matches"]);
    home.run(&["apply", "--prune", &pattern]).ok();
    assert!(home.list().is_empty());
}

#[test]
fn an_app_waits_until_a_job_has_done_its_work() {
    let home = tests::home!();
    let file = |ends: &str, restart: &str| {
        let text = format!(
            "[app.web]\ncommand = \"sleep 1000\"\ndepends_on = {{ migrate = \"completed\" }}\n\
             [app.migrate]\ncommand = [\"sh\", \"-c\", \"cat begin; {ends}\"]\nready = \"uptime\"\n\
             min_uptime = \"10ms\"\n{restart}\n"
        );
        home.write("apps.toml", &text).display().to_string()
    };
    let begin = home.path().join("begin");
    nix::unistd::mkfifo(&begin, nix::sys::stat::Mode::S_IRWXU).expect("make a fifo");
    let path = file("exit 0", "restart = \"on-failure\"");
    let running = home.spawn(&["start", &path]);
    wait_until("the job", Duration::from_secs(10), || {
        home.list().iter().any(|app| app.name == "migrate" && app.ready == 1).then_some(())
    });
    assert!(home.list().iter().all(|app| app.name != "web"), "web waits");
    fs::write(&begin, "x").expect("write");
    running.end(tests::home::LIMIT).ok();
    assert_eq!(home.pids("web").len(), 1);
    home.run(&["delete", "all"]).ok();

    fs::remove_file(&begin).expect("remove");
    home.write("begin", "");
    let path = file("exit 3", "restart = \"never\"");
    home.run(&["apply", &path]).code(1).says(&["migrate", "exit code 3", "web: not started"]);
    home.run(&["delete", "all"]).ok();
    let path = file("sleep 1000", "");
    home.run(&["apply", &path]).code(1).says(&["never completed", "web: not started"]);
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}
