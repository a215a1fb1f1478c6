//! A model for tests, with apps in every kind of trouble.

use ipc::control::{ListenerStatus, Notice, NoticeKind, Status, WorkerState};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Effect, Event, Model};
use crate::cli::targets::fake_primary as fake;
use crate::cli::watch::{Line, Origin, Report};

/// The status of an app with `count` ready workers.
pub(crate) fn status(name: &str, status: Status, count: u16) -> ipc::control::AppStatus {
    let mut app = fake::status(name, status);
    let worker = app.workers.remove(0);
    app.listeners = vec![ListenerStatus { address: "[::]:8000".into(), ..Default::default() }];
    app.workers = (0..count)
        .map(|slot| {
            let mut worker = worker.clone();
            worker.slot = slot;
            worker.pid = Some(1000 + u32::from(slot));
            worker.state = WorkerState::Ready;
            worker.cpu_percent = Some(3.0 + f32::from(slot));
            worker.rss_bytes = Some((40 + u64::from(slot)) << 20);
            (worker.connections, worker.accepted, worker.backlog) = (Some(2), Some(100), Some(0));
            worker.uptime_ms = Some(3_720_000);
            worker
        })
        .collect();
    (app.wanted, app.ready, app.generation) = (count, count, 1);
    app.uptime_ms = 3_720_000;
    app
}

/// A model that has heard of these apps, on a screen of this size.
pub(crate) fn model(size: (u16, u16), apps: Vec<ipc::control::AppStatus>) -> Model {
    let mut model = Model::new(size);
    model.update(Report::Apps(apps.iter().map(|app| app.name.clone()).collect()));
    for at in 0..3 {
        for app in &apps {
            let mut app = app.clone();
            for worker in &mut app.workers {
                worker.accepted = worker.accepted.map(|count| count + at * 30);
            }
            see(&mut model, app, at * 1000);
        }
    }
    model
}

/// The model sees a status.
pub(crate) fn see(model: &mut Model, app: ipc::control::AppStatus, at_ms: u64) {
    let name = app.name.clone();
    model.update(Report::Status { app: name, found: Ok(Box::new(app)), at_ms });
}

/// One app that is ready, one degraded, one errored, one in a rollout, one stopped.
pub(crate) fn troubled(size: (u16, u16)) -> Model {
    let api = status("api", Status::Ready, 4);
    let mut web = status("web", Status::Degraded, 3);
    (web.ready, web.restarts) = (2, 7);
    web.reason = Some("slot 1: died 3 times in a minute".into());
    let worker = &mut web.workers[1];
    (worker.pid, worker.state, worker.restarts) = (None, WorkerState::Waiting, 7);
    worker.reason = Some("exit code 3; next try in 4s".into());
    (worker.cpu_percent, worker.rss_bytes, worker.connections) = (None, None, None);
    let mut jobs = status("jobs", Status::Errored, 1);
    (jobs.ready, jobs.uptime_ms) = (0, 5_000);
    jobs.reason = Some("slot 0: 3 failures in a row: exit code 1".into());
    (jobs.workers[0].pid, jobs.workers[0].state) = (None, WorkerState::Errored);
    let mut shop = status("shop", Status::Reloading, 2);
    shop.generation = 2;
    shop.reason = Some("slot 1 is being replaced".into());
    shop.workers[0].generation = 2;
    let mut next = shop.workers[1].clone();
    (next.generation, next.pid, next.state) = (2, Some(2001), WorkerState::Starting);
    shop.workers.push(next);
    let mut old = status("old", Status::Stopped, 1);
    (old.ready, old.workers[0].pid, old.workers[0].state) = (0, None, WorkerState::Stopped);
    let mut model = model(size, vec![api, web, jobs, shop, old]);
    let line = |origin, text: &str| Line { origin, text: text.into() };
    let lines = vec![
        line(Origin::Out, "0 | listening"),
        line(Origin::Err, "0 | Error: DATABASE_URL is not set"),
    ];
    model.update(Report::Log { app: "jobs".into(), lines, begins: true });
    let mut notice = Notice::of_app(NoticeKind::SlotErrored, "3 failures in a row".into());
    notice.slot = Some(0);
    model.update(Report::Notice { app: "jobs".into(), time: "03:00:00".into(), notice });
    model
}

/// Presses a key.
pub(crate) fn press(model: &mut Model, code: KeyCode) -> Vec<Effect> {
    model.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

/// Types a text.
pub(crate) fn keys(model: &mut Model, text: &str) -> Vec<Effect> {
    text.chars().flat_map(|c| press(model, KeyCode::Char(c))).collect()
}
