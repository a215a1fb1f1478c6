//! What an intercepted `bind`, `listen` or `shutdown` may do.
//!
//! Facts about a call cost more and more to gather: the address is in the call, the socket is in
//! the process, the listener may have to be opened, and which sockets the worker still has open
//! stands in `/proc`. So [`bind`] is asked again after each: it either decides, or says which
//! fact it needs next.

/// What is known of a `bind`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The port of the address, if it is one of IPv4 or IPv6.
    pub(crate) port: Option<u16>,
    /// The configuration leaves this address alone.
    pub(crate) passthrough: bool,
    /// The primary may not open this address for this worker, see [`may_open`].
    pub(crate) forbidden: bool,
    /// The caller lives in another network, or belongs to another app's worker.
    pub(crate) foreign: bool,
    pub(crate) socket: Option<Socket>,
    pub(crate) listener: Option<Listener>,
    pub(crate) open: Option<Open>,
}

/// What the worker still has open of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Nothing,
    /// Sockets that it bound and does not listen on: it may have connected from them.
    BoundOnly,
    /// A slot socket.
    SlotSocket,
}

/// The program's own socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) is_tcp: bool,
    /// The program set SO_REUSEPORT.
    pub(crate) reuseport: bool,
    /// The program set SO_REUSEADDR.
    pub(crate) reuseaddr: bool,
}

/// The listener of the address, and what the worker has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The primary accepts there; it has no socket to lend.
    pub(crate) hands_over: bool,
    /// The worker was lent a socket of it before.
    pub(crate) lent: bool,
    /// All that the worker was lent it inherited at its start (LISTEN_FDS), and it has used none.
    pub(crate) inherited_only: bool,
}

/// What to do about a `bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The kernel carries the call out, as if nobody had intercepted it.
    LetThrough,
    /// Look at the program's socket, and ask again.
    SeeSocket,
    /// Find the listener of the address, or open it, and ask again.
    FindListener,
    /// Look which sockets the worker has open, and ask again.
    SeeOpen,
    /// The core says which socket of the listener the worker gets. `another`: it keeps the one
    /// that it has.
    Lend { another: bool },
    /// The address is in use.
    Refuse,
    /// The worker's user may not have it.
    Forbid,
}

/// A worker that wants an address, and what the primary, which may open more, has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The worker runs as another user than root, and the primary may open every port.
    pub(crate) is_lesser: bool,
    pub(crate) port: u16,
    /// The first port that every user may open (ip_unprivileged_port_start).
    pub(crate) first_free: u16,
    /// The configuration names the address or the port, or the app has it already.
    pub(crate) declared: bool,
}

/// Whether the primary opens an address for a worker that could not open it itself.
pub(crate) fn may_open(asker: Asker) -> bool {
    let Asker { is_lesser, port, first_free, declared } = asker;
    !is_lesser || declared || port >= first_free || port == 0
}

/// Decides about a `bind`, or says what has to be known first.
pub(crate) fn bind(facts: &Facts) -> Decision {
    let Some(port) = facts.port else { return Decision::LetThrough };
    // Port 0 is a socket of the program's own: nobody else can know its number.
    if port == 0 || facts.passthrough || facts.foreign {
        return Decision::LetThrough;
    }
    let Some(socket) = facts.socket else { return Decision::SeeSocket };
    if !socket.is_tcp {
        return Decision::LetThrough;
    }
    if facts.forbidden {
        return Decision::Forbid;
    }
    let Some(listener) = facts.listener else { return Decision::FindListener };
    if listener.hands_over {
        return Decision::Refuse;
    }
    // A worker that inherited a socket and binds all the same does not know LISTEN_FDS. It would
    // never close the inherited copy, so that copy does not count.
    if !listener.lent || listener.inherited_only {
        return Decision::Lend { another: false };
    }
    match facts.open {
        None => Decision::SeeOpen,
        Some(Open::Nothing) => Decision::Lend { another: false },
        Some(Open::BoundOnly | Open::SlotSocket) if socket.reuseport => {
            Decision::Lend { another: true }
        }
        // The kernel allows that, too.
        Some(Open::BoundOnly) if socket.reuseaddr => Decision::Lend { another: false },
        Some(Open::BoundOnly | Open::SlotSocket) => Decision::Refuse,
    }
}

/// The socket on which a program listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    /// A slot socket, or a shared one.
    Lent,
    /// One that it got for its `bind`. `copied`: the primary has a copy of it.
    BoundOnly { copied: bool, slot: SlotState },
    /// A slot socket that was shut down, and replaced.
    ShutDown,
}

/// The slot socket whose place a program's socket is to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// It does not listen, or does not exist yet.
    Silent,
    /// It listens, and no worker and no connection needs it.
    Idle,
    /// Connections may wait in it, or somebody has it open.
    Busy,
}

/// What to do about a `listen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// The kernel carries the call out, as if nobody had intercepted it.
    LetThrough,
    /// The socket joins the group of its listener.
    Join,
    /// The program's socket becomes the slot socket, and joins the group in its place.
    TakePlace,
    /// The slot socket is put over the program's, and joins the group.
    PutOver,
}

/// Decides about a `listen`. `socket`: the program's, if it was given to it. `waits`: the call
/// still waits for its answer, so the thread that was read is the one that called.
///
/// The program keeps its own socket where that is possible: other processes may have inherited it,
/// and something may watch it.
pub(crate) fn listen(socket: Option<Listening>, waits: bool) -> Listen {
    match socket.filter(|_| waits) {
        None => Listen::LetThrough,
        Some(Listening::Lent) => Listen::Join,
        Some(Listening::BoundOnly { copied: true, slot: SlotState::Silent | SlotState::Idle }) => {
            Listen::TakePlace
        }
        Some(Listening::BoundOnly { .. } | Listening::ShutDown) => Listen::PutOver,
    }
}

/// The lent socket that a program shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lent {
    /// One of a group, which only this worker borrows.
    Alone,
    /// Others accept from it, too, or the service manager keeps it.
    Shared,
}

/// What to do about a `shutdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// The kernel carries the call out, as if nobody had intercepted it.
    LetThrough,
    /// The program is told that it succeeded, and gets a socket that does not listen instead.
    TakeAway,
    /// The program is told that it succeeded. New connections go elsewhere. When no connection
    /// waits in the socket any more, it is shut down and another takes its place in the group.
    Withdraw,
}

/// Decides about a `shutdown`. `lent`: how the socket was lent, if it was. `waits`: as for
/// [`listen`].
pub(crate) fn shutdown(lent: Option<Lent>, waits: bool) -> Shutdown {
    match lent {
        Some(Lent::Alone) if waits => Shutdown::Withdraw,
        Some(Lent::Shared) if waits => Shutdown::TakeAway,
        Some(_) | None => Shutdown::LetThrough,
    }
}

/// What is known of a withdrawn socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Withdrawn {
    /// New connections still go there, because nobody else serves.
    pub(crate) is_target: bool,
    /// Connections that wait in it.
    pub(crate) queued: u32,
    /// Handshakes under way at its address, which may end in it.
    pub(crate) handshaking: u32,
}

/// Whether a withdrawn socket may be shut down: nobody is lost with it. Where new connections have
/// no better place, some handshake is always under way; those would be lost without us, too.
pub(crate) fn may_shut_down(withdrawn: Withdrawn) -> bool {
    let Withdrawn { is_target, queued, handshaking } = withdrawn;
    queued == 0 && (is_target || handshaking == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Socket = Socket { is_tcp: true, reuseport: false, reuseaddr: false };
    const NEW: Listener = Listener { hands_over: false, lent: false, inherited_only: false };
    const LENT: Listener = Listener { lent: true, ..NEW };

    fn at(port: u16) -> Facts {
        Facts { port: Some(port), ..Facts::default() }
    }

    #[test]
    fn what_is_not_ours_goes_through_and_nothing_is_looked_at() {
        assert_eq!(bind(&Facts::default()), Decision::LetThrough, "a unix socket");
        assert_eq!(bind(&at(0)), Decision::LetThrough, "any port");
        assert_eq!(bind(&Facts { passthrough: true, ..at(80) }), Decision::LetThrough);
        let udp = Some(Socket { is_tcp: false, ..TCP });
        assert_eq!(bind(&Facts { socket: udp, ..at(80) }), Decision::LetThrough);
    }

    #[test]
    fn a_worker_of_another_user_gets_no_low_port_that_nobody_declared() {
        let asker = Asker { is_lesser: true, port: 443, first_free: 1024, declared: false };
        assert!(!may_open(asker));
        assert!(may_open(Asker { declared: true, ..asker }));
        assert!(may_open(Asker { is_lesser: false, ..asker }));
        assert!(may_open(Asker { port: 1024, ..asker }));
        assert!(may_open(Asker { port: 0, ..asker }));
        assert!(may_open(Asker { first_free: 443, ..asker }));
        let facts = Facts { socket: Some(TCP), forbidden: true, ..at(443) };
        assert_eq!(bind(&facts), Decision::Forbid);
        let udp = Some(Socket { is_tcp: false, ..TCP });
        assert_eq!(bind(&Facts { socket: udp, ..facts }), Decision::LetThrough);
    }

    #[test]
    fn facts_are_asked_for_one_by_one() {
        let mut facts = at(80);
        assert_eq!(bind(&facts), Decision::SeeSocket);
        facts.socket = Some(TCP);
        assert_eq!(bind(&facts), Decision::FindListener);
        facts.listener = Some(LENT);
        assert_eq!(bind(&facts), Decision::SeeOpen);
        facts.open = Some(Open::Nothing);
        assert_eq!(bind(&facts), Decision::Lend { another: false });
    }

    #[test]
    fn a_second_socket_takes_so_reuseport() {
        let reuseport = Socket { reuseport: true, ..TCP };
        let reuseaddr = Socket { reuseaddr: true, ..TCP };
        for (socket, open, expected) in [
            (TCP, Open::SlotSocket, Decision::Refuse),
            (TCP, Open::BoundOnly, Decision::Refuse),
            (TCP, Open::Nothing, Decision::Lend { another: false }),
            (reuseport, Open::SlotSocket, Decision::Lend { another: true }),
            (reuseport, Open::BoundOnly, Decision::Lend { another: true }),
            (reuseport, Open::Nothing, Decision::Lend { another: false }),
            (reuseaddr, Open::SlotSocket, Decision::Refuse),
            (reuseaddr, Open::BoundOnly, Decision::Lend { another: false }),
        ] {
            let facts =
                Facts { socket: Some(socket), listener: Some(LENT), open: Some(open), ..at(80) };
            assert_eq!(bind(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn an_inherited_socket_that_was_never_used_does_not_count() {
        let inherited = Some(Listener { inherited_only: true, ..LENT });
        let facts = Facts { socket: Some(TCP), listener: inherited, ..at(80) };
        assert_eq!(bind(&facts), Decision::Lend { another: false });
    }

    #[test]
    fn where_the_primary_accepts_nobody_else_binds() {
        let listener = Some(Listener { hands_over: true, ..NEW });
        let facts = Facts { socket: Some(TCP), listener, ..at(80) };
        assert_eq!(bind(&facts), Decision::Refuse);
    }

    #[test]
    fn only_a_lent_socket_whose_call_still_waits_joins_a_group() {
        let lent = Some(Listening::Lent);
        assert_eq!(listen(lent, true), Listen::Join);
        assert_eq!(listen(Some(Listening::ShutDown), true), Listen::PutOver);
        for (socket, waits) in [(lent, false), (None, true), (None, false)] {
            assert_eq!(listen(socket, waits), Listen::LetThrough);
        }
    }

    #[test]
    fn a_program_keeps_its_socket_unless_somebody_needs_the_one_of_the_slot() {
        let bound = |copied, slot| Some(Listening::BoundOnly { copied, slot });
        for slot in [SlotState::Silent, SlotState::Idle, SlotState::Busy] {
            let expected =
                if slot == SlotState::Busy { Listen::PutOver } else { Listen::TakePlace };
            assert_eq!(listen(bound(true, slot), true), expected);
            assert_eq!(listen(bound(false, slot), true), Listen::PutOver, "no copy to be had");
            assert_eq!(listen(bound(true, slot), false), Listen::LetThrough);
        }
    }

    #[test]
    fn only_a_lent_socket_whose_call_still_waits_is_withdrawn() {
        assert_eq!(shutdown(Some(Lent::Alone), true), Shutdown::Withdraw);
        assert_eq!(shutdown(Some(Lent::Shared), true), Shutdown::TakeAway);
        for (lent, waits) in [(Some(Lent::Alone), false), (Some(Lent::Shared), false), (None, true)]
        {
            assert_eq!(shutdown(lent, waits), Shutdown::LetThrough);
        }
    }

    #[test]
    fn a_withdrawn_socket_is_shut_down_when_nobody_waits_in_it() {
        let idle = Withdrawn { is_target: false, queued: 0, handshaking: 0 };
        assert!(may_shut_down(idle));
        assert!(!may_shut_down(Withdrawn { queued: 1, ..idle }));
        assert!(!may_shut_down(Withdrawn { handshaking: 1, ..idle }));
        let last = Withdrawn { is_target: true, ..idle };
        assert!(may_shut_down(Withdrawn { handshaking: 3, ..last }));
        assert!(!may_shut_down(Withdrawn { queued: 1, ..last }));
    }
}
