//! A reload under way is paused, resumed and aborted, under load: nothing is lost, every command
//! that waits gets a definite result, and the pause outlives primaries and builds.

use std::time::Duration;

use ipc::control::{AppStatus, NoticeKind, Request, Status};
use nix::sys::signal::Signal;
use tests::fixtures::Deploys;
use tests::run::Running;
use tests::{Home, Load, Port, client};

const SOON: Duration = Duration::from_secs(60);

/// A reload of three workers that was paused while its first slot was under way.
fn paused(home: &Home, deploys: &mut Deploys<'_>, pause: &[&str]) -> Running {
    let mut notices = home.ask("web", &Request::Subscribe);
    deploys.put("new", "pid_server.py");
    let reload = home.spawn(&["reload", "web"]);
    notices.notice_of(NoticeKind::ReloadStarted, SOON);
    let said = home.run(&[&["rollout", "pause", "web"], pause].concat()).ok();
    said.shows(&["generation 2 is paused after 0 of 3 slots", "rollout resume web"]);
    notices.notice_of(NoticeKind::ReloadPaused, SOON);
    home.wait_app("web", "a paused rollout with one slot", SOON, is_paused);
    reload
}

/// Whether one slot of three has the new generation, and nothing else is under way.
fn is_paused(app: &AppStatus) -> bool {
    let rollout = app.rollout.clone().unwrap_or_default();
    let mut generations: Vec<u32> = app.workers.iter().map(|worker| worker.generation).collect();
    generations.sort_unstable();
    app.status == Status::Reloading
        && (rollout.replaced, rollout.slots) == (1, 3)
        && rollout.paused_for_ms.is_some()
        && generations == [1, 1, 2]
}

/// An app of three workers.
fn deployed<'h>(home: &'h Home, port: &Port) -> Option<Deploys<'h>> {
    Deploys::start(home, &["-i", "3", "--min-uptime", "300ms", "--observe", "500ms"], port)
}

/// The same under load.
fn under_clients<'h>(home: &'h Home, port: &Port) -> Option<(Deploys<'h>, client::Running)> {
    let deploys = deployed(home, port)?;
    let load = Load::new(port.v4()).start();
    load.warm(100);
    Some((deploys, load))
}

#[test]
fn heavy_a_paused_reload_outlives_the_primary_and_is_aborted_without_loss() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some((mut deploys, load)) = under_clients(&home, &port) else { return };
    let reload = paused(&home, &mut deploys, &[]);
    home.kill_primary("web", Signal::SIGKILL);
    home.wait_app("web", "the pause after the death of the primary", SOON, is_paused);
    home.run(&["upgrade", "web"]).ok();
    load.more(300);
    assert!(is_paused(&home.app("web")), "{:#?}", home.app("web"));
    home.run(&["reload", "web"]).code(1).says(&["a rollout of web is paused"]);

    deploys.put("old", "pid_server.py");
    home.run(&["rollout", "abort", "web"]).ok().shows(&["was rolled back", "aborted"]);
    reload.end(SOON).code(4).says(&["generation 1 serves: it was aborted by a request"]);
    let app = home.app("web");
    assert_eq!((app.status, app.ready, app.rollout.is_none()), (Status::Ready, 3, true), "{app:?}");
    assert!(app.workers.iter().all(|worker| worker.generation == 1), "{app:#?}");
    load.more(100);
    let tally = load.stop().nothing_lost("a paused and aborted reload");
    let served = |version: &str| tally.by_version.get(version).copied().unwrap_or(0);
    assert!(served("new") > 0 && served("old") > 0, "{tally}");
}

#[test]
fn heavy_a_paused_reload_goes_on_without_loss() {
    let _load = tests::under_load();
    let (home, port) = (tests::home!(), Port::new());
    let Some((mut deploys, load)) = under_clients(&home, &port) else { return };
    let reload = paused(&home, &mut deploys, &["--for", "1m"]);
    for look in [&["list"][..], &["describe", "web"]] {
        home.run(look).ok().shows(&["paused after 1 of 3 slots"]);
    }
    load.more(300);
    home.run(&["rollout", "resume", "web"]).ok().shows(&["generation 2 goes on after 1 of 3"]);
    reload.end(SOON).ok().shows(&["generation 2 serves; 3 workers replaced"]);
    load.more(100);
    load.stop().nothing_lost("a paused and resumed reload");
    let events = home.run(&["events", "web", "--last", "100"]).ok();
    events.shows(&["is paused after 0 of 3 slots", "goes on after 1 of 3 slots"]);
}

#[test]
fn a_reload_that_nobody_resumes_is_rolled_back() {
    let (home, port) = (tests::home!(), Port::new());
    let Some(mut deploys) = deployed(&home, &port) else { return };
    for verb in ["pause", "resume", "abort"] {
        home.run(&["rollout", verb, "web"]).code(2).says(&["no rollout under way"]);
    }
    let reload = paused(&home, &mut deploys, &["--for", "5s"]);
    reload.end(SOON).code(4).says(&["it was paused for 5s and nobody resumed it"]);
    let app = home.app("web");
    assert!(app.workers.iter().all(|worker| worker.generation == 1), "{app:#?}");
}
