//! Where the load goes, and what a correct answer is: learnt by asking.

use std::net::SocketAddr;
use std::time::Duration;

use ipc::control::AppStatus;

use super::exchange::{Answer, Connection, Fail, wrong};
use crate::cli::exit::Failure;
use crate::sys::socket::reachable;

/// How often a server is asked before it counts as one that does not speak HTTP.
const TRIES: usize = 3;
/// How long it may take to answer then.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the clients ask of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    /// The status of a correct answer. `None`: the server does not speak HTTP, so the clients only
    /// connect and hold.
    pub(crate) status: Option<u16>,
    /// The path of the WebSocket, if it is another one.
    pub(crate) socket: Option<String>,
}

impl Site {
    /// The request, with this value of `Connection`.
    pub(crate) fn request(&self, connection: &str) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n\
             User-Agent: supervisor\r\nAccept: */*\r\n\r\n",
            self.path, self.address
        )
        .into_bytes()
    }

    /// Whether this answer is correct, as far as its status says.
    pub(crate) fn check(&self, answer: Answer) -> Result<(), Fail> {
        match self.status.filter(|status| *status != answer.status) {
            None => Ok(()),
            Some(wanted) => Err(wrong(&format!("status {} instead of {wanted}", answer.status))),
        }
    }

    /// Asks the server what a correct answer is, unless the user said so.
    pub(crate) fn learn(
        address: SocketAddr,
        path: &str,
        status: Option<u16>,
    ) -> Result<Self, Failure> {
        let mut site = Self { address, path: path.to_owned(), status, socket: None };
        let mut seen = Err(Fail::Unread);
        for _ in 0..TRIES {
            seen = site.ask();
            if seen.is_ok() {
                break;
            }
        }
        match seen {
            Ok(found) => {
                if let Some(wanted) = status.filter(|wanted| *wanted != found) {
                    return Err(Failure::failed(format!(
                        "{address} answers {path} with {found} and not with {wanted}: correct --path \
                         or --status"
                    )));
                }
                site.status = Some(found);
                Ok(site)
            }
            Err(Fail::Lost(_, text)) if status.is_some() => {
                Err(Failure::failed(format!("{address} does not answer {path} over HTTP: {text}")))
            }
            Err(Fail::NoRoom(text)) => Err(Failure::failed(text)),
            Err(_) => Ok(site),
        }
    }

    fn ask(&self) -> Result<u16, Fail> {
        let mut connection = Connection::open(self.address, PATIENCE)?;
        connection.send(&self.request("close"))?;
        Ok(connection.answer()?.status)
    }
}

/// The address of the app that clients of this machine connect to. Fails if there is none, or if it
/// is not of this machine and `anywhere` is false.
pub(crate) fn address(
    status: &AppStatus,
    chosen: Option<SocketAddr>,
    anywhere: bool,
) -> Result<SocketAddr, Failure> {
    let all: Vec<&str> = status.listeners.iter().map(|one| one.address.as_str()).collect();
    let known = all.iter().filter_map(|text| text.parse::<SocketAddr>().ok()).map(reachable);
    let found = match chosen {
        Some(address) => address,
        None => known.into_iter().next().ok_or_else(|| {
            Failure::failed(format!(
                "{} listens on no TCP address ({}): the clients need one",
                status.name,
                if all.is_empty() { "it listens on nothing".to_owned() } else { all.join(", ") }
            ))
        })?,
    };
    match is_of_this_machine(found) || anywhere {
        true => Ok(found),
        false => Err(Failure::usage(format!(
            "{found} is not an address of loopback: --anywhere sends the load there"
        ))),
    }
}

/// Whether this is an address of loopback.
pub(crate) fn is_of_this_machine(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use ipc::control::{ListenerStatus, Status};

    fn listening(addresses: &[&str]) -> AppStatus {
        let mut status = fake::status("web", Status::Ready);
        let one = |address: &&str| ListenerStatus {
            address: (*address).to_owned(),
            ..ListenerStatus::default()
        };
        status.listeners = addresses.iter().map(one).collect();
        status
    }

    #[test]
    fn the_load_stays_on_this_machine() {
        let of = |addresses: &[&str], anywhere| {
            address(&listening(addresses), None, anywhere).map(|found| found.to_string())
        };
        assert_eq!(of(&["unix:/x", "0.0.0.0:80"], false).unwrap(), "127.0.0.1:80");
        assert_eq!(of(&["[::]:80"], false).unwrap(), "[::1]:80");
        assert!(of(&["192.0.2.1:80"], false).unwrap_err().reason.contains("--anywhere"));
        assert_eq!(of(&["192.0.2.1:80"], true).unwrap(), "192.0.2.1:80");
        assert!(of(&[], false).unwrap_err().reason.contains("nothing"));
        assert!(of(&["unix:/x"], false).unwrap_err().reason.contains("unix:/x"));
    }
}
