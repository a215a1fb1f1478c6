//! Several configuration files read as one set: each app once, whichever file defines it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::Definition;
use config::spec::AppSpec;

use super::exit::Failure;
use super::specs::{absolute, load_file};

/// The apps of a set of files.
#[derive(Debug)]
pub(crate) struct FileSet {
    /// In the order of the files, and in the order of each file.
    pub(crate) apps: Vec<DefinedApp>,
    /// The files, absolute.
    files: Vec<PathBuf>,
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
        let mut set = Self { apps: Vec::new(), files: Vec::new() };
        let mut mistakes: Option<Failure> = None;
        for path in given {
            let file = absolute(path)?;
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
            None => set.each_name_once(),
        }
    }

    /// Whether the set has this file.
    pub(crate) fn has_file(&self, file: &Path) -> bool {
        self.files.iter().any(|known| known == file)
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

    fn each_name_once(self) -> Result<Self, Failure> {
        let mut known: BTreeMap<&str, &Definition> = BTreeMap::new();
        for DefinedApp { spec, definition } in &self.apps {
            if let Some(earlier) = known.insert(&spec.name, definition) {
                return Err(Failure::usage(format!(
                    "{}: the app \"{}\" is also in {}: give one of them another name",
                    place(definition),
                    spec.name,
                    place(earlier)
                )));
            }
        }
        Ok(self)
    }
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
