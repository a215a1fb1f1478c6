//! A reload is merged by the primary with what stands when its turn comes: reloads at once all take
//! effect, and a file that hangs does not make the primary hang.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use ipc::control::{NoticeKind, Request};
use nix::sys::stat::Mode;
use tests::wait::wait_until;
use tests::{Home, Port, fixtures};

const SOON: Duration = Duration::from_secs(60);

/// The variables that the worker in slot 0 has of these.
fn variables<'a>(home: &Home, names: &[&'a str]) -> Vec<&'a str> {
    let pid = home.pids("web")[0];
    let environ = fs::read(format!("/proc/{pid}/environ")).expect("the worker lives");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    let is_set = |name: &&str| environ.split('\0').any(|one| one == format!("{name}=1"));
    names.iter().copied().filter(is_set).collect()
}

#[test]
fn reloads_at_once_all_take_effect() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let file = home.config("web", &command, "instances = 1\nmin_uptime = \"500ms\"\n");
    home.run(&["start", &file, "-e", "A=1"]).ok();
    let mut notices = home.ask("web", &Request::Subscribe);
    let first = home.spawn(&["reload", "web", "-e", "B=1"]);
    notices.notice_of(NoticeKind::ReloadStarted, SOON);
    // These are asked for while the first one is under way.
    let others = ["C=1", "D=1"].map(|set| home.spawn(&["reload", "web", "-e", set]));
    first.end(SOON).ok();
    for other in others {
        other.end(SOON).ok();
    }
    assert_eq!(variables(&home, &["A", "B", "C", "D"]), ["A", "B", "C", "D"]);
    assert_eq!(home.app("web").generation, 4);
}

/// A variable and new shared values at once.
#[test]
fn a_reload_and_new_values_at_once_both_take_effect() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let lines =
        |limit| format!("instances = 1\nmin_uptime = \"500ms\"\nshared = {{ limit = {limit} }}\n");
    let file = home.config("web", &command, &lines(1));
    home.run(&["start", &file]).ok();
    let mut notices = home.ask("web", &Request::Subscribe);
    let reload = home.spawn(&["reload", "web", "-e", "A=1"]);
    notices.notice_of(NoticeKind::ReloadStarted, SOON);
    home.config("web", &command, &lines(2));
    home.run(&["reload", "web", "--config"]).ok();
    reload.end(SOON).ok();
    assert_eq!(variables(&home, &["A"]), ["A"]);
    let described = home.ask("web", &Request::Spec).answer(SOON);
    let ipc::control::Reply::Spec(spec) = described else { panic!("{described:?}") };
    assert_eq!(spec.shared.as_deref(), Some("{\"limit\":2}"));
}

#[test]
fn the_primary_answers_while_the_file_hangs() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let lines = "min_uptime = \"100ms\"\n";
    let file = home.config("web", &command, lines);
    home.run(&["start", &file]).ok();
    let path = home.path().join(&file);
    fs::remove_file(&path).expect("remove the file");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("make a FIFO");

    let reload = home.spawn(&["reload", "web"]);
    // Opening succeeds once a reader has opened the file. That reader then waits for bytes that
    // never come.
    let writer = wait_until("a reader of the file", SOON, || {
        let mut options = fs::OpenOptions::new();
        options.write(true).custom_flags(nix::libc::O_NONBLOCK).open(&path).ok()
    });
    let list = home.run_for(Duration::from_secs(5), &["list", "--json"]).ok().json();
    assert_eq!((&list[0]["name"], &list[0]["status"]), (&"web".into(), &"ready".into()));
    home.run_for(Duration::from_secs(5), &["describe", "web"]).ok();

    let late = reload.end(SOON);
    late.code(5).says(&["web.toml", "took longer than 10s", "nothing was changed"]).one_line();
    assert_eq!(home.app("web").generation, 1);
    drop(writer);
    fs::remove_file(&path).expect("remove the FIFO");
    home.config("web", &command, lines);
    home.run(&["reload", "web"]).ok();
    assert_eq!(home.app("web").generation, 2);
}

#[test]
fn a_broken_file_changes_no_app() {
    let home = tests::home!();
    let broken = "name = \"b\"\ncommand = [\"sleep\", \"1000\"]\ndrain = 3\n";
    for name in ["a", "b"] {
        let lines =
            format!("name = {name:?}\ncommand = [\"sleep\", \"1000\"]\nlisten_wait = \"1ms\"\n");
        home.write(&format!("{name}.toml"), &lines);
        home.run(&["start", &format!("{name}.toml")]).ok();
    }
    home.write("b.toml", broken);
    home.run(&["reload", "b"]).code(2).says(&["b.toml", "drain"]);
    home.run(&["reload", "a", "b"]).code(2).says(&["b.toml", "drain"]);
    home.run(&["reload", "b", "--no-wait"]).code(2).says(&["b.toml", "drain"]);
    for name in ["a", "b"] {
        assert_eq!(home.app(name).generation, 1);
    }
}
