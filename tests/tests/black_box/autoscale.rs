//! The number of workers follows the load, within its bounds, without flapping and without loss.

use std::time::{Duration, Instant};

use ipc::control::{Notice, NoticeKind, Request, Status};
use tests::control::Control;
use tests::{Home, Load, Port, fixtures};

const SOON: Duration = Duration::from_secs(30);
/// The `scale_cooldown` of the tests.
const COOLDOWN: Duration = Duration::from_secs(1);
/// The shortest time between a change and more workers.
const UP: Duration = Duration::from_secs(2);
/// Notices are dated in whole milliseconds.
const DATED: Duration = Duration::from_millis(5);

/// From 2 to 6 workers that answer one request at a time.
fn start(home: &Home, port: &Port) -> Option<String> {
    let command = fixtures::python("one_at_a_time.py", &[&port.to_string(), "0.02"])?;
    let keys = "instances = { min = 2, max = 6 }\nscale_cooldown = \"1s\"\n";
    let file = home.config("web", &command, keys);
    home.run(&["start", &file]).ok();
    Some(file)
}

/// All changes so far.
fn changes(notices: &mut Control) -> Vec<Notice> {
    notices.come().into_iter().filter(|notice| notice.event == NoticeKind::Scaled).collect()
}

fn wanted(home: &Home, count: u16, limit: Duration) {
    home.wait_app("web", &format!("{count} workers"), limit, |app| {
        app.wanted == count && app.ready == count && app.status == Status::Ready
    });
}

#[test]
fn heavy_a_step_of_load_leads_to_the_most_workers_and_back() {
    let _exclusive = tests::exclusive();
    let (home, port) = (tests::home!(), Port::new());
    let Some(file) = start(&home, &port) else { return };
    let mut notices = home.ask("web", &Request::Subscribe);
    assert_eq!(home.app("web").wanted, 2, "it begins with the fewest");
    for round in 0..2 {
        let light = Load { clients: 1, ..Load::new(port.v4()) }.start();
        light.warm(20);
        assert_eq!(home.app("web").wanted, 2, "one client needs no more, in round {round}");
        let load = Load::new(port.v4()).start();
        let begun = Instant::now();
        wanted(&home, 6, SOON);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        home.run(&["apply", &file]).ok();
        assert_eq!(home.app("web").wanted, 6, "the file has a range, not a number");
        load.more(100);
        load.stop().nothing_lost("at the top");
        light.stop().nothing_lost("all the way");
        if round == 0 {
            wanted(&home, 2, SOON);
        }
    }
    let all = changes(&mut notices);
    assert!(all[0].message.contains("connections wait for 2 workers"), "{all:#?}");
    assert!(all.len() >= 2 + 3, "{all:#?}");
    for pair in all.windows(2) {
        let between = Duration::from_millis(pair[1].unix_ms - pair[0].unix_ms);
        let is_up = pair[1].message.contains("wait for");
        let least = if is_up { UP } else { COOLDOWN };
        assert!(between + DATED >= least, "{between:?} between two changes: {pair:#?}");
    }
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}

#[test]
fn heavy_workers_that_use_their_cpu_become_more_and_a_reload_keeps_them() {
    let _exclusive = tests::exclusive();
    let home = tests::home!();
    let Some(python) = fixtures::need("python3") else { return };
    let busy = [python, "-c".to_owned(), "while True: pass".to_owned()];
    let options =
        ["-i", "1..2", "--scale-cooldown", "60s", "--ready", "uptime", "--min-uptime", "200ms"];
    home.start("web", &options, &busy).ok();
    wanted(&home, 2, SOON);
    let described = home.run(&["describe", "web"]).ok().stdout;
    assert!(described.contains("of a CPU each"), "{described}");
    home.run(&["reload", "web"]).ok();
    assert_eq!(home.app("web").wanted, 2);
    home.kill_primary("web", nix::sys::signal::Signal::SIGKILL);
    assert_eq!(home.app("web").wanted, 2, "the next primary knows");
}

#[test]
fn a_range_that_cannot_be_is_refused() {
    let home = tests::home!();
    for (range, why) in [
        ("8..2", "the lowest number of workers is above the highest"),
        ("0..2", "at least 1 worker is needed"),
        ("2..", "expected a number"),
    ] {
        let refused = home.run(&["start", "-i", range, "--", "true"]).code(2);
        assert!(refused.stderr.contains(why), "{refused:#?}");
    }
    let pool = "[pool.mail]\ncommand = \"true\"\ninstances = \"2..4\"\n";
    let file = home.config("web", &["true".to_owned()], pool);
    let refused = home.run(&["check", &file]).code(2);
    assert!(refused.stderr.contains("only the app's own pool"), "{refused:#?}");
}
