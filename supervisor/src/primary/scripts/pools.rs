//! Scenarios of apps with several pools.

use std::collections::BTreeMap;

use config::spec::PoolSpec;

use super::super::Primary;
use super::*;

fn with_pools(mut spec: AppSpec, pools: &[(&str, &str, u16)]) -> AppSpec {
    for (name, command, wanted) in pools {
        let command = command.split(' ').map(str::to_owned).collect();
        spec.pools.push(PoolSpec { wanted: *wanted, ..PoolSpec::new(*name, command) });
    }
    spec
}

/// Web and two pools.
fn shop() -> AppSpec {
    with_pools(app(GOOD, 2), &[("hash", "serve", 2), ("mail", "serve", 1)])
}

fn slots(sim: &Sim) -> Vec<u16> {
    sim.primary
        .workers()
        .map(|(_, slot, _)| slot.0)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The worker and its generation in each slot.
fn crew(sim: &Sim) -> BTreeMap<u16, (WorkerId, u32)> {
    sim.primary.workers().map(|(id, slot, of)| (slot.0, (id, of.0))).collect()
}

fn reload_of(pool: &str, spec: Option<AppSpec>) -> Request {
    Request::Reload { spec: spec.map(Box::new), pool: Some(pool.to_owned()) }
}

fn scale(pool: &str, wanted: u16) -> Request {
    Request::Scale { wanted, because: String::new(), pool: Some(pool.to_owned()) }
}

#[test]
fn each_pool_has_slots_of_its_own() {
    let sim = up(shop());
    assert_eq!(slots(&sim), [0, 1, 2000, 2001, 4000]);
    let status = sim.primary.status(sim.now);
    assert_eq!((status.wanted, status.ready), (5, 5));
    let pools: Vec<_> = status.pools.iter().map(|p| (p.name.as_str(), p.wanted, p.ready)).collect();
    assert_eq!(pools, [("default", 2, 2), ("hash", 2, 2), ("mail", 1, 1)]);
    let of: Vec<_> = status.workers.iter().filter_map(|w| w.pool.as_deref()).collect();
    assert_eq!(of, ["default", "default", "hash", "hash", "mail"]);
}

#[test]
fn scaling_one_pool_changes_no_other() {
    let mut sim = up(shop());
    let before = crew(&sim);
    let client = sim.ask(scale("hash", 4));
    assert_eq!(done(sim.answer(client)), "web: pool hash: 4 workers now");
    assert_eq!(slots(&sim), [0, 1, 2000, 2001, 2002, 2003, 4000]);
    let client = sim.ask(scale("hash", 1));
    done(sim.answer(client));
    assert_eq!(slots(&sim), [0, 1, 2000, 4000]);
    assert!(crew(&sim).iter().all(|(slot, who)| before[slot] == *who));
    assert_eq!(sim.primary.spec().pools[0].wanted, 1);
    let client = sim.ask(scale("nope", 1));
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::Usage);
    assert_eq!(reason, "web has no pool nope; its pools are default, hash, mail");
}

#[test]
fn reloading_one_pool_changes_no_other_and_rolls_back_alone() {
    let mut sim = up(shop());
    let before = crew(&sim);
    let client = sim.ask(reload_of("hash", None));
    let message = done(sim.answer(client));
    assert!(message.starts_with("web: pool hash: generation 2 serves; 2 workers replaced"));
    let after = crew(&sim);
    for (slot, (id, generation)) in &after {
        let is_hash = (2000..4000).contains(slot);
        assert_eq!(*generation, if is_hash { 2 } else { 1 }, "slot {slot}");
        assert_eq!(before[slot].0 != *id, is_hash, "slot {slot}");
    }
    // Only the pool counts of the new spec, and its program crashes.
    let bad = with_pools(app("serve crash", 3), &[("hash", "serve crash", 2)]);
    let client = sim.ask(reload_of("hash", Some(bad)));
    let (kind, reason, _) = failed(sim.answer(client));
    assert_eq!(kind, FailureKind::RolledBack);
    assert!(reason.contains("pool hash, slot 2000: "), "{reason}");
    assert_eq!(crew(&sim), after);
    let client = sim.ask(reload_of("mail", Some(app(GOOD, 1))));
    let reason = failed(sim.answer(client)).1;
    assert!(reason.contains("has no [pool.mail] any more"), "{reason}");
}

#[test]
fn a_new_pool_never_takes_the_slots_of_a_leaving_one() {
    let mut sim = up(shop());
    let mail = crew(&sim)[&4000];
    let next = with_pools(app(GOOD, 2), &[("stock", "serve", 1), ("mail", "serve", 1)]);
    let client = sim.ask(Request::Reload { spec: Some(Box::new(next.clone())), pool: None });
    done(sim.answer(client));
    assert_eq!(slots(&sim), [0, 1, 4000, 6000]);
    assert_ne!(crew(&sim)[&4000], mail);
    // The next pool takes the free range again.
    let again = with_pools(next, &[("hash", "serve", 1)]);
    let client = sim.ask(Request::Reload { spec: Some(Box::new(again)), pool: None });
    done(sim.answer(client));
    assert_eq!(slots(&sim), [0, 1, 2000, 4000, 6000]);
}

#[test]
fn a_pool_that_fails_is_named_and_the_others_serve() {
    let spec = with_pools(app(GOOD, 1), &[("hash", "serve crash", 1)]);
    let mut sim = Sim::begun(spec, 7);
    sim.until("it has failed too often", |sim| !sim.told(NoticeKind::SlotErrored).is_empty());
    let status = sim.primary.status(sim.now);
    assert_eq!((status.status, status.ready, status.wanted), (Status::Degraded, 1, 2));
    assert!(
        status
            .reason
            .is_some_and(|reason| reason.starts_with("pool hash, slot 2000: 3 failures in a row"))
    );
}

#[test]
fn versions_without_pools_refuse_a_snapshot_with_pools() {
    let format = |sim: &Sim| {
        let text = sim.primary.snapshot().expect("text").get().to_owned();
        Primary::restore(&text).expect("a valid snapshot");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["format"].clone()
    };
    assert_eq!(format(&up(app(GOOD, 1))), 1);
    assert_eq!(format(&up(shop())), 2);
}
