//! Every message has its exact text here; random files must never bring the reader down.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cpus::CpuLimit;
use crate::keys;
use crate::spec::{AddressPattern, Balance, Engine, Instances, ReadyRule, RestartOn};

const CPUS: Cpus = Cpus { count: 4, limit: CpuLimit::Machine };

fn read(text: &str) -> Result<Vec<AppSpec>, Report> {
    parse(text, Path::new("/srv/f.toml"), &CPUS)
}

fn one(text: &str) -> AppSpec {
    let mut specs = read(text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(specs.len(), 1);
    specs.remove(0)
}

/// The report without the folder.
fn refused(text: &str) -> String {
    read(text).map(|specs| format!("{specs:?}")).unwrap_err().to_string().replace("/srv/", "")
}

const FULL: &str = r#"
name = "shop"
command = "node server.js --port 80"
cwd = "app"
env = { A = "x", B = 2, C = true, D = 1.50 }
instances = "50%"
listen = ["web=127.0.0.1:8000", "unix:/run/shop.sock"]
balance = "sticky"
engine = "kernel"
intercept = true
passthrough = [":9229", "127.0.0.1:*"]
user = "www"
group = 33
ready = "listen"
ready_timeout = "1m"
listen_wait = "2s"
min_uptime = "3s"
kill_timeout = "4s"
drain_timeout = "5s"
drain_idle = "600ms"
sticky_wait = "700ms"
hang_timeout = "45s"
leak_window = "46s"
proxy_protocol = false
shared = { limit = 9, names = ["a"], rate = 0.5, deep = { on = true } }
stop_signal = "QUIT"
restart = "on-failure"
start_retries = 7
max_restarts = 8
restart_window = "9s"
backoff_min = "10ms"
backoff_max = "11s"
backoff_reset = "12s"
"#;

#[test]
fn every_key_arrives() {
    let spec = one(FULL);
    assert_eq!(spec.name, "shop");
    assert_eq!(spec.command, ["node", "server.js", "--port", "80"]);
    assert_eq!(spec.cwd, Path::new("/srv/app"));
    let env: Vec<_> = spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["A=x", "B=2", "C=true", "D=1.50"]);
    assert_eq!((spec.instances, spec.wanted), (Instances::Percent(50), 2));
    assert_eq!(spec.wanted_because, "50% of 4 CPUs");
    let listen: Vec<_> = spec.listen.iter().map(|l| format!("{}={}", l.name, l.address)).collect();
    assert_eq!(listen, ["web=127.0.0.1:8000", "shop=unix:/run/shop.sock"]);
    assert_eq!((spec.balance, spec.engine), (Balance::Sticky, Engine::Kernel));
    assert!(spec.intercept);
    let port = AddressPattern { ip: None, port: Some(9229) };
    assert_eq!(spec.passthrough, [port, "127.0.0.1:*".parse().unwrap()]);
    assert_eq!((spec.user.as_deref(), spec.group.as_deref()), (Some("www"), Some("33")));
    assert_eq!(spec.ready, ReadyRule::Listen);
    let times = spec.times;
    assert_eq!(times.ready_timeout, Duration::from_secs(60));
    assert_eq!(times.listen_wait, Duration::from_secs(2));
    assert_eq!(times.min_uptime, Duration::from_secs(3));
    assert_eq!(times.kill_timeout, Duration::from_secs(4));
    assert_eq!(times.drain_timeout, Duration::from_secs(5));
    assert_eq!(times.drain_idle, Duration::from_millis(600));
    assert_eq!(times.sticky_wait, Duration::from_millis(700));
    assert_eq!(times.hang_timeout, Duration::from_secs(45));
    assert_eq!(times.leak_window, Duration::from_secs(46));
    let shared = r#"{"deep":{"on":true},"limit":9,"names":["a"],"rate":0.5}"#;
    assert_eq!(spec.shared.as_deref(), Some(shared));
    assert_eq!(spec.stop_signal, 3);
    let restart = spec.restart;
    assert_eq!(restart.on, RestartOn::Failure);
    assert_eq!((restart.start_retries, restart.max_restarts), (7, 8));
    assert_eq!(restart.window, Duration::from_secs(9));
    assert_eq!(restart.backoff_min, Duration::from_millis(10));
    assert_eq!(restart.backoff_max, Duration::from_secs(11));
    assert_eq!(restart.backoff_reset, Duration::from_secs(12));
    assert_eq!(spec.source.as_deref(), Some(Path::new("/srv/f.toml")));
}

#[test]
fn the_least_is_a_command() {
    let mut expected = AppSpec::new("server", vec!["./server".to_owned()], "/srv".into());
    expected.source = Some("/srv/f.toml".into());
    assert_eq!(one(r#"command = "./server""#), expected);
    assert_eq!(one("command = ['a b', 'c']").command, ["a b", "c"]);
}

#[test]
fn several_apps_in_the_order_of_the_file() {
    let specs = read("[app.web]\ncommand = 'a'\n[app.api]\ncommand = 'b'\n").unwrap();
    let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["web", "api"]);
}

#[test]
fn other_forms() {
    assert_eq!(one("command = 'a'\ninstances = 0x3").instances, Instances::Count(3));
    assert_eq!(one("command = 'a'\ninstances = -1").instances, Instances::MaxMinus(1));
    assert_eq!(one("command = 'a'\nwait_ready = true").ready, ReadyRule::Notify);
    assert_eq!(one("command = 'a'\nwait_ready = false").ready, ReadyRule::Auto);
    assert_eq!(one("command = 'a'\nlisten = 8000").listen[0].address.to_string(), "0.0.0.0:8000");
    let named = one("command = 'a ${fd:web}'\nlisten = { web = '80', all = '[::]:81' }").listen;
    let named: Vec<_> = named.iter().map(|l| format!("{}={}", l.name, l.address)).collect();
    assert_eq!(named, ["web=0.0.0.0:80", "all=[::]:81"]);
    assert_eq!(one("command = 'a'\nstop_signal = 10").stop_signal, 10);
}

#[test]
fn scripts_start_at_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hello.js"), "").unwrap();
    let file = folder.path().join("s.toml");
    let spec = parse("script = 'hello.js'", &file, &CPUS).unwrap().remove(0);
    assert_eq!(spec.command, ["node", folder.path().join("hello.js").to_str().unwrap()]);
    assert_eq!((spec.name.as_str(), spec.cwd.as_path()), ("hello", folder.path()));
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |name: &str| {
        let path = folder.path().join(name);
        let report = Reader::new(&CPUS).load(&path).unwrap_err().to_string();
        report.replace(folder.path().to_str().unwrap(), "FOLDER")
    };
    assert_eq!(shown("x"), "FOLDER/x: cannot read: No such file or directory (os error 2)");
    assert_eq!(shown(""), "FOLDER/: cannot read: Is a directory (os error 21)");
    std::fs::write(folder.path().join("b"), b"a = '\xff'").unwrap();
    assert_eq!(shown("b"), "FOLDER/b: is not UTF-8 text: the byte at 5 belongs to no character");
    std::fs::write(folder.path().join("l"), vec![b'#'; MAX_FILE + 1]).unwrap();
    assert_eq!(shown("l"), "FOLDER/l: is larger than 1048576 bytes, which no configuration is");
    std::fs::write(folder.path().join("m"), "command = 'no-such-program-here'\nenv.PATH = '/bin'")
        .unwrap();
    assert_eq!(
        shown("m"),
        "FOLDER/m:1:11: the command \"no-such-program-here\" is in no folder of PATH (/bin)\n    \
         command = 'no-such-program-here'\n              ^^^^^^^^^^^^^^^^^^^^^^"
    );
}

/// Each kind of mistake after `command = 'a'`: the line, then line, column and message.
const MISTAKES: &[(&str, &str)] = &[
    ("instnaces = 4", r#"2:1: unknown key "instnaces": did you mean "instances"?"#),
    ("kill-timeout = '1s'", r#"2:1: unknown key "kill-timeout": did you mean "kill_timeout"?"#),
    ("workers = 4", r#"2:1: unknown key "workers": did you mean "instances"?"#),
    ("colour = 'red'", r#"2:1: unknown key "colour": remove it"#),
    ("name = 'a/b'", r#"2:8: the name "a/b" contains "/": use letters, digits, ".", "_" and "-""#),
    ("name = 7", "2:8: name must be a string, not an integer"),
    (
        "script = 'a.js'",
        r#"2:10: script "a.js": cannot find /gone/a.js: No such file or directory (os error 2)"#,
    ),
    ("cwd = ['x']", "2:7: cwd must be a string, not an array"),
    ("env = 'A=b'", "2:7: env must be a table, not a string"),
    ("env.A = []", "2:9: env.A must be a string, a number or a boolean, not an array"),
    (
        "env.LISTEN_FDS = 1",
        r#"2:5: "LISTEN_FDS" is set by the supervisor for each worker: remove it"#,
    ),
    (
        "instances = 'banana'",
        r#"2:13: instances "banana": expected a number, "max", "-N", "P%" or "MIN..MAX""#,
    ),
    (
        "instances = 0",
        r#"2:13: instances 0: at least 1 worker is needed ("max" means one per CPU)"#,
    ),
    ("instances = 2000", "2:13: instances 2000: at most 1024 workers are possible"),
    ("instances = 1.5", "2:13: instances must be a string or an integer, not a float"),
    ("listen = '0'", "2:10: port 0 means another port at every start: choose one from 1 to 65535"),
    ("listen = ['80', true]", "2:17: listen must be a string or an integer, not a boolean"),
    ("listen = ['80', '80']", "2:17: 0.0.0.0:80 is listed twice"),
    (
        "listen = { 'a b' = '80' }",
        r#"2:20: the name "a b" contains " ": use letters, digits, ".", "_" and "-""#,
    ),
    (
        "balance = 'rr'",
        r#"2:11: balance cannot be "rr": choose one of "round-robin", "sticky", "least-connections", "hash", "shared""#,
    ),
    ("engine = true", "2:10: engine must be a string, not a boolean"),
    ("intercept = 'no'", "2:13: intercept must be true or false, not a string"),
    ("passthrough = ['*:*']", r#"2:16: "*:*" means every address: use intercept = false for that"#),
    (
        "ready = 'soon'",
        r#"2:9: ready cannot be "soon": choose one of "auto", "listen", "notify", "uptime""#,
    ),
    ("kill_timeout = 10", r#"2:16: kill_timeout 10: the unit is missing: write "10s" or "10ms""#),
    (
        "kill_timeout = 'soon'",
        r#"2:16: kill_timeout "soon": expected a duration such as "10s", "1m 30s" or "500ms""#,
    ),
    ("kill_timeout = true", r#"2:16: kill_timeout must be a string such as "10s", not a boolean"#),
    ("ready_timeout = '0s'", "2:17: ready_timeout is 0: no worker could ever be ready"),
    (
        "stop_signal = 'BANANA'",
        r#"2:15: stop_signal "BANANA": expected the name of a signal such as "TERM", or 1 to 64"#,
    ),
    (
        "restart = 'no'",
        r#"2:11: restart cannot be "no": choose one of "always", "on-failure", "never""#,
    ),
    ("start_retries = 0", "2:17: start_retries must be an integer from 1 to 65535, not 0"),
    ("max_restarts = 'x'", "2:16: max_restarts must be an integer from 1 to 65535, not a string"),
    ("backoff_min = '1m'", "1:1: backoff_max is shorter than backoff_min"),
    (
        "log = 'syslog'",
        r#"2:7: log cannot be "syslog": choose one of "files", "journald", "stdout", "direct", "none""#,
    ),
    ("log_max_size = '1K'", r#"2:16: log_max_size "1K": expected a size from 64K to 1T"#),
    ("log_rotate_every = '9ms'", r#"2:20: log_rotate_every "9ms": expected 0s or at least 1s"#),
    ("log_keep = 0", "2:12: log_keep 0: expected a whole number from 1 to 365"),
    ("log_rate = 'much'", r#"2:12: log_rate "much": expected a whole number from 0 to 100000000"#),
    ("name = 'x'\nname = 'y'", "3:1: duplicate key"),
    ("name = ", "2:8: string values must be quoted, expected literal string"),
    ("app = 3", r#"1:1: "command" stands outside of every [app.NAME] table: move it"#),
];

#[test]
fn each_mistake_has_its_message() {
    for (line, expected) in MISTAKES {
        let text = format!("command = 'a'\n{line}\n");
        let report = parse(&text, Path::new("/gone/f.toml"), &CPUS).unwrap_err();
        let place = report.problems[0].place.as_ref().unwrap();
        let message = &report.problems[0].message;
        let shown = format!("{}:{}: {message}", place.line, place.column);
        assert_eq!(&shown, expected, "{line}");
    }
}

#[test]
fn commands_that_say_nothing() {
    for (text, expected) in [
        ("", "1:1: nothing says what to run: add a \"command\" or a \"script\""),
        ("command = 3", "1:11: command must be a string or an array of strings"),
        ("command = []", "1:11: the command is empty: write the program to run"),
        ("command = ['']", "1:11: the command is empty: write the program to run"),
        ("command = ''", "1:11: command \"\": the command is empty"),
        ("command = ['a', 3]", "1:17: each item of command must be a string, not an integer"),
        (
            "command = \"a 'b\"",
            "1:11: command \"a 'b\": the command has a quote or a backslash without its partner",
        ),
        (
            "command = 'a | b'",
            "1:11: command \"a | b\": \"|\" needs a shell: write [\"sh\", \"-c\", \"...\"]",
        ),
        ("command = \"a \\u0000\"", "1:11: the command contains a NUL, which no argument can hold"),
        ("comand = 'a'", "1:1: unknown key \"comand\": did you mean \"command\"?"),
        ("command = 'a ${fd:x}'", "1:11: no listener is called \"x\": there is no \"listen\""),
    ] {
        let report = refused(text);
        assert_eq!(report.lines().next().unwrap(), format!("f.toml:{expected}"), "{text}");
        assert_eq!(report.lines().count(), 3, "{report}");
    }
}

#[test]
fn everything_is_reported_at_once_in_order() {
    assert_eq!(
        refused("instnaces = 4\ncommand = 'a'\n\tkill_timeout = 10\nbalance = \"rr\"\n"),
        r#"f.toml:1:1: unknown key "instnaces": did you mean "instances"?
    instnaces = 4
    ^^^^^^^^^
f.toml:3:17: kill_timeout 10: the unit is missing: write "10s" or "10ms"
    	kill_timeout = 10
    	               ^^
f.toml:4:11: balance cannot be "rr": choose one of "round-robin", "sticky", "least-connections", "hash", "shared"
    balance = "rr"
              ^^^^"#
    );
}

#[test]
fn mistakes_between_apps() {
    assert_eq!(
        refused("[app.a]\ncommand = 'a'\nlisten = 80\n[app.b]\ncommand = 'b'\nlisten = '80'"),
        "f.toml:4:6: \"b\" and \"a\" both listen on 0.0.0.0:80\n    [app.b]\n         ^"
    );
    assert_eq!(
        refused("[app.'a b']\ncommand = 'a'\n[app.c]\nname = 'd'\ncommand = 'c'"),
        "f.toml:1:6: the name \"a b\" contains \" \": use letters, digits, \".\", \"_\" and \"-\"\n    \
         [app.'a b']\n         ^^^^^\n\
         f.toml:4:8: the app is called \"c\" by its table: remove \"name\"\n    \
         name = 'd'\n           ^^^"
    );
    assert_eq!(
        refused("[app]\ncommand = 'a'"),
        "f.toml:2:1: \"command\" needs an app: write [app.NAME] with a name, not [app]\n    \
         command = 'a'\n    ^^^^^^^"
    );
    assert_eq!(
        refused("[app]"),
        "f.toml:1:1: there is no app: write [app.NAME] with a \"command\"\n    [app]\n    ^^^^^"
    );
    assert_eq!(
        refused("[apps.web]\ncommand = 'a'"),
        "f.toml:1:2: unknown key \"apps\": did you mean \"app\"?\n    [apps.web]\n     ^^^^"
    );
}

#[test]
fn contradictions_are_cited_at_a_key() {
    let shown = |text: &str| refused(&format!("command = 'a'\n{text}"));
    for (text, expected) in [
        (
            "script = '/bin/sh'",
            "f.toml:2:10: \"command\" and \"script\" both say what to run: remove one of them",
        ),
        (
            "ready = 'uptime'\nwait_ready = true",
            "f.toml:3:14: wait_ready = true means ready = \"notify\": remove one of them",
        ),
        (
            "ready = 'listen'\nintercept = false",
            "f.toml:2:9: ready = \"listen\" needs intercept = true: nobody else sees a worker listen",
        ),
        (
            "intercept = false\npassthrough = ':1'",
            "f.toml:3:15: passthrough has no meaning with intercept = false: remove one of them",
        ),
        (
            "intercept = false\nio_uring = 'deny'",
            "f.toml:3:12: io_uring = \"deny\" has no meaning with intercept = false: remove one of them",
        ),
        (
            "balance = 'shared'\nengine = 'primary'",
            "f.toml:3:10: balance = \"hash\" and \"shared\" need engine = \"kernel\" or \"auto\": in both the kernel chooses the worker",
        ),
        (
            "ready = 'uptime'\nmin_uptime = '1h'",
            "f.toml:3:14: min_uptime is not shorter than ready_timeout: with ready = \"uptime\" no worker could ever be ready",
        ),
        ("backoff_min = '0s'", "f.toml:2:15: backoff_min is 0: use at least \"1ms\""),
    ] {
        assert_eq!(shown(text).lines().next(), Some(expected), "{text}");
    }
}

#[test]
fn the_page_names_every_key_and_its_examples_work() {
    let page = include_str!("../../../docs/configuration.md");
    for key in keys::all().map(|key| key.name).chain(["pool"]) {
        assert!(page.contains(&format!("| `{key}` |")), "docs/configuration.md lacks {key}");
    }
    let examples: Vec<_> = page.split("```toml\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let example = example.split("```").next().unwrap();
        if let Err(report) = read(example) {
            // The reader looks for a script, and there is none beside the page.
            let scripts = report.problems.iter().all(|p| p.message.starts_with("script "));
            assert!(scripts, "{example}\n{report}");
        }
    }
    read(include_str!("../../../examples/hello.toml")).unwrap();
}

fn value() -> impl Strategy<Value = String> {
    // Anything a TOML basic string can hold; `{:?}` of a str is not TOML, so it is written by toml.
    "\\PC{0,20}".prop_map(|text| toml::Value::String(text).to_string())
}

#[test]
fn privileges_are_read() {
    use crate::spec::{Limit, Resource};
    let spec = one(r#"
command = "app"
groups = ["video", 44]
umask = "027"
nice = -5
oom_score_adj = 500
no_new_privs = true
limits = { nofile = 65536, core = "infinity", nproc = "100:200" }
operators = "deploy"
observers = "monitoring"
"#);
    let asked = &spec.privileges;
    assert_eq!(asked.groups, ["video", "44"]);
    assert_eq!((asked.umask, asked.nice, asked.oom_score_adj), (Some(0o27), Some(-5), Some(500)));
    assert!(asked.no_new_privs);
    assert_eq!(asked.limits[&Resource::Nproc], Limit { soft: 100, hard: 200 });
    assert_eq!(asked.limits.len(), 3);
    assert_eq!(spec.operators.as_deref(), Some("deploy"));
    assert_eq!(spec.observers.as_deref(), Some("monitoring"));
    assert_eq!(one("command = \"app\"\numask = 0o77").privileges.umask, Some(0o77));
}

#[test]
fn privileges_are_refused_with_their_places() {
    for (line, message) in [
        ("umask = 27", "umask must be octal: write \"027\" or 0o027"),
        (
            "umask = \"rwx\"",
            "umask \"rwx\": expected an octal mask such as \"027\", at most \"777\"",
        ),
        ("nice = 20", "nice 20: expected a whole number from -20 to 19"),
        (
            "oom_score_adj = \"x\"",
            "oom_score_adj \"x\": expected a whole number from -1000 to 1000",
        ),
        ("limits = 5", "limits must be a table, not an integer"),
        ("limits.files = 5", "there is no limit \"files\": choose one of as, core, cpu"),
        ("limits.nofile = \"2:1\"", "limits.nofile \"2:1\": the soft limit is above the hard one"),
        ("no_new_privs = 1", "no_new_privs must be true or false, not an integer"),
        ("rlimits = 1", "unknown key \"rlimits\": did you mean \"limits\"?"),
    ] {
        let report = read(&format!("command = \"app\"\n{line}\n")).unwrap_err().to_string();
        assert!(report.contains(":2:") && report.contains(message), "{line}: {report}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = read(&text).map_err(|report| report.to_string());
    }

    #[test]
    fn arbitrary_lines_never_panic(
        lines in proptest::collection::vec((0..keys::all().count(), 0..8_usize, value()), 0..8)
    ) {
        let text: Vec<_> = lines.iter().map(|(key, form, value)| {
            let key = keys::all().nth(*key).unwrap().name;
            match form {
                0 => format!("{key} = {value}"),
                1 => format!("{key} = [{value}, {value}]"),
                2 => format!("{key} = {{ a = {value} }}"),
                3 => format!("{key} = -99999999999999999999"),
                4 => format!("[{key}.{key}]"),
                5 => format!("[[{key}]]"),
                6 => format!("{key}.{value} = 1e9"),
                _ => format!("{key} = 1979-05-27\r\n\t{value}"),
            }
        }).collect();
        let _ = read(&text.join("\n")).map_err(|report| report.to_string());
    }

    #[test]
    fn what_is_written_arrives(
        name in "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}",
        command in proptest::collection::vec("[^\\x00]{1,10}", 1..5),
        env in proptest::collection::btree_map("[A-Z]{1,8}", "[^\\x00]{0,20}", 0..5),
        instances in 1..=1024_u16,
        port in 1..=u16::MAX,
        millis in 1..=30_000_u64,
        retries in 1..=u16::MAX,
    ) {
        prop_assume!(name != "all" && !command.iter().any(|word| word.contains("${fd:")));
        let mut table = toml::Table::new();
        table.insert("name".to_owned(), name.clone().into());
        table.insert("command".to_owned(), command.clone().into());
        let variables: toml::Table =
            env.iter().map(|(key, text)| (key.clone(), text.clone().into())).collect();
        table.insert("env".to_owned(), variables.into());
        table.insert("instances".to_owned(), i64::from(instances).into());
        table.insert("listen".to_owned(), format!("web=[::1]:{port}").into());
        table.insert("drain_idle".to_owned(), format!("{millis}ms").into());
        table.insert("max_restarts".to_owned(), i64::from(retries).into());
        let spec = one(&table.to_string().replace('$', "$$"));
        prop_assert_eq!(spec.name, name);
        prop_assert_eq!(spec.command, command);
        prop_assert_eq!(spec.env, env);
        prop_assert_eq!((spec.instances, spec.wanted), (Instances::Count(instances), instances));
        prop_assert_eq!(spec.listen[0].address.to_string(), format!("[::1]:{port}"));
        prop_assert_eq!(spec.times.drain_idle, Duration::from_millis(millis));
        prop_assert_eq!(spec.restart.max_restarts, retries);
    }
}

/// Finding the place of every problem would take time that grows with the square of their number:
/// a hundred times as long for ten times as many.
#[test]
fn the_time_to_refuse_unknown_keys_grows_with_their_number() {
    let time_for = |keys: u32| {
        let text: String = (0..keys).map(|number| format!("unknown_{number} = 1\n")).collect();
        let begun = cpu_time();
        let report = refused(&text);
        assert!(report.contains("unknown key \"unknown_0\""), "{report}");
        assert!(report.contains("at least 50 more"), "{report}");
        cpu_time() - begun
    };
    let (few, many) = (time_for(10_000), time_for(100_000));
    assert!(many < few * 40, "{few:?} for 10,000 keys and {many:?} for 100,000");
}

/// The time that this thread has had a CPU: other programs do not add to it.
fn cpu_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}
