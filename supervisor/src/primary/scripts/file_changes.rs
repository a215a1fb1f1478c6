//! Scenarios of reloads because files have changed.

use super::*;
use crate::primary::event::Event;

impl Sim {
    fn change(&mut self, named: &[&str], more: u32) {
        let named = named.iter().map(|name| (*name).to_owned()).collect();
        self.feed(Event::FilesChanged { named, more });
    }
}

#[test]
fn changes_of_files_replace_all_workers_and_are_named() {
    let mut sim = up(app(GOOD, 2));
    assert!(sim.primary.is_running() && !sim.primary.is_changing());
    sim.change(&["a.js"], 0);
    assert!(sim.primary.is_changing());
    sim.until("the replacement", |sim| sim.told(NoticeKind::ReloadDone).len() == 1);
    assert_eq!((sim.generations(), sim.primary.is_changing()), (vec![2, 2], false));
    sim.change(&["a.js", "b.js"], 3);
    sim.until("the replacement", |sim| sim.told(NoticeKind::ReloadDone).len() == 2);
    let said = sim.told(NoticeKind::FilesChanged);
    let expected = [
        "a.js has changed: every worker is replaced",
        "a.js, b.js and 3 more have changed: every worker is replaced",
    ];
    assert_eq!(said, expected);
}

#[test]
fn changes_of_files_mean_nothing_to_an_app_that_is_stopped() {
    let mut sim = up(app(GOOD, 2));
    let stop = sim.ask(Request::Stop { fast: false });
    sim.change(&["a.js"], 0);
    done(sim.answer(stop));
    assert!(!sim.primary.is_running());
    sim.change(&["a.js"], 0);
    assert_eq!((sim.ids(), sim.told(NoticeKind::FilesChanged)), (vec![], vec![]));
}
