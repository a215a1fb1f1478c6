//! Which engine carries the connections of an address to the workers, and why.
//!
//! One function of typed facts decides. The listener is opened by it, and the status and the notes
//! of the app explain themselves with the same reasons.

use config::spec::{AppSpec, Balance, Engine as Asked};

/// What the choice depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The engine that the configuration asks for.
    pub(crate) asked: Asked,
    /// The balance of the address.
    pub(crate) balance: Balance,
    /// Proxies begin each connection with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// The program takes connections from the primary (Node does); others accept for themselves.
    pub(crate) takes_connections: bool,
    /// The kernel refused the program that takes strict turns. Known only where the balance is
    /// round-robin; false elsewhere.
    pub(crate) strict_turns_refused: bool,
}

impl Facts {
    /// Those of a program that accepts for itself, on an address of the app's own balance.
    pub(crate) fn of(spec: &AppSpec, strict_turns_refused: bool) -> Self {
        Self {
            asked: spec.engine,
            balance: spec.balance,
            proxy_protocol: spec.proxy_protocol,
            takes_connections: false,
            strict_turns_refused,
        }
    }
}

/// What carries connections to the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The primary accepts and hands each connection over.
    Primary(WhyPrimary),
    /// A steering program places each connection in the queue of one worker's own socket.
    Kernel(Steering),
    /// All workers accept from one socket, as the configuration asks.
    Shared,
}

/// Why the primary accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhyPrimary {
    /// The configuration asks for it.
    Asked,
    /// Only the primary knows which worker holds the fewest connections.
    FewestConnections,
    /// Only the primary can read the client's address from a PROXY header.
    ClientBehindProxy,
    /// The kernel refused the program that takes strict turns.
    StrictTurns,
}

/// How the kernel places connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steering {
    pub(crate) by: By,
    /// What the configuration asks for and the kernel cannot do; the first of several.
    pub(crate) unmet: Option<Unmet>,
}

/// What the steering program goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The client's address.
    ClientAddress,
    /// Strict turns.
    Turns,
    /// Chance: evenly, each connection by itself.
    Chance,
    /// Chance, because the kernel refused the program that takes strict turns.
    ChanceForTurns,
    /// Chance, because the kernel does not know which worker holds the fewest connections.
    ChanceForFewest,
}

impl By {
    /// The balance that is in effect.
    pub(crate) fn balance(self) -> Balance {
        match self {
            Self::ClientAddress => Balance::Sticky,
            Self::Turns => Balance::RoundRobin,
            Self::Chance | Self::ChanceForTurns | Self::ChanceForFewest => Balance::Hash,
        }
    }
}

/// What the kernel cannot do for a program that accepts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// Read PROXY headers.
    ProxyHeaders,
    /// Use the primary engine, or what only that engine can do.
    PrimaryEngine,
    /// Take strict turns.
    StrictTurns,
}

/// Chooses the engine of an address.
pub(crate) fn choose(facts: Facts) -> Engine {
    if facts.balance == Balance::Shared {
        return Engine::Shared;
    }
    match needs_primary(facts) && facts.takes_connections {
        true => Engine::Primary(why_primary(facts)),
        false => Engine::Kernel(steering(facts)),
    }
}

/// Whether the primary has to accept so that the address gets what the configuration asks for.
fn needs_primary(facts: Facts) -> bool {
    match (facts.asked, facts.balance) {
        (Asked::Kernel, _) | (_, Balance::Shared) => false,
        (Asked::Primary, _) | (Asked::Auto, Balance::LeastConnections) => true,
        // Both engines take strict turns; the kernel's costs nothing, but needs a privilege.
        (Asked::Auto, Balance::RoundRobin) => facts.strict_turns_refused,
        // Only the primary can look for the client behind a proxy.
        (Asked::Auto, Balance::Sticky) => facts.proxy_protocol,
        (Asked::Auto, Balance::Hash) => false,
    }
}

/// Why the primary accepts on an address, where it does.
pub(crate) fn why_primary(facts: Facts) -> WhyPrimary {
    match (facts.asked, facts.balance) {
        (Asked::Primary, _) => WhyPrimary::Asked,
        (Asked::Auto | Asked::Kernel, Balance::LeastConnections) => WhyPrimary::FewestConnections,
        (Asked::Auto | Asked::Kernel, Balance::Sticky) => WhyPrimary::ClientBehindProxy,
        (Asked::Auto | Asked::Kernel, Balance::RoundRobin | Balance::Hash | Balance::Shared) => {
            WhyPrimary::StrictTurns
        }
    }
}

/// How the kernel places the connections of an address whose workers have sockets of their own.
pub(crate) fn steering(facts: Facts) -> Steering {
    let by = match facts.balance {
        Balance::Sticky => By::ClientAddress,
        Balance::RoundRobin if facts.strict_turns_refused => By::ChanceForTurns,
        Balance::RoundRobin => By::Turns,
        Balance::LeastConnections => By::ChanceForFewest,
        Balance::Hash | Balance::Shared => By::Chance,
    };
    Steering { by, unmet: unmet(facts) }
}

fn unmet(facts: Facts) -> Option<Unmet> {
    if facts.proxy_protocol {
        return Some(Unmet::ProxyHeaders);
    }
    if facts.asked == Asked::Primary || facts.balance == Balance::LeastConnections {
        return Some(Unmet::PrimaryEngine);
    }
    facts.strict_turns_refused.then_some(Unmet::StrictTurns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINES: [Asked; 3] = [Asked::Auto, Asked::Kernel, Asked::Primary];
    const BALANCES: [Balance; 5] = [
        Balance::RoundRobin,
        Balance::Sticky,
        Balance::LeastConnections,
        Balance::Hash,
        Balance::Shared,
    ];

    fn facts(asked: Asked, balance: Balance) -> Facts {
        Facts {
            asked,
            balance,
            proxy_protocol: false,
            takes_connections: true,
            strict_turns_refused: false,
        }
    }

    fn all() -> impl Iterator<Item = Facts> {
        let pairs = ENGINES.into_iter().flat_map(|e| BALANCES.map(|balance| facts(e, balance)));
        pairs.flat_map(|facts| {
            (0..8).map(move |bits| Facts {
                proxy_protocol: bits & 1 != 0,
                takes_connections: bits & 2 != 0,
                strict_turns_refused: bits & 4 != 0,
                ..facts
            })
        })
    }

    #[test]
    fn auto_takes_the_kernel_where_the_kernel_can() {
        let auto = |balance| facts(Asked::Auto, balance);
        let refused = |balance| Facts { strict_turns_refused: true, ..auto(balance) };
        let proxied = |balance| Facts { proxy_protocol: true, ..auto(balance) };
        for (facts, expected) in [
            (auto(Balance::RoundRobin), None),
            (refused(Balance::RoundRobin), Some(WhyPrimary::StrictTurns)),
            (auto(Balance::LeastConnections), Some(WhyPrimary::FewestConnections)),
            (auto(Balance::Sticky), None),
            (proxied(Balance::Sticky), Some(WhyPrimary::ClientBehindProxy)),
            (proxied(Balance::Hash), None),
            (auto(Balance::Hash), None),
        ] {
            let why = match choose(facts) {
                Engine::Primary(why) => Some(why),
                Engine::Kernel(_) | Engine::Shared => None,
            };
            assert_eq!(why, expected, "{facts:?}");
        }
    }

    #[test]
    fn nothing_is_handed_to_a_program_that_accepts_for_itself() {
        for facts in all() {
            let engine = choose(facts);
            let primary = matches!(engine, Engine::Primary(_));
            assert!(!primary || facts.takes_connections, "{facts:?}");
            assert!(!primary || facts.asked != Asked::Kernel, "{facts:?}");
            assert_eq!(engine == Engine::Shared, facts.balance == Balance::Shared, "{facts:?}");
        }
    }

    #[test]
    fn the_kernel_says_what_it_does_instead() {
        let accepter = |asked, balance| Facts { takes_connections: false, ..facts(asked, balance) };
        let refused =
            Facts { strict_turns_refused: true, ..accepter(Asked::Auto, Balance::RoundRobin) };
        let proxied = Facts { proxy_protocol: true, ..accepter(Asked::Auto, Balance::Sticky) };
        for (facts, by, balance, unmet) in [
            (accepter(Asked::Auto, Balance::RoundRobin), By::Turns, Balance::RoundRobin, None),
            (refused, By::ChanceForTurns, Balance::Hash, Some(Unmet::StrictTurns)),
            (
                accepter(Asked::Auto, Balance::LeastConnections),
                By::ChanceForFewest,
                Balance::Hash,
                Some(Unmet::PrimaryEngine),
            ),
            (
                accepter(Asked::Primary, Balance::Hash),
                By::Chance,
                Balance::Hash,
                Some(Unmet::PrimaryEngine),
            ),
            (proxied, By::ClientAddress, Balance::Sticky, Some(Unmet::ProxyHeaders)),
        ] {
            assert_eq!(choose(facts), Engine::Kernel(Steering { by, unmet }), "{facts:?}");
            assert_eq!(by.balance(), balance);
        }
    }

    #[test]
    fn the_reason_is_the_same_whenever_it_is_asked_for() {
        for facts in all() {
            match choose(facts) {
                Engine::Primary(why) => assert_eq!(why, why_primary(facts)),
                Engine::Kernel(how) => assert_eq!(how, steering(facts)),
                Engine::Shared => {}
            }
        }
    }
}
