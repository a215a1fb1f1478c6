//! All that is known about one app, for the text and for JSON.

use std::collections::BTreeMap;

use config::settings;
use config::spec::AppSpec;
use ipc::control::{AppStatus, Notice, NoticeKind};
use serde::Serialize;
use serde_json::Value;

use crate::cli::logs::events;

/// Events that are shown.
pub(super) const EVENTS: usize = 8;

/// All that is shown about one app.
#[derive(Debug, Serialize)]
pub(super) struct Description {
    #[serde(flatten)]
    pub(super) status: AppStatus,
    /// The flags that go before the keys of its file.
    pub(super) flags: Vec<String>,
    /// Every key with the value in effect, without those that may hold secrets.
    pub(super) settings: BTreeMap<&'static str, Value>,
    /// The keys among them that somebody set, in the order of the documentation.
    pub(super) changed: Vec<&'static str>,
    /// The names of the variables of each pool; the app's own are those of `default`.
    pub(super) environment: BTreeMap<String, Vec<String>>,
    /// The last events that say why the app is in its state, the oldest first.
    pub(super) events: Vec<Notice>,
}

impl Description {
    /// `spec`: what the app is set to, if that is known. `kept`: its events, the oldest first.
    pub(super) fn new(status: AppStatus, spec: Option<&AppSpec>, kept: Vec<Notice>) -> Self {
        let settings = spec.map(settings::of).unwrap_or_default();
        let changed = settings.iter().filter(|setting| !setting.is_default);
        let flags = spec.filter(|spec| spec.source.is_some());
        let flags = flags.and_then(|spec| spec.overrides.as_ref()).map(|given| given.flags());
        let mut events = kept;
        events.retain(|event| tells_more(event.event));
        let skipped = events.len().saturating_sub(EVENTS);
        events.drain(..skipped);
        Self {
            status,
            flags: flags.unwrap_or_default(),
            changed: changed.map(|setting| setting.key).collect(),
            settings: settings.into_iter().map(|setting| (setting.key, setting.value)).collect(),
            environment: spec.map(environment).unwrap_or_default(),
            events,
        }
    }
}

/// Whether an event says more than the status, which is shown already.
fn tells_more(kind: NoticeKind) -> bool {
    kind != NoticeKind::AppStatus && events::matters(kind)
}

/// The names of the variables of each pool that has some.
fn environment(spec: &AppSpec) -> BTreeMap<String, Vec<String>> {
    let own = std::iter::once(("default", &spec.env));
    let pools = spec.pools.iter().map(|pool| (pool.name.as_str(), &pool.env));
    let names = own.chain(pools).filter(|(_, env)| !env.is_empty());
    names.map(|(pool, env)| (pool.to_owned(), env.keys().cloned().collect())).collect()
}
