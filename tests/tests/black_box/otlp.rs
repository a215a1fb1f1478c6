//! `metrics --otlp`: what a collector of OpenTelemetry gets, and what happens when it does not take
//! it. OpenTelemetry's own types for Python read the requests.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::collector::{Answer, Collector, Received};
use tests::run::{self, Running};
use tests::{Home, Port, fixtures, pip, process, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Prints a request as JSON. Fields that the types do not know are an error.
const PARSER: &str = "
import gzip, json, sys
from google.protobuf import json_format, unknown_fields
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
request = ExportMetricsServiceRequest()
request.ParseFromString(gzip.decompress(sys.stdin.buffer.read()))
assert len(unknown_fields.UnknownFieldSet(request)) == 0
print(json.dumps(json_format.MessageToDict(request)))
";

/// Pushes to this port, with more flags.
fn push(home: &Home, port: &Port, flags: &[&str]) -> Running {
    let url = format!("http://127.0.0.1:{port}");
    home.spawn(&[&["metrics", "--otlp", &url], flags].concat())
}

/// What the parser makes of a request.
fn parsed(python: &str, request: &Received) -> Value {
    let mut command = Command::new(python);
    command.args(["-c", PARSER]).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(&request.body).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this is no request of OTLP: {why}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The resource of an app.
fn resource<'a>(request: &'a Value, app: &str) -> Option<&'a Value> {
    let resources = request["resourceMetrics"].as_array()?;
    resources.iter().find(|one| attribute(&one["resource"], "service.name") == Some(app))
}

fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    let attributes = of["attributes"].as_array()?;
    attributes.iter().find(|one| one["key"] == key)?["value"]["stringValue"].as_str()
}

fn metric<'a>(resource: &'a Value, name: &str) -> Option<&'a Value> {
    resource["scopeMetrics"][0]["metrics"].as_array()?.iter().find(|one| one["name"] == name)
}

/// The number of reloads that were done, and since when they are counted.
fn reloads(request: &Value, app: &str) -> Option<(f64, String)> {
    let points =
        metric(resource(request, app)?, "supervisor_reloads")?["sum"]["dataPoints"].clone();
    let done = |point: &&Value| attribute(point, "outcome") == Some("done");
    let point = points.as_array()?.iter().find(done)?.clone();
    Some((point["asDouble"].as_f64()?, point["startTimeUnixNano"].as_str()?.to_owned()))
}

#[test]
fn heavy_the_types_of_opentelemetry_read_what_a_collector_gets() {
    let _load = tests::under_load();
    let Some(python) = pip::program("python") else { return };
    let Some(node) = fixtures::need("node") else { return };
    let (home, port, own) = (tests::home!(), Port::new(), Port::new());
    let collector = Collector::listen(&own, Vec::new());
    let command = [node, fixtures::file("node/plain.js"), port.to_string()];
    home.start("web", &["-i", "2"], &command).ok();
    let url = format!("http://127.0.0.1:{own}/");
    let mut command = home.command();
    command.args(["metrics", "--otlp", &url, "--interval", "1s"]);
    command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=te%73t");
    let running = run::spawn(&mut command, home.path());
    let first = collector.wait(1, SOON).remove(0);
    for line in [
        "post /v1/metrics http/1.1\r\n",
        "content-type: application/x-protobuf\r\n",
        "content-encoding: gzip\r\n",
        &format!("host: 127.0.0.1:{own}\r\n"),
    ] {
        assert!(first.head.contains(line), "no {line} in {}", first.head);
    }
    let request = parsed(&python, &first);
    let web = resource(&request, "web").expect("the app");
    assert_eq!(attribute(&web["resource"], "deployment.environment.name"), Some("test"));
    let host = attribute(&web["resource"], "host.name").expect("a name");
    let instance = attribute(&web["resource"], "service.instance.id").expect("an id");
    assert!(instance.starts_with(host) && instance.len() > host.len() + 1, "{instance}");
    assert_eq!(web["scopeMetrics"][0]["scope"]["name"], "supervisor");
    let restarts = metric(web, "supervisor_restarts").expect("a counter");
    assert_eq!(restarts["sum"]["isMonotonic"], true);
    assert_eq!(restarts["sum"]["aggregationTemporality"], "AGGREGATION_TEMPORALITY_CUMULATIVE");
    assert_eq!(restarts["description"], "Restarts of workers since the app was started.");
    let ready = metric(web, "supervisor_workers_ready").expect("a gauge");
    assert_eq!(ready["gauge"]["dataPoints"][0]["asDouble"], 2.0);
    let resident = metric(web, "supervisor_worker_resident_bytes").expect("a gauge");
    assert_eq!(resident["unit"], "By");
    assert_eq!(attribute(&resident["gauge"]["dataPoints"][1], "slot"), Some("1"));
    // A count goes on over a reload and the death of the primary, and so does its start. The
    // process that pushes may end, too.
    let (before, start) = reloads(&request, "web").expect("a count");
    assert!(before == 0.0 && start.len() == 19, "{before} since {start}");
    home.run(&["reload", "web"]).ok();
    home.kill_primary("web", Signal::SIGKILL);
    let counted = |collector: &Collector| {
        wait_until("the reload", SOON, || {
            let request = parsed(&python, collector.requests().last()?);
            reloads(&request, "web").filter(|(count, _)| *count == 1.0)
        })
    };
    assert_eq!(counted(&collector).1, start);
    process::kill(running.pid(), Signal::SIGTERM);
    running.end(SOON).ok();
    drop(collector);
    let collector = Collector::listen(&own, Vec::new());
    let _running = push(&home, &own, &["--interval", "1s"]);
    assert_eq!(counted(&collector).1, start);
}

#[test]
fn it_is_sent_again_after_the_pause_that_the_collector_asks_for() {
    let (home, own, port) = (tests::home!(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    let busy = Answer::Status(503, vec!["Retry-After: 2".to_owned()], b"in a moment".to_vec());
    let collector = Collector::listen(&own, vec![busy, Answer::status(502)]);
    let running = push(&home, &own, &["--interval", "1h"]);
    let requests = collector.wait(3, SOON);
    let pauses = [requests[1].at - requests[0].at, requests[2].at - requests[1].at];
    assert!(pauses[0] >= Duration::from_secs(2), "{pauses:?}");
    assert!(pauses[1] >= Duration::from_secs(1), "the pause doubles: {pauses:?}");
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    wait_until("its end", SOON, || running.stderr().contains("takes metrics again").then_some(()));
    let text = running.stderr();
    assert!(text.contains("answers 503: in a moment; it is sent again"), "{text}");
    process::kill(running.pid(), Signal::SIGTERM);
    running.end(SOON).ok();
    assert_eq!(collector.requests().len(), 3, "what was taken is not sent again");
}

/// A long pause does not keep the command from a last attempt.
#[test]
fn what_waits_is_sent_at_the_end() {
    let (home, own, port) = (tests::home!(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    let busy = Answer::Status(503, vec!["Retry-After: 300".to_owned()], Vec::new());
    let collector = Collector::listen(&own, vec![busy]);
    let running = push(&home, &own, &["--interval", "1h"]);
    wait_until("a pause", SOON, || running.stderr().contains("it is sent again").then_some(()));
    process::kill(running.pid(), Signal::SIGTERM);
    let said = running.end(SOON).ok().stderr;
    let requests = collector.requests();
    assert_eq!(requests.len(), 2, "{said}");
    assert_eq!(requests[0].body, requests[1].body);
    assert!(said.contains("takes metrics again") && !said.contains("not sent"), "{said}");
}

#[test]
fn what_is_refused_is_counted_and_not_sent_again() {
    let (home, own, port) = (tests::home!(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    // `google.rpc.Status` with the message "no", and a partial success: 5 data points, "old".
    let kind = vec!["Content-Type: application/x-protobuf".to_owned()];
    let refusal = Answer::Status(400, kind.clone(), b"\x12\x02no".to_vec());
    let partial = Answer::Status(200, kind, b"\x0a\x07\x08\x05\x12\x03old".to_vec());
    let collector = Collector::listen(&own, vec![refusal, partial]);
    let running = push(&home, &own, &["--interval", "1s"]);
    let requests = collector.wait(3, SOON);
    assert!(requests[0].body != requests[1].body && requests[1].body != requests[2].body);
    process::kill(running.pid(), Signal::SIGTERM);
    let said = running.end(SOON).ok().stderr;
    assert!(said.contains("the collector answers 400: no; such data is not sent again"), "{said}");
    assert!(said.contains("the collector rejected data points: old (5 of "), "{said}");
    assert!(said.contains("supervisor: metrics: ends: the collector took "), "{said}");
}

#[test]
fn a_collector_that_dies_gets_what_it_missed() {
    let (home, own, port) = (tests::home!(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    let collector = Collector::listen(&own, Vec::new());
    let running = push(&home, &own, &["--interval", "1s"]);
    collector.wait(1, SOON);
    drop(collector);
    wait_until("a failure", SOON, || running.stderr().contains("cannot be reached").then_some(()));
    let collector = Collector::listen(&own, Vec::new());
    wait_until("its end", SOON, || running.stderr().contains("takes metrics again").then_some(()));
    // What was missed comes first, and what is new is sent again every second.
    let missed = collector.requests().len();
    collector.wait(missed + 2, SOON);
    let text = running.stderr();
    assert!(text.contains("; 0 data points were dropped so far"), "{text}");
    // Each kind once: the connection may break off before others are refused.
    let said = text.matches("cannot be reached").count();
    assert!((1..=2).contains(&said), "{text}");
}

/// A collector that takes the request and says nothing: that is no success, and delays no primary.
#[test]
fn heavy_a_collector_that_does_not_answer() {
    let _exclusive = tests::exclusive();
    let (home, own, port) = (tests::home!(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    let collector = Collector::listen(&own, vec![Answer::Nothing]);
    let running = push(&home, &own, &["--interval", "1h"]);
    collector.wait(1, SOON);
    assert!(home.run(&["list"]).ok().took < Duration::from_secs(2));
    let requests = collector.wait(2, SOON);
    // The first may have arrived a little later than it was sent.
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(9));
    assert_eq!(requests[0].body, requests[1].body);
    let text = running.stderr();
    assert!(text.contains("has not answered within 10 s; it is sent again"), "{text}");
    // It ends soon, though its request is not answered.
    drop(running);
    drop(collector);
    let collector = Collector::listen(&own, vec![Answer::Nothing]);
    let running = push(&home, &own, &[]);
    collector.wait(1, SOON);
    process::kill(running.pid(), Signal::SIGTERM);
    let outcome = running.end(Duration::from_secs(10)).ok();
    assert!(outcome.stderr.contains("requests that were not sent: 1"), "{outcome:#?}");
}

#[test]
fn headers_reach_the_collector_and_nothing_else() {
    let (home, own, port) = (tests::home!(), Port::new(), Port::new());
    home.demo(port.number()).ok();
    let echo = b"no: Bearer hunter2-file, hunter2-variable".to_vec();
    let collector = Collector::listen(&own, vec![Answer::Status(400, Vec::new(), echo)]);
    let file = home.write("headers", "Authorization: Bearer hunter2-file\n").display().to_string();
    let flags = ["--otlp-headers", &file, "--interval", "1s"];
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
    mode(0o644);
    push(&home, &own, &flags).end(SOON).code(1).one_line().says(&["chmod 600"]);
    mode(0o600);
    let url = format!("http://127.0.0.1:{own}");
    let mut command = home.command();
    command.args([&["metrics", "--otlp", &url], &flags[..]].concat());
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2%2Dvariable");
    let running = run::spawn(&mut command, home.path());
    for request in collector.wait(2, SOON) {
        assert!(request.head.contains("\r\nauthorization: bearer hunter2-file\r\n"));
        assert!(request.head.contains("\r\nx-key: hunter2-variable\r\n"));
    }
    let line = fs::read(format!("/proc/{}/cmdline", running.pid())).expect("it runs");
    assert!(!String::from_utf8_lossy(&line).contains("hunter2"));
    process::kill(running.pid(), Signal::SIGTERM);
    let outcome = running.end(SOON).ok();
    assert!(outcome.stderr.contains("answers 400: no: … …, …"), "{outcome:#?}");
    assert!(!(outcome.stdout + &outcome.stderr).contains("hunter2"));
}

#[test]
fn urls_that_cannot_be_pushed_to() {
    let home = tests::home!();
    for (url, word) in [
        ("https://127.0.0.1:4318", "collector on this machine"),
        ("http://me:hunter2@127.0.0.1", "--otlp-headers"),
        ("127.0.0.1:4318", "http://"),
    ] {
        let refused = home.run(&["metrics", "--otlp", url]).code(2).one_line().says(&[word]);
        assert!(!refused.stderr.contains("hunter2"), "{refused:#?}");
    }
    home.run(&["metrics", "--interval", "5s"]).code(2);
    home.run(&["metrics", "--otlp", "http://127.0.0.1", "--interval", "1ms"]).code(2);
}
