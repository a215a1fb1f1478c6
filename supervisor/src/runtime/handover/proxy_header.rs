//! Clients behind a proxy: the client's address is read from the PROXY header (version 1 or 2)
//! with which the proxy begins each connection, so that `sticky` knows clients and not proxies.
//!
//! The primary peeks at the header and leaves it in the connection, so that the program reads it
//! as it would without us. A bounded number of connections may wait, for a bounded time, until
//! their header is complete. A connection that begins with anything else, or whose header comes too
//! late, is known by its own address. The format is that of the "PROXY protocol" specification of
//! HAProxy, section 2; `ppp` parses it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use ppp::{HeaderResult, PartialResult, v1, v2};

use super::in_flight::Arrival;
use crate::base::ids::ListenerId;
use crate::base::time::Time;
use crate::limits::{HEADER_BYTES, HEADERS_AWAITED};
use crate::runtime::context::Context;
use crate::runtime::source::Source;
use crate::sys::poller::Poller;
use crate::sys::{clock, socket};

/// How long a connection may wait for its header. A proxy sends it at once.
const HEADER_WITHIN: Duration = Duration::from_secs(3);

/// How a header of version 1 begins; it is one line.
const TEXT: &[u8] = b"PROXY ";
/// The longest such line, its end included.
const LONGEST_TEXT: usize = 107;

/// The connections whose header has not come.
#[derive(Debug, Default)]
pub(crate) struct ProxyHeaders {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    listener: ListenerId,
    arrival: Arrival,
    until: Time,
}

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    /// The header names this client.
    Client(IpAddr),
    /// There is no header, or it names no client: the other end of the connection is the client.
    Nobody,
    /// More bytes are needed.
    Incomplete,
}

impl ProxyHeaders {
    /// Whether so many connections wait that the primary must not accept another.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= HEADERS_AWAITED
    }

    /// When the wait of the oldest connection ends.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// Puts the address of the client into a new connection. `None`: the header is incomplete, and
    /// the connection waits here.
    pub(super) fn see_client(
        &mut self,
        at: &Context<'_>,
        listener: ListenerId,
        arrival: Arrival,
    ) -> Option<Arrival> {
        let mut arrival = arrival;
        let have = match settle(&mut arrival) {
            Ok(()) => return Some(arrival),
            Err(have) => have,
        };
        let (id, until) = (self.next, clock::now() + HEADER_WITHIN);
        let watched = socket::wake_at(arrival.fd.as_fd(), have + 1)
            .and_then(|()| at.poller.add(arrival.fd.as_fd(), Source::Header(id).token()));
        if watched.is_err() {
            return Some(arrival);
        }
        self.next += 1;
        self.waiting.insert(id, Waiting { listener, arrival, until });
        None
    }

    /// The listener is closed, and with it what waits there.
    pub(super) fn forget(&mut self, poller: &Poller, listener: ListenerId) {
        self.waiting.retain(|_, waiting| {
            let stays = waiting.listener != listener;
            if !stays {
                poller.remove(waiting.arrival.fd.as_fd());
            }
            stays
        });
    }

    /// More of a header came, or the connection ended. Returns whether its wait is over.
    pub(super) fn advance(&mut self, id: u64) -> bool {
        let Some(waiting) = self.waiting.get_mut(&id) else { return false };
        match settle(&mut waiting.arrival) {
            Ok(()) => true,
            Err(have) => socket::wake_at(waiting.arrival.fd.as_fd(), have + 1).is_err(),
        }
    }

    /// The connections whose wait ends now, although their headers are incomplete.
    pub(super) fn overdue(&self, now: Time) -> Vec<u64> {
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now);
        due.map(|(id, _)| *id).collect()
    }

    /// Takes a connection out, with its listener, as its worker needs it.
    pub(super) fn take(&mut self, at: &mut Context<'_>, id: u64) -> Option<(ListenerId, Arrival)> {
        let Waiting { listener, arrival, .. } = self.waiting.remove(&id)?;
        let fd = arrival.fd.as_fd();
        at.poller.remove(fd);
        // The program's own polling must wake at the first byte again.
        if let Err(error) = socket::wake_at(fd, 1) {
            at.warn(format!("cannot prepare a connection for its worker: {error}"));
        }
        Some((listener, arrival))
    }
}

/// Puts the client's address into the arrival. `Err`: how many bytes have come, if more are needed.
fn settle(arrival: &mut Arrival) -> Result<(), usize> {
    let mut bytes = [0; HEADER_BYTES];
    match socket::peek(arrival.fd.as_fd(), &mut bytes) {
        // Nothing has come yet.
        Ok(None) => Err(0),
        // It ended, or broke: its worker will see that.
        Ok(Some(0)) | Err(_) => Ok(()),
        Ok(Some(count)) => match header(&bytes[..count]) {
            Header::Client(ip) => {
                arrival.peer = SocketAddr::new(ip, arrival.peer.port());
                Ok(())
            }
            Header::Incomplete if count < HEADER_BYTES => Err(count),
            Header::Incomplete | Header::Nobody => Ok(()),
        },
    }
}

fn header(bytes: &[u8]) -> Header {
    let is_text = !bytes.is_empty() && bytes.iter().zip(TEXT).all(|(byte, of)| byte == of);
    let line = bytes.windows(2).take(LONGEST_TEXT - 1).position(|two| two == b"\r\n");
    let bytes = match (is_text, line) {
        (true, Some(end)) => &bytes[..end + 2],
        (true, None) if bytes.len() < LONGEST_TEXT => return Header::Incomplete,
        (true, None) => return Header::Nobody,
        (false, _) => bytes,
    };
    let result = HeaderResult::parse(bytes);
    // The parser also calls a complete line incomplete if a part of it is missing.
    if !is_text && result.is_incomplete() {
        return Header::Incomplete;
    }
    let ip = match result {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(ip) => Some(IpAddr::V4(ip.source_address)),
            v1::Addresses::Tcp6(ip) => Some(IpAddr::V6(ip.source_address)),
            v1::Addresses::Unknown => None,
        },
        // LOCAL: the proxy speaks for itself, as in a health check.
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Proxy => {
            match header.addresses {
                v2::Addresses::IPv4(ip) => Some(IpAddr::V4(ip.source_address)),
                v2::Addresses::IPv6(ip) => Some(IpAddr::V6(ip.source_address)),
                v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
            }
        }
        HeaderResult::V1(_) | HeaderResult::V2(_) => None,
    };
    ip.map_or(Header::Nobody, |ip| Header::Client(ip.to_canonical()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";
    const BINARY: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xdc\x04\x01\xbb";

    #[test]
    fn both_versions_name_the_client_and_what_follows_does_not_matter() {
        let client = Header::Client("203.0.113.7".parse().unwrap());
        for bytes in [LINE, BINARY] {
            assert_eq!(header(bytes), client);
            assert_eq!(header(&[bytes, b"GET / HTTP/1.1\r\n\r\n"].concat()), client);
            for end in 1..bytes.len() {
                assert_eq!(header(&bytes[..end]), Header::Incomplete, "{end} bytes");
            }
        }
        let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n";
        assert_eq!(header(six), Header::Client("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn what_names_nobody_goes_by_its_own_address() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"\x16\x03\x01\x02\0\x01\0",
            b"PROXY UNKNOWN\r\n",
            b"PROXY TCP4 nonsense\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        ] {
            assert_eq!(header(bytes), Header::Nobody, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(start in prop::sample::select(vec![&b""[..], b"PROXY ", &BINARY[..13]]),
                               rest: Vec<u8>) {
            header(&[start, &rest].concat());
        }
    }
}
