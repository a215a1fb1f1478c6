//! `logs`: by time, by pattern and by slot, over rotated files and several apps.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::wait::let_pass;
use tests::{fixtures, process, run, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Says hello on stdout and stderr, and again for each USR1.
const TALKER: &str = "
import signal, sys, time
count = 0
def talk(*_):
    global count
    count += 1
    print('hello', count, flush=True)
    print('oh no', count, file=sys.stderr, flush=True)
signal.signal(signal.SIGUSR1, talk)
talk()
while True:
    time.sleep(1000)
";

/// An app of two workers that talk, which have said hello.
fn talkers(home: &tests::Home, name: &str) -> Option<()> {
    let python = fixtures::need("python3")?;
    home.start(name, &["--listen-wait", "50ms", "-i", "2"], &[&python, "-c", TALKER]).ok();
    wait_until("both to say hello", SOON, || said(home, name, "oh no 1"));
    Some(())
}

fn said(home: &tests::Home, name: &str, text: &str) -> Option<()> {
    (home.log(name, "err.log").matches(text).count() == 2).then_some(())
}

/// The present time, in UTC.
fn now() -> String {
    let output = Command::new("date").args(["-u", "+%FT%T.%3NZ"]).output().expect("run date");
    String::from_utf8(output.stdout).expect("a date is text").trim().to_owned()
}

#[test]
fn lines_by_time_pattern_and_slot() {
    let home = tests::home!();
    let Some(()) = talkers(&home, "web") else { return };
    let Some(()) = talkers(&home, "api") else { return };
    let logs = |args: &[&str]| home.run(&[&["logs"], args].concat()).ok().stdout;
    let lines = |args: &[&str]| logs(args).lines().map(str::to_owned).collect::<Vec<_>>();

    // The times of the first lines are over.
    let_pass(Duration::from_millis(30));
    let begun = now();
    home.run(&["signal", "web", "USR1"]).ok();
    wait_until("both to say it again", SOON, || said(&home, "web", "oh no 2"));
    let mut seen = lines(&["--since", &begun]);
    seen.sort();
    let expected = ["web 0 | hello 2", "web 0 | oh no 2", "web 1 | hello 2", "web 1 | oh no 2"];
    assert_eq!(seen, expected);
    assert_eq!(lines(&["--since", &begun, "--grep", "^o", "--slot", "1"]), ["web 1 | oh no 2"]);
    let before = lines(&["--until", &begun, "web", "--out", "--no-prefix"]);
    assert_eq!(before, ["hello 1", "hello 1"]);
    assert_eq!(lines(&["api", "-n", "1", "--err", "--slot", "0"]), ["0 | oh no 1"]);
    home.run(&["logs", "--grep", "("]).code(2);

    let json: Vec<serde_json::Value> = lines(&["web", "--json", "--slot", "0", "--err"])
        .iter()
        .map(|line| serde_json::from_str(line).expect("each line is an object"))
        .collect();
    assert_eq!(json.len(), 2);
    assert_eq!((&json[1]["app"], &json[1]["slot"]), (&"web".into(), &0.into()));
    assert_eq!((&json[1]["stream"], &json[1]["message"]), (&"stderr".into(), &"oh no 2".into()));
    assert!(json[0]["time"].as_str() < json[1]["time"].as_str(), "{json:?}");
    let timed = lines(&["web", "--timestamps", "-n", "1", "--out"]);
    assert!(timed[0].starts_with("20") && timed[0][23..].ends_with(" | hello 2"), "{timed:?}");
}

#[test]
fn lines_over_rotated_files_and_of_an_earlier_build() {
    let home = tests::home!();
    let Some(()) = talkers(&home, "web") else { return };
    home.run(&["delete", "web", "--fast"]).ok();
    let log = home.path().join("logs/web/out.log");
    fs::write(log.with_extension("log.2"), "0 | oldest\n").expect("write a log");
    fs::write(log.with_extension("log.1"), "0 | older\n").expect("write a log");
    let shown = home.run(&["logs", "web", "--out", "-n", "3", "--slot", "0"]).ok().stdout;
    assert_eq!(shown, "0 | oldest\n0 | older\n0 | hello 1\n");
    // The times of the first two are not known: it says so.
    let timed = home.run(&["logs", "web", "--out", "--since", "1h", "--slot", "0"]).ok();
    assert_eq!(timed.stdout, "0 | hello 1\n");
    timed.says(&["before their times were kept"]);
}

#[test]
fn a_primary_that_dies_keeps_the_times() {
    let home = tests::home!();
    let Some(()) = talkers(&home, "web") else { return };
    let begun = now();
    let_pass(Duration::from_millis(20));
    home.kill_primary("web", Signal::SIGKILL);
    home.run(&["signal", "web", "USR1"]).ok();
    wait_until("both to say it again", SOON, || said(&home, "web", "oh no 2"));
    let shown = home.run(&["logs", "web", "--since", &begun, "--err"]).ok().stdout;
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0 | oh no 2", "1 | oh no 2"]);
    let first = home.run(&["logs", "web", "--timestamps", "--err"]).ok().stdout;
    assert!(first.lines().all(|line| line.starts_with("20")), "every line has a time: {first}");
}

#[test]
fn files_that_the_app_names() {
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let command = [python, "-c".to_owned(), TALKER.to_owned()];
    let more = "instances = 2\nlisten_wait = '50ms'\nlog_time = true\n\
                out_file = 'own/out-{slot}.log'\nerror_file = 'own/err.log'";
    let config = home.config("web", &command, more);
    home.run(&["start", &config]).ok();
    let read = |name: &str| fs::read_to_string(home.path().join("own").join(name));
    let err = || read("err.log").is_ok_and(|text| text.lines().count() == 2).then_some(());
    wait_until("both to say hello", SOON, err);
    for slot in ["out-0.log", "out-1.log"] {
        let text = read(slot).expect("each worker has its file");
        assert!(text.starts_with("20") && text.ends_with("Z hello 1\n"), "{text}");
    }
    let shown = home.run(&["logs", "web", "--slot", "1", "--no-prefix"]).ok().stdout;
    assert_eq!(shown, "hello 1\n");
    let shown = home.run(&["logs", "web", "--since", "1h", "--json", "--out"]).ok().stdout;
    assert_eq!(shown.matches("\"message\":\"hello 1\"").count(), 2, "{shown}");
    home.run(&["logs", "--reopen", "web"]).ok();
    home.run(&["signal", "web", "USR1"]).ok();
    wait_until("the second line", SOON, || {
        read("out-1.log").is_ok_and(|text| text.ends_with("hello 2\n")).then_some(())
    });

    // A reload brings them elsewhere.
    let more = more.replace("own/err.log", "all.log").replace("own/out-{slot}.log", "all.log");
    home.config("web", &command, &more);
    home.run(&["reload", "web"]).ok();
    home.run(&["signal", "web", "USR1"]).ok();
    wait_until("both streams in one file", SOON, || {
        let text = fs::read_to_string(home.path().join("all.log")).ok()?;
        (text.matches("hello 2").count() == 2 && text.matches("oh no 2").count() == 2).then_some(())
    });
}

#[test]
fn events_outlive_the_primary_and_the_app() {
    let home = tests::home!();
    let Some(()) = talkers(&home, "web") else { return };
    home.kill_primary("web", Signal::SIGKILL);
    home.run(&["reload", "web"]).ok();
    let kinds = |args: &[&str]| -> Vec<String> {
        let shown = home.run(&[&["events", "--json"], args].concat()).ok().stdout;
        let event = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).expect("an object");
            assert_eq!(value["app"], "web");
            value["event"].as_str().expect("each has a kind").to_owned()
        };
        shown.lines().map(event).collect()
    };
    let all = kinds(&["web", "--since", "1h"]);
    let at = |kind: &str| all.iter().position(|one| one == kind);
    assert!(at("worker-ready") < at("reload-started"), "{all:?}");
    assert!(at("reload-started") < at("reload-done") && at("worker-ready").is_some(), "{all:?}");
    home.run(&["delete", "web", "--fast"]).ok();
    let kept = kinds(&["--since", "1h"]);
    assert_eq!(kept[..all.len()], all, "the app is deleted, its events stay");
    assert_eq!(kinds(&["web", "--last", "2"]), kept[kept.len() - 2..]);
    home.run(&["events", "other", "--last", "2"]).code(3);
}

#[test]
fn explain_says_what_happened_and_what_comes_next() {
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let crash = "raise SystemExit('no such module')";
    home.start("web", &[], &[&python, "-c", crash]).code(1);
    let shown = home.run(&["explain", "web"]).ok().stdout;
    for part in [
        "web is errored: ",
        "\nwhat happened\n",
        "\nwhat the program wrote last\n  | no such module\n",
        "\nwhat comes next\n  the primary starts a worker",
        "\n  supervisor logs web --err -n 50\n",
    ] {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    let json = home.run(&["explain", "web", "--json"]).ok().json();
    assert_eq!(json[0]["status"], "errored");
    assert!(json[0]["slots"][0]["next_try_ms"].is_u64(), "{json}");
    home.run(&["explain", "other"]).code(3);
}

/// Writes numbered lines of 100 bytes as fast as it can.
const COUNTER: &str = "
import os, sys, time
lines = int(sys.argv[1])
out = sys.stdout.buffer
for number in range(lines):
    out.write(b'%09d' % number + b'.' * 90 + b'\\n')
out.flush()
time.sleep(1000)
";

/// The numbers of the lines of this worker, as `logs` prints them.
fn numbers(home: &tests::Home, slot: &str, more: &[&str]) -> Vec<u32> {
    let all = ["logs", "web", "--out", "--no-prefix", "--slot", slot];
    let shown = home.run(&[&all, more].concat()).ok().stdout;
    shown.lines().map(|line| line[..9].parse().expect("a number")).collect()
}

/// The names of the rotated files of stdout, in order.
fn rotated(home: &tests::Home) -> Vec<String> {
    let entries = fs::read_dir(home.path().join("logs/web")).expect("read the log folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("a name")).collect();
    names.retain(|name| name.starts_with("out.log."));
    names.sort();
    names
}

fn all_compressed(home: &tests::Home) -> Option<Vec<String>> {
    let names = rotated(home);
    names.iter().all(|name| name.ends_with(".gz")).then_some(names)
}

#[test]
fn rotated_files_are_compressed_and_read_all_the_same() {
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let command = [python.as_str(), "-c", COUNTER, "8000"].map(str::to_owned);
    let of = |more: &str| {
        home.config(
            "web",
            &command,
            &format!("listen_wait = \"50ms\"\nlog_max_size = \"128K\"\n{more}"),
        )
    };
    home.run(&["start", &of("")]).ok();
    // How many there are depends on how the lines come out of the pipe: a file may grow by a
    // whole pipe, 64 KiB, before it is rotated.
    let names = wait_until("all rotated files to be compressed", SOON, || {
        // The last line may be the one that filled its file, so it is looked for in all of them.
        let whole = numbers(&home, "0", &["-n", "1"]) == [7999];
        whole.then(|| all_compressed(&home)).flatten().filter(|names| names.len() > 3)
    });
    assert!(names.contains(&"out.log.1.gz".to_owned()), "{names:?}");
    assert!(numbers(&home, "0", &["-n", "9999"]).into_iter().eq(0..8000));
    assert!(numbers(&home, "0", &["--since", "1h"]).into_iter().eq(0..8000));
    assert_eq!(
        numbers(&home, "0", &["-n", "9999", "--grep", "^00000012"]),
        (120..130).collect::<Vec<_>>()
    );
    let json = home.run(&["logs", "web", "--json", "--grep", "^000000007"]).ok().stdout;
    let line: serde_json::Value = serde_json::from_str(&json).expect("one line");
    assert!(line["time"].as_str().is_some_and(|time| time.starts_with("20")), "{line}");
    // The usual tools read it.
    let zcat = Command::new("zcat").arg(home.path().join("logs/web/out.log.1.gz")).output();
    let zcat = String::from_utf8(zcat.expect("run zcat").stdout).expect("text");
    assert!(zcat.starts_with("0 | 00000") && zcat.lines().count() > 500);

    // A damaged file costs its own lines.
    fs::write(home.path().join("logs/web/out.log.1.gz"), "no gzip").expect("write");
    let left = home.run(&["logs", "web", "--out", "-n", "9999"]).ok();
    let left = left.says(&["cannot read", "out.log.1.gz", "damaged"]);
    assert!((6000..8000).contains(&left.stdout.lines().count()));

    // A change of what is kept needs no new worker.
    let pids = home.pids("web");
    home.run(&["apply", &of("log_keep = 2")]).ok();
    wait_until("the rest to be removed", SOON, || (rotated(&home).len() == 2).then_some(()));
    assert_eq!(home.pids("web"), pids);
    home.run(&["flush", "web"]).ok();
    assert_eq!(rotated(&home), [""; 0]);
}

#[test]
fn logs_are_rotated_by_age_and_kept_within_a_total() {
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let command = [python.as_str(), "-c", TALKER].map(str::to_owned);
    let of = |more: &str| {
        let more = format!("listen_wait = \"50ms\"\nlog_compress = false\n{more}");
        home.config("web", &command, &more)
    };
    home.run(&["start", &of("log_rotate_every = \"1s\"")]).ok();
    wait_until("a hello", SOON, || home.log("web", "out.log").contains("hello").then_some(()));
    let_pass(Duration::from_millis(1100));
    home.run(&["signal", "web", "USR1"]).ok();
    wait_until("a rotation", SOON, || {
        (home.log("web", "out.log") == "0 | hello 2\n").then_some(())
    });
    assert_eq!((home.log("web", "out.log.1"), rotated(&home).len()), ("0 | hello 1\n".into(), 1));
    home.run(&["apply", &of("log_rotate_every = \"0s\"\nlog_total_max = \"30B\"")]).ok();
    wait_until("the rotated file to go", SOON, || rotated(&home).is_empty().then_some(()));
    assert_eq!(home.log("web", "out.log"), "0 | hello 2\n", "this one is written");
}

#[test]
fn lines_beyond_the_rate_are_dropped_and_counted() {
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let command = [python.as_str(), "-c", COUNTER, "5000"].map(str::to_owned);
    let more = "listen_wait = \"50ms\"\nlog_rate = 1\nlog_burst = 100";
    home.run(&["start", &home.config("web", &command, more)]).ok();
    let said = wait_until("the log to say it", SOON, || {
        let log = home.log("web", "out.log");
        log.lines().find(|line| line.contains("lines were dropped here")).map(str::to_owned)
    });
    assert!(
        said.starts_with("0 | supervisor: ") && said.contains("log_rate = 1 a second"),
        "{said}"
    );
    let lines = home.log("web", "out.log").lines().filter(|line| line.contains("....")).count();
    assert!((100..200).contains(&lines), "{lines}");
    let described = home.run(&["describe", "web"]).ok().stdout;
    assert!(described.contains("log lines were dropped because of log_rate"), "{described}");
    let metrics = home.run(&["metrics", "web", "--openmetrics"]).ok().stdout;
    let dropped =
        metrics.lines().find(|line| line.starts_with("supervisor_log_lines_dropped_total{"));
    let dropped: usize = dropped
        .and_then(|line| line.rsplit(' ').next())
        .expect("a metric")
        .parse()
        .expect("a number");
    assert_eq!(dropped + lines, 5000);
}

#[test]
fn lines_go_to_the_journal_with_fields() {
    let home = tests::home!();
    if !fixtures::need_root("mount something at /run") || fixtures::need("unshare").is_none() {
        return;
    }
    let Some(python) = fixtures::need("python3") else { return };
    let folder = home.path().join("journal");
    fs::create_dir(&folder).expect("make a folder");
    let journal = UnixDatagram::bind(folder.join("socket")).expect("listen as the journal");
    journal.set_read_timeout(Some(SOON)).expect("set a timeout");
    let command = [python.as_str(), "-c", TALKER].map(str::to_owned);
    let file = home.config("web", &command, "listen_wait = \"50ms\"\nlog = \"journald\"");
    // Only this app sees our journal.
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                  mount --bind \"$1\" /run/systemd/journal && exec \"$2\" start --foreground \"$3\"";
    let mut app = home.command_of("unshare");
    app.args(["--mount", "sh", "-c", script, "sh"]).arg(&folder).arg(home.binary()).arg(&file);
    let app = run::spawn(&mut app, home.path());
    let mut entries = Vec::new();
    while entries.len() < 2 {
        let mut bytes = [0; 4096];
        let count = journal.recv(&mut bytes).expect("an entry");
        entries.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
    }
    entries.sort();
    let fields = |priority, stream, message| {
        format!(
            "PRIORITY={priority}\nSYSLOG_IDENTIFIER=web\nSUPERVISOR_APP=web\n\
             SUPERVISOR_STREAM={stream}\nSUPERVISOR_SLOT=0\nMESSAGE={message}\n"
        )
    };
    assert_eq!(entries, [fields(3, "stderr", "oh no 1"), fields(6, "stdout", "hello 1")]);
    home.run(&["logs", "web"]).ok().says(&["journalctl SUPERVISOR_APP=web"]);
    assert!(!home.path().join("logs/web/out.log").exists());
    process::kill(app.pid(), Signal::SIGTERM);
    app.end(SOON).ok();
}

#[test]
fn workers_may_write_their_files_themselves() {
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let command = [python.as_str(), "-c", TALKER].map(str::to_owned);
    let more = "instances = 2\nlisten_wait = \"50ms\"\nlog = \"direct\"\n\
                out_file = \"own/out-{slot}.log\"";
    home.run(&["start", &home.config("web", &command, more)]).ok();
    let own = |slot| fs::read_to_string(home.path().join(format!("own/out-{slot}.log"))).ok();
    wait_until("both to say hello", SOON, || {
        let both = [own(0)?, own(1)?] == ["hello 1\n", "hello 1\n"];
        (both && home.log("web", "err.log") == "oh no 1\noh no 1\n").then_some(())
    });
    // A successor of the primary has no pipes to look for, and the workers write on.
    home.kill_primary("web", Signal::SIGKILL);
    home.run(&["signal", "web", "USR1"]).ok();
    wait_until("both to go on", SOON, || {
        (own(0)? == "hello 1\nhello 2\n" && own(1)? == "hello 1\nhello 2\n").then_some(())
    });
    let shown = home.run(&["logs", "web", "--slot", "1", "--out"]).ok();
    assert_eq!(shown.stdout, "1 | hello 1\n1 | hello 2\n");
}

#[test]
fn heavy_rotation_loses_no_line() {
    let _alone = tests::exclusive();
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let lines = 700_000;
    let command = [python.as_str(), "-c", COUNTER, &lines.to_string()].map(str::to_owned);
    // More than a hundred rotations, while the process that compresses is at work.
    let more = "instances = 2\nlisten_wait = \"50ms\"\nlog_max_size = \"1M\"\nlog_keep = 365\n\
                log_total_max = 0";
    home.run(&["start", &home.config("web", &command, more)]).ok();
    let last = format!("{:09}", lines - 1);
    let is_done = |slot| {
        let shown = home.run(&["logs", "web", "--out", "--no-prefix", "-n", "1", "--slot", slot]);
        shown.stdout.starts_with(&last)
    };
    wait_until("both to have written everything", Duration::from_secs(120), || {
        (is_done("0") && is_done("1")).then_some(())
    });
    for slot in ["0", "1"] {
        let numbers = numbers(&home, slot, &["--since", "1h"]);
        assert!(numbers.into_iter().eq(0..lines), "slot {slot}: a line is missing or out of order");
    }
    let names = wait_until("everything to be compressed", Duration::from_secs(120), || {
        all_compressed(&home)
    });
    assert!(names.len() > 100, "{names:?}");
    for slot in ["0", "1"] {
        let numbers = numbers(&home, slot, &["--since", "1h"]);
        assert!(numbers.into_iter().eq(0..lines), "slot {slot}: compression lost a line");
    }
}

#[test]
fn heavy_a_gibibyte_is_not_read_for_the_last_minute() {
    let _alone = tests::exclusive();
    let home = tests::home!();
    let Some(()) = talkers(&home, "web") else { return };
    home.run(&["delete", "web", "--fast"]).ok();
    let log = home.path().join("logs/web/out.log");
    let mut file = fs::OpenOptions::new().append(true).open(&log).expect("open the log");
    let megabyte =
        b"0 | a line of the past, of 64 bytes with its prefix and newline.\n".repeat(16_132);
    for _ in 0..1024 {
        file.write_all(&megabyte).expect("write the log");
    }
    let begun = now();
    let command = ["python3", "-c", TALKER].map(str::to_owned);
    let more = "instances = 2\nlisten_wait = \"50ms\"\nlog_max_size = \"2G\"";
    home.run(&["start", &home.config("web", &command, more)]).ok();
    wait_until("both to say hello again", SOON, || {
        (home.log("web", "err.log").matches("oh no 1").count() == 4).then_some(())
    });
    for more in [&[][..], &["--grep", "^hello"], &["-n", "5"]] {
        let answer = home.run(&[&["logs", "web", "--out", "--since", &begun], more].concat()).ok();
        assert_eq!(answer.stdout.matches(" | hello 1\n").count(), 2, "{more:?}");
        assert_eq!(answer.stdout.lines().count(), 2, "{more:?}");
        assert!(answer.took < Duration::from_millis(300), "{more:?} took {:?}", answer.took);
    }
    let answer = home.run(&["logs", "web", "--out", "-n", "5"]).ok();
    assert_eq!(answer.stdout.lines().count(), 5);
    assert!(answer.took < Duration::from_millis(300), "{:?}", answer.took);
}
