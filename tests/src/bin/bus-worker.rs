//! A Rust worker on the bus, for the tests. It emits events, serves calls, and makes calls as fast
//! as it can.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use worker::{Call, CallError, Error, Worker};

const ME: &str = "rust";

fn main() -> Result<(), Error> {
    let role = std::env::args().nth(1).unwrap_or_default();
    let worker = Worker::join_pool(if role == "hash" { "hash" } else { ME })?;
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    let hear = Arc::clone(&heard);
    worker.on("shout", move |event| {
        let who = event.data::<String>()?;
        hear.lock().unwrap_or_else(PoisonError::into_inner).push(who);
        Ok::<_, serde_json::Error>(())
    })?;
    worker.serve("who", 4, |request| Ok::<_, Error>(json!([ME, request.data::<Value>()?])))?;
    worker.serve("sum", 1, |request| {
        tests::wait::let_pass(Duration::from_millis(2));
        Ok::<_, Error>(request.data::<Vec<u64>>()?.iter().sum::<u64>())
    })?;
    let shouter = worker.clone();
    worker.action("shout", move |_| shouter.emit("shout", ME).map(|()| ME))?;
    worker.action("heard", move |_| {
        let mut all = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort();
        Ok::<_, Error>(all)
    })?;
    let asker = worker.clone();
    worker.action("ask", move |_| {
        let ask = |pool| asker.call::<Value>(pool, "who", ME);
        ["node", "python", "rust"].map(ask).into_iter().collect::<Result<Vec<_>, _>>()
    })?;
    let caller = worker.clone();
    worker.action("load", move |request| Ok::<_, Error>(load(&caller, request.data()?)))?;
    speed(&worker)?;
    chatter(&worker)?;
    let limit = Arc::new(AtomicU64::new(0));
    let kept = Arc::clone(&limit);
    worker.on_config(move |values: Value| match values["limit"].as_u64() {
        Some(666) => Err("too high"),
        limit => {
            kept.store(limit.unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }
    });
    worker.action("limit", move |_| Ok::<_, Error>(limit.load(Ordering::Relaxed)))?;
    give_and_take(&worker)?;
    if let Some(port) = std::env::args().nth(2) {
        serve(&worker, port)?;
    }
    worker.counter("bus_test_starts", 1.0, &[("language", ME)])?;
    worker.ready()?;
    loop {
        thread::park();
    }
}

/// Writes a line with both slots into each file that it gets, and gives files away on request.
fn give_and_take(worker: &Worker) -> Result<(), Error> {
    let me = worker.clone();
    worker.on_given("file", move |given| {
        let mut file = std::fs::File::from(given.fd);
        let (from, to) = (given.from.slot, me.peer().slot);
        file.write_all(format!("from slot {from} to slot {to}\n").as_bytes())
    })?;
    let giver = worker.clone();
    worker.action("give", move |request| {
        let (slot, path) = request.data::<(u16, String)>()?;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        giver.give(slot, "file", &(), &file)?;
        Ok::<_, Error>("given")
    })?;
    Ok(())
}

/// Answers each connection with its slot. Slot 0 hands its connections over to slot 1.
fn serve(worker: &Worker, port: String) -> Result<(), Error> {
    let (listener, me) = (worker.listener(&port)?, worker.clone());
    thread::spawn(move || {
        while let Ok(Some((mut connection, _))) = listener.accept() {
            let slot = me.peer().slot;
            let written = match slot {
                0 => me.hand_over(1, &port, &connection).map_err(Error::from),
                _ => writeln!(connection, "slot {slot}").map_err(Error::from),
            };
            if let Err(error) = written {
                eprintln!("a connection was not served: {error}");
            }
        }
    });
    Ok(())
}

/// Calls for some seconds. Returns how the calls ended, and the longest time of one.
fn load(worker: &Worker, seconds: u64) -> Value {
    let begin = Instant::now();
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(seconds) {
        let one = Instant::now();
        let call = Call::to("hash", "sum").timeout(Duration::from_secs(5)).retry();
        let end = match worker.call_with::<u64>(&call, &[1, 2, 3]) {
            Ok(6) => "right",
            Ok(_) => "wrong",
            Err(CallError::Died(_)) => "died",
            Err(CallError::TimedOut(_)) => "timed out",
            Err(CallError::Full(_)) => "full",
            Err(_) => "other",
        };
        *ends.entry(end).or_default() += 1;
        longest = longest.max(one.elapsed());
    }
    json!({ "ends": ends, "longest_ms": longest.as_millis() })
}

/// Actions that emit to and call all languages until another action ends it. They return how the
/// calls ended, the longest time of one, and how many events came from each language.
fn chatter(worker: &Worker) -> Result<(), Error> {
    let heard = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let hear = Arc::clone(&heard);
    worker.on("chatter", move |event| {
        let who = event.data::<String>()?;
        *hear.lock().unwrap_or_else(PoisonError::into_inner).entry(who).or_default() += 1;
        Ok::<_, serde_json::Error>(())
    })?;
    worker.action("chatter-heard", move |_| {
        Ok::<_, Error>(heard.lock().unwrap_or_else(PoisonError::into_inner).clone())
    })?;
    let (go, talking) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (me, goes, talks) = (worker.clone(), Arc::clone(&go), Arc::clone(&talking));
    worker.action("chatter", move |_| {
        goes.store(true, Ordering::Relaxed);
        let (me, goes) = (me.clone(), Arc::clone(&goes));
        let thread = thread::spawn(move || talk(&me, &goes));
        *talks.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok::<_, Error>(ME)
    })?;
    worker.action("chatter-end", move |_| {
        go.store(false, Ordering::Relaxed);
        let thread = talking.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok::<_, Error>(thread.and_then(|thread| thread.join().ok()))
    })?;
    Ok(())
}

fn talk(me: &Worker, go: &AtomicBool) -> Value {
    let (mut ends, mut longest) = (BTreeMap::<String, u64>::new(), Duration::ZERO);
    for pool in ["node", "python", "rust"].into_iter().cycle() {
        if !go.load(Ordering::Relaxed) {
            break;
        }
        let one = Instant::now();
        let said = me.emit("chatter", ME).map_err(CallError::from);
        let end = match said.and_then(|()| me.call::<Value>(pool, "who", ME)) {
            Ok(answer) if answer[0] == pool => "right".to_owned(),
            Ok(_) => "wrong".to_owned(),
            Err(CallError::Lost(_)) => "lost".to_owned(),
            Err(error) => error.to_string(),
        };
        *ends.entry(end).or_default() += 1;
        longest = longest.max(one.elapsed());
    }
    json!({ "ends": ends, "longest_ms": longest.as_millis() })
}

/// Actions that measure events and round trips.
fn speed(worker: &Worker) -> Result<(), Error> {
    let emitter = worker.clone();
    worker.action("emit", move |request| {
        let data = "x".repeat(62);
        let begin = Instant::now();
        for _ in 0..request.data::<u64>()? {
            emitter.emit("fast", &data)?;
        }
        Ok::<_, Error>(begin.elapsed().as_secs_f64())
    })?;
    let counter = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&counter);
    // Only the other pool listens, so that every event goes through the primary.
    if worker.peer().pool == "hash" {
        worker.on("fast", move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        })?;
    }
    worker.action("fast", move |_| Ok::<_, Error>(counted.load(Ordering::Relaxed)))?;
    let caller = worker.clone();
    worker.action("round-trips", move |request| {
        let mut took = Vec::new();
        for _ in 0..request.data::<u64>()? {
            let begin = Instant::now();
            caller.call::<Value>("hash", "who", &1)?;
            took.push(begin.elapsed().as_micros());
        }
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
        Ok::<_, Error>(json!({ "p50_us": at(50), "p99_us": at(99) }))
    })?;
    Ok(())
}
