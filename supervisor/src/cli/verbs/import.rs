//! `import`: prints the apps of files of other tools as a configuration in TOML.

use std::fmt::Write;
use std::path::PathBuf;

use config::cpus::Cpus;
use config::export::{Environment, text};
use config::{Format, Loaded};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;
use crate::cli::specs::load_with_notes;

/// Print the apps of an ecosystem file of PM2, or of a Procfile, as a configuration in TOML.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Choose this environment (env_NAME) in each app that has it.
    #[arg(long, visible_alias = "env", value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

/// Runs the verb. Starts nothing. What the configuration cannot say stands above it as comments.
pub(crate) fn run(args: &Args, out: &mut Stdout) -> Result<Exit, Failure> {
    let loaded = load_with_notes(&args.file, args.profile.as_deref())?;
    out.bytes(written(&args.file.display().to_string(), &loaded)?.as_bytes());
    Ok(Exit::Done)
}

fn written(file: &str, loaded: &Loaded) -> Result<String, Failure> {
    let mut page = format!("# From {file}. Look it over, then: supervisor check FILE\n");
    for note in &loaded.notes {
        // A comment ends with its line.
        let lines = note.message.lines();
        lines.for_each(|line| _ = writeln!(page, "# {line}"));
    }
    let apps = text(&loaded.apps, Format::Toml, Environment::Values, &Cpus::read());
    page.push('\n');
    page.push_str(&apps.map_err(Failure::failed)?);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_means_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ecosystem.json");
        let apps = r#"[{ "name": "web", "script": "true", "instances": 2, "watch_options": { "a": 1 },
            "env": { "A": "costs $5 ${X}" }, "max_restarts": 3, "cwd": "/", "args": "-v --to 'a b'" },
            { "name": "api", "script": "true", "namespace": "shop", "autorestart": false }]"#;
        std::fs::write(&file, apps).unwrap();
        let loaded = load_with_notes(&file, None).unwrap();
        let page = written("ecosystem.json", &loaded).unwrap();
        assert!(page.starts_with("# From ecosystem.json."), "{page}");
        assert!(page.contains("\n# web: \"watch_options\" is left out: "), "{page}");
        let again = folder.path().join("again.toml");
        std::fs::write(&again, page).unwrap();
        let mut read = load_with_notes(&again, None).unwrap().apps;
        read.sort_by_key(|spec| spec.name != "web");
        for (mut read, mut written) in read.into_iter().zip(loaded.apps) {
            for spec in [&mut read, &mut written] {
                spec.source = None;
                spec.variables.clear();
            }
            assert_eq!(read, written);
        }
    }
}
