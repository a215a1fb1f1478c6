//! Why the connections of a listener go where they go: for `describe` and `list --json`.

use std::collections::BTreeMap;

use config::spec::{AppSpec, Balance};
use ipc::control::{ListenerStatus, ShareStatus};

use crate::policy::engine::{self, By, Facts, Steering, Unmet, WhyPrimary};
use crate::runtime::handover::rendezvous::{BUCKETS, assign};
use crate::runtime::listeners::Listeners;
use crate::runtime::listeners::listener::{Kind, Listener};

/// What carries a listener's connections to the workers.
struct Way {
    engine: &'static str,
    /// The balance that is really in effect.
    balance: Balance,
    why: String,
}

impl Listener {
    /// All that is known of it.
    pub(in crate::runtime) fn status(&self, spec: &AppSpec) -> ListenerStatus {
        let way = self.way(spec);
        let shares = self.shares();
        ListenerStatus {
            address: self.address(),
            name: self.name.clone(),
            configured: self.name.is_some(),
            sockets: u32::try_from(self.socket_count()).unwrap_or(u32::MAX),
            slots: shares.iter().map(|share| share.slot).collect(),
            backlog: self.backlog(),
            engine: way.engine.to_owned(),
            balance: Some(way.balance.into()),
            why: way.why,
            shares,
        }
    }

    fn way(&self, spec: &AppSpec) -> Way {
        match &self.kind {
            Kind::Shared => {
                Way { engine: "kernel", balance: Balance::Shared, why: self.why_shared(spec) }
            }
            Kind::HandOver(_) => Way {
                engine: "primary",
                balance: match self.balance {
                    Balance::Hash | Balance::Shared => Balance::RoundRobin,
                    balance => balance,
                },
                why: self.why_handed_over(spec),
            },
            Kind::Slots => {
                let (balance, why) = self.steering(spec);
                Way { engine: "kernel", balance, why }
            }
        }
    }

    fn why_shared(&self, spec: &AppSpec) -> String {
        let one = "one socket for all: whichever worker accepts first";
        match (self.path().is_some(), spec.balance) {
            (false, balance) if balance != Balance::Shared && self.tcp_address().is_some() => {
                format!("{one}; the service manager opened it without ReusePort=yes")
            }
            (true, _) => format!("{one}; unix sockets cannot be steered"),
            (false, Balance::Shared) => format!("{one}, as asked for"),
            (false, _) => one.to_owned(),
        }
    }

    /// What the engine is chosen by, for an address that the kernel carries.
    fn facts(&self, spec: &AppSpec) -> Facts {
        Facts { balance: self.balance, ..Facts::of(spec, self.no_round_robin.is_some()) }
    }

    fn why_handed_over(&self, spec: &AppSpec) -> String {
        let hands_over = "the primary accepts and hands each connection over";
        match engine::why_primary(self.facts(spec)) {
            WhyPrimary::Asked => format!("{hands_over}, as asked for"),
            WhyPrimary::FewestConnections => {
                format!("{hands_over}: only so can it go to the worker that holds the fewest")
            }
            WhyPrimary::ClientBehindProxy => {
                format!("{hands_over}: only so can it look for the client behind a proxy")
            }
            WhyPrimary::StrictTurns => {
                format!("{hands_over}: the kernel's strict round-robin needs root or CAP_BPF")
            }
        }
    }

    /// What the steering program of a group of slot sockets does.
    fn steering(&self, spec: &AppSpec) -> (Balance, String) {
        let Steering { by, .. } = engine::steering(self.facts(spec));
        let even = "a steering program (classic BPF) places each connection evenly at random";
        let refusal = self.no_round_robin.as_deref().unwrap_or_default();
        let why = match by {
            By::ClientAddress => {
                "a steering program (classic BPF) hashes the client's address to a slot".to_owned()
            }
            By::Turns => "a steering program (eBPF) gives each worker its turn".to_owned(),
            By::ChanceForTurns => {
                format!("{even}; strict turns need root or CAP_BPF ({refusal})")
            }
            By::ChanceForFewest => format!(
                "{even}; least-connections needs a program that takes connections from the primary (Node does)"
            ),
            By::Chance => even.to_owned(),
        };
        let why = match spec.proxy_protocol {
            true => format!(
                "{why}, which is the proxy's here: only the primary engine reads PROXY headers"
            ),
            false => why,
        };
        let why = match spec.engine {
            config::spec::Engine::Primary => format!(
                "{why}; the primary engine was asked for, but this program accepts for itself"
            ),
            config::spec::Engine::Auto | config::spec::Engine::Kernel => why,
        };
        (by.balance(), why)
    }

    /// What each slot gets of the new connections.
    fn shares(&self) -> Vec<ShareStatus> {
        let mut by_slot: BTreeMap<u16, ShareStatus> = BTreeMap::new();
        for target in &self.targets {
            let slot = target.slot.0;
            let share = by_slot.entry(slot).or_insert_with(|| ShareStatus {
                slot,
                percent: 0.0,
                given: self.given_to(slot),
                backlog: 0,
            });
            share.backlog += self.queued(target.socket);
            if let Some(given) = self.given(target.socket) {
                *share.given.get_or_insert(0) += given;
            }
        }
        let slots: Vec<u16> = by_slot.keys().copied().collect();
        let even = 100.0 / slots.len().max(1) as f32;
        let table = (self.balance == Balance::Sticky && !slots.is_empty())
            .then(|| assign(self.seed, &slots));
        for (slot, share) in &mut by_slot {
            share.percent = table.as_ref().map_or(even, |table| {
                let dealt = table.iter().filter(|dealt| *dealt == slot).count();
                100.0 * dealt as f32 / BUCKETS as f32
            });
        }
        by_slot.into_values().collect()
    }

    /// How many connections the primary has handed to a slot's workers.
    fn given_to(&self, slot: u16) -> Option<u64> {
        self.hand_over().map(|state| state.given.get(&slot).copied().unwrap_or(0))
    }
}

/// What a person should know about the balance and the engine they asked for, where the kernel
/// carries connections.
pub(super) fn balance_note(listeners: &Listeners, spec: &AppSpec) -> Option<String> {
    let in_kernel = |open: &&Listener| matches!(open.kind, Kind::Slots);
    let mut kernels = listeners.iter().filter(in_kernel).peekable();
    kernels.peek()?;
    let refusal = kernels.find_map(|open| open.no_round_robin.as_ref());
    let facts = Facts::of(spec, refusal.is_some());
    Some(match engine::steering(facts).unmet? {
        Unmet::ProxyHeaders => {
            "PROXY headers are not read: this program accepts its connections itself, and the \
             kernel places them before the first byte comes, by the address of the proxy"
                .to_owned()
        }
        Unmet::PrimaryEngine => {
            "the primary engine needs a program that takes connections from it (Node does): the \
             kernel places them here, evenly where least-connections was asked for"
                .to_owned()
        }
        Unmet::StrictTurns => format!(
            "round-robin is not strict here: connections are placed evenly at random (loading the \
             steering program: {}; run as root or grant CAP_BPF)",
            refusal?
        ),
    })
}
