//! `man`: one page per verb, from the same definitions as the help.

use clap::CommandFactory;

use super::args::{Cli, ManArgs};
use super::exit::{Exit, Failure};

pub(super) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    let shown = args.folder.display();
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .map_err(|error| {
            Failure::io(format_args!("cannot write man pages into {shown}"), &error)
        })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_verb_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let args = ManArgs { folder: dir.path().join("man1") };
        assert_eq!(run(&args).unwrap(), Exit::Done);
        let page = |name: &str| std::fs::read_to_string(args.folder.join(name));
        assert!(page("supervisor.1").unwrap().contains("reload"));
        assert!(page("supervisor-start.1").unwrap().contains("kill\\-timeout"));
        for verb in Cli::command().get_subcommands() {
            let there = page(&format!("supervisor-{}.1", verb.get_name())).is_ok();
            assert_eq!(there, !verb.is_hide_set(), "{}", verb.get_name());
        }
    }
}
