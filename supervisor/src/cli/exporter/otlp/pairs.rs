//! Headers and attributes that the user gives: from a file that only its owner can read, or from
//! the environment variables of OpenTelemetry. Neither is in a list of processes.

use std::ffi::OsString;
use std::path::Path;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::cli::exit::Failure;
use crate::cli::files::secret_file;

/// The variables with headers; the later ones win.
const HEADER_VARIABLES: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS"];
/// The variable with attributes of the resource.
const ATTRIBUTES_VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Bytes of a file or a variable.
const LONGEST: usize = 16 * 1024;
/// Headers or attributes.
const MOST: usize = 64;

/// Headers that the request has already.
const OURS: [&str; 8] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "accept-encoding",
    "expect",
];

/// The headers for each request. Those of the file win over those of the environment.
pub(super) fn headers(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for name in HEADER_VARIABLES {
        for (key, value) in of_variable(name, &variable)? {
            insert(&mut headers, &key, &value)
                .map_err(|why| Failure::usage(format!("the variable {name}: {why}")))?;
        }
    }
    if let Some(path) = file {
        for (at, line) in secret(path)?.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = line.split_once(':').ok_or_else(|| "expected \"Name: value\"".to_owned());
            pair.and_then(|(key, value)| insert(&mut headers, key, value)).map_err(|why| {
                Failure::usage(format!("line {} of {}: {why}", at + 1, path.display()))
            })?;
        }
    }
    Ok(headers)
}

/// The attributes of the resource that the environment names.
pub(super) fn attributes(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<(String, String)>, Failure> {
    of_variable(ATTRIBUTES_VARIABLE, variable)
}

/// Puts a header into the map. A message never has its value.
fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let name = name.trim();
    let parsed = HeaderName::try_from(name)
        .map_err(|_| "a name may have letters, digits and \"-\"".to_owned())?;
    if OURS.contains(&parsed.as_str()) {
        return Err(format!("the header {name} is set by the program itself"));
    }
    let mut value = HeaderValue::try_from(value.trim())
        .map_err(|_| format!("the value of {name} has characters that no header can have"))?;
    value.set_sensitive(true);
    headers.insert(parsed, value);
    match headers.len() <= MOST {
        true => Ok(()),
        false => Err(format!("at most {MOST} headers are allowed")),
    }
}

/// The pairs of a variable: `key=value,key=value` with percent signs as in W3C Baggage.
fn of_variable(
    name: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<(String, String)>, Failure> {
    let refuse = |why: &str| Failure::usage(format!("the variable {name} {why}"));
    let Some(text) = variable(name) else { return Ok(Vec::new()) };
    let text = text.into_string().map_err(|_| refuse("is not UTF-8"))?;
    if text.len() > LONGEST {
        return Err(refuse("has more than 16 KiB"));
    }
    let mut pairs = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let pair = part.split_once('=').filter(|(key, _)| !key.trim().is_empty());
        let (key, value) = pair.ok_or_else(|| refuse("must have the form key=value,key=value"))?;
        let value = decoded(value.trim())
            .ok_or_else(|| refuse("has a \"%\" without two hexadecimal digits after it"))?;
        pairs.push((key.trim().to_owned(), value));
    }
    match pairs.len() <= MOST {
        true => Ok(pairs),
        false => Err(refuse("has more than 64 pairs")),
    }
}

/// The text with each `%41` replaced by its byte.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The text of a file that only its owner can read.
fn secret(path: &Path) -> Result<String, Failure> {
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    let text = secret_file::read(path, "the headers", most + 1)?;
    match text.len() <= LONGEST {
        true => Ok(text),
        false => Err(Failure::usage(format!("{} has more than 16 KiB", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn of(text: &'static str) -> impl Fn(&str) -> Option<OsString> {
        move |name| (name == HEADER_VARIABLES[0]).then(|| text.into())
    }

    #[test]
    fn headers_of_the_environment() {
        let headers = headers(None, of("api-key=s%20e=c%2Cret , x=")).unwrap();
        assert_eq!(headers["api-key"], "s e=c,ret");
        assert_eq!(headers["x"], "");
        assert!(!format!("{headers:?}").contains("ret"), "no value is printed");
        assert!(super::headers(None, |_| None).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        for (text, why) in [
            ("hunter2", "key=value"),
            ("=hunter2", "key=value"),
            ("a=hunter2%4", "hexadecimal"),
            ("a=hunter2%+1", "hexadecimal"),
            ("a=hunter2%0Ab", "characters that no header"),
            ("a b=hunter2", "letters"),
            ("Host=hunter2", "by the program itself"),
        ] {
            let reason = headers(None, of(text)).unwrap_err().reason;
            assert!(reason.contains(why) && !reason.contains("hunter2"), "{text}: {reason}");
        }
    }

    #[test]
    fn headers_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        let read = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            headers(Some(&path), of("a=environment,b=environment")).map_err(|f| f.reason)
        };
        let all = read("# a comment\n\nA: Basic x:y\n", 0o600).unwrap();
        assert_eq!(
            (&all["a"], &all["b"]),
            (&"Basic x:y".parse().unwrap(), &"environment".parse().unwrap())
        );
        assert!(read("a: b", 0o640).unwrap_err().contains("chmod 600"));
        let reason = read("a: b\nhunter2\n", 0o600).unwrap_err();
        assert!(reason.contains("line 2") && !reason.contains("hunter2"), "{reason}");
        assert!(read(&"a".repeat(LONGEST + 1), 0o600).unwrap_err().contains("16 KiB"));
        assert!(headers(Some(&folder.path().join("none")), |_| None).is_err());
    }
}
