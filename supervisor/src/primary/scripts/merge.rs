//! Changes that the primary merges with the spec that stands.

use config::change::{SpecChange, Written};
use config::spec::{AppSpec, Instances};
use ipc::control::Method;
use ipc::talk::BusRequest;

use super::*;

fn set(name: &str) -> SpecChange {
    SpecChange { env: vec![(name.to_owned(), "1".to_owned())], ..SpecChange::default() }
}

fn configure(change: SpecChange) -> Request {
    Request::Configure { change, method: Method::Rolling { pool: None } }
}

fn variables(sim: &Sim) -> Vec<&str> {
    sim.primary.spec().env.keys().map(String::as_str).collect()
}

#[test]
fn changes_at_once_all_take_effect() {
    let mut sim = up(app(GOOD, 2));
    let clients = ["A", "B", "C"].map(|name| sim.ask(configure(set(name))));
    for (client, generation) in clients.into_iter().zip(2..) {
        let expected = format!("generation {generation} serves");
        assert!(done(sim.answer(client)).contains(&expected));
    }
    assert_eq!(variables(&sim), ["A", "B", "C"]);
}

#[test]
fn a_change_is_not_merged_with_one_that_was_rolled_back() {
    let mut sim = up(app(GOOD, 1));
    let bad = sim.ask(reload("serve port=8000 crash", 1));
    let good = sim.ask(configure(set("A")));
    assert_eq!(failed(sim.answer(bad)).0, FailureKind::RolledBack);
    done(sim.answer(good));
    assert_eq!(variables(&sim), ["A"]);
    assert_eq!(sim.primary.spec().command, ["serve", "port=8000"]);
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing() {
    let mut sim = up(app(GOOD, 1));
    let file = Some("/broken.toml".into());
    let broken = sim.ask(configure(SpecChange { file, ..SpecChange::default() }));
    let next = sim.ask(configure(set("A")));
    let (kind, reason, _) = failed(sim.answer(broken));
    assert_eq!((kind, reason.as_str()), (FailureKind::Usage, "cannot read the file"));
    assert_eq!(sim.generations(), [1]);
    done(sim.answer(next));
}

#[test]
fn an_empty_change_of_an_app_without_a_file_replaces_the_workers() {
    let mut sim = up(app(GOOD, 2));
    let client = sim.ask(configure(SpecChange::default()));
    done(sim.answer(client));
    assert_eq!(sim.generations(), [2, 2]);
    let method = Method::SharedValues;
    let client = sim.ask(Request::Configure { change: SpecChange::default(), method });
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::Usage);
    assert!(reason.contains("came from no file"), "{reason}");
}

#[test]
fn an_app_that_is_stopped_during_a_merge_answers() {
    let mut sim = up(app(GOOD, 1));
    let client = sim.ask(configure(set("A")));
    let stop = sim.ask(Request::Stop { fast: false });
    assert!(failed(sim.answer(client)).1.contains("was stopped before"));
    done(sim.answer(stop));
    // The change starts a stopped app, as any reload does.
    let client = sim.ask(configure(set("B")));
    done(sim.answer(client));
    assert_eq!(variables(&sim), ["B"]);
}

#[test]
fn values_that_come_during_a_merge_stay() {
    let mut sim = up(app(GOOD, 1));
    let client = sim.ask(configure(set("A")));
    let shared = Some("{\"limit\":2}".to_owned());
    sim.ask(Request::Bus(BusRequest::Share { shared: shared.clone() }));
    done(sim.answer(client));
    assert_eq!(sim.primary.spec().shared, shared);
}

#[test]
fn what_no_worker_depends_on_is_adopted() {
    let mut sim = up(app(GOOD, 2));
    let adopt = |sim: &mut Sim, spec: AppSpec| {
        let written =
            Some(Written { spec: Box::new(spec), counted: ["default".to_owned()].into() });
        let change = SpecChange { written, ..SpecChange::default() };
        sim.ask(Request::Configure { change, method: Method::Adopt })
    };
    let spec = AppSpec::clone(sim.primary.spec());
    let asked = AppSpec { instances: Instances::Count(3), wanted: 3, autostart: false, ..spec };
    let client = adopt(&mut sim, asked.clone());
    done(sim.answer(client));
    let now = sim.primary.spec();
    assert_eq!((now.instances, now.wanted, now.autostart), (Instances::Count(3), 2, false));
    assert_eq!(sim.generations(), [1, 1]);
    let client = adopt(&mut sim, AppSpec { stop_signal: 2, ..asked });
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::Usage);
    assert!(reason.contains("cannot change stop_signal"), "{reason}");
    assert_eq!(sim.primary.spec().stop_signal, 15);
}

#[test]
fn shared_values_refuse_other_changes() {
    let mut sim = up(app(GOOD, 1));
    let client = sim.ask(Request::Configure { change: set("A"), method: Method::SharedValues });
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::Usage);
    assert!(reason.contains("more than the shared values has changed"), "{reason}");
    assert!(reason.contains("(env)"), "{reason}");
}
