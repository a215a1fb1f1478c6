//! Where the collector is: the URL of `--otlp`.

use hyper::Uri;

use crate::cli::exit::Failure;

/// What the path of a collector ends with (OTLP 1, "OTLP/HTTP Request").
const METRICS: &str = "/v1/metrics";
/// The port of OTLP/HTTP.
const PORT: u16 = 4318;

/// The address of a collector that speaks OTLP/HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// A name or an address, as the resolver takes it.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as `Host` has them.
    pub(super) authority: String,
    /// Ends with [`METRICS`].
    pub(super) path: String,
}

impl Endpoint {
    /// Reads a URL. The path of metrics is appended unless the URL ends with it.
    pub(super) fn parse(url: &str) -> Result<Self, Failure> {
        // The URL may contain a secret by mistake, so it is in no message before it is checked.
        let refuse = |why: &str| Err(Failure::usage(format!("cannot push to the URL: {why}")));
        let Ok(uri) = url.parse::<Uri>() else {
            return refuse("it is not a URL such as http://127.0.0.1:4318");
        };
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return refuse(
                    "this program has no TLS: run an OpenTelemetry Collector on this machine, push \
                     to it with http, and let it send the metrics on with https",
                );
            }
            _ => return refuse("it must begin with http://, such as http://127.0.0.1:4318"),
        }
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
            return refuse("it has no host");
        };
        if authority.as_str().contains('@') || uri.query().is_some() || url.contains('#') {
            return refuse(
                "it has a password, a query or a fragment, which other users could read in the \
                 list of processes: use --otlp-headers or OTEL_EXPORTER_OTLP_HEADERS",
            );
        }
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            None => Some(PORT),
            Some(number) => number.parse().ok(),
        };
        let Some(port) = port.filter(|port| *port != 0) else {
            return refuse("it has no port that can be connected to");
        };
        let path = uri.path().trim_end_matches('/');
        let path =
            if path.ends_with(METRICS) { path.to_owned() } else { format!("{path}{METRICS}") };
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host: name, port, authority: format!("{host}:{port}"), path })
    }

    /// For people.
    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }

    /// Whether what is sent stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, expected, is_local) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/metrics", true),
            ("http://localhost/", "http://localhost:4318/v1/metrics", true),
            ("http://[::1]:99/v1/metrics", "http://[::1]:99/v1/metrics", true),
            ("http://c.example/api/v1/otlp", "http://c.example:4318/api/v1/otlp/v1/metrics", false),
            ("http://c.example:80/x/v1/metrics/", "http://c.example:80/x/v1/metrics", false),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.url().as_str(), endpoint.is_local()), (expected, is_local));
        }
        assert_eq!(Endpoint::parse("http://[::1]").unwrap().host, "::1");
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        for (url, why) in [
            ("https://c.example", "OpenTelemetry Collector on this machine"),
            ("grpc://c.example", "http://"),
            ("127.0.0.1:4318", "http://"),
            ("http://me:hunter2@c.example", "--otlp-headers"),
            ("http://c.example/?key=hunter2", "--otlp-headers"),
            ("http://c.example/#hunter2", "--otlp-headers"),
            ("http://c.example:70000", "no port"),
            ("http://c.example:0", "no port"),
            ("", "not a URL"),
        ] {
            let reason = Endpoint::parse(url).unwrap_err().reason;
            assert!(reason.contains(why) && !reason.contains("hunter2"), "{url}: {reason}");
        }
    }
}
