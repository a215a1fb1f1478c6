//! The command line of PM2: a link with the name `pm2` starts, lists, restarts and deletes apps by
//! names, numbers, expressions and namespaces, and says what it cannot do.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::run::{Outcome, spawn};
use tests::{Home, fixtures, wait_until};

/// A home with a link, and a script for the apps.
struct Pm2 {
    home: Home,
    link: PathBuf,
}

impl Pm2 {
    fn new() -> Self {
        let home = tests::home!();
        let link = home.path().join("pm2");
        symlink(home.binary(), &link).expect("make a link");
        home.write("app.sh", "exec sleep 60\n");
        Self { home, link }
    }

    fn run(&self, line: &str) -> Outcome {
        let mut command = self.home.command_of(&self.link);
        command.args(line.split(' ')).current_dir(self.home.path());
        spawn(&mut command, self.home.path()).end(tests::home::LIMIT)
    }

    /// The processes of `jlist`.
    fn jlist(&self) -> Vec<Value> {
        let Value::Array(all) = self.run("jlist").ok().json() else { panic!("no array") };
        all
    }
}

#[test]
fn scripts_start_stop_and_go_as_with_pm2() {
    let pm2 = Pm2::new();
    let start = "start app.sh -i 2 --name web --namespace shop -k 500 -- --port 1";
    pm2.run(start).ok();
    pm2.run("start app.sh --name api").ok();
    pm2.run("start app.sh --name api").code(1).says(&["running already"]).one_line();
    let list = pm2.jlist();
    let shown = |process: &Value| {
        let env = &process["pm2_env"];
        format!("{} {} {}", process["pm_id"], process["name"], env["status"])
    };
    let names: Vec<String> = list.iter().map(shown).collect();
    let expected = ["0 \"web\" \"online\"", "1 \"web\" \"online\"", "2 \"api\" \"online\""];
    assert_eq!(names, expected);
    let env = &list[0]["pm2_env"];
    assert_eq!((&env["namespace"], &env["kill_timeout"]), (&"shop".into(), &500.into()));
    assert_eq!(env["args"], serde_json::json!(["--port", "1"]));
    assert_eq!(pm2.run("id web").ok().stdout, "[ 0, 1 ]\n");
    assert!(pm2.run("prettylist").ok().stdout.contains("status: 'online'"));
    assert!(pm2.run("ls").ok().stdout.contains("cluster_mode"));

    let before = pm2.home.pids("web");
    pm2.run("restart 1").ok();
    let after = pm2.home.pids("web");
    assert!(before[0] == after[0] && before[1] != after[1], "{before:?} {after:?}");

    pm2.run("stop 2").ok();
    pm2.run("stop 0").code(2).says(&["one of several workers of web", "pm2 scale"]).one_line();
    pm2.run("stop /w.b/").ok();
    assert!(pm2.jlist().iter().all(|process| process["pm2_env"]["status"] == "stopped"));
    pm2.run("start shop").ok();
    assert_eq!(pm2.home.pids("web").len(), 2);
    pm2.run("start api").ok();
    pm2.run("restart api").ok();
    assert_eq!(pm2.jlist()[2]["pm2_env"]["restart_time"], 1);
    pm2.run("reset api").ok();
    assert_eq!(pm2.jlist()[2]["pm2_env"]["restart_time"], 0);
    pm2.run("scale web 3").ok();
    assert_eq!(pm2.run("id web").ok().stdout, "[ 0, 1, 3 ]\n");
    pm2.run("delete all").ok();
    pm2.run("delete all").code(3).says(&["no apps"]).one_line();
    assert!(pm2.jlist().is_empty());
    pm2.home.nothing_left();
}

#[test]
fn files_are_started_or_reloaded() {
    if fixtures::need("node").is_none() {
        return;
    }
    let pm2 = Pm2::new();
    let app = |name: &str| format!("{{ name: '{name}', script: 'app.sh', env_x: {{ A: '1' }} }}");
    let text = format!("module.exports = [{}, {}]", app("one"), app("two"));
    pm2.home.write("ecosystem.config.js", &text);
    pm2.run("start ecosystem.config.js --only one --env x").ok();
    assert_eq!(pm2.jlist()[0]["pm2_env"]["env"], serde_json::json!({ "A": "<redacted>" }));
    assert!(pm2.home.run(&["env", "one", "--show"]).ok().stdout.contains("A=1"));
    pm2.run("startOrReload ecosystem.config.js").ok();
    let times: Vec<Value> =
        pm2.jlist().iter().map(|process| process["pm2_env"]["restart_time"].clone()).collect();
    assert_eq!(times, [1, 0]);
    pm2.run("delete ecosystem.config.js").ok();
    pm2.home.nothing_left();
}

/// The arguments of the first process.
fn args(pm2: &Pm2) -> Value {
    pm2.jlist()[0]["pm2_env"]["args"].clone()
}

#[test]
fn restart_takes_what_a_file_says_and_starts_what_is_not_there() {
    let pm2 = Pm2::new();
    let app = |args: &str| format!("[{{ name: 'a', script: 'app.sh', args: '{args}' }}]");
    pm2.home.write("one.json", &app("1"));
    pm2.home.write("two.json", &app("2"));
    pm2.run("restart one.json").ok();
    let before = pm2.home.pids("a");
    pm2.run("restart two.json").ok();
    assert_eq!(args(&pm2), serde_json::json!(["2"]));
    pm2.run("reload one.json").ok();
    assert_eq!(args(&pm2), serde_json::json!(["1"]));
    assert_ne!(pm2.home.pids("a"), before);
    assert_eq!(pm2.jlist()[0]["pm2_env"]["restart_time"], 2);
    pm2.run("stop one.json").ok();
    pm2.run("restart a").ok();
    assert_eq!(pm2.jlist()[0]["pm2_env"]["restart_time"], 2, "it was stopped");
    let script = format!("cat one.json | {} delete -", pm2.link.display());
    let mut command = pm2.home.command_of("sh");
    spawn(command.args(["-c", &script]), pm2.home.path()).end(tests::home::LIMIT).ok();
    assert!(pm2.jlist().is_empty());
    pm2.run("delete one.json").code(3).says(&["no app of one.json"]).one_line();
    pm2.home.nothing_left();
}

#[test]
fn restart_changes_arguments_and_names() {
    let pm2 = Pm2::new();
    pm2.run("start app.sh --name a -- x").ok();
    pm2.run("restart a --node-args -u -- y").ok();
    let env = pm2.jlist()[0]["pm2_env"].clone();
    assert_eq!(env["node_args"], serde_json::json!(["-u"]));
    assert_eq!(env["args"], serde_json::json!(["y"]));
    assert!(pm2.run("prettylist").ok().stdout.contains("node_args: [ '-u' ]"));
    pm2.run("reload 0 --node-args=null --name b").ok();
    assert_eq!(pm2.jlist()[0]["pm2_env"].get("node_args"), None);
    pm2.run("restart a").code(3).says(&["is called a"]);
    pm2.run("restart b").ok();
    pm2.run("start app.sh --name 455").ok();
    pm2.run("stop 455").ok();
    pm2.run("delete 455").ok();
    pm2.run("restart b --time").code(2).says(&["does not change time"]).one_line();
    pm2.run("delete b").ok();
    pm2.home.nothing_left();
}

#[test]
fn the_first_death_ends_a_start_which_goes_on() {
    let pm2 = Pm2::new();
    pm2.home.write("die.sh", "echo broken >&2; exit 3\n");
    pm2.home.write("end.sh", "exit 0\n");
    let outcome = pm2.run("start die.sh --restart-delay 60000");
    outcome.code(1).says(&["die: ", "exit code 3", "broken"]);
    let env = pm2.jlist()[0]["pm2_env"].clone();
    assert_eq!((&env["status"], &env["restart_time"]), (&"waiting restart".into(), &0.into()));
    let outcome = pm2.run("start end.sh --restart-delay 60000").ok();
    assert!(outcome.stdout.contains("ended with exit code 0"), "{outcome:?}");
    pm2.run("delete all").ok();
    pm2.home.nothing_left();
}

#[test]
fn an_exit_code_of_the_list_ends_an_app() {
    let pm2 = Pm2::new();
    pm2.home.write("end.sh", "exit 42\n");
    pm2.run("start end.sh --name done --stop-exit-codes 3 42").ok();
    let script = pm2.home.path().join("end.sh").display().to_string();
    let other = ["start", "--no-wait", "--name", "later", "--stop-exit-codes", "3"];
    let delays = ["--backoff-min", "1h", "--backoff-max", "1h", &script];
    pm2.home.run(&[&other[..], &delays].concat()).ok();
    let states = || -> Vec<Value> {
        pm2.jlist().iter().map(|process| process["pm2_env"]["status"].clone()).collect()
    };
    let expected = ["stopped", "waiting restart"];
    wait_until("the states", Duration::from_secs(20), || (states() == expected).then_some(()));
    pm2.run("delete all").ok();
    pm2.home.nothing_left();
}

/// A Node program gets the message, another one the signal.
#[test]
fn workers_are_stopped_by_a_message_where_the_app_says_so() {
    if fixtures::need("node").is_none() {
        return;
    }
    let pm2 = Pm2::new();
    let hears = "process.on('message', (m) => { console.log('got ' + m); process.exit(); });\n\
                 process.on('SIGINT', () => { console.log('signal'); process.exit(); });\n\
                 setInterval(() => {}, 1000); process.send('ready');\n";
    pm2.home.write("hears.js", hears);
    pm2.home.write("trap.sh", "trap 'echo signal; exit' INT; while :; do sleep 0.1; done\n");
    pm2.run("start hears.js --shutdown-with-message --wait-ready").ok();
    pm2.run("start trap.sh --shutdown-with-message").ok();
    pm2.run("stop all").ok();
    let said = |name: &str| pm2.home.run(&["logs", name, "--out"]).ok().stdout;
    assert!(said("hears").contains("got shutdown") && !said("hears").contains("signal"));
    assert!(said("trap").contains("signal"), "{}", said("trap"));
    pm2.run("delete all").ok();
    pm2.home.nothing_left();
}

#[test]
fn lines_have_their_date_and_workers_a_pid_file() {
    let pm2 = Pm2::new();
    pm2.home.write("says.sh", "echo hello; exec sleep 60\n");
    pm2.run(
        "start says.sh -i 2 -p run/says.pid -o says.log --log-date-format [on]YYYY --merge-logs",
    )
    .ok();
    let path = pm2.home.path().join("says.log");
    let lines = wait_until("the lines", Duration::from_secs(20), || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    for line in lines.lines() {
        let year = line.strip_prefix("on").and_then(|line| line.strip_suffix(": hello"));
        assert!(
            year.is_some_and(|year| year.parse::<u16>().is_ok_and(|year| year > 2000)),
            "{line}"
        );
    }
    let read = |slot: u16| {
        let path = pm2.home.path().join(format!("run/says-{slot}.pid"));
        std::fs::read_to_string(path).ok()
    };
    let named = |slot: u16| read(slot).and_then(|text| text.trim().parse::<u32>().ok());
    let before = pm2.home.pids("says");
    assert_eq!([named(0), named(1)], [Some(before[0]), Some(before[1])]);
    pm2.run("restart 1").ok();
    assert_eq!([named(0), named(1)], [Some(before[0]), Some(pm2.home.pids("says")[1])]);
    pm2.run("stop says").ok();
    assert_eq!([read(0), read(1)], [None, None]);
    pm2.run("delete all").ok();
    pm2.home.nothing_left();
}

#[test]
fn the_pid_file_of_pm2_ends_all_apps() {
    let pm2 = Pm2::new();
    let path = pm2.home.path().join(".pm2/pm2.pid");
    pm2.run("ls").ok();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    pm2.run("start app.sh --name one").ok();
    pm2.run("start app.sh --name two").ok();
    let text = std::fs::read_to_string(&path).unwrap();
    let pids: Vec<u32> = text.lines().map(|pid| pid.parse().expect("a pid")).collect();
    assert_eq!(pids.len(), 2, "{text:?}");
    for pid in &pids {
        tests::process::kill(*pid, Signal::SIGTERM);
    }
    wait_until("the end of both apps", Duration::from_secs(20), || {
        (!pids.iter().any(|pid| tests::process::is_alive(*pid))).then_some(())
    });
    assert!(pm2.jlist().is_empty());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    pm2.home.nothing_left();
}

#[test]
fn a_line_that_has_no_end_reaches_the_log() {
    let pm2 = Pm2::new();
    pm2.home.write("asks.sh", "printf 'Password: ' >&2; read answer; exec sleep 60\n");
    pm2.home.write("block.sh", "head -c 2000 /dev/zero | tr '\\0' x; echo >&2; exec sleep 60\n");
    pm2.run("start block.sh -o block.out -e block.err --merge-logs").ok();
    pm2.run("start asks.sh -l asks.log --merge-logs").ok();
    let read = |name: &str| std::fs::read_to_string(pm2.home.path().join(name)).unwrap_or_default();
    wait_until("the question", Duration::from_secs(20), || {
        (read("asks.log") == "Password: \n").then_some(())
    });
    // The rest of a block would come with the next one.
    assert_eq!((read("block.err"), read("block.out")), ("\n".into(), String::new()));
    pm2.run("delete all").ok();
    assert_eq!(read("block.out").len(), 2001);
    pm2.home.nothing_left();
}

#[test]
fn workers_have_logs_of_their_own_unless_they_are_merged() {
    let pm2 = Pm2::new();
    pm2.run("start app.sh --name each -i 2").ok();
    pm2.run("start app.sh --name one -i 2 --merge-logs").ok();
    pm2.run("start app.sh --name both -l all.log").ok();
    let files: Vec<String> = pm2
        .jlist()
        .iter()
        .map(|process| {
            process["pm2_env"]["pm_out_log_path"].as_str().unwrap_or_default().to_owned()
        })
        .map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(files, ["out-0.log", "out-1.log", "out.log", "out.log", "all.log"]);
    pm2.run("delete all").ok();
    pm2.home.nothing_left();
}

#[test]
fn saved_apps_come_back_from_either_file() {
    let pm2 = Pm2::new();
    pm2.run("start app.sh --name a -i 2").ok();
    pm2.run("save").ok();
    let dump = pm2.home.path().join(".pm2/dump.pm2");
    assert!(dump.is_file() && !dump.with_extension("pm2.bak").exists());
    pm2.run("save").ok();
    assert!(dump.with_extension("pm2.bak").is_file());
    pm2.run("delete all").ok();
    std::fs::write(&dump, "[{").expect("write");
    pm2.run("resurrect").ok().says(&["dump.pm2.broken"]);
    assert!(!dump.exists());
    assert_eq!(pm2.home.pids("a").len(), 2);
    pm2.run("delete all").ok();

    let folder = pm2.home.path().display();
    let saved = format!(
        "[{{ \"name\": \"old\", \"pm_exec_path\": \"{folder}/app.sh\", \"pm_cwd\": \"{folder}\", \
         \"exec_interpreter\": \"sh\", \"args\": [], \"env\": {{ \"A\": \"1\", \"SHLVL\": \"1\" }} }}]"
    );
    std::fs::write(&dump, saved).expect("write");
    let imported = pm2.home.run(&["import", &dump.display().to_string()]).ok().stdout;
    assert!(imported.contains("[app.old]") && !imported.contains("SHLVL"), "{imported}");
    pm2.run("resurrect").ok();
    let names: Vec<Value> = pm2.jlist().iter().map(|process| process["name"].clone()).collect();
    assert_eq!(names, ["old"]);
    pm2.run("delete all").ok();
    pm2.home.nothing_left();
}

#[test]
fn a_file_of_json_may_be_an_expression() {
    if fixtures::need("node").is_none() {
        return;
    }
    let pm2 = Pm2::new();
    pm2.home.write("apps.json", "[{ name: 'a', script: ['app', 'sh'].join('.') }]");
    pm2.run("start apps.json").ok();
    pm2.run("restart apps.json").ok();
    pm2.run("delete apps.json").ok();
    pm2.home.write("apps.json", "[{ name: 'a', script: require('fs') }]");
    pm2.run("start apps.json").code(2).says(&["apps.json"]);
    pm2.home.nothing_left();
}

#[test]
fn the_watch_goes_on_and_off_as_with_pm2() {
    let pm2 = Pm2::new();
    let field = |name: &str| pm2.jlist()[0]["pm2_env"][name].clone();
    for (line, is_watched) in [
        ("start app.sh --name w --watch --watch-delay 100", true),
        ("stop w", false),
        ("start w", false),
        ("restart w --watch", true),
        ("restart w --watch", false),
        ("restart w --watch", true),
        ("restart w", true),
    ] {
        pm2.run(line).ok();
        assert_eq!(field("watch"), is_watched, "{line}");
    }
    let before = field("restart_time").as_u64();
    pm2.home.wait_app("w", "the watch", tests::home::LIMIT, |app| {
        app.watch.as_ref().is_some_and(|watch| watch.folders.is_some())
    });
    pm2.home.write("app.sh", "exec sleep 61\n");
    wait_until("the change to count", tests::home::LIMIT, || {
        (field("restart_time").as_u64() > before).then_some(())
    });
    pm2.run("delete w").ok();
    pm2.home.nothing_left();
}

#[test]
fn what_it_cannot_do_fails_with_a_reason() {
    let pm2 = Pm2::new();
    for (line, code, says) in [
        ("start app.sh --attach", 2, "use \"pm2 logs NAME\""),
        ("start app.sh --frobnicate", 2, "no flag --frobnicate"),
        ("start app.sh --increment-var PORT", 2, "no flag --increment-var"),
        ("start nowhere.js", 2, "nowhere.js"),
        ("restart nix", 3, "no app, number or namespace is called nix"),
        ("imonit", 2, "use \"supervisor monit\""),
        ("frobnicate", 2, "no command \"frobnicate\""),
        ("serve .", 2, "start a web server"),
    ] {
        pm2.run(line).code(code).says(&[says]).one_line();
    }
    pm2.run("kill").ok();
    pm2.run("link delete").ok();
    assert_eq!(pm2.run("ping").ok().stdout, "{ msg: 'pong' }\n");
    pm2.home.nothing_left();
}

#[test]
fn a_program_of_path_is_started_and_its_logs_can_go() {
    let home = tests::home!();
    home.run(&["start", "--name", "x", "sh -c 'echo hello; exec sleep 60'"]).ok();
    let logs = || home.run(&["logs", "x", "--out"]).ok().stdout;
    wait_until("the line", Duration::from_secs(5), || logs().contains("hello").then_some(()));
    home.run(&["flush", "x"]).ok();
    assert_eq!(logs(), "");
    home.run(&["rm", "x", "--logs"]).ok();
    assert!(!home.path().join("logs/x").exists());
    home.nothing_left();
}

#[test]
fn stop_and_delete_take_a_file() {
    let home = tests::home!();
    let text = "[app.a]\ncommand = \"sleep 60\"\n[app.b]\ncommand = \"sleep 60\"\n";
    let file = home.write("apps.toml", text).display().to_string();
    home.run(&["start", &file]).ok();
    home.run(&["stop", &file]).ok();
    assert!(home.pids("a").is_empty() && home.pids("b").is_empty());
    home.run(&["delete", &file]).ok();
    home.nothing_left();
}
