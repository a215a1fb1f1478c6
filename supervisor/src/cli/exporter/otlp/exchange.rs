//! One request to the collector, and what its answer means (OTLP 1, "OTLP/HTTP Response").

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, StatusCode, http};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::endpoint::Endpoint;
use super::queue::Outcome;
use crate::sys::clock;

/// How long a request may take, from the look-up of the host to the last byte of the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MOST: usize = 64 * 1024;
/// Characters of the collector's own words that are shown.
const SHOWN: usize = 200;
/// The shortest value of a header that is kept out of the collector's words.
const SECRET: usize = 4;

/// `google.rpc.Status`, which is the answer of a collector that does not take a request. The types
/// of OpenTelemetry do not contain it.
#[derive(Clone, PartialEq, Message)]
struct Refusal {
    #[prost(string, tag = "2")]
    message: String,
}

/// Sends a request that gzip has compressed.
pub(super) async fn exchange(endpoint: &Endpoint, headers: &HeaderMap, body: Bytes) -> Outcome {
    let later = |why: String| Outcome::Later { why, after: None };
    match tokio::time::timeout(LIMIT, answer(endpoint, headers, body)).await {
        Ok(Ok((head, body))) => outcome(&head, &body, headers, clock::unix_ms()),
        Ok(Err(why)) => later(format!("the collector cannot be reached: {why}")),
        Err(_) => later(format!("the collector has not answered within {} s", LIMIT.as_secs())),
    }
}

/// The head of the answer and its body. Of a body that is too long, nothing.
async fn answer(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<(http::response::Parts, Bytes), String> {
    let request = request(endpoint, headers, body).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Dropping the set ends the connection.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    Ok((head, read(body).await?))
}

async fn read<B>(body: B) -> Result<Bytes, String>
where
    B: Body<Data = Bytes, Error = hyper::Error>,
{
    match Limited::new(body, MOST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Ok(Bytes::new()),
        Err(error) => Err(format!("its answer breaks off: {error}")),
    }
}

fn request(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: Bytes,
) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::post(&endpoint.path)
        .header(HOST, &endpoint.authority)
        .header(USER_AGENT, format!("supervisor/{}", crate::version()))
        .header(CONTENT_TYPE, "application/x-protobuf")
        .header(CONTENT_ENCODING, "gzip")
        .header(CONNECTION, "close")
        .body(Full::new(body))?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value.clone());
    }
    Ok(request)
}

/// What an answer means. `headers`: those of the request.
fn outcome(
    head: &http::response::Parts,
    body: &[u8],
    headers: &HeaderMap,
    unix_ms: u64,
) -> Outcome {
    let status = head.status;
    if status.is_success() {
        let answer = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
        let partial = answer.partial_success.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
        return Outcome::Accepted { rejected, message: shown(&partial.error_message, headers) };
    }
    let words = match status {
        // They are about the headers, and may contain a part of one.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => String::new(),
        _ => shown(&words(head, body), headers),
    };
    let why = format!("the collector answers {}: {words}", status.as_u16());
    let why = why.trim_end_matches([':', ' ']).to_owned();
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            Outcome::Later { why, after: asked(&head.headers, unix_ms) }
        }
        _ => Outcome::Refused { why },
    }
}

/// The collector's own words.
fn words(head: &http::response::Parts, body: &[u8]) -> String {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/x-protobuf")) {
        return Refusal::decode(body).unwrap_or_default().message;
    }
    String::from_utf8_lossy(body).into_owned()
}

/// The pause that the collector asks for: seconds or a date.
fn asked(headers: &HeaderMap, unix_ms: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date: Timestamp = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let date = u64::try_from(date.as_millisecond()).ok()?;
    Some(Duration::from_millis(date.saturating_sub(unix_ms)))
}

/// Words of the collector as a part of a line: short, without control characters, and without what
/// it repeats verbatim of the headers.
fn shown(words: &str, headers: &HeaderMap) -> String {
    let mut words = words.to_owned();
    for secret in headers.values().filter_map(|value| value.to_str().ok()) {
        for part in secret.split_whitespace().filter(|part| part.len() >= SECRET) {
            words = words.replace(part, "…");
        }
    }
    let plain = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SHOWN).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use hyper::Response;
    use hyper::header::HeaderValue;

    use super::*;

    fn of(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Outcome {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let (head, ()) = response.body(()).unwrap().into_parts();
        let mut ours = HeaderMap::new();
        ours.insert("authorization", HeaderValue::from_static("Bearer hunter2"));
        outcome(&head, body, &ours, 784_111_777_000)
    }

    fn later(after: Option<u64>) -> impl Fn(&Outcome) -> bool {
        let wanted = after.map(Duration::from_secs);
        move |outcome| matches!(outcome, Outcome::Later { after, .. } if *after == wanted)
    }

    #[test]
    fn which_answers_are_sent_again() {
        for status in [429, 502, 503, 504] {
            assert!(later(None)(&of(status, &[], b"")), "{status}");
        }
        for status in [301, 400, 401, 403, 404, 413, 500, 501] {
            assert!(matches!(of(status, &[], b""), Outcome::Refused { .. }), "{status}");
        }
        assert!(later(Some(7))(&of(503, &[("retry-after", "7")], b"")));
        let date = [("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")];
        assert!(later(Some(10))(&of(429, &date, b"")));
        assert!(later(Some(0))(&of(429, &[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")], b"")));
        assert!(later(None)(&of(503, &[("retry-after", "soon")], b"")));
    }

    #[test]
    fn what_the_collector_says_is_shown_without_secrets() {
        let why = |status, headers: &[_], body: &[u8]| match of(status, headers, body) {
            Outcome::Refused { why } | Outcome::Later { why, .. } => why,
            Outcome::Accepted { .. } => panic!("{status}"),
        };
        assert_eq!(why(400, &[], b""), "the collector answers 400");
        let text = why(400, &[], b"no\x1b[31m for Bearer hunter2\n");
        assert_eq!(text, "the collector answers 400: no [31m for … …");
        assert_eq!(why(401, &[], b"no: hunt"), "the collector answers 401");
        assert_eq!(why(403, &[], b"no: hunt"), "the collector answers 403");
        let refusal = Refusal { message: "too large".into() }.encode_to_vec();
        let kind = [("content-type", "application/x-protobuf")];
        assert_eq!(why(413, &kind, &refusal), "the collector answers 413: too large");
        assert!(why(400, &[], &[b'x'; 5000]).len() < 300);
    }

    #[test]
    fn a_partial_success_is_read() {
        use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
        let accepted =
            |rejected, message: &str| Outcome::Accepted { rejected, message: message.into() };
        let partial_success = Some(ExportMetricsPartialSuccess {
            rejected_data_points: 5,
            error_message: "old".to_owned(),
        });
        let body = ExportMetricsServiceResponse { partial_success }.encode_to_vec();
        assert_eq!(of(200, &[], &body), accepted(5, "old"));
        assert_eq!(of(200, &[], b""), accepted(0, ""));
        assert_eq!(of(200, &[], b"{}"), accepted(0, ""));
    }
}
