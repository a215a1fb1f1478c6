//! Tests of starting apps, against a primary in a thread.

use super::*;
use crate::cli::targets::fake_primary::{self as fake, FakePrimary, done};
use crate::cli::targets::running_spec;
use ipc::control::ListenerStatus;

fn one_minute() -> WaitOptions {
    WaitOptions { timeout: Some(Duration::from_secs(60)), ..WaitOptions::default() }
}

#[test]
fn a_running_name_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    let primary = FakePrimary::start(
        &home,
        "web",
        |_| true,
        |_| vec![Reply::Status(Box::new(fake::status("web", Status::Ready)))],
    );
    let failure = start_app(&home, &fake::spec("web"), None, &one_minute()).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    let expected = "web is running already (pid 4, 1 of 1 workers ready): use \"supervisor reload \
                    web\" to replace its code, or --name for another app";
    assert_eq!(failure.reason, expected);
    assert_eq!(primary.end(), [Request::Status]);
}

#[test]
fn an_app_that_has_failed_is_deleted_first() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    let primary = FakePrimary::start(
        &home,
        "web",
        |request| matches!(request, Request::Delete { .. }),
        |request| match request {
            Request::Status => vec![Reply::Status(Box::new(fake::status("web", Status::Errored)))],
            _ => done("deleted"),
        },
    );
    free_name(&home, "web").unwrap();
    assert_eq!(primary.end(), [Request::Status, Request::Delete { fast: true }]);
    assert!(home.apps().unwrap().is_empty());
}

#[test]
fn a_stopped_app_is_started_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    let mut started = false;
    let primary = FakePrimary::start(
        &home,
        "web",
        |request| *request == Request::Spec,
        move |request| match request {
            Request::Status if started => {
                vec![Reply::Status(Box::new(fake::status("web", Status::Ready)))]
            }
            Request::Status => vec![Reply::Status(Box::new(fake::status("web", Status::Stopped)))],
            Request::Start => {
                started = true;
                done("starting")
            }
            _ => done("ready"),
        },
    );
    let outcome = start_stopped(&home, "web", &one_minute()).unwrap();
    assert_eq!(outcome.message, "1 worker ready, listening on nothing");
    assert_eq!(outcome.status.unwrap().status, Status::Ready);
    running_spec(&home, "web").unwrap_err();
    let asked = primary.end();
    assert_eq!(asked[..3], [Request::Status, Request::Start, Request::WaitReady]);
}

#[test]
fn a_timeout_is_exit_code_five() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    let _lock = home.files("web").take_lock().unwrap();
    let files = home.files("web");
    let _listener = std::os::unix::net::UnixListener::bind(files.socket().unwrap()).unwrap();
    let wait = WaitOptions { timeout: Some(Duration::from_millis(20)), ..WaitOptions::default() };
    let failure = wait_ready(&home, "web", &wait, Instances::Max).unwrap_err();
    assert_eq!(failure.exit, Exit::TimedOut);
    assert!(failure.reason.starts_with("web is not ready after 20ms"), "{}", failure.reason);
}

#[test]
fn the_summary_says_where_and_why() {
    let mut app = fake::status("web", Status::Ready);
    (app.ready, app.wanted) = (2, 2);
    app.wanted_because = "max of 2 CPUs".into();
    app.notes = vec!["round-robin needs CAP_BPF".into()];
    app.listeners.push(ListenerStatus {
        address: "127.0.0.1:8000".into(),
        name: None,
        configured: false,
        sockets: 2,
        slots: vec![0, 1],
        backlog: 0,
        ..ListenerStatus::default()
    });
    let expected = "2 workers ready on 127.0.0.1:8000 (2: max of 2 CPUs)\n  note: round-robin needs \
                    CAP_BPF";
    assert_eq!(summary(&app, Instances::Max), expected);
    app.notes.clear();
    assert_eq!(summary(&app, Instances::Count(2)), "2 workers ready on 127.0.0.1:8000");
    app.listeners.clear();
    app.workers[0].own_listeners = vec!["127.0.0.1:4711".into()];
    let expected = "2 workers ready on 127.0.0.1:4711, with sockets of their own";
    assert_eq!(summary(&app, Instances::Count(2)), expected);
    app.ready = 1;
    assert!(summary(&app, Instances::Count(2)).starts_with("1 of 2 workers ready"));
}
