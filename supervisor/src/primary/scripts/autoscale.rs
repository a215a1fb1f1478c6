//! Scenarios of a number of workers that follows the load.

use config::spec::Instances;

use super::*;
use crate::primary::event::Event;

fn between(min: u16, max: u16) -> AppSpec {
    AppSpec { instances: Instances::Between { min, max }, ..app(GOOD, min) }
}

impl Sim {
    fn load_asks_for(&mut self, to: u16) {
        self.feed(Event::LoadAsks { to, because: "40 connections wait".to_owned() });
    }

    fn wanted(&self) -> u16 {
        self.primary.spec().wanted
    }
}

#[test]
fn the_load_changes_the_number_within_the_bounds_and_the_reason_is_told() {
    let mut sim = up(between(2, 4));
    sim.load_asks_for(9);
    assert_eq!(sim.wanted(), 4);
    let said = "4 workers wanted instead of 2: 40 connections wait";
    assert_eq!(sim.told(NoticeKind::Scaled), [said]);
    sim.until("they are ready", |sim| sim.app_status() == Status::Ready && sim.ids().len() == 4);
    let status = sim.primary.status(sim.now);
    assert_eq!(status.wanted_because, "40 connections wait");
    sim.load_asks_for(1);
    assert_eq!(sim.wanted(), 2);
    sim.until("two are gone", |sim| sim.ids().len() == 2 && sim.app_status() == Status::Ready);
}

#[test]
fn the_load_changes_nothing_while_something_else_does() {
    let mut sim = up(between(2, 4));
    let client = sim.ask(Request::Reload { spec: None, pool: None });
    sim.load_asks_for(4);
    assert_eq!(sim.wanted(), 2);
    done(sim.answer(client));
    sim.murder(sim.ids()[0]);
    sim.load_asks_for(4);
    assert_eq!(sim.wanted(), 2, "a worker that is not ready is no reason for more of them");
    sim.until("it is ready again", |sim| sim.app_status() == Status::Ready);
    sim.load_asks_for(4);
    assert_eq!(sim.wanted(), 4);
}

#[test]
fn a_reload_keeps_the_number_and_a_person_may_change_it() {
    let mut sim = up(between(2, 4));
    sim.load_asks_for(3);
    sim.until("they are ready", |sim| sim.app_status() == Status::Ready && sim.ids().len() == 3);
    let client = sim.ask(Request::Reload { spec: None, pool: None });
    done(sim.answer(client));
    assert_eq!((sim.wanted(), sim.generations()), (3, vec![2, 2, 2]));
    let client = sim.ask(Request::Scale { wanted: 6, because: String::new(), pool: None });
    done(sim.answer(client));
    let spec = sim.primary.spec();
    assert_eq!((spec.wanted, spec.instances), (6, Instances::Between { min: 2, max: 4 }));
}

#[test]
fn a_plain_number_does_not_follow_the_load() {
    let mut sim = up(app(GOOD, 2));
    sim.load_asks_for(4);
    assert_eq!(sim.wanted(), 2);
}
