//! The checks of a request: which host it names, how it may enter, whether a page of ours sent it.
//! Pure.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, ORIGIN};

use super::secrets::Token;
use crate::cli::exit::Failure;

/// The header by which a page shows that a request to act comes from a page of ours.
pub(super) const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// How long a browser keeps the cookie, in seconds.
const COOKIE_AGE: u32 = 30 * 24 * 3600;

/// What opens the dashboard.
#[derive(Debug)]
pub(super) struct Access {
    /// `None`: everyone may enter.
    token: Option<Token>,
    /// The value of the cookie, which a browser gets for the token. Another one for each process.
    session: Token,
    csrf: Token,
    cookie: String,
    hosts: Vec<String>,
}

/// How a request shows that it may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// By the cookie, which a browser sends whatever page made the request; or nothing is needed.
    Browser,
    /// By `Authorization: Bearer`, which no page of a stranger can send.
    Bearer,
}

impl Access {
    /// With this token, on this port. `hosts`: names by which browsers reach the dashboard, besides
    /// localhost and IP addresses.
    pub(super) fn new(
        token: Option<Token>,
        port: u16,
        hosts: Vec<String>,
    ) -> Result<Self, Failure> {
        // Browsers send a cookie to all ports of a host; so its name has the port.
        let cookie = format!("supervisor-dash-{port}");
        Ok(Self { token, session: Token::random()?, csrf: Token::random()?, cookie, hosts })
    }

    /// What a page must send in [`CSRF`] to act.
    pub(super) fn csrf(&self) -> &str {
        self.csrf.text()
    }

    /// Whether the request names this server by a name that we know. A page of a stranger whose
    /// name was made to point here (DNS rebinding) has that name in Host. It cannot have an IP
    /// address, so every one of those is fine.
    pub(super) fn knows_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = text(headers, &HOST) else { return false };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// How the request may enter; `None`: it may not.
    pub(super) fn entry(&self, headers: &HeaderMap) -> Option<Entry> {
        let Some(token) = &self.token else { return Some(Entry::Browser) };
        let bearer = text(headers, &AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        if bearer.is_some_and(|given| token.is(given)) {
            return Some(Entry::Bearer);
        }
        let sessions = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs = sessions.flat_map(|all| all.split(';')).filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.cookie).then_some(value)
        });
        pairs.any(|given| self.session.is(given)).then_some(Entry::Browser)
    }

    /// The cookie that a browser gets for `given`; `None` if that is not the token.
    pub(super) fn cookie_for(&self, given: &str) -> Option<String> {
        let token = self.token.as_ref()?;
        token.is(given).then(|| {
            format!(
                "{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={COOKIE_AGE}",
                self.cookie,
                self.session.text()
            )
        })
    }

    /// Whether a request that acts was made by a page of ours, or by a program with the token.
    pub(super) fn is_ours(&self, entry: Entry, headers: &HeaderMap) -> bool {
        match entry {
            Entry::Bearer => true,
            Entry::Browser => {
                let csrf = text(headers, &CSRF).is_some_and(|given| self.csrf.is(given));
                let origin = text(headers, &ORIGIN).and_then(|text| text.split_once("://"));
                csrf && origin.map(|(_, host)| host) == text(headers, &HOST)
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The value of a key of a query string, as it is written there.
pub(super) fn parameter<'a>(query: Option<&'a str>, key: &str) -> Option<&'a str> {
    query?.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == key).map(|p| p.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const TOKEN: &str = "0123456789abcdef";

    fn access() -> Access {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, TOKEN).unwrap();
        let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, owner).unwrap();
        Access::new(Some(Token::read(&path).unwrap()), 9616, vec!["dash.example".into()]).unwrap()
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        pairs.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    #[test]
    fn hosts() {
        let access = access();
        for (host, known) in [
            ("127.0.0.1:9616", true),
            ("[::1]:9616", true),
            ("[::1]", true),
            ("10.0.0.7", true),
            ("localhost:9616", true),
            ("LOCALHOST", true),
            ("dash.example", true),
            ("dash.example:443", true),
            ("evil.example:9616", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(access.knows_host(&headers(&[(HOST, host)])), known, "{host}");
        }
        assert!(!access.knows_host(&HeaderMap::new()));
    }

    #[test]
    fn the_token_gets_a_cookie_and_the_cookie_enters() {
        let access = access();
        assert_eq!(access.cookie_for("0123456789abcdeF"), None);
        let cookie = access.cookie_for(TOKEN).unwrap();
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert!(!cookie.contains(TOKEN), "the cookie does not tell the token");
        let pair = cookie.split(';').next().unwrap();
        let entry = |name, text: &str| access.entry(&headers(&[(name, text)]));
        assert_eq!(entry(COOKIE, pair), Some(Entry::Browser));
        assert_eq!(entry(COOKIE, &format!("a=b; {pair}; c=d")), Some(Entry::Browser));
        assert_eq!(entry(COOKIE, &pair.replace("9616", "9617")), None);
        assert_eq!(entry(COOKIE, &format!("supervisor-dash-9616={TOKEN}")), None);
        assert_eq!(entry(AUTHORIZATION, &format!("Bearer {TOKEN}")), Some(Entry::Bearer));
        assert_eq!(entry(AUTHORIZATION, "Bearer x"), None);
        assert_eq!(access.entry(&HeaderMap::new()), None);
        let open = Access::new(None, 1, Vec::new()).unwrap();
        assert_eq!(open.entry(&HeaderMap::new()), Some(Entry::Browser));
    }

    #[test]
    fn a_browser_acts_for_a_page_of_ours_alone() {
        let access = access();
        let host = (HOST, "127.0.0.1:9616");
        let csrf = || (CSRF, access.csrf());
        let ours = |pairs: &[_]| access.is_ours(Entry::Browser, &headers(pairs));
        assert!(ours(&[host.clone(), csrf(), (ORIGIN, "http://127.0.0.1:9616")]));
        assert!(!ours(&[host.clone(), csrf(), (ORIGIN, "http://127.0.0.1:9617")]));
        assert!(!ours(&[host.clone(), csrf(), (ORIGIN, "null")]));
        assert!(!ours(&[host.clone(), csrf()]));
        assert!(!ours(&[host.clone(), (ORIGIN, "http://127.0.0.1:9616")]));
        assert!(!ours(&[host, (CSRF, "guess"), (ORIGIN, "http://127.0.0.1:9616")]));
        assert!(access.is_ours(Entry::Bearer, &HeaderMap::new()));
    }

    #[test]
    fn parameters() {
        assert_eq!(parameter(Some("a=1&token=x"), "token"), Some("x"));
        assert_eq!(parameter(Some("tokens=x"), "token"), None);
        assert_eq!(parameter(None, "token"), None);
    }
}
