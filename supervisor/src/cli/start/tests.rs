//! Tests of the verbs against a primary in a thread.

use super::*;
use crate::cli::args::{ReloadArgs, StopArgs};
use crate::cli::fake::{self, Fake, done};
use crate::cli::pool::PoolArg;
use crate::cli::{delete, reload, stop};
use ipc::control::{FailureKind, ListenerStatus};

fn waiting() -> Waiting {
    Waiting { timeout: Some(Duration::from_secs(60)), ..Waiting::default() }
}

#[test]
fn a_running_name_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let session = fake::session(dir.path());
    let primary = Fake::primary(
        &session.home,
        "web",
        |_| true,
        |_| vec![Reply::Status(Box::new(fake::status("web", Status::Ready)))],
    );
    let failure = start_one(&session, &fake::spec("web"), &waiting()).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    let expected = "web is running already (pid 4, 1 of 1 workers ready): use \"supervisor reload \
                    web\" to replace its code, or --name for another app";
    assert_eq!(failure.reason, expected);
    assert_eq!(primary.end(), [Request::Status]);
}

#[test]
fn an_app_that_was_given_up_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let session = fake::session(dir.path());
    let primary = Fake::primary(
        &session.home,
        "web",
        |request| matches!(request, Request::Delete { .. }),
        |request| match request {
            Request::Status => vec![Reply::Status(Box::new(fake::status("web", Status::Errored)))],
            _ => done("deleted"),
        },
    );
    make_room(&session, "web").unwrap();
    assert_eq!(primary.end(), [Request::Status, Request::Delete { fast: true }]);
    assert!(session.home.apps().unwrap().is_empty());
}

#[test]
fn a_stopped_app_is_started_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let session = fake::session(dir.path());
    let mut started = false;
    let primary = Fake::primary(
        &session.home,
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
    let said = revive(&session, "web", &waiting()).unwrap();
    assert_eq!(said.message, "1 worker ready, listening on nothing");
    assert_eq!(said.status.unwrap().status, Status::Ready);
    reload::held_spec(&session, "web").unwrap_err();
    let asked = primary.end();
    assert_eq!(asked[..3], [Request::Status, Request::Start, Request::WaitReady]);
}

#[test]
fn a_rolled_back_reload_is_exit_code_four() {
    let dir = tempfile::tempdir().unwrap();
    let mut session = fake::session(dir.path());
    let primary = Fake::primary(
        &session.home,
        "web",
        |request| matches!(request, Request::Reload { .. }),
        |request| match request {
            Request::Spec => vec![Reply::Spec(Box::new(fake::spec("web")))],
            _ => vec![Reply::Failed {
                kind: FailureKind::RolledBack,
                reason: "the new code exits: all is as before".into(),
                last_lines: vec!["SyntaxError".into()],
            }],
        },
    );
    let args = ReloadArgs {
        names: vec!["web".into()],
        env: vec![("A".into(), "1".into())],
        as_written: false,
        config: false,
        pool: PoolArg { pool: None },
        waiting: waiting(),
    };
    assert_eq!(reload::run(&args, &mut session).unwrap(), Exit::RolledBack);
    let mut expected = fake::spec("web");
    expected.env.insert("A".into(), "1".into());
    assert_eq!(primary.end()[1], Request::Reload { spec: Some(Box::new(expected)), pool: None });
}

#[test]
fn a_broken_file_is_found_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut session = fake::session(dir.path());
    let mut spec = fake::spec("web");
    spec.source = Some(dir.path().join("gone.toml"));
    let primary = Fake::primary(
        &session.home,
        "web",
        |_| true,
        move |_| vec![Reply::Spec(Box::new(spec.clone()))],
    );
    let args = ReloadArgs {
        names: vec!["web".into()],
        env: Vec::new(),
        as_written: false,
        config: false,
        pool: PoolArg { pool: None },
        waiting: waiting(),
    };
    assert_eq!(reload::run(&args, &mut session).unwrap_err().exit, Exit::Usage);
    assert_eq!(primary.end(), [Request::Spec]);
}

#[test]
fn delete_waits_until_the_name_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let mut session = fake::session(dir.path());
    let primary = Fake::primary(
        &session.home,
        "web",
        |request| matches!(request, Request::Delete { .. }),
        |request| match request {
            Request::Status => vec![Reply::Status(Box::new(fake::status("web", Status::Ready)))],
            _ => done("deleted"),
        },
    );
    let args = StopArgs { names: vec!["web".into()], fast: false, waiting: waiting() };
    assert_eq!(delete::run(&args, &mut session).unwrap(), Exit::Done);
    assert!(!session.home.lock("web").exists());
    primary.end();
    assert_eq!(delete::run(&args, &mut session).unwrap(), Exit::NoSuchApp);
}

#[test]
fn a_timeout_is_exit_code_five() {
    let dir = tempfile::tempdir().unwrap();
    let mut session = fake::session(dir.path());
    let _lock = session.home.take_lock("web").unwrap();
    let socket = session.home.socket("web").unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let waiting = Waiting { timeout: Some(Duration::from_millis(20)), ..Waiting::default() };
    let failure = wait_ready(&session, "web", &waiting, Instances::Max).unwrap_err();
    assert_eq!(failure.exit, Exit::TimedOut);
    assert!(failure.reason.starts_with("web is not ready after 20ms"), "{}", failure.reason);
    let args = StopArgs { names: vec!["web".into()], fast: false, waiting };
    assert_eq!(stop::run(&args, &mut session).unwrap(), Exit::TimedOut);
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
    app.ready = 1;
    assert!(summary(&app, Instances::Count(2)).starts_with("1 of 2 workers ready"));
}
