//! Scenarios of workers that are looked after: frozen, missed, hung.

use super::*;

#[test]
fn a_shared_socket_is_drained_under_load_without_a_cut() {
    for seed in 0..20 {
        let mut sim = Sim::begun(app("serve port=7000 busy=6", 2), seed);
        let up = sim.ask(Request::WaitReady);
        done(sim.answer(up));
        let listener = *sim.listeners.keys().next().expect("a listener");
        for request in [
            reload("serve port=7000 busy=6", 2),
            Request::Scale { wanted: 1, because: String::new() },
        ] {
            let client = sim.ask(request);
            let mut turns = 0;
            while sim.clients[&client].answer.is_none() {
                sim.connect(listener);
                sim.pass(Duration::from_millis(3 + turns % 7));
                turns += 1;
                assert!(turns < 2000, "it never ends");
            }
            done(sim.answer(client));
        }
        assert_eq!(sim.told(NoticeKind::Warning), [""; 0]);
        assert_eq!(sim.cut, 0, "requests were cut");
        assert!(sim.fakes.values().all(|fake| fake.frozen.is_none()));
    }
}

#[test]
fn a_frozen_worker_goes_on_though_the_look_never_comes_back() {
    let mut sim = up(app("serve port=7000 no-looks", 1));
    let old = sim.ids()[0];
    let client = sim.ask(reload("serve port=7000", 1));
    sim.until("the freeze", |sim| sim.fakes[&old].frozen.is_some());
    sim.until("the thaw", |sim| sim.fakes[&old].frozen.is_none());
    assert!(!sim.fakes[&old].told);
    done(sim.answer(client));
}
