//! Which room of the supervisor crate may use which, and circles of files within a room.
//!
//! A room is a folder or a file directly in `supervisor/src`. The check reads every path that
//! begins with `crate::`, `super::`, `self::` or the name of a child module; tests are exempt.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{Source, code, files};

const SRC: &str = "supervisor/src/";

/// Every room, from the bottom up, with the rooms that it uses. A room may use those above it in
/// this table only, so no circle of rooms can be written down here.
const ROOMS: [(&str, &[&str]); 15] = [
    ("base", &[]),
    ("limits", &[]),
    ("log_index", &[]),
    ("version", &[]),
    ("snapshot", &["version"]),
    ("sys", &["base"]),
    ("home", &["sys"]),
    ("client", &["home"]),
    ("relay", &["base", "snapshot"]),
    ("primary", &["base"]),
    ("policy", &["base", "limits"]),
    ("protocol", &["snapshot", "sys"]),
    ("keeper", &["base", "snapshot", "sys"]),
    (
        "runtime",
        &[
            "base",
            "home",
            "keeper",
            "limits",
            "log_index",
            "policy",
            "primary",
            "protocol",
            "relay",
            "snapshot",
            "sys",
            "version",
        ],
    ),
    (
        "cli",
        &["base", "client", "home", "keeper", "log_index", "runtime", "snapshot", "sys", "version"],
    ),
];

/// The rooms that contain nothing but declarations.
const ROOTS: [&str; 2] = ["lib", "main"];

#[test]
fn rooms_use_only_rooms_below_them() {
    for (at, (room, uses)) in ROOMS.iter().enumerate() {
        for used in *uses {
            let below = ROOMS[..at].iter().any(|(below, _)| below == used);
            assert!(below, "{room} uses {used}, which the table of rooms does not list above it");
        }
    }
    let mut found: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let modules = Modules::new();
    for file in &modules.files {
        let room = file.room().to_owned();
        let uses = found.entry(room.clone()).or_default();
        for path in file.paths() {
            let used = path.first().filter(|used| modules.rooms.contains(*used) && **used != room);
            if let Some(used) = used {
                uses.entry(used.clone()).or_default().insert(file.path.clone());
            }
        }
    }
    let mut wrong = Vec::new();
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    for (room, uses) in found.iter().filter(|(room, _)| !ROOTS.contains(&room.as_str())) {
        let Some(allowed) = allowed.get(room.as_str()) else {
            wrong.push(format!("{room} is not in the table"));
            continue;
        };
        for (used, places) in uses.iter().filter(|(used, _)| !allowed.contains(&used.as_str())) {
            let places: Vec<_> = places.iter().map(String::as_str).collect();
            wrong.push(format!("{room} uses {used} in {}", places.join(", ")));
        }
        let idle = allowed.iter().filter(|used| !uses.contains_key(**used));
        wrong.extend(idle.map(|used| format!("{room} uses {used} no more")));
    }
    let gone = allowed.keys().filter(|room| !found.contains_key(**room));
    wrong.extend(gone.map(|room| format!("{room} is no room any more")));
    assert!(
        wrong.is_empty(),
        "the table of rooms in tests/tests/tidy/layers.rs and the sources differ:\n  {}",
        wrong.join("\n  ")
    );
}

#[test]
fn files_of_a_room_use_each_other_in_one_direction() {
    let modules = Modules::new();
    let circles: Vec<String> = modules
        .rooms
        .iter()
        .flat_map(|room| modules.circles(room))
        .map(|files| files.join(" "))
        .collect();
    assert!(circles.is_empty(), "files use each other in circles:\n  {}", circles.join("\n  "));
}

/// One file of the crate, as a module.
struct Module {
    path: String,
    /// Its names from the crate's root, such as `["cli", "start"]`.
    names: Vec<String>,
    /// Its code without comments, tests and re-exports.
    code: String,
}

impl Module {
    fn new(source: &Source) -> Self {
        let inside = source.path[SRC.len()..].trim_end_matches(".rs");
        let names = inside.trim_end_matches("/mod").split('/').map(str::to_owned).collect();
        let mut text = String::new();
        let mut reexport = false;
        for line in source.before_tests().map(code) {
            let words = line.trim_start();
            reexport |= words.starts_with("pub") && words.contains(" use ");
            if !reexport {
                // A visibility is no use of what it names.
                text.push_str(&without_visibility(line));
                text.push('\n');
            }
            reexport &= !line.contains(';');
        }
        Self { path: source.path.clone(), names, code: text }
    }

    fn room(&self) -> &str {
        &self.names[0]
    }

    /// Its child modules.
    fn children(&self) -> Vec<&str> {
        let declared = |line: &'_ str| -> Option<usize> { line.find("mod ") };
        let lines = self.code.lines().filter(|line| line.trim_end().ends_with(';'));
        lines
            .filter_map(|line| Some(line[declared(line)? + 4..].trim_end().trim_end_matches(';')))
            .filter(|name| !name.contains(' '))
            .collect()
    }

    /// Every path in it that can lead to another file, from the crate's root.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        let children = self.children();
        let begins = ["crate", "super", "self"].into_iter().chain(children.iter().copied());
        for begin in begins {
            for (at, _) in self.code.match_indices(&format!("{begin}::")) {
                let before = self.code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c)) {
                    continue;
                }
                let (mut base, mut rest) = match begin {
                    "crate" => (Vec::new(), &self.code[at + 7..]),
                    "super" | "self" => (self.names.clone(), &self.code[at..]),
                    _ => (self.names.clone(), &self.code[at..]),
                };
                while let Some(after) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = after;
                }
                rest = rest.strip_prefix("self::").unwrap_or(rest);
                tree(&base, rest, &mut found);
            }
        }
        found
    }
}

/// The line without the path of `pub(in path)`.
fn without_visibility(line: &str) -> String {
    match line
        .split_once("pub(in ")
        .and_then(|(before, rest)| Some((before, rest.split_once(')')?)))
    {
        Some((before, (_, after))) => format!("{before}pub{after}"),
        None => line.to_owned(),
    }
}

/// Reads a path or a tree of paths (`a::{b, c::d}`), and returns what follows it.
fn tree<'a>(base: &[String], mut text: &'a str, found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = base.to_vec();
    loop {
        text = text.trim_start();
        if let Some(mut inner) = text.strip_prefix('{') {
            loop {
                inner = inner.trim_start();
                if let Some(after) = inner.strip_prefix('}') {
                    return after;
                }
                if inner.is_empty() {
                    return inner;
                }
                inner = tree(&path, inner, found);
                let end = inner.find([',', '}']).unwrap_or(inner.len());
                inner = &inner[end..];
                inner = inner.strip_prefix(',').unwrap_or(inner);
            }
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let end = text.find(|c| !word(c)).unwrap_or(text.len());
        if end > 0 && &text[..end] != "self" {
            path.push(text[..end].to_owned());
        }
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(after) => text = after,
            None => {
                found.push(path);
                return text;
            }
        }
    }
}

/// All files of the crate that are no tests.
struct Modules {
    files: Vec<Module>,
    rooms: BTreeSet<String>,
}

impl Modules {
    fn new() -> Self {
        let sources = files(".rs").into_iter();
        let files: Vec<_> = sources
            .filter(|source| source.path.starts_with(SRC) && !source.is_all_tests())
            .map(|source| Module::new(&source))
            .collect();
        let rooms = files.iter().map(|file| file.room().to_owned()).collect();
        Self { files, rooms }
    }

    /// The file with the longest module path that this path begins with.
    fn of(&self, path: &[String]) -> Option<usize> {
        let matches = |file: &Module| path.starts_with(&file.names);
        let all = self.files.iter().enumerate().filter(|(_, file)| matches(file));
        all.max_by_key(|(_, file)| file.names.len()).map(|(at, _)| at)
    }

    /// The groups of files in this room that reach each other.
    fn circles(&self, room: &str) -> Vec<Vec<String>> {
        let inside: Vec<usize> =
            (0..self.files.len()).filter(|at| self.files[*at].room() == room).collect();
        let uses: BTreeMap<usize, BTreeSet<usize>> = inside
            .iter()
            .map(|at| {
                let paths = self.files[*at].paths();
                let used = paths.iter().filter_map(|path| self.of(path));
                (*at, used.filter(|used| used != at && inside.contains(used)).collect())
            })
            .collect();
        let reach: BTreeMap<usize, BTreeSet<usize>> =
            inside.iter().map(|at| (*at, reachable(*at, &uses))).collect();
        let mut groups: BTreeSet<Vec<usize>> = BTreeSet::new();
        for at in &inside {
            let group: Vec<usize> = reach[at]
                .iter()
                .copied()
                .filter(|other| other == at || reach[other].contains(at))
                .collect();
            if group.len() > 1 {
                groups.insert(group);
            }
        }
        let name = |at: usize| self.files[at].path[SRC.len()..].to_owned();
        groups.into_iter().map(|group| group.into_iter().map(name).collect()).collect()
    }
}

/// All that can be reached from there, itself only by a circle.
fn reachable(from: usize, uses: &BTreeMap<usize, BTreeSet<usize>>) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<usize> = uses[&from].iter().copied().collect();
    while let Some(at) = next.pop() {
        if seen.insert(at) {
            next.extend(&uses[&at]);
        }
    }
    seen
}

#[test]
fn trees_of_paths_are_read() {
    let mut found = Vec::new();
    let rest = tree(&[], "a::{b, c::{self, D as E}, f::*};", &mut found);
    let shown: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(shown, ["a::b", "a::c", "a::c::D", "a::f"]);
    assert_eq!(rest, ";");
}
