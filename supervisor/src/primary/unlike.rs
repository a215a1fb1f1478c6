//! Workers of one pool that listen on different addresses. A program that looks for a free port
//! finds that of its sibling taken, and serves elsewhere, maybe on one that the kernel chooses.

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
                    let open = |listener: &&Listener| {
                        let id = listener.opened.id;
                        worker.serves(id) && !worker.closed.contains(&id)
                    };
                    let open = self.sockets.iter().filter(open);
                    Some(Served {
                        slot,
                        addresses: open.map(|open| open.opened.address.as_str()).collect(),
                        own: worker.own.all().collect(),
                        may_come: !worker.had_its_time(),
                    })
                });
                let several = self.serving.all().count() > 1;
                sentence(several.then(|| plan.spec.pool()), &served.collect::<Vec<_>>())
            })
            .collect()
    }
}

/// Where the worker of a slot listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Served<'a> {
    slot: Slot,
    addresses: BTreeSet<&'a str>,
    /// With sockets of its own.
    own: BTreeSet<&'a str>,
    /// It has not had all of `listen_wait` to listen.
    may_come: bool,
}

impl Served<'_> {
    /// It listens on nothing yet.
    fn is_open(&self) -> bool {
        self.addresses.is_empty() && self.own.is_empty() && self.may_come
    }

    /// `siblings`: where the others listen that serve the app's addresses.
    fn shown(&self, siblings: &BTreeSet<&str>) -> String {
        let mut all: Vec<String> = self.addresses.iter().map(|own| (*own).to_owned()).collect();
        // What each has beside the addresses that all serve is no difference.
        if !siblings.is_subset(&self.addresses) || self.addresses.is_empty() {
            all.extend(self.own.iter().map(|own| format!("{own} (its own)")));
        }
        match all.is_empty() {
            true => format!("slot {} on nothing", self.slot),
            false => format!("slot {} on {}", self.slot, all.join(" and ")),
        }
    }
}

/// What the workers of a pool listen on. `None`: all on the same, or some on nothing yet.
fn sentence(pool: Option<&str>, served: &[Served<'_>]) -> Option<String> {
    let first = &served.first()?.addresses;
    let alike = served.iter().all(|one| one.addresses == *first);
    if alike || served.iter().any(Served::is_open) {
        return None;
    }
    let app: BTreeSet<&str> = served.iter().flat_map(|one| &one.addresses).copied().collect();
    let named = served.iter().take(NAMED).map(|one| one.shown(&app));
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

    fn served<'a>(all: &[&[&'a str]]) -> Vec<Served<'a>> {
        let one = |(slot, addresses): (Slot, &&[&'a str])| Served {
            slot,
            addresses: addresses.iter().copied().collect(),
            own: BTreeSet::new(),
            may_come: true,
        };
        (0..).map(Slot).zip(all).map(one).collect()
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
    fn one_that_had_its_time_and_listens_on_its_own_or_on_nothing_is_named() {
        let mut workers = served(&[&[":80"], &[], &[]]);
        assert_eq!(sentence(None, &workers), None, "they may still come");
        workers[1].own = BTreeSet::from([":4711"]);
        workers[2].may_come = false;
        let said = sentence(None, &workers).unwrap();
        assert!(said.contains("slot 1 on :4711 (its own); slot 2 on nothing;"), "{said}");
    }

    #[test]
    fn ports_that_each_has_for_itself_make_no_difference() {
        let mut workers = served(&[&[":80"], &[":80"]]);
        workers[0].own = BTreeSet::from([":4711"]);
        workers[1].own = BTreeSet::from([":4712"]);
        assert_eq!(sentence(None, &workers), None);
        workers.iter_mut().for_each(|one| one.addresses.clear());
        assert_eq!(sentence(None, &workers), None);
    }

    #[test]
    fn workers_that_are_alike_or_not_that_far_are_not() {
        for alike in [&[][..], &[&[":80"][..]], &[&[":80"], &[":80"]], &[&[":80"], &[]]] {
            assert_eq!(sentence(None, &served(alike)), None, "{alike:?}");
        }
    }
}
