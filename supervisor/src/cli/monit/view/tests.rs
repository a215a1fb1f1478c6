//! What is drawn, compared with pictures in `golden/`. `REGENERATE=1` writes them anew: look at the
//! difference before you commit it.

use std::path::Path;

use ipc::control::Status;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::Color;

use super::{Theme, draw};
use crate::cli::monit::model::fake::{keys, model, press, status, troubled};
use crate::cli::monit::model::{Event, Model};
use crate::cli::watch::{Action, Line, Origin, Outcome, Report};

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 60)];

fn buffer(model: &Model, colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(model.size.0, model.size.1)).unwrap();
    terminal.draw(|frame| draw(model, Theme { colours }, frame.buffer_mut())).unwrap();
    terminal.backend().buffer().clone()
}

fn text(model: &Model) -> String {
    let buffer = buffer(model, true);
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let row: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with the picture of that name, at both sizes.
#[track_caller]
fn compare(name: &str, make: impl Fn((u16, u16)) -> Model) {
    for size in SIZES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/monit/view/golden");
        let path = folder.join(format!("{name}-{}x{}.txt", size.0, size.1));
        let shown = text(&make(size));
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &shown).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(shown == expected, "{} differs; now it is\n{shown}", path.display());
    }
}

#[test]
fn apps_in_trouble() {
    compare("trouble", troubled);
}

#[test]
fn a_rollout_slot_by_slot() {
    compare("rollout", |size| {
        let mut model = troubled(size);
        press(&mut model, KeyCode::End);
        press(&mut model, KeyCode::Tab);
        model
    });
}

#[test]
fn a_question() {
    compare("question", |size| {
        let mut model = troubled(size);
        keys(&mut model, "d");
        model
    });
}

#[test]
fn a_failure() {
    compare("failure", |size| {
        let mut model = troubled(size);
        let reason = "slot 0 of the new generation exited with code 1; all is as before";
        model.update(Report::Outcome(Outcome {
            action: Action::reload("web"),
            result: Err(reason.into()),
            last_lines: vec!["SyntaxError: Unexpected token".into()],
        }));
        model
    });
}

#[test]
fn the_keys() {
    compare("keys", |size| {
        let mut model = troubled(size);
        keys(&mut model, "?");
        model
    });
}

#[test]
fn no_apps() {
    compare("empty", |size| model(size, Vec::new()));
}

/// Models with something in every pane and every dialog.
fn all() -> Vec<Model> {
    let mut all = Vec::new();
    for size in SIZES {
        for typed in ["", "d", "?", "K", "/x", "ze", "\tj", "\t\tk", "Knonsense\n"] {
            let mut model = troubled(size);
            for c in typed.chars() {
                let code = match c {
                    '\t' => KeyCode::Tab,
                    '\n' => KeyCode::Enter,
                    c => KeyCode::Char(c),
                };
                press(&mut model, code);
            }
            all.push(model);
        }
    }
    all
}

#[test]
fn without_colours_there_are_none() {
    for model in all() {
        let cells = buffer(&model, false).content;
        assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        let cells = buffer(&model, true).content;
        assert!(cells.iter().any(|cell| cell.fg != Color::Reset));
    }
}

#[test]
fn texts_of_strangers_stay_texts() {
    let evil = "a\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\r\nb";
    let mut app = status("web", Status::Degraded, 2);
    app.reason = Some(evil.into());
    app.workers[0].status_text = Some(evil.into());
    app.workers[1].last_exit = Some(evil.into());
    app.listeners[0].address = evil.into();
    let mut model = model((200, 60), vec![app]);
    model.update(Report::Outcome(Outcome {
        action: Action::reload("web"),
        result: Err(evil.into()),
        last_lines: vec![evil.into()],
    }));
    for cell in buffer(&model, true).content {
        assert!(!cell.symbol().contains(char::is_control), "{:?}", cell.symbol());
        assert!(!cell.symbol().contains('\u{202e}'));
    }
}

#[test]
fn every_size_can_be_drawn() {
    for (width, height) in [(1, 1), (10, 3), (50, 12), (60, 14), (80, 12), (139, 40), (300, 100)] {
        for mut model in all() {
            model.update(Event::Resize(width, height));
            buffer(&model, true);
        }
    }
}

#[test]
fn a_long_line_wraps_or_is_cut() {
    let mut model = model((80, 24), vec![status("web", Status::Ready, 1)]);
    let line = Line { origin: Origin::Out, text: "@".repeat(150) };
    model.update(Report::Log { app: "web".into(), lines: vec![line], begins: true });
    assert_eq!(text(&model).matches('@').count(), 150);
    keys(&mut model, "w");
    assert!(text(&model).matches('@').count() < 80);
}
