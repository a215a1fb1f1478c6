//! Two Rust workers on the bus: a sender and a receiver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use worker::{Call, Error, Worker};

use crate::DATA;

/// How long the receiver waits for the last message.
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

/// How many messages came, and how many somebody waits for.
#[derive(Default)]
struct Heard {
    count: AtomicU64,
    wanted: AtomicU64,
    waits: Mutex<()>,
    reached: Condvar,
}

impl Heard {
    fn one_more(&self) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count == self.wanted.load(Ordering::SeqCst) {
            drop(self.waits.lock().unwrap_or_else(PoisonError::into_inner));
            self.reached.notify_all();
        }
    }

    /// Waits for this many messages, or for the time limit. Returns how many came.
    fn wait_for(&self, wanted: u64) -> u64 {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted.store(wanted, Ordering::SeqCst);
        let missing = |_: &mut ()| self.count.load(Ordering::SeqCst) < wanted;
        drop(self.reached.wait_timeout_while(waits, LONG, missing));
        self.count.swap(0, Ordering::SeqCst)
    }
}

fn hear(worker: &Worker) -> Result<(), Error> {
    let heard = Arc::new(Heard::default());
    let counted = Arc::clone(&heard);
    worker.on_all("bench", move |_| counted.one_more())?;
    worker.serve("reached", 1, move |request| {
        Ok::<_, Error>(json!({ "read": heard.wait_for(request.data()?) }))
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
