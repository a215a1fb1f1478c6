//! Carries out the commands of a conversation with the Rust client, in threads of the test.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};
use worker::{Call, CallError, Error, Event, HandlerId, Request, Worker};

/// Runs the program until the command `end`.
pub(crate) fn run(path: PathBuf, commands: Receiver<Value>, reports: Sender<Value>) {
    let mut program = Program { path, reports, worker: None, handlers: BTreeMap::new() };
    for command in commands {
        let (word, command) = command.as_object().unwrap().iter().next().unwrap();
        if word == "end" {
            // The worker is dropped first: its last messages are out before the report.
            drop(program.worker.take());
            return program.report(json!({ "end": {} }));
        }
        if let Err(error) = program.carry_out(word, Command(command)) {
            program.report(json!({ "refused": error.to_string() }));
        }
    }
}

struct Program {
    path: PathBuf,
    reports: Sender<Value>,
    worker: Option<Worker>,
    handlers: BTreeMap<String, HandlerId>,
}

#[derive(Clone, Copy)]
struct Command<'a>(&'a Value);

impl<'a> Command<'a> {
    fn text(self, key: &str) -> &'a str {
        self.0[key].as_str().unwrap()
    }

    fn is(self, key: &str) -> bool {
        self.0[key].as_bool().unwrap_or_default()
    }

    fn number(self, key: &str, default: u64) -> u64 {
        self.0[key].as_u64().unwrap_or(default)
    }
}

impl Program {
    fn report(&self, report: Value) {
        // The test has failed and stopped listening.
        let _ = self.reports.send(report);
    }

    fn carry_out(&mut self, word: &str, command: Command<'_>) -> Result<(), Error> {
        match word {
            "join" => {
                let stream = UnixStream::connect(&self.path)?;
                match Worker::over(stream, command.text("pool")) {
                    Ok(worker) => {
                        self.report(json!({ "joined": worker.peer() }));
                        self.worker = Some(worker);
                    }
                    Err(error) => self.report(json!({ "not_joined": error.to_string() })),
                }
                return Ok(());
            }
            "start_alone" => {
                self.worker = Some(Worker::join()?);
                return Ok(());
            }
            _ => {}
        }
        let worker = self.worker.clone().expect("the program has not joined");
        match word {
            "on" | "once" => {
                let (topic, handler) = (command.text("topic"), self.noting(command));
                let id = match word {
                    "once" => worker.once(topic, handler)?,
                    _ if command.is("wait") => worker.on_all(topic, handler)?,
                    _ => worker.on(topic, handler)?,
                };
                self.handlers.insert(command.text("handler").to_owned(), id);
            }
            "off" => worker.off(self.handlers[command.text("handler")]),
            "off_all" => worker.off_all(command.text("topic")),
            "emit" => worker.emit(command.text("topic"), &command.0["data"])?,
            "send" => {
                let slot = u16::try_from(command.number("slot", 0))?;
                worker.send(slot, command.text("topic"), &command.0["data"])?;
            }
            "call" => self.call(worker, command.0.clone()),
            "serve" => {
                let at_once = u16::try_from(command.number("at_once", 1))?;
                worker.serve(command.text("topic"), at_once, self.answering(&worker, command))?;
            }
            "unserve" => worker.unserve(command.text("topic"))?,
            "action" => worker.action(command.text("name"), self.answering(&worker, command))?,
            "gauge" | "counter" | "histogram" => metric(&worker, word, command)?,
            "on_config" => self.on_config(&worker, command),
            "on_drain" => {
                let reports = self.reports.clone();
                worker.on_drain(move || reports.send(json!({ "drained": {} })).unwrap_or_default());
            }
            "admit" => {
                let after = worker.admit().err().map_or(0, |limited| limited.retry_after());
                self.report(json!({ "admitted": { "ok": after == 0, "retry_after": after } }));
            }
            "ready" => worker.ready()?,
            "leaving" => worker.leaving()?,
            "leave" => worker.leave(),
            "state" => {
                let (failures, dropped) = worker.failures();
                let (alone, draining) = (worker.is_alone(), worker.draining());
                self.report(json!({ "state": {
                    "alone": alone, "draining": draining, "failures": failures,
                    "dropped": dropped, "peer": worker.peer(),
                } }));
            }
            other => panic!("unknown command {other}"),
        }
        Ok(())
    }

    /// The handler of an event.
    fn noting(
        &self,
        command: Command<'_>,
    ) -> impl Fn(&Event) -> Result<(), Error> + Send + Sync + 'static {
        let reports = self.reports.clone();
        let handler = command.text("handler").to_owned();
        let does = command.0["does"].as_str().unwrap_or("note").to_owned();
        let (until, count) = (command.0["until"].clone(), AtomicU64::new(0));
        move |event| {
            let data: Value = event.data()?;
            if does == "fail" {
                return Err("no".into());
            }
            let report = if does == "note" {
                json!({ "event": { "handler": handler, "data": data, "from": event.from } })
            } else {
                // Counts, and is slower at first than the events come.
                let events = count.fetch_add(1, Ordering::Relaxed) + 1;
                if events == 1 {
                    thread::park_timeout(Duration::from_millis(100));
                }
                if data != until {
                    return Ok(());
                }
                json!({ "counted": { "handler": handler, "events": events } })
            };
            Ok(reports.send(report)?)
        }
    }

    /// The handler of a request.
    fn answering(
        &self,
        worker: &Worker,
        command: Command<'_>,
    ) -> impl Fn(&Request) -> Result<Value, Error> + Send + Sync + 'static {
        let (reports, worker, command) = (self.reports.clone(), worker.clone(), command.0.clone());
        move |request| {
            let data: Value = request.data()?;
            match Command(&command).text("does") {
                "fail" => Err(Command(&command).text("message").into()),
                "call" => Ok(worker.call("x", "more", &data)?),
                "return" => Ok(command["data"].clone()),
                _ => {
                    reports.send(json!({ "request": { "data": data, "from": request.from } }))?;
                    Ok(data)
                }
            }
        }
    }

    fn call(&self, worker: Worker, command: Value) {
        let reports = self.reports.clone();
        thread::spawn(move || {
            let options = Command(&command);
            let mut call = Call::to(options.text("pool"), options.text("topic"));
            if let Some(ms) = command["timeout_ms"].as_u64() {
                call = call.timeout(Duration::from_millis(ms));
            }
            if options.is("retry") {
                call = call.retry();
            }
            let name = &command["as"];
            let report = match worker.call_with::<Value>(&call, &command["data"]) {
                Ok(data) => json!({ "ended": { "call": name, "data": data } }),
                Err(CallError::Io(error)) => json!({ "refused": error.to_string() }),
                Err(CallError::Alone) => json!({ "ended": { "call": name, "error": "alone" } }),
                Err(error) => {
                    let (kind, message) = kind(error);
                    json!({ "ended": { "call": name, "error": kind, "message": message } })
                }
            };
            let _ = reports.send(report);
        });
    }

    fn on_config(&self, worker: &Worker, command: Command<'_>) {
        let (reports, own, command) = (self.reports.clone(), worker.clone(), command.0.clone());
        worker.on_config(move |values: Value| {
            match Command(&command).text("does") {
                "fail" => return Err(Error::from(Command(&command).text("message"))),
                "call" => drop(own.call::<Value>("x", "more", &values)?),
                _ => {}
            }
            Ok(reports.send(json!({ "config": values }))?)
        });
    }
}

fn metric(worker: &Worker, kind: &str, command: Command<'_>) -> Result<(), Error> {
    let (name, value) = (command.text("name"), command.0["value"].as_f64().unwrap());
    let none = Map::new();
    let labels = command.0["labels"].as_object().unwrap_or(&none);
    let labels: Vec<_> =
        labels.iter().map(|(name, text)| (name.as_str(), text.as_str().unwrap())).collect();
    Ok(match kind {
        "gauge" => worker.gauge(name, value, &labels),
        "counter" => worker.counter(name, value, &labels),
        _ => worker.histogram(name, value, &labels),
    }?)
}

/// The word and the text that the other languages have for an error.
fn kind(error: CallError) -> (&'static str, String) {
    match error {
        CallError::Failed(message) => ("failed", message),
        CallError::TimedOut(message) => ("timed-out", message),
        CallError::Died(message) => ("died", message),
        CallError::Full(message) => ("full", message),
        CallError::NoPool(message) => ("no-pool", message),
        CallError::Lost(message) => ("lost", message),
        CallError::Alone => ("alone", String::new()),
        CallError::Data(error) => ("data", error.to_string()),
        CallError::Io(error) => ("io", error.to_string()),
    }
}
