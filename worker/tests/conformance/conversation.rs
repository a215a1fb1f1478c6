//! A conversation: its steps, and what must come of each. `worker/conformance/README.md` describes
//! the format.

use std::fs;
use std::path::Path;

use ipc::bus::{FromWorker, ToWorker};
use serde_json::{Map, Value, json};

use crate::program::Program;

#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) name: String,
    steps: Vec<Value>,
}

impl Conversation {
    /// All conversations of a file.
    pub(crate) fn read(path: &Path) -> Vec<Self> {
        let text = fs::read_to_string(path).unwrap();
        let file: Map<String, Value> = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let conversations = file.into_iter().map(|(name, steps)| {
            let Value::Array(steps) = expanded(steps) else { panic!("{name}: no list of steps") };
            Self { name: format!("{}: {name}", path.file_stem().unwrap().display()), steps }
        });
        conversations.collect()
    }

    /// Holds the conversation. An error says at which step it went wrong.
    pub(crate) fn hold(&self, program: &mut Program) -> Result<(), String> {
        for (number, step) in self.steps.iter().enumerate() {
            let (word, value) = step.as_object().and_then(|step| step.iter().next()).unwrap();
            take(program, word, value)
                .map_err(|why| format!("step {} ({}): {why}", number + 1, short(step)))?;
        }
        // Nothing else may have come.
        program.tell(&json!({ "end": {} }))?;
        equal(&program.report()?, &json!({ "end": {} })).map_err(|why| format!("end: {why}"))
    }
}

fn take(program: &mut Program, step: &str, value: &Value) -> Result<(), String> {
    match step {
        "program" => program.tell(value),
        "reports" => equal(&program.report()?, value),
        "joins" => join(program, value),
        "hello" => match program.message()? {
            Some(FromWorker::Hello { oldest: 1, newest: 1, client, pool })
                if !client.is_empty() && value["pool"] == pool =>
            {
                Ok(())
            }
            other => Err(format!("no hello: {other:?}")),
        },
        "worker" => {
            let message = program.message()?.ok_or("the worker has left")?;
            equal(&normal(message), &normal(expected(value)?))
        }
        "worker-in-any-order" => {
            let (mut came, mut wanted) = (Vec::new(), Vec::new());
            for message in value.as_array().unwrap() {
                came.push(normal(program.message()?.ok_or("the worker has left")?));
                wanted.push(normal(expected(message)?));
            }
            same(came, wanted)
        }
        "worker-leaves" => match program.message()? {
            None => Ok(()),
            Some(message) => Err(format!("instead it says {message:?}")),
        },
        "primary" => program.send(&[said(value)?]),
        "primary-unknown" => program.send_unknown(),
        "primary-events" => {
            let count = value["count"].as_u64().unwrap();
            let mut messages = Vec::new();
            for number in 0..count {
                let from = json!({ "worker": 9, "slot": 2, "pool": "web" });
                let event = json!({ "topic": value["topic"], "data": number, "from": from });
                messages.push(said(&json!({ "event": event }))?);
            }
            program.send(&messages)
        }
        "primary-closes" => program.close(),
        // The program has carried out all commands, and the worker has sent nothing else.
        "nothing-else" => {
            program.tell(&json!({ "state": {} }))?;
            let state = program.report()?;
            if state.get("state").is_none() {
                return Err(format!("instead the program reports {}", short(&state)));
            }
            program.send(&[ToWorker::Ping { id: 77 }])?;
            match program.message()? {
                Some(FromWorker::Pong { id: 77 }) => Ok(()),
                other => Err(format!("instead the worker says {other:?}")),
            }
        }
        other => Err(format!("unknown step {other}")),
    }
}

/// The usual beginning.
fn join(program: &mut Program, value: &Value) -> Result<(), String> {
    let you = json!({ "worker": 7, "slot": 1, "pool": "web" });
    take(program, "program", &json!({ "join": { "pool": "web" } }))?;
    take(program, "hello", &json!({ "pool": "web" }))?;
    if let Some(values) = value.get("config") {
        let config = json!({ "config": { "version": 1, "data": values } });
        take(program, "primary", &config)?;
    }
    let welcome = json!({ "welcome": { "version": 1, "you": you, "app": "shop" } });
    take(program, "primary", &welcome)?;
    take(program, "reports", &json!({ "joined": you }))
}

fn expected(value: &Value) -> Result<FromWorker, String> {
    serde_json::from_value(value.clone()).map_err(|error| format!("no message: {error}"))
}

fn said(value: &Value) -> Result<ToWorker, String> {
    serde_json::from_value(value.clone()).map_err(|error| format!("no message: {error}"))
}

/// With all defaults written out.
fn normal(message: FromWorker) -> Value {
    serde_json::to_value(message).unwrap()
}

fn equal(came: &Value, wanted: &Value) -> Result<(), String> {
    if came == wanted {
        return Ok(());
    }
    Err(format!("{} came, not {}", short(came), short(wanted)))
}

fn same(mut came: Vec<Value>, mut wanted: Vec<Value>) -> Result<(), String> {
    came.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    equal(&Value::Array(came), &Value::Array(wanted))
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(600).collect()
}

/// `{"$repeat": [TEXT, COUNT], "and": REST}` becomes the text COUNT times, and the rest.
fn expanded(value: Value) -> Value {
    match value {
        Value::Array(all) => all.into_iter().map(expanded).collect(),
        Value::Object(all) => {
            if let Some(repeat) = all.get("$repeat") {
                let count = usize::try_from(repeat[1].as_u64().unwrap()).unwrap();
                let rest = all.get("and").and_then(Value::as_str).unwrap_or_default();
                return (repeat[0].as_str().unwrap().repeat(count) + rest).into();
            }
            Value::Object(all.into_iter().map(|(key, value)| (key, expanded(value))).collect())
        }
        other => other,
    }
}
