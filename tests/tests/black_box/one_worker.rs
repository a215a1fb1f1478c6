//! The worker of one slot is replaced: another one is ready first, no request is lost, and no other
//! worker is touched.

use ipc::control::AppStatus;
use tests::{Load, Port, fixtures};

fn workers(app: &AppStatus) -> Vec<(Option<u32>, u32)> {
    app.workers.iter().map(|worker| (worker.pid, worker.generation)).collect()
}

#[test]
fn restart_of_one_slot_loses_nothing_and_touches_no_other() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(command) = fixtures::pid_server(&port) else { return };
    let start =
        ["start", "--name", "web", "-i", "3", "--observe", "100ms", "--min-uptime", "100ms"];
    let start: Vec<&str> =
        start.into_iter().chain(["--"]).chain(command.iter().map(String::as_str)).collect();
    home.run(&start).ok();
    let before = workers(&home.app("web"));
    let load = Load { clients: 4, ..Load::new(port.v4()) }.start();
    load.warm(50);
    let outcome = home.run(&["restart", "web:1"]).ok();
    assert!(outcome.stdout.starts_with("web: slot 1 has a new worker"), "{outcome:?}");
    home.run(&["restart", "web", "--slot", "2"]).ok();
    load.stop().nothing_lost("the restart of one worker");
    let after = workers(&home.app("web"));
    assert_eq!(before[0], after[0]);
    assert!(before[1].0 != after[1].0 && before[2].0 != after[2].0, "{before:?} {after:?}");
    assert_eq!((after[1].1, after[2].1, home.app("web").generation), (2, 3, 1));
    home.run(&["restart", "web:3"]).code(2).says(&["web has no slot 3"]).one_line();
    home.run(&["delete", "web"]).ok();
    home.nothing_left();
}
