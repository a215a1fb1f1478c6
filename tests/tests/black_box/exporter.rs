//! `metrics --listen`: what Prometheus gets. Its own strict parser reads the answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::http::Connection;
use tests::run::Running;
use tests::{Home, Port, fixtures, pip, process, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Prints one line for each sample: its name, labels and value.
const PARSER: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        labels = ','.join(f'{key}={value}' for key, value in sorted(sample.labels.items()))
        print(f'{sample.name}{{{labels}}} {sample.value}')
";

/// The exporter of all apps, when it serves.
fn exporter(home: &Home, port: &Port) -> Running {
    let running = home.spawn(&["metrics", "--listen", &port.to_string()]);
    let address = format!("http://127.0.0.1:{port}/metrics");
    wait_until("its address", SOON, || running.stdout().contains(&address).then_some(()));
    running
}

/// A second app, with one worker.
fn start_other(home: &Home, port: &Port) {
    let (program, port) = (home.binary().display().to_string(), port.to_string());
    home.start("other", &["-i", "1"], &[program.as_str(), "demo-server", "--port", &port]).ok();
}

fn scrape(address: SocketAddr) -> String {
    let mut connection = Connection::open(address, SOON).expect("it listens");
    connection.get("/metrics", true).expect("an answer").body
}

/// What a program says that reads this text.
fn fed(command: &mut Command, text: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// The samples, as the parser understands them. `None`: it cannot be installed.
fn samples(text: &str) -> Option<Vec<String>> {
    let output = fed(Command::new(pip::program("python")?).args(["-c", PARSER]), text);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this is not OpenMetrics: {why}\n{text}");
    Some(String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect())
}

#[track_caller]
fn has(samples: &[String], line: &str) {
    assert!(samples.iter().any(|sample| sample == line), "no {line} in {samples:#?}");
}

/// The status line of the answer to a request.
fn status(address: SocketAddr, request: &str) -> String {
    answer(address, request, "").lines().next().unwrap_or_default().to_owned()
}

/// The whole answer to a request with these headers, each with its line end.
fn answer(address: SocketAddr, request: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn heavy_prometheus_reads_the_metrics_of_all_apps() {
    let _load = tests::under_load();
    let (home, own) = (tests::home!(), Port::new());
    let (first, second) = (Port::new(), Port::new());
    home.demo(first.number()).ok();
    start_other(&home, &second);
    let running = exporter(&home, &own);
    let Some(before) = samples(&scrape(own.v4())) else { return };
    for app in ["demo", "other"] {
        has(&before, &format!("supervisor_up{{app={app}}} 1"));
    }
    has(&before, "supervisor_workers_ready{app=demo} 2");
    // Counters go on over a reload, and the exporter sees apps come and go.
    home.run(&["reload", "demo"]).ok();
    home.run(&["delete", "other"]).ok();
    let reloads = "supervisor_reloads_total{app=demo,outcome=done} 1";
    wait_until("the next scrape", SOON, || {
        let text = scrape(own.v4());
        let after = samples(&text).expect("the parser is there");
        let gone = !after.iter().any(|sample| sample.contains("app=other"));
        (gone && after.iter().any(|sample| sample == reloads)).then_some(())
    });
    process::kill(running.pid(), Signal::SIGTERM);
    running.end(SOON).ok();
}

/// The answer to Prometheus, or to a client from before OpenMetrics: its head and its body.
fn ask(address: SocketAddr, accept: &str) -> (String, String) {
    let answer = answer(address, "GET /metrics", &format!("Accept: {accept}\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_lowercase(), body.to_owned())
}

/// Prometheus' own tool reads the format from before OpenMetrics, and finds nothing to better in
/// names, units and help. What workers send is in it, too.
#[test]
fn promtool_has_no_complaint() {
    let Some(promtool) = fixtures::need("promtool") else { return };
    let Some(node) = fixtures::need("node") else { return };
    let (home, own, port) = (tests::home!(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    let server = Port::new();
    let command = [node, fixtures::file("node/plain.js"), server.to_string()];
    home.start("web", &["-i", "2"], &command).ok();
    let _running = exporter(&home, &own);
    home.run(&["reload", "web"]).ok();
    // With what Node workers measure, which comes a moment later.
    let (head, text) = wait_until("the delay of the event loops", SOON, || {
        let answer = ask(own.v4(), "text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
        answer.1.contains("quantile=\"0.99\"").then_some(answer)
    });
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(text.contains("\n# TYPE supervisor_reloads_total counter\n"), "{text}");
    assert!(!text.contains("# EOF"), "{text}");
    let output = fed(Command::new(promtool).args(["check", "metrics"]), &text);
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
    let openmetrics = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (head, text) = ask(own.v4(), openmetrics);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

/// A primary that does not answer shows as down, and hides no other.
#[test]
fn an_app_that_hangs_is_down_and_hides_no_other() {
    let (home, own, port, other) = (tests::home!(), Port::new(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    start_other(&home, &other);
    let running = exporter(&home, &own);
    let primary = home.app("demo").primary_pid;
    process::kill(primary, Signal::SIGSTOP);
    let text = scrape(own.v4());
    process::kill(primary, Signal::SIGCONT);
    assert!(text.contains("supervisor_up{app=\"demo\"} 0\n"), "{text}");
    assert!(text.contains("supervisor_up{app=\"other\"} 1\n"), "{text}");
    assert!(text.contains("supervisor_workers_ready{app=\"other\"} 1\n"), "{text}");
    drop(running);
}

/// Clients that send nothing lose their places.
#[test]
fn clients_that_send_nothing_shut_nobody_out() {
    let (home, own, port) = (tests::home!(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    let _running = exporter(&home, &own);
    let connect = |_| TcpStream::connect(own.v4()).expect("it listens");
    let idle: Vec<TcpStream> = (0..64).map(connect).collect();
    assert!(scrape(own.v4()).contains("supervisor_up{app=\"demo\"} 1\n"));
    drop(idle);
    for (request, expected) in [
        ("GET /", "HTTP/1.1 200 OK"),
        ("GET /other", "HTTP/1.1 404 Not Found"),
        ("POST /metrics", "HTTP/1.1 405 Method Not Allowed"),
        ("nonsense", "HTTP/1.1 400 Bad Request"),
    ] {
        assert_eq!(status(own.v4(), request), expected, "{request}");
    }
    let port = own.to_string();
    home.run(&["metrics", "--listen", &port]).code(1).says(&["cannot listen on", "in use"]);
    home.run(&["metrics", "--listen", "here"]).code(2).says(&["expected PORT"]);
}
