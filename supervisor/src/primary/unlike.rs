//! Workers of one pool that listen on different addresses. A program that looks for a free port
//! finds that of its sibling taken, and serves elsewhere.

use std::collections::BTreeSet;

use super::Primary;
use super::sockets::Listener;
use crate::base::ids::Slot;

/// The most slots that a sentence names.
const NAMED: usize = 4;

impl Primary {
    /// A sentence for each pool whose ready workers do not all listen on the same addresses.
    pub(super) fn unlike_workers(&self) -> Vec<String> {
        self.serving
            .all()
            .filter_map(|(pool, plan)| {
                // Each worker is told to serve elsewhere.
                if plan.spec.command.iter().any(|word| word.contains("${SUPERVISOR_SLOT}")) {
                    return None;
                }
                let slots = pool.slots_from(0);
                let held = self.wanted().filter(|(slot, _)| slots.contains(slot));
                let served = held.filter_map(|(slot, state)| {
                    let worker = self.seated(state).filter(|worker| worker.is_ready())?;
                    let own = |listener: &&Listener| {
                        worker.bound.contains(&listener.opened.id)
                            && !worker.closed.contains(&listener.opened.id)
                    };
                    let addresses = self.sockets.iter().filter(own);
                    Some((slot, addresses.map(|own| own.opened.address.as_str()).collect()))
                });
                let several = self.serving.all().count() > 1;
                sentence(several.then(|| plan.spec.pool()), &served.collect::<Vec<_>>())
            })
            .collect()
    }
}

/// What the workers of a pool listen on. `None`: all on the same, or some on nothing yet.
fn sentence(pool: Option<&str>, served: &[(Slot, BTreeSet<&str>)]) -> Option<String> {
    let (_, first) = served.first()?;
    let alike = served.iter().all(|(_, addresses)| addresses == first);
    if alike || served.iter().any(|(_, addresses)| addresses.is_empty()) {
        return None;
    }
    let named = served.iter().take(NAMED).map(|(slot, addresses)| {
        let addresses: Vec<&str> = addresses.iter().copied().collect();
        format!("slot {slot} on {}", addresses.join(" and "))
    });
    let mut all: Vec<String> = named.collect();
    if served.len() > NAMED {
        all.push(format!("and {} more", served.len() - NAMED));
    }
    let of_pool = pool.map(|pool| format!(" of {pool}")).unwrap_or_default();
    Some(format!(
        "the workers{of_pool} listen on different addresses: {}; does the program look for a free \
         port?",
        all.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served<'a>(all: &[&[&'a str]]) -> Vec<(Slot, BTreeSet<&'a str>)> {
        let slots = (0..).map(Slot);
        slots.zip(all).map(|(slot, own)| (slot, own.iter().copied().collect())).collect()
    }

    #[test]
    fn workers_that_listen_elsewhere_are_named() {
        let said = sentence(None, &served(&[&[":80"], &[":4000", ":81"]])).unwrap();
        assert!(said.contains("different addresses: slot 0 on :80; slot 1 on :4000 and :81;"));
        let said = sentence(Some("api"), &served(&[&[":1"], &[":2"], &[":3"], &[":4"], &[":5"]]));
        let said = said.unwrap();
        assert!(said.starts_with("the workers of api listen") && said.contains("; and 1 more;"));
    }

    #[test]
    fn workers_that_are_alike_or_not_that_far_are_not() {
        for alike in [&[][..], &[&[":80"][..]], &[&[":80"], &[":80"]], &[&[":80"], &[]]] {
            assert_eq!(sentence(None, &served(alike)), None, "{alike:?}");
        }
    }
}
