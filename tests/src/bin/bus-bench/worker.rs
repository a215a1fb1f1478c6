//! Two Rust workers on the bus: one emits, the other hears.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use worker::{Call, Error, Worker};

use crate::DATA;

/// How long it waits for the last message.
const LONG: Duration = Duration::from_secs(40);

pub(crate) fn run(role: &str) -> Result<(), Error> {
    let worker = Worker::join_pool(role)?;
    match role {
        "hear" => hear(&worker)?,
        _ => emit(&worker)?,
    }
    worker.ready()?;
    loop {
        thread::park();
    }
}

fn hear(worker: &Worker) -> Result<(), Error> {
    let counter = Arc::new((Mutex::new(0_u64), Condvar::new()));
    let counted = Arc::clone(&counter);
    worker.on_all("bench", move |_| {
        *counted.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        counted.1.notify_one();
    })?;
    let (me, before) = (worker.clone(), Mutex::new(0));
    worker.serve("reached", 1, move |request| {
        let wanted = request.data::<u64>()?;
        let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = || me.failures().1 - *before;
        let count = counter.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut count, _) = counter
            .1
            .wait_timeout_while(count, LONG, |count| *count + lost() < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        let read = std::mem::take(&mut *count);
        *before = me.failures().1;
        Ok::<_, Error>(json!({ "read": read }))
    })?;
    worker.serve("echo", 1, |request| Ok::<_, Error>(request.data::<Value>()?))?;
    Ok(())
}

fn emit(worker: &Worker) -> Result<(), Error> {
    let data = "x".repeat(DATA);
    let (emitter, said) = (worker.clone(), data.clone());
    worker.action("run", move |request| {
        let messages = request.data::<u64>()?;
        let began = Instant::now();
        for _ in 0..messages {
            emitter.emit("bench", &said)?;
        }
        let call = Call::to("hear", "reached").timeout(LONG);
        let mut answer: Value = emitter.call_with(&call, &messages)?;
        answer["seconds"] = json!(began.elapsed().as_secs_f64());
        Ok::<_, Error>(answer)
    })?;
    let caller = worker.clone();
    worker.action("trips", move |request| {
        let mut took = Vec::new();
        for _ in 0..request.data::<u64>()? {
            let one = Instant::now();
            caller.call::<Value>("hear", "echo", &data)?;
            took.push(one.elapsed().as_secs_f64() * 1e6);
        }
        took.sort_unstable_by(f64::total_cmp);
        Ok::<_, Error>(took[took.len() / 2])
    })?;
    Ok(())
}
