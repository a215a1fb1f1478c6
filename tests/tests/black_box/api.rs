//! docs/api.md: its example works, it names every word that the control socket knows, and the
//! clients in Python and Node do what it says.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipc::control::{FailureKind, Method, NoticeKind, Reply, Request, RolloutCommand, Status};
use ipc::talk::BusRequest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::{Home, Port, fixtures, run};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    fs::read_to_string(path).expect("read docs/api.md")
}

#[test]
fn the_example_works() {
    let (home, port) = (tests::home!(), Port::new());
    let (Some(python), Some(server)) = (fixtures::need("python3"), fixtures::pid_server(&port))
    else {
        return;
    };
    let options = ["-i", "2", "--min-uptime", "200ms", "--observe", "200ms"];
    home.start("web", &options, &server).ok();
    let page = page();
    let (_, rest) = page.split_once("```python\n").expect("an example");
    let (example, _) = rest.split_once("```\n").expect("the end of the example");
    let program = home.write("example.py", example);
    let mut command = home.command_of(python);
    command.arg(program).arg(home.path().join("run/web.sock"));
    let running = run::spawn(&mut command, home.path());
    let said = running.end(Duration::from_secs(60)).ok().stdout;
    assert!(said.starts_with("web ready 2 of 2\nreload-started\n"), "{said}");
    assert!(said.contains("\nslot-replaced\n"), "{said}");
    let last = said.lines().last().expect("a reply");
    assert!(last.starts_with("done web: generation 2 serves"), "{said}");
}

/// The clients: runtime, the variable that names the folder of the client, and the program.
pub(crate) const CLIENTS: [[&str; 4]; 3] = [
    ["python3", "PYTHONPATH", "python", "control/control.py"],
    ["node", "NODE_PATH", "node", "control/control.js"],
    ["", "", "", "control-client"],
];

/// What each of them says of the same conversation.
pub(crate) const CONVERSATION: &str = "web ready\ndone\n2\ntold\nweb: 3 workers now\nusage\n\
                                       usage\nlost\ntimed-out\ndone\nfailed\n";

/// The command of a client, without arguments. `None` if its runtime is not installed.
pub(crate) fn client(home: &Home, client: [&str; 4]) -> Option<Command> {
    let [runtime, variable, folder, script] = client;
    if runtime.is_empty() {
        return Some(home.command_of(home.built().with_file_name(script)));
    }
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker");
    let mut command = home.command_of(fixtures::need(runtime)?);
    command.env(variable, clients.join(folder)).arg(fixtures::file(script));
    Some(command)
}

#[test]
fn clients_in_python_node_and_rust_steer_an_app() {
    for one in CLIENTS {
        let (home, port) = (tests::home!(), Port::new());
        let Some(server) = fixtures::pid_server(&port) else { return };
        let Some(mut command) = client(&home, one) else { continue };
        command.arg(home.binary()).args(server);
        let running = run::spawn(&mut command, home.path());
        let said = running.end(Duration::from_secs(120)).ok();
        assert_eq!(said.stdout, CONVERSATION, "{one:?}: {said:#?}");
    }
}

/// The words of an enumeration, which serde names when it meets another one.
fn words<T: DeserializeOwned>(wrong: Value) -> Vec<String> {
    let error = serde_json::from_value::<T>(wrong).err().expect("there is no such word");
    let text = error.to_string();
    let (_, list) = text.split_once("expected ").expect("a list of words");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn word<T: serde::Serialize>(of: &T) -> String {
    let text = serde_json::to_value(of).expect("a word");
    text.as_str().expect("text").to_owned()
}

#[test]
fn the_page_names_every_word() {
    let page = page();
    let all = [
        words::<Request>(json!({"request": "?"})),
        words::<Method>(json!({"method": "?"})),
        words::<RolloutCommand>(json!({"command": "?"})),
        words::<BusRequest>(json!({"bus": "?"})),
        words::<Reply>(json!({"reply": "?"})),
        words::<NoticeKind>(json!("?")),
        FailureKind::KNOWN.iter().map(word).collect(),
        Status::KNOWN.iter().map(word).collect(),
    ];
    assert!(all.iter().all(|words| words.len() > 2), "{all:?}");
    let missing: Vec<&String> = all
        .iter()
        .flatten()
        .filter(|word| {
            !page.contains(&format!("`{word}`")) && !page.contains(&format!("\"{word}\""))
        })
        .collect();
    assert_eq!(missing, [""; 0], "docs/api.md does not name these");
}
