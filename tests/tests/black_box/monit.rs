//! `monit` on a pseudo-terminal: what its screen shows, what its keys do, and how it ends.

use std::time::Duration;

use ipc::control::Status;
use nix::sys::signal::Signal;
use tests::wait::let_pass;
use tests::{Home, Port, Pty, fixtures, process, wait_until};

const SOON: Duration = Duration::from_secs(30);
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 60);

const ESCAPE: &str = "\x1b";
const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

fn monit(home: &Home, size: (u16, u16)) -> Pty {
    let mut command = home.command();
    command.arg("monit");
    Pty::start(&command, size)
}

/// An app of two Python workers.
fn start(home: &Home, name: &str) -> Option<Port> {
    let port = Port::new();
    home.start(name, &["-i", "2"], &fixtures::pid_server(&port)?).ok();
    Some(port)
}

/// Ends it with `q`, and checks that the terminal is as it was.
#[track_caller]
fn quit(mut screen: Pty) {
    screen.keys("q");
    assert!(screen.end(SOON).success());
    wait_until("the first screen", SOON, || {
        screen.with_screen(|s| !s.alternate_screen() && !s.hide_cursor()).then_some(())
    });
}

#[test]
fn without_a_terminal_it_names_what_works_there() {
    let home = tests::home!();
    home.run(&["monit"]).code(2).one_line().says(&["terminal", "supervisor list"]);
    home.run(&["ui", "a/b"]).code(2);
}

#[test]
fn apps_come_and_go() {
    let home = tests::home!();
    let screen = monit(&home, SMALL);
    screen.shows(&["no apps", "supervisor start"], SOON);
    let Some(_port) = start(&home, "web") else { return };
    screen.shows(&["1 app", "● web", "ready", "2/2", "log of web"], SOON);
    let failing = ["sh", "-c", "echo \"no \\033[31mdatabase\\007\" >&2; exit 7"];
    home.start("jobs", &[], &failing).code(1);
    screen.shows(&["✗ jobs", "1 errored", "exit code 7"], SOON);
    home.run(&["delete", "web"]).ok();
    screen.wait("end of web", SOON, |text| !text.contains("web") && text.contains("1 app "));
    screen.shows(&["log of jobs", "┃ 0 | no database"], SOON);
    quit(screen);
}

/// Types the keys of each step, and waits for what it shows.
#[track_caller]
fn steps(screen: &mut Pty, steps: &[(&str, &[&str])]) {
    for (keys, expected) in steps {
        screen.keys(keys);
        screen.shows(expected, SOON);
    }
}

#[test]
fn every_key_that_looks() {
    let home = tests::home!();
    let (Some(_a), Some(_b)) = (start(&home, "alpha"), start(&home, "beta")) else { return };
    let mut screen = monit(&home, SMALL);
    screen.shows(&["▸● alpha", "● beta", "log of alpha"], SOON);
    steps(
        &mut screen,
        &[
            (DOWN, &["▸● beta", "log of beta"]),
            ("k", &["▸● alpha"]),
            ("j", &["▸● beta"]),
            (UP, &["▸● alpha"]),
            ("G", &["▸● beta"]),
            ("g", &["▸● alpha"]),
            ("\x1b[F", &["▸● beta"]),
            ("\x1b[H", &["▸● alpha"]),
            ("\x1b[6~", &["▸● beta"]),
            ("\x1b[5~", &["▸● alpha"]),
            ("/bex", &["filter apps: bex"]),
            ("\x7ft", &["filter apps: bet", "▸● beta"]),
            ("\r", &["apps with \"bet\""]),
            (ESCAPE, &["● alpha"]),
            ("t", &["only apps in trouble", "no app is in trouble"]),
            ("t", &["▸● alpha"]),
            ("oO", &["apps by name, reversed"]),
            ("?", &["Keys", "filter the rows"]),
            // Escape and a key soon after it would be Alt and that key.
            ("?", &["READY  GEN"]),
            ("\x1bOP", &["Keys"]),
            (DOWN, &["Keys"]),
            ("?", &["READY  GEN"]),
            ("\t", &["▸● 0"]),
            ("j", &["▸● 1"]),
            ("z", &["▸● 1"]),
            ("z", &["● beta"]),
            ("\r", &["▸● 1"]),
            ("\r", &["● beta"]),
            ("\t", &["f follow", "x out/err"]),
            ("x", &["only stdout"]),
            ("x", &["only stderr"]),
            ("x", &["log of alpha · following"]),
            ("e", &["events of all apps"]),
            ("e", &["log of alpha"]),
            ("wf", &["log of alpha"]),
            ("/nothing\r", &["with \"nothing\"", "no line matches"]),
            (ESCAPE, &["nothing logged yet"]),
            ("\x1b[Z\x1b[Z", &["r reload"]),
            // A click on the second row of apps, which are reversed.
            ("\x1b[<0;6;4M\x1b[<0;6;4m", &["▸● alpha", "log of alpha"]),
            ("\x1b[<0;6;3M\x1b[<0;6;3m", &["▸● beta", "log of beta"]),
            ("\x0c", &["▸● beta"]),
        ],
    );
    screen.keys(CTRL_C);
    assert!(screen.end(SOON).success());
}

#[test]
fn every_key_that_asks() {
    let home = tests::home!();
    let Some(_port) = start(&home, "alpha") else { return };
    let mut screen = monit(&home, SMALL);
    screen.shows(&["▸● alpha", "2/2"], SOON);
    for (key, command) in [
        ("r", "supervisor reload alpha"),
        ("nR", "supervisor restart alpha"),
        ("h", "supervisor restart alpha --hard"),
        ("n+", "supervisor scale alpha +1"),
        ("n-", "supervisor scale alpha -1"),
        ("ns", "supervisor stop alpha"),
        ("f", "supervisor stop alpha --fast"),
        ("nd", "supervisor delete alpha"),
        ("f", "supervisor delete alpha --fast"),
    ] {
        steps(&mut screen, &[(key, &["Do this?", command, "[y] yes"])]);
    }
    steps(&mut screen, &[("nKnonsense\r", &["Send which signal?", "no such signal"])]);
    screen.keys(ESCAPE);
    screen.wait("no dialog", SOON, |text| !text.contains("signal?"));
    steps(&mut screen, &[("Kusr2\r", &["Do this?", "supervisor signal alpha USR2"])]);
    screen.keys("n");
    let app = home.app("alpha");
    assert_eq!((app.generation, app.status, app.restarts), (1, Status::Ready, 0));
    quit(screen);
}

#[test]
fn a_reload_is_seen_and_its_outcome_shown() {
    let home = tests::home!();
    let Some(_port) = start(&home, "web") else { return };
    let mut screen = monit(&home, SMALL);
    screen.shows(&["▸● web", "2/2"], SOON);
    screen.keys("r");
    screen.shows(&["supervisor reload web", "no connection is lost"], SOON);
    screen.keys("y");
    screen.shows(&["◐ web", "reloading", "of 2 replaced"], SOON);
    screen.shows(&["● web: ", "generation 2 · "], SOON);
    screen.keys("+y");
    screen.shows(&["3/3"], SOON);
    screen.keys("sy");
    screen.shows(&["○ web", "stopped", "s start"], SOON);
    screen.keys("sy");
    screen.shows(&["● web", "3/3"], SOON);
    screen.keys("dy");
    screen.shows(&["no apps"], SOON);
    quit(screen);
    home.nothing_left();
}

#[test]
fn a_failed_action_says_why() {
    let home = tests::home!();
    let Some(_port) = start(&home, "web") else { return };
    home.run(&["scale", "web", "1"]).ok();
    let mut screen = monit(&home, SMALL);
    screen.shows(&["▸● web", "1/1"], SOON);
    screen.keys("-y");
    screen.shows(&["It failed", "supervisor scale web -1", "needs at least 1"], SOON);
    screen.keys(" ");
    screen.wait("no dialog", SOON, |text| !text.contains("It failed"));
    quit(screen);
}

#[test]
fn a_primary_that_dies_meanwhile() {
    let home = tests::home!();
    let Some(_port) = start(&home, "web") else { return };
    let screen = monit(&home, SMALL);
    screen.shows(&["▸● web", "2/2"], SOON);
    let after = home.kill_primary("web", Signal::SIGKILL);
    let primary = format!("primary {}", after.primary_pid);
    screen.shows(&["● web", "2/2", &primary, "web: the primary died"], SOON);
    // It follows the successor.
    home.run(&["reload", "web"]).ok();
    screen.shows(&["generation 2", "2/2", "slot 1"], SOON);
    quit(screen);
}

#[test]
fn sizes_change() {
    let home = tests::home!();
    let Some(_port) = start(&home, "web") else { return };
    let mut screen = monit(&home, SMALL);
    screen.shows(&["▸● web"], SOON);
    screen.resize(LARGE.0, LARGE.1);
    screen.shows(&["LISTENS", "REASON", "log of web"], SOON);
    screen.resize(20, 5);
    screen.shows(&["too small"], SOON);
    screen.resize(SMALL.0, SMALL.1);
    screen.wait("the small form", SOON, |text| {
        text.contains("▸● web") && text.contains("q quit") && !text.contains("LISTENS")
    });
    quit(screen);
}

#[test]
fn the_terminal_is_given_back_on_signals() {
    let home = tests::home!();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut screen = monit(&home, SMALL);
        screen.shows(&["no apps"], SOON);
        assert!(screen.with_screen(vt100::Screen::alternate_screen));
        process::kill(screen.pid(), signal);
        assert!(screen.end(SOON).success(), "{signal}");
        wait_until("the first screen", SOON, || {
            screen.with_screen(|s| !s.alternate_screen() && !s.hide_cursor()).then_some(())
        });
    }
}

#[test]
fn it_can_be_suspended() {
    let home = tests::home!();
    let mut screen = monit(&home, SMALL);
    screen.shows(&["no apps"], SOON);
    let raw = screen.settings();
    for by_key in [true, false] {
        match by_key {
            true => screen.keys(CTRL_Z),
            false => process::kill(screen.pid(), Signal::SIGTSTP),
        }
        wait_until("the terminal given back", SOON, || {
            let is_back = screen.with_screen(|s| !s.alternate_screen());
            (is_back && screen.settings() != raw).then_some(())
        });
        process::kill(screen.pid(), Signal::SIGCONT);
        screen.shows(&["no apps"], SOON);
        wait_until("raw mode", SOON, || (screen.settings() == raw).then_some(()));
    }
    quit(screen);
}

#[test]
fn heavy_three_hundred_workers() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    home.start("many", &["-i", "300"], &["sleep", "1000"]);
    let mut screen = monit(&home, LARGE);
    screen.shows(&["many", "300/300", "▸"], Duration::from_secs(120));
    screen.keys("\t");
    screen.keys("G");
    screen.shows(&["▸● 299"], SOON);
    screen.keys("/150\r");
    screen.shows(&["▸● 150"], SOON);
    let before = process::ticks(screen.pid());
    let_pass(Duration::from_secs(10));
    let used = process::ticks(screen.pid()) - before;
    assert!(used < 300, "{used} ticks of CPU in ten seconds, a hundred of which are a second");
    quit(screen);
}
