//! What reports change, and what pages are told.

use ipc::control::Status;

use super::*;
use crate::cli::targets::fake_primary as fake;
use crate::cli::watch::Action;

const NOW: u64 = 1_800_000_000_000;

fn see(model: &mut Model, name: &str, status: Status, at_ms: u64) -> bool {
    see_status(model, fake::status(name, status), at_ms)
}

fn see_status(model: &mut Model, mut status: AppStatus, at_ms: u64) -> bool {
    status.uptime_ms = at_ms;
    for worker in &mut status.workers {
        worker.uptime_ms = Some(at_ms);
    }
    let report = Report::Status { app: status.name.clone(), found: Ok(Box::new(status)), at_ms };
    model.take(report, NOW + at_ms)
}

fn notice(kind: NoticeKind, message: &str) -> Notice {
    Notice { unix_ms: NOW, ..Notice::of_app(kind, message.to_owned()) }
}

fn happens(model: &mut Model, app: &str, notice: Notice) -> bool {
    model.take(Report::Notice { app: app.into(), time: String::new(), notice }, NOW)
}

/// The names of the events in a piece of a stream.
fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

#[test]
fn a_page_hears_what_changed() {
    let (mut model, mut heard) = (Model::new(), Heard::default());
    assert_eq!(model.since(&mut heard), "event: apps\ndata: []\n\n");
    assert!(see(&mut model, "web", Status::Ready, 1000));
    assert!(see(&mut model, "api", Status::Ready, 1000));
    assert_eq!(names(&model.since(&mut heard)), ["apps", "app", "app"]);
    assert_eq!(model.since(&mut heard), "");
    assert!(!see(&mut model, "web", Status::Ready, 2000), "only its time of life grew");
    assert_eq!(model.since(&mut heard), "");
    assert!(see(&mut model, "web", Status::Degraded, 3000));
    assert!(see(&mut model, "web", Status::Errored, 4000));
    let text = model.since(&mut heard);
    assert_eq!(names(&text), ["app"], "a state that is over is left out");
    assert!(text.contains(r#""state":"errored","tone":"bad""#), "{text}");
    assert!(model.take(Report::Apps(vec!["web".into()]), NOW));
    assert_eq!(model.since(&mut heard), "event: apps\ndata: [\"web\"]\n\n");
    assert!(!model.take(Report::Apps(vec!["web".into()]), NOW));
}

#[test]
fn a_page_that_comes_later_hears_everything() {
    let mut model = Model::new();
    see(&mut model, "web", Status::Ready, 1000);
    happens(&mut model, "web", notice(NoticeKind::Scaled, "2 workers"));
    let text = model.since(&mut Heard::default());
    assert_eq!(names(&text), ["apps", "app", "happened"]);
}

#[test]
fn an_app_that_does_not_answer_is_unknown() {
    let (mut model, mut heard) = (Model::new(), Heard::default());
    let failed = |why: &str| Report::Status { app: "web".into(), found: Err(why.into()), at_ms: 1 };
    assert!(model.take(failed("no \u{1b}[31manswer"), NOW));
    assert!(
        model.since(&mut heard).contains(r#""state":"unknown","tone":"bad","reason":"no answer""#)
    );
    see(&mut model, "web", Status::Ready, 1000);
    assert!(model.since(&mut heard).contains(r#""state":"ready""#));
}

#[test]
fn what_is_not_listed_does_not_leave() {
    let mut status = fake::status("web", Status::Ready);
    status.command = vec!["server".into(), "--password=hunter2".into()];
    status.cwd = "/home/hunter2".into();
    let mut model = Model::new();
    see_status(&mut model, status, 1000);
    let text = model.since(&mut Heard::default());
    assert!(text.contains("\"web\"") && !text.contains("hunter2"), "{text}");
}

#[test]
fn reloads_and_deaths_are_marked() {
    let mut model = Model::new();
    see(&mut model, "web", Status::Ready, 1000);
    happens(&mut model, "web", notice(NoticeKind::ReloadDone, "web: done"));
    happens(&mut model, "web", notice(NoticeKind::ReloadRolledBack, "no"));
    happens(&mut model, "web", notice(NoticeKind::WorkerReady, "is ready"));
    let mut status = fake::status("web", Status::Ready);
    status.primary_deaths = 1;
    see_status(&mut model, status, 2000);
    let hour: serde_json::Value = serde_json::from_str(&model.hour("web", NOW).unwrap()).unwrap();
    let marks: Vec<&str> =
        hour["marks"].as_array().unwrap().iter().map(|m| m["kind"].as_str().unwrap()).collect();
    assert_eq!(marks, ["reload", "rolled-back", "primary-death"]);
    assert_eq!(hour["cpu"].as_array().unwrap().len(), 360);
    assert_eq!(model.hour("none", NOW), None);
    let text = model.since(&mut Heard::default());
    assert_eq!(text.matches("its successor has taken over").count(), 1, "{text}");
}

#[test]
fn events_are_bounded_and_harmless() {
    let mut model = Model::new();
    let mut heard = Heard::default();
    model.since(&mut heard);
    let mut bad = notice(NoticeKind::WorkerFailed, "died\n\nevent: app\u{1b}[2J");
    bad.last_lines = (0..100).map(|line| format!("line {line}\u{7}")).collect();
    assert!(happens(&mut model, "web", bad));
    let text = model.since(&mut heard);
    assert_eq!(names(&text), ["happened"], "{text}");
    assert!(text.contains(r#""bad":true"#) && text.contains("line 99\""), "{text}");
    assert!(!text.contains("line 79\""), "{text}");
    for _ in 0..2 * EVENTS {
        happens(&mut model, "web", notice(NoticeKind::WorkerReady, "is ready"));
    }
    assert_eq!(names(&model.since(&mut heard)).len(), EVENTS);
}

#[test]
fn outcomes_carry_the_number_of_their_command() {
    let (mut model, mut heard) = (Model::new(), Heard::default());
    model.since(&mut heard);
    let outcome =
        |result| Outcome { action: Action::reload("web"), result, last_lines: Vec::new() };
    model.outcome(7, &outcome(Ok("2 workers replaced".into())), NOW);
    model.outcome(8, &outcome(Err("rolled back".into())), NOW);
    let text = model.since(&mut heard);
    assert!(text.contains(r#""id":7,"bad":false,"command":"supervisor reload web""#), "{text}");
    assert!(text.contains(r#""id":8,"bad":true"#), "{text}");
}
