//! The clients of all languages hold the same conversations, which `worker/conformance/` describes.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod conversation;
mod program;
mod rust_program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use conversation::Conversation;
use program::Program;

/// How many conversations of one client are held at a time. Each starts a process.
const AT_ONCE: usize = 4;

/// The client, and the interpreter that runs its program.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    Rust,
    Node { node: String },
    PythonThreads { python: String },
    PythonAsyncio { python: String },
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// The path of an interpreter, which it prints itself: a version manager may stand before it, and
/// takes longer than the interpreter. Prints a line if there is none; on CI that is an error.
fn find(program: &str, print_path: [&str; 2]) -> Option<String> {
    let output = Command::new(program).args(print_path).output().ok();
    let path = output.filter(|output| output.status.success()).and_then(|output| {
        let path = String::from_utf8(output.stdout).ok()?;
        Some(path.trim().to_owned())
    });
    if path.is_none() {
        let on_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!on_ci, "{program} is not installed, and on CI it must be");
        println!("skipped: {program} is not installed");
    }
    path
}

fn find_node() -> Option<String> {
    find("node", ["-p", "process.execPath"])
}

fn find_python() -> Option<String> {
    find("python3", ["-c", "import sys; print(sys.executable)"])
}

/// Holds all conversations, each with a program of its own, and reports all failures.
fn hold_all(client: &Client) {
    let mut conversations = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            conversations.extend(Conversation::read(&path));
        }
    }
    assert!(conversations.len() > 20, "{} conversations", conversations.len());
    let (next, failures) = (Mutex::new(conversations.iter()), Mutex::new(Vec::new()));
    let hold_some = || {
        loop {
            let Some(conversation) = next.lock().unwrap().next() else { return };
            if let Err(why) = conversation.hold(&mut Program::start(client)) {
                failures.lock().unwrap().push(format!("{}: {why}", conversation.name));
            }
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(hold_some))));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn rust() {
    hold_all(&Client::Rust);
}

#[test]
fn node() {
    if let Some(node) = find_node() {
        hold_all(&Client::Node { node });
    }
}

#[test]
fn python_with_threads() {
    if let Some(python) = find_python() {
        hold_all(&Client::PythonThreads { python });
    }
}

#[test]
fn python_with_asyncio() {
    if let Some(python) = find_python() {
        hold_all(&Client::PythonAsyncio { python });
    }
}
