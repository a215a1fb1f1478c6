//! Two workers of fixtures/node/scripted/worker.js, under Node's own primary or under ours. A test
//! sends them orders as messages, and each answers with the result.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ipc::control::{NoticeKind, Reply, Request};
use serde_json::{Value, json};

use crate::control::Control;
use crate::fixtures;
use crate::home::Home;
use crate::wait::let_pass;

const SOON: Duration = Duration::from_secs(30);
/// How many workers there are.
pub const WORKERS: usize = 2;

/// Two workers of fixtures/node/scripted/worker.js.
#[derive(Debug)]
pub struct Cluster {
    /// The home in which they run.
    pub home: Home,
    primary: Primary,
    /// Messages that came and that the test has not taken yet.
    said: VecDeque<(u16, Value)>,
    /// Exits that the test has not taken yet.
    ended: VecDeque<(u16, Option<i32>)>,
}

#[derive(Debug)]
enum Primary {
    /// fixtures/node/scripted/primary.js, the file it prints to, and how many bytes are read.
    Theirs {
        child: Child,
        out: PathBuf,
        read: usize,
    },
    Ours {
        notices: Control,
    },
}

impl Drop for Primary {
    fn drop(&mut self) {
        if let Self::Theirs { child, .. } = self {
            // An error means that it has ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Cluster {
    /// Under Node's own primary.
    pub fn theirs(home: Home, node: &str) -> Self {
        let out = home.path().join("primary.out");
        let child = home
            .command_of(node)
            .args([fixtures::file("node/scripted/primary.js")])
            .args([fixtures::file("node/scripted/worker.js"), WORKERS.to_string()])
            .stdin(Stdio::piped())
            .stdout(File::create(&out).expect("make a file"))
            .spawn()
            .expect("run Node");
        let primary = Primary::Theirs { child, out, read: 0 };
        let mut cluster = Self::new(home, primary);
        assert_eq!(cluster.said(WORKERS), vec![json!("ready"); WORKERS]);
        cluster
    }

    /// Under ours.
    pub fn ours(home: Home, node: &str, engine: &str) -> Self {
        let program = fixtures::file("node/scripted/worker.js");
        let workers = WORKERS.to_string();
        let options = ["-i", &workers, "--wait-ready", "--engine", engine];
        home.start("web", &options, &[node, &program]).ok();
        let notices = home.ask("web", &Request::Subscribe);
        Self::new(home, Primary::Ours { notices })
    }

    fn new(home: Home, primary: Primary) -> Self {
        Self { home, primary, said: VecDeque::new(), ended: VecDeque::new() }
    }

    /// Sends a message to all workers, or to one.
    #[track_caller]
    pub fn tell(&mut self, slot: Option<u16>, message: &Value) {
        match &mut self.primary {
            Primary::Theirs { child, .. } => {
                let stdin = child.stdin.as_mut().expect("it has a pipe");
                let line = json!({"slot": slot, "message": message});
                writeln!(stdin, "{line}").expect("tell Node's primary");
            }
            Primary::Ours { .. } => {
                let request = Request::Send { message: message.clone(), slot };
                let reply = self.home.ask("web", &request).answer(SOON);
                assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
            }
        }
    }

    /// Sends a message to all workers and returns one answer of each, in the order of their slots.
    #[track_caller]
    pub fn ask(&mut self, message: &Value) -> Vec<Value> {
        self.tell(None, message);
        self.said(WORKERS)
    }

    /// Sends a message to one worker and returns its answer.
    #[track_caller]
    pub fn ask_one(&mut self, slot: u16, message: &Value) -> Value {
        self.tell(Some(slot), message);
        self.said(1).remove(0)
    }

    /// The next `count` messages of the workers, in the order of their slots.
    #[track_caller]
    pub fn said(&mut self, count: usize) -> Vec<Value> {
        self.gather(|cluster| cluster.said.len() >= count);
        let mut said: Vec<_> = self.said.drain(..count).collect();
        said.sort_by_key(|(slot, _)| *slot);
        said.into_iter().map(|(_, value)| value).collect()
    }

    /// The slot and the exit code of the next worker that ends.
    #[track_caller]
    pub fn end(&mut self) -> (u16, Option<i32>) {
        self.gather(|cluster| !cluster.ended.is_empty());
        self.ended.pop_front().expect("just seen")
    }

    #[track_caller]
    fn gather(&mut self, enough: impl Fn(&Self) -> bool) {
        let end = Instant::now() + SOON;
        while !enough(self) {
            self.look();
            assert!(Instant::now() < end, "said {:?}, ended {:?}", self.said, self.ended);
        }
    }

    fn look(&mut self) {
        match &mut self.primary {
            Primary::Theirs { out, read, .. } => {
                let text = fs::read_to_string(out).expect("read the output of Node's primary");
                let whole = text.rfind('\n').map_or(0, |at| at + 1);
                let fresh = &text[*read..whole];
                if fresh.is_empty() {
                    return let_pass(Duration::from_millis(5));
                }
                // The file also has lines that the workers print.
                for event in fresh.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()) {
                    let slot = event["slot"].as_u64().and_then(|slot| slot.try_into().ok());
                    let slot: u16 = slot.expect("a slot");
                    if let Some(said) = event.get("said") {
                        self.said.push_back((slot, said.clone()));
                    } else {
                        let code = event["code"].as_i64().and_then(|code| code.try_into().ok());
                        self.ended.push_back((slot, code));
                    }
                }
                *read = whole;
            }
            Primary::Ours { notices } => {
                let Some(notice) = notices.notice(Duration::from_millis(100)) else { return };
                let Some(slot) = notice.slot else { return };
                match notice.event {
                    NoticeKind::WorkerMessage => {
                        let said = serde_json::from_str(&notice.message).expect("JSON");
                        self.said.push_back((slot, said));
                    }
                    NoticeKind::WorkerFailed | NoticeKind::WorkerStopped => {
                        let code = notice.message.split_once("exit code ");
                        let digits = |c: char| !c.is_ascii_digit();
                        let code = code.and_then(|(_, rest)| rest.split(digits).next());
                        self.ended.push_back((slot, code.and_then(|code| code.parse().ok())));
                    }
                    _ => {}
                }
            }
        }
    }

    /// What the workers wrote to stdout.
    pub fn log(&self) -> String {
        match &self.primary {
            Primary::Theirs { out, .. } => fs::read_to_string(out).expect("read a log"),
            Primary::Ours { .. } => self.home.log("web", "out.log"),
        }
    }

    /// A path in the folder of this run.
    pub fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }
}
