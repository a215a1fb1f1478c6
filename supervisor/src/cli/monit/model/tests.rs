//! What events change, as a whole.

use ipc::control::{Status, WorkerState};
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::fake::{keys, model, press, see, status, troubled};
use super::*;
use crate::cli::watch::{Action, App, Kind, Line, Origin, Outcome, Report};

const SIZE: (u16, u16) = (80, 24);

fn names(model: &Model) -> Vec<&str> {
    model.shown_apps().into_iter().map(|app| app.status.name.as_str()).collect()
}

fn selected(model: &Model) -> &str {
    model.app_table.selected.as_deref().unwrap_or("-")
}

fn three() -> Model {
    model(SIZE, ["a", "b", "c"].map(|name| status(name, Status::Ready, 2)).to_vec())
}

fn click(model: &mut Model, kind: MouseEventKind, (column, row): (u16, u16)) -> Vec<Effect> {
    model.update(Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
}

const LEFT: MouseEventKind = MouseEventKind::Down(MouseButton::Left);

#[test]
fn trouble_comes_first_and_is_selected() {
    let model = troubled(SIZE);
    assert_eq!(names(&model), ["jobs", "web", "api", "old", "shop"]);
    assert_eq!(selected(&model), "jobs");
}

#[test]
fn the_selection_stays_with_its_app_and_its_slot() {
    let mut model = three();
    assert_eq!(selected(&model), "a");
    assert_eq!(press(&mut model, KeyCode::Down), [Effect::Follow(Some("b".into()))]);
    let mut errored = status("c", Status::Errored, 1);
    errored.ready = 0;
    see(&mut model, errored, 9000);
    assert_eq!((names(&model)[0], selected(&model)), ("c", "b"));
    press(&mut model, KeyCode::Tab);
    press(&mut model, KeyCode::Down);
    assert_eq!(model.worker_table.selected, Some((1, Some(1001))));
    let mut app = status("b", Status::Ready, 2);
    app.workers[1].pid = Some(4000);
    see(&mut model, app, 10_000);
    let shown = model.shown_workers();
    assert_eq!(model.worker_row(&shown), Some(1), "the successor in the slot");
}

#[test]
fn an_app_that_goes_leaves_its_place_to_the_next() {
    let mut model = three();
    press(&mut model, KeyCode::Down);
    let effects = model.update(Report::Apps(vec!["a".into(), "c".into()]));
    assert_eq!(effects, [Effect::Follow(Some("c".into()))]);
    assert_eq!((names(&model), selected(&model)), (vec!["a", "c"], "c"));
    let effects = model.update(Report::Apps(Vec::new()));
    assert_eq!((effects, selected(&model)), (vec![Effect::Follow(None)], "-"));
}

#[test]
fn a_primary_that_dies_is_told_once_and_a_failed_look_shows() {
    let mut model = three();
    model.update(Report::Status { app: "a".into(), found: Err("no answer".into()), at_ms: 1 });
    assert_eq!(model.app().map(App::word), Some("unknown"));
    for at_ms in [5000, 6000] {
        let mut app = status("a", Status::Ready, 2);
        app.primary_deaths = 1;
        see(&mut model, app, at_ms);
    }
    assert_eq!(model.events.newest_first().count(), 1);
    assert_eq!(model.app().map(App::word), Some("ready"));
}

#[test]
fn every_action_asks_first() {
    let a = |kind| Action { app: "a".into(), kind };
    for (key, kind) in [
        ('r', Kind::Reload),
        ('R', Kind::Restart { hard: false }),
        ('+', Kind::Scale { up: true, pool: None }),
        ('-', Kind::Scale { up: false, pool: None }),
        ('s', Kind::Stop { fast: false }),
        ('d', Kind::Delete { fast: false }),
    ] {
        let mut model = three();
        assert_eq!(press(&mut model, KeyCode::Char(key)), []);
        assert_eq!(model.mode, Mode::Confirm(a(kind.clone())));
        assert_eq!(press(&mut model, KeyCode::Enter), [], "Enter alone does nothing");
        let mut refused = three();
        press(&mut refused, KeyCode::Char(key));
        assert_eq!((press(&mut refused, KeyCode::Esc), &refused.mode), (vec![], &Mode::Normal));
        assert_eq!(press(&mut model, KeyCode::Char('y')), [Effect::Run(a(kind.clone()))]);
        assert_eq!((&model.mode, model.running.len()), (&Mode::Normal, 1));
        let result = Ok("done".into());
        let outcome = Outcome { action: a(kind), result, last_lines: Vec::new() };
        model.update(Report::Outcome(outcome));
        assert_eq!(model.running.len(), 0);
        assert_eq!(model.message.as_ref().map(|m| m.text.as_str()), Some("a: done"));
    }
}

#[test]
fn options_of_an_action_and_the_start_of_what_is_stopped() {
    let mut model = three();
    assert_eq!(keys(&mut model, "Rhy").len(), 1);
    assert_eq!(model.running[0].command(), "supervisor restart a --hard");
    let mut app = status("a", Status::Stopped, 1);
    app.ready = 0;
    see(&mut model, app, 9000);
    keys(&mut model, "s");
    assert_eq!(model.mode, Mode::Confirm(Action { app: "a".into(), kind: Kind::Start }));
}

#[test]
fn a_signal_is_for_the_marked_worker_or_for_all() {
    let mut model = three();
    keys(&mut model, "Kusr2");
    press(&mut model, KeyCode::Enter);
    keys(&mut model, "y");
    assert_eq!(model.running[0].command(), "supervisor signal a USR2");
    press(&mut model, KeyCode::Tab);
    press(&mut model, KeyCode::Down);
    keys(&mut model, "Kbanana");
    press(&mut model, KeyCode::Enter);
    assert!(matches!(&model.mode, Mode::Signal { wrong: Some(_), .. }), "{:?}", model.mode);
    (0..7).for_each(|_| drop(press(&mut model, KeyCode::Backspace)));
    keys(&mut model, "hup");
    press(&mut model, KeyCode::Enter);
    keys(&mut model, "y");
    assert_eq!(model.running[1].command(), "supervisor signal a HUP --slot 1");
}

#[test]
fn a_failure_is_shown_until_a_key_comes() {
    let mut model = three();
    let outcome = Outcome {
        action: Action { app: "a".into(), kind: Kind::Reload },
        result: Err("rolled back\u{1b}[2J".into()),
        last_lines: vec!["Error\u{7}".into()],
    };
    model.update(Report::Outcome(outcome));
    let Mode::Failure { reason, last_lines, .. } = &model.mode else { panic!("no failure") };
    assert_eq!(
        (reason.as_str(), last_lines.as_slice()),
        ("rolled back", &["Error".to_owned()][..])
    );
    press(&mut model, KeyCode::Char('q'));
    assert_eq!(model.mode, Mode::Normal);
}

#[test]
fn filters_are_typed_and_cleared() {
    let mut model = troubled(SIZE);
    keys(&mut model, "/SHx");
    press(&mut model, KeyCode::Backspace);
    assert_eq!((names(&model), selected(&model)), (vec!["shop"], "shop"));
    press(&mut model, KeyCode::Enter);
    assert_eq!(model.mode, Mode::Normal);
    press(&mut model, KeyCode::Esc);
    assert_eq!(names(&model).len(), 5);
    keys(&mut model, "t");
    assert_eq!(names(&model), ["jobs", "web"]);
    keys(&mut model, "toO");
    assert_eq!(names(&model), ["web", "shop", "old", "jobs", "api"], "by name, reversed");
    press(&mut model, KeyCode::Tab);
    keys(&mut model, "/1003");
    press(&mut model, KeyCode::Enter);
    assert!(model.shown_workers().len() <= 1);
}

#[test]
fn the_log_scrolls_and_the_events_have_its_place() {
    let mut model = troubled(SIZE);
    model.focus = Pane::Log;
    press(&mut model, KeyCode::Up);
    assert!(!model.log.is_following());
    keys(&mut model, "G");
    assert!(model.log.is_following());
    keys(&mut model, "x");
    assert_eq!(model.log.streams(), Streams::Out);
    keys(&mut model, "ew");
    assert!(model.shows_events && !model.wraps);
    keys(&mut model, "/zzz");
    assert_eq!(model.lines().newest_first().count(), 0);
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.lines().newest_first().count(), 1);
}

#[test]
fn the_log_of_another_app_is_not_taken() {
    let mut model = three();
    let lines = vec![Line { origin: Origin::Out, text: "late".into() }];
    model.update(Report::Log { app: "b".into(), lines, begins: true });
    assert_eq!(model.log.newest_first().count(), 0);
}

#[test]
fn clicks_select_and_sort_and_the_wheel_scrolls() {
    let mut model = three();
    assert_eq!(click(&mut model, LEFT, (5, 3)), [Effect::Follow(Some("b".into()))]);
    click(&mut model, LEFT, (4, 1));
    assert_eq!(model.app_table.sort.key, Key::Name);
    let areas = model.areas().unwrap();
    let row = areas.worker_rows();
    click(&mut model, LEFT, (4, row.y + 1));
    assert_eq!((model.focus, model.worker_table.selected), (Pane::Workers, Some((1, Some(1001)))));
    click(&mut model, MouseEventKind::ScrollDown, (5, 3));
    assert_eq!(selected(&model), "c");
    for line in 0..50 {
        let lines = vec![Line { origin: Origin::Out, text: line.to_string() }];
        model.update(Report::Log { app: "c".into(), lines, begins: false });
    }
    click(&mut model, MouseEventKind::ScrollUp, (5, areas.log.y + 2));
    assert_eq!(model.log.below(), 3);
    click(&mut model, LEFT, (200, 200));
}

#[test]
fn focus_zoom_help_and_the_ends() {
    let mut model = three();
    press(&mut model, KeyCode::BackTab);
    assert_eq!(model.focus, Pane::Log);
    keys(&mut model, "z");
    assert!(model.zoomed && model.areas().unwrap().apps.height == 0);
    press(&mut model, KeyCode::Esc);
    assert!(!model.zoomed);
    keys(&mut model, "?j");
    assert_eq!(model.mode, Mode::Help { from: 1 });
    press(&mut model, KeyCode::Esc);
    assert_eq!(keys(&mut model, "q"), [Effect::Quit]);
    assert_eq!(model.update(Event::End), [Effect::Quit]);
    for (key, effect) in [('c', Effect::Quit), ('z', Effect::Suspend), ('l', Effect::Redraw)] {
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
        assert_eq!(model.update(Event::Key(key)), [effect]);
    }
}

#[test]
fn keys_without_apps_do_nothing() {
    let mut model = Model::new(SIZE);
    for key in "rR+-sdK/jkgGoOtfexw?".chars() {
        assert_eq!(press(&mut model, KeyCode::Char(key)), [], "{key}");
        model.mode = Mode::Normal;
    }
    model.update(Event::Resize(10, 3));
    assert!(model.areas().is_none());
    press(&mut model, KeyCode::PageDown);
    click(&mut model, LEFT, (1, 1));
}

#[test]
fn workers_in_trouble_come_first() {
    let mut app = status("a", Status::Degraded, 5);
    app.workers[3].state = WorkerState::Errored;
    let model = model(SIZE, vec![app]);
    assert_eq!(model.shown_workers(), [3, 0, 1, 2, 4]);
}
