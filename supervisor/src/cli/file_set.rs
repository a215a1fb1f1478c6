//! Several configuration files read as one set, in which each app is defined once.
//!
//! A file is named by its path or by a pattern (`conf.d/*.toml`), which the shell need not expand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use config::diagnostic::Place;
use config::spec::AppSpec;
use config::{Definition, Problem};
use glob::{MatchOptions, Pattern, PatternError};

use super::dependencies;
use super::exit::Failure;
use super::specs::{absolute, is_config_path, load_file};

/// The most files that a pattern may match.
const MOST_FILES: usize = 1000;
/// As a shell does it: no pattern crosses a slash or finds a hidden file.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The apps of a set of files.
#[derive(Debug)]
pub(crate) struct FileSet {
    /// In the order of the files, and in the order of each file.
    pub(crate) apps: Vec<DefinedApp>,
    /// The files, absolute.
    files: Vec<PathBuf>,
    /// The patterns that were given, absolute.
    patterns: Vec<Pattern>,
}

/// An app and how its file defines it.
#[derive(Debug)]
pub(crate) struct DefinedApp {
    pub(crate) spec: AppSpec,
    pub(crate) definition: Definition,
}

impl FileSet {
    /// Reads the files, with the profile of this name. Fails with every mistake in any of them, and
    /// if two define an app of the same name.
    pub(crate) fn read(given: &[PathBuf], profile: Option<&str>) -> Result<Self, Failure> {
        Self::read_some(given, profile, false)
    }

    /// The same; `may_be_none`: a pattern may match no file.
    pub(crate) fn read_some(
        given: &[PathBuf],
        profile: Option<&str>,
        may_be_none: bool,
    ) -> Result<Self, Failure> {
        let mut set = Self { apps: Vec::new(), files: Vec::new(), patterns: Vec::new() };
        let mut mistakes: Option<Failure> = None;
        let mut files = Vec::new();
        for path in given {
            match pattern(path) {
                None => files.push(absolute(path)?),
                Some(text) => files.extend(set.matching(&text, may_be_none)?),
            }
        }
        for file in files {
            if set.files.contains(&file) {
                continue;
            }
            match load_file(&file, profile) {
                Ok(loaded) => {
                    let apps = loaded.apps.into_iter().zip(loaded.definitions);
                    let defined = apps.map(|(spec, definition)| DefinedApp { spec, definition });
                    set.apps.extend(defined);
                }
                Err(failure) => match &mut mistakes {
                    None => mistakes = Some(failure),
                    Some(before) => {
                        before.reason = format!("{}\n{}", before.reason, failure.reason)
                    }
                },
            }
            set.files.push(file);
        }
        match mistakes {
            Some(failure) => Err(failure),
            None => set.each_name_once()?.in_order(),
        }
    }

    /// Whether this file is in the set, or would be if it still existed because a pattern matches
    /// its path.
    pub(crate) fn has_file(&self, file: &Path) -> bool {
        self.files.iter().any(|known| known == file)
            || self.patterns.iter().any(|pattern| pattern.matches_path_with(file, MATCHING))
    }

    /// The configuration files that a pattern matches, in the order of their paths. Fails if there
    /// are none, unless that may be, or too many.
    fn matching(&mut self, given: &str, may_be_none: bool) -> Result<Vec<PathBuf>, Failure> {
        let text = absolute(Path::new(given))?.to_string_lossy().into_owned();
        let wrong = |error: PatternError| Failure::usage(format!("the pattern {given}: {error}"));
        self.patterns.push(Pattern::new(&text).map_err(wrong)?);
        let found = glob::glob_with(&text, MATCHING).map_err(wrong)?.filter_map(Result::ok);
        let is_config = |path: &PathBuf| is_config_path(path) && path.is_file();
        let files: Vec<PathBuf> = found.filter(is_config).take(MOST_FILES + 1).collect();
        match files.len() {
            0 if !may_be_none => {
                Err(Failure::usage(format!("no configuration file matches {given}")))
            }
            0..=MOST_FILES => Ok(files),
            _ => Err(Failure::usage(format!(
                "{given} matches more than {MOST_FILES} configuration files: name fewer"
            ))),
        }
    }

    /// Fails if the set does not define one of these apps.
    pub(crate) fn check_only(&self, only: &[String]) -> Result<(), Failure> {
        let names: Vec<&str> = self.apps.iter().map(|app| app.spec.name.as_str()).collect();
        match only.iter().find(|only| !names.contains(&only.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(Failure::usage(format!(
                "no file has an app \"{unknown}\": there is {}",
                names.join(", ")
            ))),
        }
    }

    /// Orders the apps so that each comes after those that it depends on. Fails if one of those is
    /// in no file, or if apps depend on each other in a circle.
    fn in_order(mut self) -> Result<Self, Failure> {
        let names: BTreeSet<&str> = self.apps.iter().map(|app| app.spec.name.as_str()).collect();
        for DefinedApp { spec, definition } in &self.apps {
            let unknown = spec.depends_on.keys().find(|name| !names.contains(name.as_str()));
            if let Some(unknown) = unknown {
                let message = format!(
                    "{} depends on {unknown:?}, which is in none of these files: name the file that \
                     has it, too",
                    spec.name
                );
                return Err(refused(definition, definition.depends_on.as_ref(), message));
            }
        }
        let specs: Vec<&AppSpec> = self.apps.iter().map(|app| &app.spec).collect();
        match dependencies::order(&specs) {
            Ok(order) => {
                self.apps = dependencies::arranged(self.apps, order);
                Ok(self)
            }
            Err(circle) => {
                let first = self.apps.iter().find(|app| app.spec.name == circle[0]);
                let message = format!("the apps depend on each other: {}", circle.join(" -> "));
                Err(match first {
                    Some(DefinedApp { definition, .. }) => {
                        refused(definition, definition.depends_on.as_ref(), message)
                    }
                    None => Failure::usage(message),
                })
            }
        }
    }

    fn each_name_once(self) -> Result<Self, Failure> {
        let mut known: BTreeMap<&str, &Definition> = BTreeMap::new();
        for DefinedApp { spec, definition } in &self.apps {
            if let Some(earlier) = known.insert(&spec.name, definition) {
                let message = format!(
                    "the app \"{}\" is also in {}: give one of them another name",
                    spec.name,
                    place(earlier)
                );
                return Err(refused(definition, definition.place.as_ref(), message));
            }
        }
        Ok(self)
    }
}

/// The text of a path that is a pattern rather than a file.
pub(crate) fn pattern(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    (text.contains(['*', '?', '[']) && !path.exists()).then(|| text.to_owned())
}

/// A mistake in the definition of an app, shown as those that the reader of a file finds.
fn refused(definition: &Definition, place: Option<&Place>, message: String) -> Failure {
    let problem = Problem { path: definition.path.clone(), place: place.cloned(), message };
    Failure::usage(problem.to_string())
}

/// `FILE:LINE:COLUMN`.
fn place(definition: &Definition) -> String {
    let file = definition.path.display();
    match &definition.place {
        Some(place) => format!("{file}:{}:{}", place.line, place.column),
        None => file.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_in_two_files_is_refused_with_both_places() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = file("one.toml", "[app.web]\ncommand = \"true\"\n[app.db]\ncommand = \"true\"\n");
        let two = file("two.toml", "name = \"api\"\ncommand = \"true\"\n");
        let set = FileSet::read(&[one.clone(), two.clone(), one.clone()], None).unwrap();
        let names: Vec<&str> = set.apps.iter().map(|app| app.spec.name.as_str()).collect();
        assert_eq!(names, ["web", "db", "api"]);
        assert!(set.has_file(&two) && set.check_only(&["db".to_owned()]).is_ok());
        assert!(set.check_only(&["x".to_owned()]).unwrap_err().reason.contains("web, db, api"));
        let again = file("again.toml", "\n[app.db]\ncommand = \"true\"\n");
        let reason = FileSet::read(&[one, again], None).unwrap_err().reason;
        assert!(reason.contains("again.toml:2:6: the app \"db\" is also in "), "{reason}");
        assert!(reason.contains("one.toml:3:6"), "{reason}");
    }

    #[test]
    fn a_pattern_names_the_files_that_it_matches_and_those_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a", ".hidden"] {
            let text = format!("[app.x{}]\ncommand = \"true\"\n", name.trim_start_matches('.'));
            std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let set = FileSet::read(&[folder.path().join("*")], None).unwrap();
        let names: Vec<&str> = set.apps.iter().map(|app| app.spec.name.as_str()).collect();
        assert_eq!(names, ["xa", "xb"]);
        assert!(set.has_file(&folder.path().join("gone.toml")));
        assert!(!set.has_file(&folder.path().join("deeper/gone.toml")));
        let none = FileSet::read(&[folder.path().join("*.yaml")], None).unwrap_err().reason;
        assert!(none.contains("no configuration file matches"), "{none}");
    }

    #[test]
    fn apps_come_after_those_that_they_depend_on() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = folder.path().join("apps.toml");
            std::fs::write(&path, text).unwrap();
            FileSet::read(&[path], None)
        };
        let app = |name: &str, depends: &str| {
            format!("[app.{name}]\ncommand = \"true\"\ndepends_on = {depends}\n")
        };
        let set = read(&(app("a", "{ b = \"started\" }") + &app("b", "[]"))).unwrap();
        assert_eq!((set.apps[0].spec.name.as_str(), set.apps.len()), ("b", 2));
        let unknown = read(&app("a", "\"db\"")).unwrap_err().reason;
        assert!(unknown.contains("apps.toml:3:14: a depends on \"db\""), "{unknown}");
        let circle = read(&(app("a", "\"b\"") + &app("b", "\"a\""))).unwrap_err().reason;
        assert!(circle.contains("apps.toml:3:14: the apps depend"), "{circle}");
        assert!(circle.contains("a -> b -> a"), "{circle}");
        let word = read(&app("a", "{ b = \"soon\" }")).unwrap_err().reason;
        assert!(word.contains("depends_on.b cannot be \"soon\""), "{word}");
    }

    #[test]
    fn the_mistakes_of_all_files_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a.toml", "b.toml"].map(|name| folder.path().join(name));
        for file in &files {
            std::fs::write(file, "comand = \"true\"\n").unwrap();
        }
        let reason = FileSet::read(&files, None).unwrap_err().reason;
        assert!(reason.contains("a.toml:1:1") && reason.contains("b.toml:1:1"), "{reason}");
    }
}
