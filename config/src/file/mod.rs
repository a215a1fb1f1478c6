//! A file becomes specs, or a report of everything wrong with it.
//!
//! The file describes one app with keys at its top, or several with `[app.NAME]` tables. Refuses
//! unknown keys, wrong types, values out of range, keys that contradict each other, and files
//! above [`MAX_FILE`].

mod app;
mod pool;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::cpus::Cpus;
use crate::diagnostic::{Place, Problem, Report};
use crate::raw::{Findings, in_order};
use crate::spec::{AppSpec, ListenAddress, PoolSpec};
use crate::validate::{self, Fault};
use app::{AppTable, is_word};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 1024 * 1024;

/// The apps of the file at `path`, each checked against this machine.
pub fn load(path: &Path, cpus: &Cpus) -> Result<Vec<AppSpec>, Report> {
    let text = read(path).map_err(|message| Report::whole(path, message))?;
    parsed(&text, path, cpus, Machine::Asked)
}

/// The apps of the file at `path`, for a caller that will not run them: their own primaries check
/// whether this machine has what they need.
pub fn written(path: &Path, cpus: &Cpus) -> Result<Vec<AppSpec>, Report> {
    let text = read(path).map_err(|message| Report::whole(path, message))?;
    parsed(&text, path, cpus, Machine::NotAsked)
}

/// The apps that `text` describes. `path` is where it came from: relative paths start at its
/// folder. No other file is read, except by `script`.
pub fn parse(text: &str, path: &Path, cpus: &Cpus) -> Result<Vec<AppSpec>, Report> {
    parsed(text, path, cpus, Machine::NotAsked)
}

/// Whether the commands, folders and users of an app must exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    Asked,
    NotAsked,
}

fn read(path: &Path) -> Result<String, String> {
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

fn parsed(text: &str, path: &Path, cpus: &Cpus, machine: Machine) -> Result<Vec<AppSpec>, Report> {
    let source = std::path::absolute(path)
        .map_err(|error| Report::whole(path, format!("cannot tell where it is: {error}")))?;
    let (document, errors) = DeTable::parse_recoverable(text);
    let base = source.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    let findings = Findings { base, list: Vec::new() };
    let mut file = Reading { findings, specs: Vec::new(), source, cpus, machine };
    if errors.is_empty() {
        file.document(document.get_ref());
    }
    // After a syntax error the rest means little, so syntax errors are reported alone.
    for error in errors {
        file.findings.add(error.span().unwrap_or(0..0), error.message());
    }
    let Reading { findings: Findings { mut list, .. }, specs, .. } = file;
    if list.is_empty() {
        return Ok(specs);
    }
    list.sort_by_key(|(span, _)| span.start);
    let problems = list.into_iter().map(|(span, message)| Problem {
        path: path.to_owned(),
        place: Some(Place::new(text, &span)),
        message,
    });
    Err(Report { problems: problems.collect() })
}

/// A file being read.
struct Reading<'c> {
    findings: Findings,
    specs: Vec<AppSpec>,
    source: PathBuf,
    cpus: &'c Cpus,
    machine: Machine,
}

impl Reading<'_> {
    fn document(&mut self, table: &DeTable<'_>) {
        let Some(apps) = table.get("app") else {
            return self.app(table, 0..0, None);
        };
        for (key, span, _) in in_order(table) {
            if key != "app" {
                let message = format!("{key:?} stands outside of every [app.NAME] table: move it");
                self.findings.add(span, message);
            }
        }
        let Some(apps_table) = self.findings.table("app", apps) else { return };
        if apps_table.is_empty() {
            self.findings.add(apps.span(), "there is no app: write [app.NAME] with a \"command\"");
        }
        let mut addresses = BTreeMap::new();
        for (name, span, value) in in_order(apps_table) {
            if value.get_ref().as_table().is_none() && is_word(name) {
                let message =
                    format!("{name:?} needs an app: write [app.NAME] with a name, not [app]");
                self.findings.add(span, message);
                continue;
            }
            let Some(app) = self.findings.table(&format!("app.{name}"), value) else { continue };
            let before = self.specs.len();
            self.app(app, span.clone(), Some(name));
            for spec in &self.specs[before..] {
                shared_addresses(&mut self.findings, &mut addresses, spec, &span);
            }
        }
    }

    /// One app. A problem with a key that is missing is shown at `header`.
    fn app(&mut self, table: &DeTable<'_>, header: Range<usize>, name: Option<&str>) {
        let mut app = AppTable::new(&self.findings.base, header, name);
        app.read(table, &mut self.findings);
        let (mut spec, places) = app.finish(self.cpus, &mut self.findings);
        spec.source = Some(self.source.clone());
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
        self.specs.push(spec);
    }
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
