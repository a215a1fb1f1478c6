//! A file becomes specs, or a report of everything wrong with it.
//!
//! The file describes one app with keys at its top, or several with `[app.NAME]` tables and what
//! they have in common in `[defaults]`. It is TOML, YAML or JSON, with the same keys. Refuses
//! unknown keys, wrong types, values out of range, keys that contradict each other, and files
//! above [`MAX_FILE`].

mod app;
mod layers;
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::cpus::Cpus;
use crate::diagnostic::{Place, Problem, Report};
use crate::formats::{self, Format, Mistake};
use crate::pm2::{self, Ecosystem};
use crate::pool::OWN;
use crate::raw::{Findings, Written, in_order};
use crate::spec::{AppSpec, ListenAddress, PoolSpec};
use crate::tree::Table;
use crate::validate::{self, Fault};
use crate::variables::Variables;
use app::{AppTable, is_word};
use layers::DEFAULTS;

/// The key that names the schema for editors; it means nothing else.
const SCHEMA: &str = "$schema";

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 1024 * 1024;

/// What a file is read with.
#[derive(Debug, Clone)]
pub struct Reader {
    cpus: Cpus,
    variables: Rc<Variables>,
    profile: Option<String>,
}

impl Reader {
    /// Reads for a machine with these CPUs, with the environment of this process.
    pub fn new(cpus: &Cpus) -> Self {
        let variables = Rc::new(Variables::of_this_process());
        Self { cpus: *cpus, variables, profile: None }
    }

    /// Chooses the profile of this name, in each app that has it.
    #[must_use]
    pub fn profile(self, name: Option<&str>) -> Self {
        Self { profile: name.map(str::to_owned), ..self }
    }

    /// Reads as a command of this environment would, and not with that of this process.
    #[must_use]
    pub(crate) fn in_environment(self, environment: &BTreeMap<String, String>) -> Self {
        Self { variables: Rc::new(Variables::only(environment)), ..self }
    }

    /// Takes these variables with the values that they had when a person had the file read last.
    #[must_use]
    pub(crate) fn knowing(self, known: &BTreeMap<String, Option<String>>) -> Self {
        let variables = Variables::clone(&self.variables).over(known);
        Self { variables: Rc::new(variables), ..self }
    }

    #[cfg(test)]
    pub(crate) fn with_variables(self, pairs: &[(&str, &str)]) -> Self {
        Self { variables: Rc::new(Variables::of(pairs)), ..self }
    }

    /// The apps of the file at `path`, each checked against this machine.
    pub fn load(&self, path: &Path) -> Result<Loaded, Report> {
        self.parsed(&text_of(path)?, path, Machine::Asked, Origin::Text)
    }

    /// The apps of the file at `path`, for a caller that will not run them: their own primaries
    /// check whether this machine has what they need.
    pub fn written(&self, path: &Path) -> Result<Loaded, Report> {
        self.parsed(&text_of(path)?, path, Machine::NotAsked, Origin::Text)
    }

    /// The apps that the program at `path` exports, an ecosystem file of PM2, each checked against
    /// this machine. `json` is what it exports.
    pub fn evaluated(&self, json: &str, path: &Path) -> Result<Loaded, Report> {
        self.parsed(json, path, Machine::Asked, Origin::Program)
    }

    /// The apps that `text` describes. `path` is where it came from: relative paths start at its
    /// folder, and its ending tells the format. No other file is read, except by `script` and
    /// `env_file`.
    pub fn parse(&self, text: &str, path: &Path) -> Result<Loaded, Report> {
        self.parsed(text, path, Machine::NotAsked, Origin::Text)
    }

    fn parsed(
        &self,
        text: &str,
        path: &Path,
        machine: Machine,
        origin: Origin,
    ) -> Result<Loaded, Report> {
        let source = std::path::absolute(path)
            .map_err(|error| Report::whole(path, format!("cannot tell where it is: {error}")))?;
        let base = source.parent().unwrap_or_else(|| Path::new("/")).to_owned();
        let findings = Findings {
            base,
            list: Vec::new(),
            variables: Rc::clone(&self.variables),
            used: BTreeMap::new(),
            named: BTreeMap::new(),
        };
        let mut file = Reading {
            reader: self,
            text,
            findings,
            specs: Vec::new(),
            definitions: Vec::new(),
            notes: Vec::new(),
            labels: Vec::new(),
            source,
            named: path.to_owned(),
            machine,
            origin,
        };
        let format = match origin {
            Origin::Text => Format::of(path).unwrap_or(Format::Toml),
            Origin::Program => Format::Json,
        };
        match formats::parse(text, format) {
            Ok(root) => file.root(&root),
            // After a syntax error the rest means little, so syntax errors are reported alone.
            Err(mistakes) => file.findings.list = mistakes,
        }
        let (notes, list) =
            (std::mem::take(&mut file.notes), std::mem::take(&mut file.findings.list));
        let notes = file.problems(notes, path);
        if list.is_empty() {
            for spec in &mut file.specs {
                spec.variables.clone_from(&file.findings.named);
            }
            return Ok(Loaded { apps: file.specs, definitions: file.definitions, notes });
        }
        Err(Report { problems: file.problems(list, path) })
    }
}

/// What a file describes.
#[derive(Debug)]
pub struct Loaded {
    /// Its apps, in the order of the file.
    pub apps: Vec<AppSpec>,
    /// For each of the apps, how the file defines it.
    pub definitions: Vec<Definition>,
    /// What of it does nothing, and why. Only PM2's files have such parts.
    pub notes: Vec<Problem>,
}

/// How a file defines an app: what its spec, in which every default is filled in, cannot say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The file, as it was named by the caller.
    pub path: PathBuf,
    /// The place of the app. `None`: a program wrote it.
    pub place: Option<Place>,
    /// The place of its `depends_on`; that of the app where it has none.
    pub depends_on: Option<Place>,
    /// The pools whose `instances` the file names, the app's own as `default`.
    pub counted: BTreeSet<String>,
}

fn text_of(path: &Path) -> Result<String, Report> {
    read(path).map_err(|message| Report::whole(path, message))
}

/// The apps that `text` describes; see [`Reader::parse`].
pub fn parse(text: &str, path: &Path, cpus: &Cpus) -> Result<Vec<AppSpec>, Report> {
    Reader::new(cpus).parse(text, path).map(|loaded| loaded.apps)
}

/// Whether the commands, folders and users of an app must exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    Asked,
    NotAsked,
}

/// The text of the file at `path`.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| format!("cannot read: {error}");
    let mut bytes = Vec::new();
    let limit = MAX_FILE as u64 + 1;
    File::open(path).map_err(cannot)?.take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} bytes, which no configuration is"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("is not UTF-8 text: the byte at {at} belongs to no character")
    })
}

/// A file being read.
struct Reading<'c> {
    reader: &'c Reader,
    text: &'c str,
    findings: Findings,
    specs: Vec<AppSpec>,
    definitions: Vec<Definition>,
    notes: Vec<Mistake>,
    /// Where each app of PM2 is, and its name.
    labels: Vec<(Range<usize>, String)>,
    source: PathBuf,
    /// The file as the caller named it.
    named: PathBuf,
    machine: Machine,
    origin: Origin,
}

impl Reading<'_> {
    /// What was found, in the order of the file.
    fn problems(&self, mut list: Vec<Mistake>, path: &Path) -> Vec<Problem> {
        list.sort_by_key(|(span, _)| span.start);
        // A mistake in [defaults] is found once for each app.
        list.dedup();
        let problems = list.into_iter().map(|(span, message)| {
            let (place, message) = match self.origin {
                Origin::Text => (Some(Place::new(self.text, &span)), message),
                Origin::Program => (None, self.labelled(&span, message)),
            };
            Problem { path: path.to_owned(), place, message }
        });
        problems.collect()
    }

    /// A message that names its app, since no place does.
    fn labelled(&self, span: &Range<usize>, message: String) -> String {
        let app = self.labels.iter().find(|(app, _)| app.contains(&span.start));
        match app {
            Some((_, name)) if !message.starts_with(&format!("{name}: ")) => {
                format!("app {name}: {message}")
            }
            _ => message,
        }
    }

    fn root(&mut self, root: &Written) {
        let profile = self.reader.profile.as_deref();
        // PM2 has no TOML.
        let may_be_pm2 = self.origin == Origin::Program
            || matches!(Format::of(&self.source), Some(Format::Yaml | Format::Json));
        if may_be_pm2 && let Some(ecosystem) = pm2::translate(root, profile, &mut self.findings) {
            return self.ecosystem(ecosystem);
        }
        if self.origin == Origin::Program {
            let message = "the program exports no apps: module.exports = { apps: [...] }";
            return self.findings.add(root.span(), message);
        }
        match root.as_table() {
            Some(table) => self.document(table),
            None => {
                let message =
                    format!("the file must be a table of keys, not {}", root.value.kind());
                self.findings.add(root.span(), message);
            }
        }
    }

    fn document(&mut self, table: &Table) {
        let Some(apps) = table.get("app") else {
            self.check_profile(layers::profiles(None, table).collect());
            return self.app(table, 0..0, None, None);
        };
        for (key, span, _) in in_order(table) {
            if !matches!(key, "app" | DEFAULTS | SCHEMA) {
                let message = format!("{key:?} stands outside of every [app.NAME] table: move it");
                self.findings.add(span, message);
            }
        }
        let defaults = table.get(DEFAULTS);
        let mut defaults = defaults.and_then(|value| self.findings.table(DEFAULTS, value)).cloned();
        if let Some(name) = defaults.as_mut().and_then(|defaults| defaults.remove("name")) {
            let message = "no two apps can have one name: remove \"name\" from [defaults]";
            self.findings.add(name.span, message);
        }
        let defaults = defaults.as_ref();
        let Some(apps_table) = self.findings.table("app", apps) else { return };
        if apps_table.entries.is_empty() {
            self.findings.add(apps.span(), "there is no app: write [app.NAME] with a \"command\"");
        }
        let tables = apps_table.entries.iter().filter_map(|entry| entry.value.as_table());
        self.check_profile(tables.flat_map(|app| layers::profiles(defaults, app)).collect());
        let mut addresses = BTreeMap::new();
        for (name, span, value) in in_order(apps_table) {
            if value.as_table().is_none() && is_word(name) {
                let message =
                    format!("{name:?} needs an app: write [app.NAME] with a name, not [app]");
                self.findings.add(span, message);
                continue;
            }
            let Some(app) = self.findings.table(&format!("app.{name}"), value) else { continue };
            let before = self.specs.len();
            self.app(app, span.clone(), Some(name), defaults);
            for spec in &self.specs[before..] {
                shared_addresses(&mut self.findings, &mut addresses, spec, &span);
            }
        }
    }

    /// The apps of a file of PM2, which has no variables of ours.
    fn ecosystem(&mut self, ecosystem: Ecosystem) {
        self.check_profile(ecosystem.profiles.iter().map(String::as_str).collect());
        self.notes = ecosystem.notes;
        let mut addresses = BTreeMap::new();
        for app in ecosystem.apps {
            self.labels.push((app.span.clone(), app.name.clone()));
            self.read_app(&app.table, app.header, Some(&app.name), app.complete);
            if let Some(spec) = self.specs.last() {
                shared_addresses(&mut self.findings, &mut addresses, spec, &app.span);
            }
        }
    }

    /// Refuses a chosen profile that no app has.
    fn check_profile(&mut self, known: BTreeSet<&str>) {
        let Some(profile) = &self.reader.profile else { return };
        if known.contains(profile.as_str()) {
            return;
        }
        let message = match known.len() {
            0 => format!("there is no profile {profile:?}: no app has a [profile.NAME] table"),
            _ => {
                let known: Vec<&str> = known.into_iter().collect();
                format!("there is no profile {profile:?}: there is {}", known.join(", "))
            }
        };
        self.findings.add(0..0, message);
    }

    /// One app. A problem with a key that is missing is shown at `header`.
    fn app(
        &mut self,
        table: &Table,
        header: Range<usize>,
        name: Option<&str>,
        defaults: Option<&Table>,
    ) {
        let profile = self.reader.profile.as_deref();
        let mut table = layers::layered(defaults, table, profile, &mut self.findings);
        if name.is_none() {
            table.remove(SCHEMA);
        }
        let before = self.findings.list.len();
        layers::expand(&mut table, self.text, &mut self.findings);
        let expanded = self.findings.list.len() == before;
        self.read_app(&table, header, name, expanded);
    }

    /// One app, of its whole table. `complete`: nothing is wrong with the table so far.
    fn read_app(
        &mut self,
        table: &Table,
        header: Range<usize>,
        name: Option<&str>,
        complete: bool,
    ) {
        let place = self.place(&header);
        let mut app = AppTable::new(&self.findings.base, header, name);
        app.read(table, &mut self.findings);
        app.places.complete &= complete;
        let (mut spec, places) = app.finish(&self.reader.cpus, &mut self.findings);
        spec.source = Some(self.source.clone());
        spec.profile.clone_from(&self.reader.profile);
        // A spec lacks every value that was refused, so only a complete one is validated.
        if places.complete {
            let mut faults = validate::contradictions(&spec);
            if self.machine == Machine::Asked {
                faults.extend(validate::missing_here(&spec));
            }
            for pool in &spec.pools {
                let own = pool_faults(&spec, pool, &faults, self.machine);
                for fault in own {
                    let message = format!("pool {}: {}", pool.name, fault.message);
                    self.findings.add(places.of(&format!("pool.{}", pool.name)), message);
                }
            }
            for fault in faults {
                self.findings.add(places.of(fault.key), fault.message);
            }
        }
        let counted =
            |name: &str, key: &str| places.values.contains_key(key).then(|| name.to_owned());
        let mut pools: BTreeSet<String> = counted(OWN, "instances").into_iter().collect();
        pools.extend(
            spec.pools
                .iter()
                .filter_map(|pool| counted(&pool.name, &format!("pool.{}.instances", pool.name))),
        );
        let depends_on = self.place(&places.of("depends_on"));
        let path = self.named.clone();
        self.definitions.push(Definition { path, place, depends_on, counted: pools });
        self.specs.push(spec);
    }

    /// A place in the file; `None`: people see another file.
    fn place(&self, span: &Range<usize>) -> Option<Place> {
        (self.origin == Origin::Text).then(|| Place::new(self.text, span))
    }
}

/// Where a text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It is the file.
    Text,
    /// A program wrote it, so its places mean nothing to people.
    Program,
}

/// What is wrong with a pool, and not with the whole app.
fn pool_faults(spec: &AppSpec, pool: &PoolSpec, known: &[Fault], machine: Machine) -> Vec<Fault> {
    let mut alone = spec.of_pool(pool);
    // A pool inherits no addresses.
    alone.listen.clear();
    let mut faults = validate::contradictions(&alone);
    if machine == Machine::Asked {
        faults.extend(validate::missing_here(&alone));
    }
    faults.retain(|fault| !known.contains(fault));
    faults
}

/// Notes the addresses that two apps both want.
fn shared_addresses(
    findings: &mut Findings,
    addresses: &mut BTreeMap<ListenAddress, String>,
    spec: &AppSpec,
    header: &Range<usize>,
) {
    for listen in &spec.listen {
        if let Some(other) = addresses.get(&listen.address) {
            let message =
                format!("{:?} and {other:?} both listen on {}", spec.name, listen.address);
            findings.add(header.clone(), message);
        } else {
            addresses.insert(listen.address.clone(), spec.name.clone());
        }
    }
}

#[cfg(test)]
mod tests;
