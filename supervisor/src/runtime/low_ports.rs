//! Which ports the primary opens for workers of a user who could not open them.

use std::net::SocketAddr;

use config::spec::ListenAddress;

use super::listeners::Listeners;
use super::workers::Child;
use crate::policy::intercept as policy;
use crate::sys::procfs;

/// Whether we open an address for a worker, which may run as a user who could not.
pub(super) fn may_open(listeners: &Listeners, child: &Child, address: SocketAddr) -> bool {
    let (spec, port) = (&child.spec, address.port());
    let is_open = listeners.iter().any(|open| open.tcp_address() == Some(address));
    let configured = ListenAddress::Tcp(address);
    policy::may_open(policy::Asker {
        is_lesser: child.uid.is_some_and(|uid| uid != 0),
        port,
        first_free: procfs::unprivileged_port_start(),
        declared: is_open
            || spec.privileges.ports.contains(&port)
            || spec.listen.iter().any(|listen| listen.address == configured)
            || listeners.lent.has_tcp(address),
    })
}

/// Why a worker does not get an address, and what to do.
pub(super) fn forbidden(child: &Child, address: SocketAddr) -> String {
    let user = child.spec.user.as_deref().unwrap_or("another user");
    format!(
        "cannot listen on {address}: the worker runs as {user}, who may not open port {port}: add \
         ports = {port} or listen to the configuration",
        port = address.port()
    )
}
