//! `dash --listen`: who gets in, what the stream tells and how soon, what may be done, and that no
//! client delays another. A headless Chromium opens the page itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::run::{self, Running};
use tests::{Home, Port, fixtures, process, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// What a change may take until a page has it.
const LIVE: Duration = Duration::from_secs(1);

/// A running dashboard.
struct Dash {
    running: Running,
    address: SocketAddr,
    token: String,
}

/// An answer with its head in lower case.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Dash {
    /// Starts one on this port, with more flags.
    fn start(home: &Home, port: &Port, flags: &[&str]) -> Self {
        let number = port.to_string();
        let running = home.spawn(&[&["dash", "--listen", &number], flags].concat());
        let begin = format!("dashboard: http://127.0.0.1:{port}/");
        let line = wait_until("its address", SOON, || {
            running.stdout().strip_prefix(&begin).map(|rest| rest.trim().to_owned())
        });
        let token = line.strip_prefix("?token=").unwrap_or_default().to_owned();
        Self { running, address: port.v4(), token }
    }

    /// Sends a request and reads the answer to its end.
    fn ask(&self, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.open(request, headers, body);
        let mut bytes = Vec::new();
        // A server that refuses a request without reading all of it resets the connection.
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.expect("a status");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn open(&self, request: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a limit");
        let mut all: BTreeMap<&str, String> = BTreeMap::new();
        all.insert("Host", self.address.to_string());
        all.insert("Content-Length", body.len().to_string());
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let all: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(stream, "{request} HTTP/1.1\r\n{all}\r\n{body}").expect("it reads");
        stream
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(&format!("GET {path}"), headers, "")
    }

    /// The cookie that the token gets.
    fn cookie(&self) -> String {
        let answer = self.get(&format!("/?token={}", self.token), &[]);
        assert_eq!(answer.status, 303, "{}", answer.head);
        assert!(answer.head.contains("\r\nlocation: /\r\n"), "{}", answer.head);
        let line = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        let line = line.expect("a cookie");
        for attribute in ["httponly", "samesite=strict", "path=/"] {
            assert!(line.contains(attribute), "{line}");
        }
        line.split(';').next().expect("a value").to_owned()
    }

    /// Opens the stream. `app`: whose log it has.
    fn stream(&self, app: Option<&str>) -> Stream {
        let bearer = format!("Bearer {}", self.token);
        let query = app.map(|app| format!("?app={app}")).unwrap_or_default();
        let request = format!("GET /events{query}");
        let stream = self.open(&request, &[("Authorization", &bearer)], "");
        Stream(BufReader::new(stream))
    }

    fn end(self) {
        process::kill(self.running.pid(), Signal::SIGTERM);
        self.running.end(SOON).ok();
    }
}

/// The events of a stream.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// The next event that is as wanted.
    #[track_caller]
    fn until(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (mut event, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            let count = self.0.read_line(&mut line).expect("an event in time");
            assert!(count > 0, "the stream ended before {name}");
            if let Some(text) = line.strip_prefix("event: ") {
                event = text.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ").filter(|_| event == name) {
                let data: Value = serde_json::from_str(data).expect("JSON");
                if wanted(&data) {
                    return data;
                }
            }
        }
    }
}

/// An app whose workers write nothing by themselves.
fn start(home: &Home, name: &str, workers: &str) -> Port {
    let (program, port) = (home.binary().display().to_string(), Port::new());
    let command = [program.as_str(), "demo-server", "--port", &port.to_string()];
    home.start(name, &["-i", workers], &command).ok();
    port
}

#[test]
fn the_token_opens_and_nothing_else_does() {
    let (home, own) = (tests::home!(), Port::new());
    let dash = Dash::start(&home, &own, &[]);
    assert_eq!(dash.token.len(), 64);
    for path in ["/", "/events", "/history?app=web"] {
        let answer = dash.get(path, &[]);
        assert_eq!(answer.status, 401, "{path}");
        assert!(!answer.head.contains("set-cookie"), "{path}");
    }
    let wrong = "0".repeat(64);
    let answer = dash.get(&format!("/?token={wrong}"), &[]);
    assert_eq!((answer.status, answer.head.contains("set-cookie")), (403, false));
    let bearer = format!("Bearer {wrong}");
    assert_eq!(dash.get("/events", &[("Authorization", &bearer)]).status, 401);
    assert_eq!(dash.get("/", &[("Cookie", &format!("supervisor-dash-{own}={wrong}"))]).status, 401);
    let cookie = dash.cookie();
    assert!(!cookie.contains(&dash.token));
    let page = dash.get("/", &[("Cookie", &cookie)]);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("/main.js"), "{}", page.body);
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; ",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.head.contains(header), "no {header} in {}", page.head);
    }
    assert!(!page.body.contains("<style") && !page.body.contains("style=\""), "no inline style");
    // Every file that the pages name is there.
    for path in ["/style.css", "/icon.svg", "/theme.js", "/main.js", "/charts.js"] {
        assert_eq!(dash.get(path, &[]).status, 200, "{path}");
    }
    assert_eq!(dash.get("/none", &[("Cookie", &cookie)]).status, 404);
    assert_eq!(dash.ask("PUT /", &[("Cookie", &cookie)], "").status, 405);
    dash.end();
}

/// A page of a stranger whose name points to this machine (DNS rebinding) names itself in Host.
#[test]
fn a_host_that_is_not_ours_gets_nothing() {
    let (home, own) = (tests::home!(), Port::new());
    let dash = Dash::start(&home, &own, &["--host", "dash.example"]);
    let cookie = dash.cookie();
    for (host, status) in [
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost", 200),
        ("dash.example", 200),
    ] {
        let answer = dash.get("/", &[("Cookie", &cookie), ("Host", host)]);
        assert_eq!(answer.status, status, "{host}");
    }
    let token = format!("/?token={}", dash.token);
    assert_eq!(dash.get(&token, &[("Host", "evil.example")]).status, 403);
    dash.end();
}

#[test]
fn tokens_of_files_and_no_token() {
    let (home, own, other) = (tests::home!(), Port::new(), Port::new());
    let file = home.write("token", "a-token-of-my-own\n").display().to_string();
    let port = own.to_string();
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
    mode(0o644);
    home.run(&["dash", "--listen", &port, "--token-file", &file]).code(1).says(&["chmod 600"]);
    mode(0o600);
    let mut dash = Dash::start(&home, &own, &["--token-file", &file]);
    assert_eq!(dash.token, "", "it is not printed");
    dash.token = "a-token-of-my-own".to_owned();
    dash.cookie();
    dash.end();
    let open = Dash::start(&home, &other, &["--no-token"]);
    assert_eq!(open.get("/", &[]).status, 200);
    open.end();
    let beyond = format!("0.0.0.0:{own}");
    home.run(&["dash", "--listen", &beyond, "--no-token"]).code(2).one_line().says(&["--no-token"]);
    let both = ["dash", "--listen", &port, "--no-token", "--allow-actions"];
    home.run(&both).code(2);
    home.run(&["dash"]).code(2).says(&["terminal"]);
}

#[test]
fn heavy_a_change_is_on_the_page_within_a_second() {
    let _exclusive = tests::exclusive();
    let (home, own) = (tests::home!(), Port::new());
    let _port = start(&home, "web", "2");
    let dash = Dash::start(&home, &own, &[]);
    let mut stream = dash.stream(Some("web"));
    let hello = stream.until("hello", |_| true);
    assert_eq!(hello["actions"], false);
    let web = stream.until("app", |app| app["name"] == "web" && app["state"] == "ready");
    assert_eq!(web["workers"].as_array().map(Vec::len), Some(2));
    assert!(web["workers"][0]["pid"].is_u64() && web["started"].is_u64(), "{web}");
    // A worker that dies shows as an event and in the state.
    let pid = home.pids("web")[0];
    let began = Instant::now();
    process::kill(pid, Signal::SIGKILL);
    let died = stream.until("happened", |event| event["kind"] == "worker-failed");
    assert!(began.elapsed() < LIVE, "{:?}", began.elapsed());
    assert_eq!((&died["app"], &died["bad"]), (&"web".into(), &true.into()));
    stream.until("app", |app| app["name"] == "web" && app["restarts"] == 1);
    home.run(&["reload", "web"]).ok();
    stream.until("happened", |event| event["kind"] == "reload-done");
    let bearer = format!("Bearer {}", dash.token);
    let past = dash.get("/history?app=web", &[("Authorization", &bearer)]);
    assert_eq!(past.status, 200);
    let past: Value = serde_json::from_str(&past.body).expect("JSON");
    assert!(past["memory"].as_array().expect("a series").iter().any(Value::is_f64), "{past}");
    assert_eq!(past["marks"][0]["kind"], "reload");
    home.run(&["delete", "web"]).ok();
    stream.until("apps", |names| names == &Value::Array(Vec::new()));
    dash.end();
}

#[test]
fn the_log_of_a_chosen_app_and_no_environment() {
    let (home, own) = (tests::home!(), Port::new());
    let command = ["sh", "-c", "echo '<script>alert(1)</script>'; echo bad >&2; exec sleep 600"];
    let config = home.config("web", &command.map(str::to_owned), "env = { SECRET = \"hunter2\" }");
    home.run(&["start", "--no-wait", &config]).ok();
    let dash = Dash::start(&home, &own, &[]);
    let mut first = dash.stream(None);
    let app = first.until("app", |app| app["name"] == "web");
    assert!(!app.to_string().contains("hunter2"), "{app}");
    let mut stream = dash.stream(Some("web"));
    let has = |lines: &Value, from: &str, text: &str| {
        let mut lines = lines["lines"].as_array().expect("lines").iter();
        lines.any(|line| line[0] == from && line[1].as_str().is_some_and(|l| l.contains(text)))
    };
    stream.until("log", |lines| has(lines, "out", "<script>alert(1)</script>"));
    dash.end();
}

#[test]
fn nothing_is_done_without_the_flag() {
    let (home, own) = (tests::home!(), Port::new());
    let _port = start(&home, "web", "1");
    let dash = Dash::start(&home, &own, &[]);
    dash.stream(None).until("app", |app| app["name"] == "web");
    let body = r#"{"app":"web","action":"stop"}"#;
    let bearer = format!("Bearer {}", dash.token);
    let answer = dash.ask("POST /actions", &[("Authorization", &bearer)], body);
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("--allow-actions"), "{}", answer.body);
    assert_eq!(dash.ask("POST /actions", &[], body).status, 401);
    assert_eq!(home.app("web").ready, 1);
    dash.end();
}

#[test]
fn actions_of_a_page_of_ours_alone() {
    let (home, own) = (tests::home!(), Port::new());
    let _port = start(&home, "web", "1");
    let dash = Dash::start(&home, &own, &["--allow-actions"]);
    let mut stream = dash.stream(None);
    let csrf = stream.until("hello", |hello| hello["actions"] == true)["csrf"].clone();
    let csrf = csrf.as_str().expect("a text");
    stream.until("app", |app| app["name"] == "web");
    let (cookie, origin) = (dash.cookie(), format!("http://{}", dash.address));
    let act = |headers: &[(&str, &str)], body: &str| {
        let headers = [&[("Cookie", cookie.as_str())], headers].concat();
        dash.ask("POST /actions", &headers, body)
    };
    let ours = [("Origin", origin.as_str()), ("X-Csrf-Token", csrf)];
    let up = r#"{"app":"web","action":"scale-up"}"#;
    assert_eq!(act(&ours[..1], up).status, 403, "without the header");
    assert_eq!(act(&ours[1..], up).status, 403, "without an origin");
    let strange = [("Origin", "http://evil.example"), ours[1]];
    assert_eq!(act(&strange, up).status, 403);
    for (body, status) in [
        (r#"{"app":"web","action":"delete"}"#, 400),
        (r#"{"app":"--system","action":"stop"}"#, 400),
        (r#"{"app":"none","action":"stop"}"#, 404),
        (&"x".repeat(5000), 413),
    ] {
        assert_eq!(act(&ours, body).status, status, "{body}");
    }
    let answer = act(&ours, up);
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id: Value = serde_json::from_str(&answer.body).expect("JSON");
    let ended = stream.until("happened", |event| event["kind"] == "command");
    assert_eq!((&ended["id"], &ended["bad"]), (&id["id"], &false.into()), "{ended}");
    assert_eq!(ended["command"], "supervisor scale web +1");
    assert_eq!(home.app("web").ready, 2);
    // A program with the token needs neither an origin nor the header.
    let bearer = format!("Bearer {}", dash.token);
    let stop = r#"{"app":"web","action":"stop"}"#;
    assert_eq!(dash.ask("POST /actions", &[("Authorization", &bearer)], stop).status, 202);
    stream.until("app", |app| app["state"] == "stopped");
    dash.end();
}

/// Fifty pages, one of which reads nothing, and clients that send nothing.
#[test]
fn heavy_slow_clients_delay_nobody() {
    let _exclusive = tests::exclusive();
    let (home, own) = (tests::home!(), Port::new());
    let _port = start(&home, "web", "2");
    let dash = Dash::start(&home, &own, &[]);
    let bearer = format!("Bearer {}", dash.token);
    // These never read.
    let asleep: Vec<TcpStream> = (0..8)
        .map(|_| dash.open("GET /events?app=web", &[("Authorization", &bearer)], ""))
        .collect();
    let idle: Vec<TcpStream> =
        (0..64).map(|_| TcpStream::connect(dash.address).expect("it listens")).collect();
    let mut pages: Vec<Stream> = (0..50).map(|_| dash.stream(Some("web"))).collect();
    for page in &mut pages {
        page.until("app", |app| app["name"] == "web");
    }
    let pid = home.pids("web")[0];
    let began = Instant::now();
    process::kill(pid, Signal::SIGKILL);
    for page in &mut pages {
        page.until("happened", |event| event["kind"] == "worker-failed");
    }
    assert!(began.elapsed() < 2 * LIVE, "{:?} for all pages", began.elapsed());
    drop((asleep, idle));
    dash.end();
}

/// More pages than there are places are told so, and places come back.
#[test]
fn pages_are_bounded() {
    let (home, own) = (tests::home!(), Port::new());
    let dash = Dash::start(&home, &own, &[]);
    let mut pages: Vec<Stream> = (0..128).map(|_| dash.stream(None)).collect();
    for page in &mut pages {
        page.until("hello", |_| true);
    }
    let bearer = format!("Bearer {}", dash.token);
    let answer = dash.get("/events", &[("Authorization", &bearer)]);
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after"), "{}", answer.head);
    let cookie = dash.cookie();
    assert_eq!(dash.get("/", &[("Cookie", &cookie)]).status, 200);
    let large = "x".repeat(20 * 1024);
    assert_eq!(dash.get("/", &[("Cookie", &large)]).status, 431);
    drop(pages);
    // A change is sent to all, and so shows who has left.
    let _port = start(&home, "web", "1");
    wait_until("a place", SOON, || {
        let mut stream = dash.open("GET /events", &[("Authorization", &bearer)], "");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).ok()?;
        begin.ends_with(b" 200").then_some(())
    });
    dash.end();
}

/// A real browser: the page opens with its URL, shows workers, keeps texts texts, and acts.
#[test]
fn chromium_opens_the_page() {
    let (Some(chromium), Some(node)) = (fixtures::need("chromium"), fixtures::need("node")) else {
        return;
    };
    let (home, own) = (tests::home!(), Port::new());
    let port = Port::new();
    let evil =
        "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let (program, number) = (home.binary().display().to_string(), port.to_string());
    let script = format!(
        "printf '%s\\n' '{}'; exec {program} demo-server --port {number}",
        evil.replace('\'', "'\\''")
    );
    home.start("web", &["-i", "2"], &["sh", "-c", &script]).ok();
    home.start(
        "broken",
        &[],
        &["sh", "-c", &format!("echo \"{}\" >&2; exit 3", evil.replace('"', "\\\""))],
    )
    .code(1);
    // A program that is gone when it is to start again: its name is in the reason.
    let tag = "<img src=x onerror=\"document.title='owned'\">";
    let gone = home.write(tag, "#!/bin/sh\nexec sleep 600\n");
    fs::set_permissions(&gone, fs::Permissions::from_mode(0o700)).expect("chmod");
    home.start("missing", &[], &[format!("./{tag}")]).ok();
    fs::remove_file(&gone).expect("it is there");
    process::kill(home.pids("missing")[0], Signal::SIGKILL);
    home.wait_app("missing", "a reason", SOON, |app| {
        app.reason.as_ref().is_some_and(|reason| reason.contains("onerror"))
    });
    // A name cannot contain a tag.
    home.start("<img>", &[], &["sleep", "1"]).code(2);
    let dash = Dash::start(&home, &own, &["--allow-actions"]);
    let url = format!("http://127.0.0.1:{own}/?token={}", dash.token);
    let script = fixtures::file("browser/dash_check.mjs");
    let mut command: Command = home.command_of(node);
    command.args([&script, &chromium, &url]);
    let outcome = run::spawn(&mut command, home.path()).end(Duration::from_secs(60)).ok();
    assert!(outcome.stdout.contains("all checks passed"), "{outcome:#?}");
    assert_eq!(home.app("web").wanted, 3, "the page scaled it");
    dash.end();
}
