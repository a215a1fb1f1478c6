//! `completions`: for bash, zsh, fish, elvish and PowerShell, from the same definitions as the help.

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Cli, CompletionsArgs};
use super::exit::{Exit, Failure};
use super::output::Out;

pub(super) fn run(args: &CompletionsArgs, out: &mut Out) -> Result<Exit, Failure> {
    out.bytes(&script(args.shell));
    Ok(Exit::Done)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "supervisor", &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_every_verb() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish] {
            let text = String::from_utf8(script(shell)).unwrap();
            for verb in ["start", "reload", "describe", "completions"] {
                assert!(text.contains(verb), "{verb} for {shell}");
            }
        }
    }
}
