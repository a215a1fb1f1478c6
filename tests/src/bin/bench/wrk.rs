//! Load by `wrk`. Where `wrk` is missing, the client of the tests is used; it has no percentiles.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use ::tests::{Load, Mode, fixtures, run, staging};

/// Connections at a time.
pub(crate) const CONNECTIONS: usize = 32;

/// What to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connection for each request.
    NewConnections,
    /// Requests on kept connections.
    KeepAlive,
}

/// One measurement.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) errors: u64,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NewConnections => "connections (one request each)",
            Self::KeepAlive => "requests on kept connections",
        }
    }
}

/// Loads the server for this span.
pub(crate) fn measure(address: SocketAddr, kind: Kind, span: Duration) -> Measured {
    let Some(wrk) = fixtures::need("wrk") else { return by_client(address, kind, span) };
    let mut command = Command::new(wrk);
    command
        .args(["-t", "2", "-c", &CONNECTIONS.to_string(), "--latency", "--timeout", "10s", "-d"])
        .arg(format!("{}s", span.as_secs().max(1)));
    if kind == Kind::NewConnections {
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!("http://{address}/"));
    let outcome =
        run::spawn(&mut command, staging::root()).end(span + Duration::from_secs(30)).ok();
    parse(&outcome.stdout)
}

fn by_client(address: SocketAddr, kind: Kind, span: Duration) -> Measured {
    let mut load = Load::new(address);
    load.clients = CONNECTIONS;
    load.at_most = span;
    if kind == Kind::KeepAlive {
        load.mode = Mode::KeepAlive { requests_per_connection: u32::MAX };
    }
    let tally = load.run();
    let errors = tally.lost();
    Measured { per_second: tally.rate(), p50_ms: f64::NAN, p99_ms: f64::NAN, errors }
}

fn parse(text: &str) -> Measured {
    let after = |words: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(words));
        line.map_or("", str::trim)
    };
    let errors = after("Socket errors:").split(|c: char| !c.is_ascii_digit());
    let bad = after("Non-2xx or 3xx responses:").parse::<u64>().unwrap_or(0);
    Measured {
        per_second: after("Requests/sec:").parse().unwrap_or(f64::NAN),
        p50_ms: milliseconds(after("50%")),
        p99_ms: milliseconds(after("99%")),
        errors: bad + errors.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>(),
    }
}

/// `1.23ms`, `456.00us` or `1.2s`, in milliseconds.
fn milliseconds(text: &str) -> f64 {
    let number = |digits: &str| digits.parse().unwrap_or(f64::NAN);
    match (text.strip_suffix("us"), text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(us), _, _) => number(us) / 1000.0,
        (_, Some(ms), _) => number(ms),
        (_, _, Some(s)) => number(s) * 1000.0,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "  Latency Distribution\n     50%  803.00us\n     99%    1.20s\n  \
                    100 requests in 1.00s, 10KB read\n  \
                    Socket errors: connect 1, read 2, write 3, timeout 4\n  \
                    Non-2xx or 3xx responses: 5\nRequests/sec:  12345.67\n";
        let measured = parse(text);
        assert_eq!(measured.per_second, 12345.67);
        assert_eq!((measured.p50_ms, measured.p99_ms), (0.803, 1200.0));
        assert_eq!(measured.errors, 15);
    }
}
