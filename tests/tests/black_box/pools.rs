//! Several pools in one app. Each is scaled and reloaded by itself and fails by itself. Every call
//! to a pool ends with an answer or a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::control::{AppStatus, Status, WorkerState};
use nix::sys::signal::Signal;
use tests::wait::let_pass;
use tests::{Home, fixtures, process};

const SOON: Duration = Duration::from_secs(30);

fn program(name: &str, words: &str) -> Option<Vec<String>> {
    let python = fixtures::need("python3")?;
    let words = words.split_whitespace().map(str::to_owned);
    Some([python.to_owned(), fixtures::file(name)].into_iter().chain(words).collect())
}

/// Writes the app's file: `own` workers of one program, `hashers` of the other.
fn configure(home: &Home, own: (&[String], u16), hash: (&[String], u16), more: &str) -> String {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/python");
    let json = |words: &[String]| serde_json::to_string(words).expect("strings");
    let path = serde_json::to_string(&clients).expect("a path");
    let rest = format!(
        "instances = {}\nready = \"notify\"\nmin_uptime = \"200ms\"\nenv = {{ PYTHONPATH = {path} }}\n\
         {more}\n[pool.hash]\ncommand = {}\ninstances = {}\nready = \"notify\"\n",
        own.1,
        json(hash.0),
        hash.1
    );
    home.config("web", own.0, &rest)
}

/// The pids of one pool, by slot.
fn pids(app: &AppStatus, pool: &str) -> BTreeMap<u16, u32> {
    let of_pool = app.workers.iter().filter(|worker| worker.pool.as_deref() == Some(pool));
    of_pool.filter_map(|worker| Some((worker.slot, worker.pid?))).collect()
}

fn counts(app: &AppStatus) -> Vec<(&str, u16, u16)> {
    app.pools.iter().map(|pool| (pool.name.as_str(), pool.ready, pool.wanted)).collect()
}

#[test]
fn one_pool_is_scaled_and_reloaded_without_the_other() {
    let (Some(own), Some(hash)) = (program("pools/hash.py", "own"), program("pools/hash.py", ""))
    else {
        return;
    };
    let home = tests::home!();
    let file = configure(&home, (&own, 2), (&hash, 1), "");
    home.run(&["start", &file]).ok();
    let before = home.app("web");
    assert_eq!((before.status, before.ready, before.wanted), (Status::Ready, 3, 3));
    assert_eq!(counts(&before), [("default", 2, 2), ("hash", 1, 1)]);
    assert_eq!(pids(&before, "hash").keys().copied().collect::<Vec<_>>(), [2000]);
    let said = home.run(&["trigger", "web", "who", "--json"]).ok().json();
    let pools: Vec<&str> =
        (0..3).map(|at| said[at]["data"]["pool"].as_str().unwrap_or_default()).collect();
    assert_eq!(pools, ["default", "default", "hash"], "{said}");

    let said = home.run(&["scale", "web", "3", "--pool", "hash"]).ok().stdout;
    assert!(said.contains("pool hash: 3 workers now"), "{said}");
    let scaled = home.app("web");
    assert_eq!(counts(&scaled), [("default", 2, 2), ("hash", 3, 3)]);
    assert_eq!(pids(&scaled, "default"), pids(&before, "default"));
    assert_eq!(pids(&scaled, "hash")[&2000], pids(&before, "hash")[&2000]);
    home.run(&["scale", "web:hash", "-1"]).ok();
    let measured = home.run(&["metrics", "web", "--openmetrics"]).ok().stdout;
    assert!(
        measured.contains(
            "supervisor_worker_restarts_total{app=\"web\",pool=\"hash\",slot=\"2000\"} 0"
        ),
        "{measured}"
    );
    for (pool, ready) in [("default", 2), ("hash", 2)] {
        let line =
            format!("supervisor_pool_workers_ready{{app=\"web\",pool=\"{pool}\"}} {ready}\n");
        assert!(measured.contains(&line), "{measured}");
    }

    // The file changes both pools, and only one of them is reloaded.
    let (other, another) =
        (program("pools/hash.py", "new own"), program("pools/hash.py", "new").expect("python"));
    configure(&home, (&other.expect("python"), 2), (&another, 1), "");
    let said = home.run(&["reload", "web", "--pool", "hash"]).ok().stdout;
    assert!(said.contains("pool hash: generation 2 serves"), "{said}");
    let reloaded = home.app("web");
    assert_eq!(counts(&reloaded), [("default", 2, 2), ("hash", 2, 2)]);
    assert_eq!(pids(&reloaded, "default"), pids(&before, "default"));
    let all = |app: &AppStatus| pids(app, "hash").into_values().collect::<BTreeSet<_>>();
    assert!(all(&reloaded).is_disjoint(&all(&scaled)));
    let said = home.run(&["trigger", "web", "who", "--json"]).ok().json();
    assert_eq!(said[0]["data"]["words"], serde_json::json!(["own"]), "{said}");
    assert_eq!(said[2]["data"]["words"], serde_json::json!(["new"]), "{said}");

    home.run(&["reload", "web", "--pool", "default"]).ok();
    let own_reloaded = home.app("web");
    assert_eq!(all(&own_reloaded), all(&reloaded));
    assert!(pids(&own_reloaded, "default").values().all(|pid| !before_has(&before, *pid)));
    home.run(&["reload", "web"]).ok();
    assert!(all(&home.app("web")).is_disjoint(&all(&reloaded)));
    let text = home.run(&["describe", "web"]).ok().stdout;
    assert!(text.contains("hash: 2 of 2 ready") && text.contains("slots from 2000"), "{text}");
    home.run(&["scale", "web", "2", "--pool", "nope"]).code(2).says(&["no pool nope", "hash"]);
    home.run(&["scale", "web:nope", "2"]).code(2).says(&["its pools are default, hash"]);
    home.run(&["reload", "web:nope"]).code(2).says(&["its pools are default, hash"]);
    home.run(&["reload", "web:hash", "--pool", "hash"]).code(2).says(&["leave out --pool"]);
    home.run(&["restart", "web:hash", "--hard"]).code(2).says(&["name no pool"]);
    home.run(&["reload", "web:hash", "--config"]).code(2).says(&["whole apps"]);
    home.run(&["stop", "web:hash"]).code(2).says(&["whole apps"]);
    // Two in one command, each with its own result.
    let said = home.run(&["reload", "web:hash", "web:default", "--json"]).ok().json();
    let messages = [0, 1].map(|at| said[at]["message"].as_str().unwrap_or_default().to_owned());
    assert!(messages[0].starts_with("pool hash: generation"), "{said}");
    assert!(messages[1].starts_with("generation"), "{said}");
    home.run(&["restart", "web:hash"]).ok();
    home.run(&["reload", "web", "--pool", "nope"]).code(2).says(&["its pools are default, hash"]);
}

fn before_has(app: &AppStatus, pid: u32) -> bool {
    app.workers.iter().any(|worker| worker.pid == Some(pid))
}

#[test]
fn a_pool_that_crashes_leaves_the_other_serving() {
    let (Some(own), Some(hash)) = (program("pools/hash.py", "own"), program("pools/hash.py", ""))
    else {
        return;
    };
    let home = tests::home!();
    let crash = ["sh", "-c", "echo no luck today >&2; exit 3"].map(str::to_owned);
    let file = configure(&home, (&own, 1), (&crash, 1), "backoff_max = \"200ms\"");
    home.run(&["start", &file]).code(1).says(&["1 of 2 workers ready", "pool hash, slot 2000"]);
    let app = home.app("web");
    assert_eq!(app.status, Status::Degraded);
    assert!(app.reason.as_ref().is_some_and(|why| why.starts_with("pool hash,")), "{app:#?}");
    assert_eq!(counts(&app), [("default", 1, 1), ("hash", 0, 1)]);
    let before = pids(&app, "default");
    let said = home.run(&["trigger", "web", "who", "--json"]).ok().json();
    assert_eq!(said[0]["data"]["pool"], "default", "{said}");

    // A good deploy repairs the pool, and a bad one changes nothing.
    configure(&home, (&own, 1), (&hash, 1), "backoff_max = \"200ms\"");
    home.run(&["reload", "web", "--pool", "hash"]).ok();
    let mended = home.app("web");
    assert_eq!((mended.status, counts(&mended)[1]), (Status::Ready, ("hash", 1, 1)));
    configure(&home, (&own, 1), (&crash, 1), "backoff_max = \"200ms\"");
    let words = ["pool hash, slot 2000", "rolled back", "exit code 3"];
    home.run(&["reload", "web", "--pool", "hash"]).code(4).says(&words);
    let after = home.app("web");
    assert_eq!((after.status, after.ready), (Status::Ready, 2), "{after:#?}");
    assert_eq!(pids(&after, "hash"), pids(&mended, "hash"));
    assert_eq!(pids(&after, "default"), before);
}

/// For how many seconds the worker of the pool is killed every second.
fn kills() -> u64 {
    tests::from_env("POOL_KILLS", 20)
}

#[test]
fn heavy_every_call_to_a_pool_that_dies_every_second_ends() {
    let _exclusive = tests::exclusive();
    let (Some(callers), Some(hash)) =
        (program("pools/caller.py", ""), program("pools/hash.py", "slow"))
    else {
        return;
    };
    let home = tests::home!();
    let more = "max_restarts = 1000\nbackoff_min = \"50ms\"\nbackoff_max = \"200ms\"";
    let file = configure(&home, (&callers, 4), (&hash, 1), more);
    home.run(&["start", &file]).ok();
    let begun = Instant::now();
    let mut killed = 0;
    while begun.elapsed() < Duration::from_secs(kills()) {
        let worker = home.wait_worker("web", "the pool's worker", SOON, |worker| {
            worker.slot == 2000 && worker.state == WorkerState::Ready && worker.pid.is_some()
        });
        process::kill(worker.pid.expect("it has one"), Signal::SIGKILL);
        killed += 1;
        let_pass(Duration::from_secs(1));
    }
    let said = home.run(&["trigger", "web", "tally", "--json", "--timeout", "60s"]).ok().json();
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    for slot in 0..4 {
        let data = &said[slot]["data"];
        assert_eq!(data["ended"], true, "a call hangs: {said}");
        assert!(data["longest"].as_f64().is_some_and(|seconds| seconds < 8.0), "{said}");
        for (word, count) in data["tally"].as_object().expect("a tally") {
            *sum.entry(word.clone()).or_default() += count.as_u64().expect("a count");
        }
    }
    println!("{killed} kills within {:.0?}: {sum:?}", begun.elapsed());
    let asked = sum.remove("asked").expect("calls");
    assert_eq!(sum.values().sum::<u64>(), asked);
    assert!(sum.get("answered").is_some_and(|count| *count > 0) && !sum.contains_key("wrong"));
    assert!(
        sum.keys().all(|end| ["answered", "died", "timed-out", "full"].contains(&end.as_str()))
    );
    let after = home.app("web");
    assert!(after.workers.iter().filter(|w| w.slot < 4).all(|w| w.restarts == 0), "{after:#?}");
}
