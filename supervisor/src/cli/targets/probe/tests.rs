//! Tests of probing apps whose primary answers, hangs, is dead or never existed.

use super::*;
use crate::cli::targets::fake_primary::{self as fake, FakePrimary};
use crate::home::RecordedWorker;

#[test]
fn an_app_that_answers_one_that_ends_and_none() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    assert!(matches!(probe(&home, "web"), Ok(AppState::Absent)));
    assert!(home.apps().unwrap().is_empty(), "a probe leaves no files");

    let expected = fake::status("web", Status::Ready);
    let reply = expected.clone();
    let mut times = 0;
    let primary = FakePrimary::start(
        &home,
        "web",
        |request| *request == Request::Spec,
        move |_| {
            times += 1;
            // Hangs up on the first one.
            if times == 1 { Vec::new() } else { vec![Reply::Status(Box::new(reply.clone()))] }
        },
    );
    assert_eq!(status(&home, "web"), Ok(Some(expected)));
    Client::connect(&home, "web").unwrap().tell(&Request::Spec).unwrap();
    assert_eq!(primary.end().len(), 3);
    assert_eq!(status(&home, "web"), Ok(None));
}

#[test]
fn an_app_that_ends_while_it_is_asked_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    let refused = Reply::Failed {
        kind: FailureKind::Ended,
        reason: "the app has ended".into(),
        last_lines: Vec::new(),
    };
    let is_last = |request: &Request| *request == Request::Status;
    let primary = FakePrimary::start(&home, "web", is_last, move |_| vec![refused.clone()]);
    assert_eq!(status(&home, "web"), Ok(None));
    assert_eq!(primary.end().len(), 1);
}

#[test]
fn files_of_a_dead_primary_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    drop(std::os::unix::net::UnixListener::bind(home.files("web").socket().unwrap()).unwrap());
    drop(home.files("web").take_lock().unwrap());
    let worker = RecordedWorker { pid: std::process::id(), start_time: 0, slot: 0, generation: 1 };
    let record = Record::new(1, vec![worker], fake::spec("web"));
    home.write_record("web", &record).unwrap();
    assert_eq!(home.apps().unwrap(), ["web"]);
    assert!(matches!(probe(&home, "web"), Ok(AppState::Absent)));
    assert!(home.apps().unwrap().is_empty());
}

#[test]
fn workers_without_a_primary_are_stranded() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    let pid = std::process::id();
    let start_time = procfs::alive_since(pid).unwrap();
    let worker = RecordedWorker { pid, start_time, slot: 0, generation: 1 };
    let record = Record::new(1, vec![worker], fake::spec("web"));
    home.write_record("web", &record).unwrap();
    assert_eq!(status(&home, "web").unwrap().unwrap().status, Status::Lost);
    let failure = connect(&home, "web").unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.reason.contains("supervisor delete web"), "{}", failure.reason);
}

#[test]
fn a_primary_that_hangs_does_not_delay_others() {
    let dir = tempfile::tempdir().unwrap();
    let home = fake::session(dir.path()).home;
    // It has its lock and accepts nothing.
    let _lock = home.files("deaf").take_lock().unwrap();
    let _socket =
        std::os::unix::net::UnixListener::bind(home.files("deaf").socket().unwrap()).unwrap();
    // This one is not that far yet.
    let _other = home.files("young").take_lock().unwrap();
    let seen: Vec<AppStatus> = statuses(&home, &home.apps().unwrap())
        .into_iter()
        .map(|status| status.unwrap().unwrap())
        .collect();
    let reason = |at: usize| seen[at].reason.clone().unwrap();
    assert_eq!((seen[0].name.as_str(), seen[1].name.as_str()), ("deaf", "young"));
    assert_eq!(reason(0), "the primary of deaf did not answer within 2s");
    assert_eq!(seen[1].status, Status::Starting);
    assert!(reason(1).contains("no socket yet"));
}
