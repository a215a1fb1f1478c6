//! The table of one app while its keys are read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use crate::cpus::Cpus;
use crate::keys::{self, suggest};
use crate::name;
use crate::raw::{Findings, Written, in_order};
use crate::spec::{AppSpec, ReadyRule};
use crate::tree::Table;
use crate::words;

/// Where the keys of an app stand in the file.
pub(super) struct Places {
    pub(super) values: BTreeMap<String, Range<usize>>,
    header: Range<usize>,
    /// Whether every key was understood.
    pub(super) complete: bool,
}

impl Places {
    /// The place of a key's value, or of the app where the key is missing.
    pub(super) fn of(&self, key: &str) -> Range<usize> {
        // A script becomes a command, and then a fault of the command is one of the script.
        let stand_in = if key == "command" { "script" } else { key };
        self.values.get(key).or_else(|| self.values.get(stand_in)).unwrap_or(&self.header).clone()
    }
}

/// The table of one app while its keys are read.
pub(super) struct AppTable<'a> {
    /// The name that the header of the table gives, if it has one.
    header_name: Option<&'a str>,
    pub(super) places: Places,
    pub(super) spec: AppSpec,
    /// An unknown key may have been meant to say what to run.
    pub(super) perhaps_command: bool,
}

impl<'a> AppTable<'a> {
    pub(super) fn new(base: &Path, header: Range<usize>, header_name: Option<&'a str>) -> Self {
        Self {
            header_name,
            places: Places { values: BTreeMap::new(), header, complete: true },
            spec: AppSpec::new("", Vec::new(), base.to_owned()),
            perhaps_command: false,
        }
    }

    pub(super) fn read(&mut self, table: &Table, findings: &mut Findings) {
        let before = findings.list.len();
        for (key, span, value) in env_file_first(table) {
            self.places.values.insert(key.to_owned(), value.span());
            match key {
                "pool" => self.pools(value, findings),
                "name" if self.header_name.is_some() => self.second_name(value, findings),
                key => self.key(key, span, value, findings),
            }
        }
        self.wait_ready(table, findings);
        self.places.complete = findings.list.len() == before;
    }

    fn key(&mut self, name: &str, span: Range<usize>, value: &Written, findings: &mut Findings) {
        if let Some(key) = keys::find(name) {
            key.kind.read(findings, name, value, &mut self.spec);
        } else if !findings.is_full() {
            findings.add(span, suggest::message(name));
            let meant = suggest::meant(name);
            self.perhaps_command |= matches!(meant, Some("command" | "script" | "app"));
        }
    }

    fn second_name(&self, value: &Written, findings: &mut Findings) {
        if let Some(header) = self.header_name {
            let message = format!("the app is called {header:?} by its table: remove \"name\"");
            findings.add(value.span(), message);
        }
    }

    /// Both keys set the same rule; the one that the file has last would win.
    fn wait_ready(&self, table: &Table, findings: &mut Findings) {
        if table.get("wait_ready").and_then(Written::as_bool) != Some(true) {
            return;
        }
        let rule = table.get("ready").and_then(Written::as_str);
        if rule.is_some_and(|rule| rule != words::word(ReadyRule::Notify)) {
            let message = "wait_ready = true means ready = \"notify\": remove one of them";
            findings.add(self.places.values["wait_ready"].clone(), message);
        }
    }

    /// Exactly one of two keys must say what to run.
    pub(super) fn what_to_run(&self, findings: &mut Findings) {
        let has = |key: &str| self.places.values.contains_key(key);
        if has("command") && has("script") {
            let message = "\"command\" and \"script\" both say what to run: remove one of them";
            findings.add(self.places.values["script"].clone(), message);
        }
        if !has("command") && !has("script") && !self.perhaps_command {
            let message = "nothing says what to run: add a \"command\" or a \"script\"";
            findings.add(self.places.header.clone(), message);
        }
    }

    /// Fills in what depends on several keys.
    pub(super) fn finish(mut self, cpus: &Cpus, findings: &mut Findings) -> (AppSpec, Places) {
        let before = findings.list.len();
        self.what_to_run(findings);
        if let Some(header) = self.header_name {
            self.spec.name = header.to_owned();
            if let Err(message) = name::check(header) {
                findings.add(self.places.header.clone(), message);
            }
        } else if self.spec.name.is_empty() {
            self.spec.name = name::from_command(&self.spec.command);
        }
        self.spec.resolve(cpus);
        self.places.complete &= findings.list.len() == before;
        (self.spec, self.places)
    }
}

/// The entries of a table; the variables of a file go under those of `env`.
pub(super) fn env_file_first(
    table: &Table,
) -> impl Iterator<Item = (&str, Range<usize>, &Written)> {
    let is_file = |entry: &(&str, _, _)| entry.0 == "env_file";
    let files = in_order(table).filter(is_file);
    files.chain(in_order(table).filter(move |entry| !is_file(entry)))
}

/// Whether an app can have a key or a table of this name.
pub(super) fn is_word(name: &str) -> bool {
    matches!(name, "pool" | "profile") || keys::find(name).is_some()
}
