//! `completions`: for bash, zsh, fish, elvish and PowerShell, from the same definitions as the
//! help. In the first three, the names of apps are completed as well: the scripts ask for them.

use clap::{Arg, Command};
use clap_complete::Shell;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;

/// The name of the values that are names of apps, in the definitions of the verbs.
const APP: &str = "NAME";

/// What prints the names of the apps, one on a line.
const NAMES: &str = "supervisor list --names 2>/dev/null";

/// Print the completions for a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    #[arg(value_name = "SHELL", value_parser = clap::value_parser!(Shell))]
    pub(crate) shell: Shell,
}

/// Runs the verb. `command` defines all verbs.
pub(crate) fn run(args: &Args, mut command: Command, out: &mut Stdout) -> Result<Exit, Failure> {
    let verbs = verbs_with_apps(&command);
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "supervisor", &mut script);
    let script = String::from_utf8_lossy(&script);
    out.bytes(with_names(args.shell, &script, &verbs).as_bytes());
    Ok(Exit::Done)
}

/// The verbs whose plain arguments are names of apps, with their aliases.
fn verbs_with_apps(command: &Command) -> Vec<String> {
    let is_app = |arg: &Arg| {
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| *name == APP))
    };
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let verbs = verbs.filter(|verb| verb.get_positionals().any(is_app));
    let names =
        verbs.flat_map(|verb| std::iter::once(verb.get_name()).chain(verb.get_all_aliases()));
    // "start NAME" starts a stopped app.
    names.chain(["start"]).map(str::to_owned).collect()
}

/// The script with what completes the names of apps after these verbs.
fn with_names(shell: Shell, script: &str, verbs: &[String]) -> String {
    match shell {
        Shell::Bash => format!(
            "{script}\n\
             _supervisor_names() {{\n    \
                 _supervisor \"$@\"\n    \
                 [[ $2 == -* ]] && return\n    \
                 case \"${{COMP_WORDS[1]}}\" in\n        \
                     {}) COMPREPLY+=($(compgen -W \"$({NAMES})\" -- \"$2\")) ;;\n    \
                 esac\n\
             }}\n\
             complete -F _supervisor_names -o nosort -o bashdefault -o default supervisor\n",
            verbs.join("|")
        ),
        Shell::Zsh => {
            // The first line says what the script is for, and its last lines call it.
            let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
            let rest: Vec<String> = rest.lines().map(zsh_line).collect();
            format!(
                "{first}\n\n\
                 _supervisor_names() {{\n    \
                     local -a names\n    \
                     names=(${{(f)\"$({NAMES})\"}})\n    \
                     _alternative \"apps:app:compadd -a names\" \"files:file:_files\"\n\
                 }}\n{}\n",
                rest.join("\n")
            )
        }
        Shell::Fish => format!(
            "{script}complete -c supervisor -n \"__fish_seen_subcommand_from {}\" -a \
             \"({NAMES})\"\n",
            verbs.join(" ")
        ),
        _ => script.to_owned(),
    }
}

/// A line of zsh's script; the function completes the plain arguments that are names of apps.
fn zsh_line(line: &str) -> String {
    let names = ["names -- ", "name -- ", "target -- "];
    let is_plain = line.trim_start().starts_with(['\'', '*', ':']);
    match is_plain && names.iter().any(|name| line.contains(name)) {
        true => line.replace(":_default'", ":_supervisor_names'"),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::verbs::definitions;

    fn script(shell: Shell) -> String {
        let mut command = definitions();
        let verbs = verbs_with_apps(&command);
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "supervisor", &mut script);
        with_names(shell, &String::from_utf8(script).unwrap(), &verbs)
    }

    #[test]
    fn verbs_that_take_apps() {
        let verbs = verbs_with_apps(&definitions());
        for verb in ["stop", "delete", "rm", "reload", "restart", "describe", "logs", "start"] {
            assert!(verbs.iter().any(|known| known == verb), "{verb}: {verbs:?}");
        }
        assert!(!verbs.iter().any(|verb| ["check", "apply", "import"].contains(&verb.as_str())));
    }

    #[test]
    fn scripts_ask_for_the_names() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(script(shell).contains(NAMES), "{shell}");
        }
        let zsh = script(Shell::Zsh);
        assert!(zsh.matches(":_supervisor_names'").count() > 10, "{zsh}");
        assert!(!script(Shell::Elvish).contains(NAMES));
    }
}
