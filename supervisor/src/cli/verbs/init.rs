//! `init`: a configuration file to begin with. Never overwrites one.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use config::keys::template;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Stdout, note};
use crate::cli::specs::CONFIG_FILE;

/// Write a commented configuration file to begin with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write it; "-" prints it. A file that exists is not overwritten.
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
    let made = OpenOptions::new().write(true).create_new(true).open(&args.file);
    made.and_then(|mut file| file.write_all(template::text().as_bytes())).map_err(|error| {
        match error.kind() {
            ErrorKind::AlreadyExists => Failure::failed(format!(
                "{shown} is there already and stays as it is: name another file, or \"-\" to print"
            )),
            _ => Failure::io(format_args!("cannot write {shown}"), &error),
        }
    })?;
    note(format_args!(
        "wrote {shown}; next: edit it, supervisor check {shown}, supervisor start"
    ));
    Ok(Exit::Done)
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
            Some(rest) if rest.contains(" = ") && !rest.starts_with("script") => rest,
            _ => line,
        });
        let all: Vec<&str> = lines.take_while(|line| !line.contains("[app.api]")).collect();
        config::parse(&all.join("\n"), Path::new("/srv/supervisor.toml"), &cpus).unwrap();
    }

    #[test]
    fn it_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args { file: dir.path().join("supervisor.toml") };
        let mut out = Stdout::new();
        assert_eq!(run(&args, &mut out).unwrap(), Exit::Done);
        assert_eq!(std::fs::read_to_string(&args.file).unwrap(), template::text());
        std::fs::write(&args.file, "mine").unwrap();
        assert_eq!(run(&args, &mut out).unwrap_err().exit, Exit::Failed);
        assert_eq!(std::fs::read_to_string(&args.file).unwrap(), "mine");
    }
}
