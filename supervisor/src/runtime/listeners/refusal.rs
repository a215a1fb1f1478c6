//! Why an address cannot be had, and what to do about it.

use std::io;
use std::net::SocketAddr;

use crate::runtime::error_text::plain;
use crate::sys::socket;

/// See the module.
pub(in crate::runtime) fn refusal(address: SocketAddr, error: &io::Error) -> String {
    let cure = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            let holders: Vec<String> = socket::holders(address)
                .iter()
                .map(|holder| format!("pid {} ({})", holder.pid, holder.command))
                .collect();
            if holders.is_empty() {
                " (somebody else listens there; choose another port)".to_owned()
            } else {
                format!(" (held by {}; stop it or choose another port)", holders.join(", "))
            }
        }
        Some(libc::EACCES) => " (run as root or grant CAP_NET_BIND_SERVICE)".to_owned(),
        Some(libc::EADDRNOTAVAIL) => " (no interface of this machine has that address)".to_owned(),
        _ => String::new(),
    };
    format!("cannot listen on {address}: {}{cure}", plain(error))
}
