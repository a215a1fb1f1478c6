//! `init`: a configuration file to begin with. Never overwrites one.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use config::Format;
use config::keys::{schema, template};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Stdout, note};
use crate::cli::specs::CONFIG_FILE;

/// Write a commented configuration file to begin with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write it, and its schema beside it; "-" prints it. A file that exists is not
    /// overwritten.
    #[arg(value_name = "FILE", default_value = CONFIG_FILE)]
    pub(crate) file: PathBuf,
}

/// Runs the verb. Fails if the file exists.
pub(crate) fn run(args: &Args, out: &mut Stdout) -> Result<Exit, Failure> {
    if args.file == Path::new("-") {
        out.bytes(template::text().as_bytes());
        return Ok(Exit::Done);
    }
    let shown = args.file.display();
    if Format::of(&args.file) != Some(Format::Toml) {
        return Err(Failure::usage(format!(
            "cannot write {shown}: the file to begin with is TOML, so name one that ends in .toml"
        )));
    }
    let made = OpenOptions::new().write(true).create_new(true).open(&args.file);
    made.and_then(|mut file| file.write_all(template::text().as_bytes())).map_err(|error| {
        match error.kind() {
            ErrorKind::AlreadyExists => Failure::failed(format!(
                "{shown} is there already and stays as it is: name another file, or \"-\" to print"
            )),
            _ => Failure::io(format_args!("cannot write {shown}"), &error),
        }
    })?;
    write_schema(&args.file)?;
    note(format_args!("wrote {shown}; next: edit it, supervisor check {shown}, supervisor start"));
    Ok(Exit::Done)
}

/// Writes the schema that the first line of `file` names into its folder. One that is there may be
/// of an older build.
fn write_schema(file: &Path) -> Result<(), Failure> {
    let path = file.with_file_name(template::SCHEMA_FILE);
    fs::write(&path, schema::text())
        .map_err(|error| Failure::io(format_args!("cannot write {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_read() {
        let text = template::text();
        let cpus = config::cpus::Cpus::read();
        let specs = config::parse(&text, Path::new("/srv/supervisor.toml"), &cpus).unwrap();
        assert_eq!((specs[0].name.as_str(), specs[0].wanted), ("web", 2));
        // What is commented out is allowed as well; examples of other apps and ways aside.
        let lines = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !is_another_way(rest) => rest,
            _ => line,
        });
        let all: Vec<&str> = lines.take_while(|line| !line.contains(".profile.")).collect();
        config::parse(&all.join("\n"), Path::new("/srv/supervisor.toml"), &cpus).unwrap();
    }

    fn is_another_way(line: &str) -> bool {
        line.starts_with("script") || line.starts_with("env_file")
    }

    #[test]
    fn it_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args { file: dir.path().join("supervisor.toml") };
        let mut out = Stdout::new();
        assert_eq!(run(&args, &mut out).unwrap(), Exit::Done);
        assert_eq!(fs::read_to_string(&args.file).unwrap(), template::text());
        let first = template::text().lines().next().unwrap().to_owned();
        let named = dir.path().join(first.strip_prefix("#:schema ./").unwrap());
        assert_eq!(fs::read_to_string(named).unwrap(), schema::text());
        let yaml = Args { file: dir.path().join("supervisor.yaml") };
        assert_eq!(run(&yaml, &mut out).unwrap_err().exit, Exit::Usage);
        fs::write(&args.file, "mine").unwrap();
        assert_eq!(run(&args, &mut out).unwrap_err().exit, Exit::Failed);
        assert_eq!(fs::read_to_string(&args.file).unwrap(), "mine");
    }
}
