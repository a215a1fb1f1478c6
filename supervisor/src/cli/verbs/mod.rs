//! The verbs. A verb is a file with its arguments, its help, what it does and its tests.
//!
//! To add one, write the file and add its line to the table below. The file has
//!
//! - `Args`, a `clap::Args`: the doc comment of the struct is the help of the verb, and attributes
//!   of the struct hide it or give it aliases;
//! - `run(&Args, ...)`, whose further arguments depend on the last column of the table.

use std::ffi::OsString;

use clap::{Args as _, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::exit::{Exit, Failure};
use super::launch::zygote;
use super::output::Stdout;
use super::session::Session;
use crate::home::Home;
use crate::sys::daemon;

const AFTER_HELP: &str = "Exit codes: 0 done, 1 failed, 2 usage or configuration wrong, 3 no such app, \
    4 rolled back, 5 timed out, 6 not permitted, 10 plan found changes.\n\
    Where a verb takes a NAME, it also takes several names, or \"all\".\n\
    First steps: supervisor demo, or supervisor start -i max -- YOUR-SERVER";

/// The verb of a keeper and its primary.
const PRIMARY: &str = "primary";

/// Runs any server once per core behind one address, restarts what dies, and replaces code without
/// losing a request.
#[derive(Debug, Parser)]
#[command(name = "supervisor", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// Use the apps of root; this user must be an operator or observer of them.
    #[arg(long, global = true)]
    system: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// Makes the modules, the enum that clap parses, and the dispatch from the table of verbs.
macro_rules! verbs {
    ($($module:ident $variant:ident $needs:ident;)*) => {
        $(mod $module;)*

        #[derive(Debug, Subcommand)]
        enum Verb {
            $($variant(Box<$module::Args>),)*
        }

        impl Cli {
            /// Runs the verb of the command line.
            pub(crate) fn run(self) -> Result<Exit, Failure> {
                match self.verb {
                    $(Verb::$variant(args) => verbs!(@run $needs, self.system, $module, &args),)*
                }
            }
        }
    };
    (@run apps, $system:expr, $module:ident, $args:expr) => {
        with_apps($system, |session| $module::run($args, session))
    };
    (@run output, $system:expr, $module:ident, $args:expr) => {
        with_output(|out| $module::run($args, out))
    };
    (@run definitions, $system:expr, $module:ident, $args:expr) => {
        with_output(|out| $module::run($args, definitions(), out))
    };
}

// In the order of the help. What a verb needs is one of
//   apps         `run(&Args, &mut Session)`
//   output       `run(&Args, &mut Stdout)`: it works without the folders of the apps
//   definitions  `run(&Args, Command, &mut Stdout)`: also the definitions of all verbs
verbs! {
    start       Start       apps;
    dev         Dev         apps;
    stop        Stop        apps;
    restart     Restart     apps;
    reload      Reload      apps;
    rollout     Rollout     apps;
    rollback    Rollback    apps;
    scale       Scale       apps;
    delete      Delete      apps;
    list        List        apps;
    describe    Describe    apps;
    explain     Explain     apps;
    health      Health      apps;
    env         Env         apps;
    signal      Signal      apps;
    send        Send        apps;
    trigger     Trigger     apps;
    metrics     Metrics     apps;
    logs        Logs        apps;
    flush       Flush       apps;
    events      Events      apps;
    monit       Monit       apps;
    dash        Dash        apps;
    plan        Plan        apps;
    apply       Apply       apps;
    export      Export      apps;
    import      Import      output;
    check       Check       output;
    init        Init        output;
    schema      Schema      output;
    save        Save        apps;
    resurrect   Resurrect   apps;
    demo        Demo        apps;
    chaos       Chaos       apps;
    bench       Bench       apps;
    unit        Unit        apps;
    upgrade     Upgrade     apps;
    startup     Startup     apps;
    unstartup   Unstartup   apps;
    completions Completions definitions;
    man         Man         definitions;
    primary     Primary     apps;
    thaw_check  ThawCheck   output;
    merge_spec  MergeSpec   output;
    tidy_logs   TidyLogs    output;
    prober      Prober      output;
    file_watcher FileWatcher output;
    let_calls_go_on LetCallsGoOn output;
    copies      Copies      output;
    demo_server DemoServer  output;
}

/// Runs the verb `primary` without the definitions of the other verbs: a keeper and a primary would
/// keep the memory that these take. `None`: the arguments name another verb, or make no sense.
///
/// The zygote is no verb: `launch` runs it, and each keeper that comes from it runs `primary`.
pub(crate) fn primary_alone(
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<Result<Exit, Failure>> {
    let word = arguments.next()?;
    if word == PRIMARY {
        return primary_of(arguments);
    }
    if word != zygote::WORD {
        return None;
    }
    match zygote::serve() {
        Ok(Some(arguments)) => primary_alone(arguments),
        Ok(None) => Some(Ok(Exit::Done)),
        Err(error) => Some(Err(Failure::io("cannot fork keepers", &error))),
    }
}

fn primary_of(arguments: impl Iterator<Item = OsString>) -> Option<Result<Exit, Failure>> {
    daemon::keep_little_memory();
    let definition = primary::Args::augment_args(Command::new(PRIMARY)).no_binary_name(true);
    let matches = definition.try_get_matches_from(arguments).ok()?;
    let args = primary::Args::from_arg_matches(&matches).ok()?;
    drop(matches);
    Some(with_apps(false, |session| primary::run(&args, session)))
}

/// The definitions of all verbs.
pub(crate) fn definitions() -> Command {
    Cli::command()
}

/// Runs a verb with the folders of this user, or of root if `system` is set.
fn with_apps(
    system: bool,
    run: impl FnOnce(&mut Session) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let home = if system { Home::system() } else { Home::find()? };
    let mut session = Session { home, out: Stdout::new() };
    let exit = run(&mut session)?;
    session.out.finish().map(|()| exit)
}

/// Runs a verb that needs no folders.
fn with_output(run: impl FnOnce(&mut Stdout) -> Result<Exit, Failure>) -> Result<Exit, Failure> {
    let mut out = Stdout::new();
    let exit = run(&mut out)?;
    out.finish().map(|()| exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use clap_complete::Shell;

    fn verb(argv: &[&str]) -> Verb {
        let argv = [&["supervisor"], argv].concat();
        Cli::try_parse_from(&argv).unwrap_or_else(|error| panic!("{argv:?}: {error}")).verb
    }

    #[test]
    fn the_definitions_are_consistent() {
        definitions().debug_assert();
    }

    #[test]
    fn every_verb_has_its_own_help() {
        let mut known = Vec::new();
        for verb in definitions().get_subcommands() {
            let about = verb.get_about().map(ToString::to_string);
            let about = about.unwrap_or_else(|| panic!("{} has no help", verb.get_name()));
            assert!(!known.contains(&about), "{}: {about}", verb.get_name());
            known.push(about);
        }
    }

    #[test]
    fn names_and_aliases() {
        for alias in ["list", "ls", "l", "ps", "status"] {
            assert!(matches!(verb(&[alias, "--json"]), Verb::List(args) if args.json));
        }
        for alias in ["describe", "show", "desc", "info"] {
            assert!(matches!(verb(&[alias, "web"]), Verb::Describe(_)));
        }
        for alias in ["delete", "del", "rm"] {
            assert!(matches!(verb(&[alias, "web"]), Verb::Delete(_)));
        }
        // The program runs these itself, also from other builds.
        assert!(matches!(verb(&["primary", "web"]), Verb::Primary(_)));
        assert!(matches!(verb(&["demo-server", "--port", "1"]), Verb::DemoServer(_)));
        assert!(matches!(verb(&["thaw-check"]), Verb::ThawCheck(_)));
    }

    #[test]
    fn every_shell_completes_every_visible_verb() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definitions(), "supervisor", &mut script);
            let text = String::from_utf8(script).unwrap();
            for verb in definitions().get_subcommands().filter(|verb| !verb.is_hide_set()) {
                assert!(text.contains(verb.get_name()), "{} for {shell}", verb.get_name());
            }
        }
        assert!(parse::<completions::Args>(&["tcsh"]).is_err());
    }

    #[test]
    fn every_visible_verb_has_a_man_page() {
        let dir = tempfile::tempdir().unwrap();
        let args = man::Args { folder: dir.path().join("man1") };
        assert_eq!(man::run(&args, definitions(), &mut Stdout::new()).unwrap(), Exit::Done);
        let page = |name: &str| std::fs::read_to_string(args.folder.join(name));
        assert!(page("supervisor.1").unwrap().contains("reload"));
        assert!(page("supervisor-start.1").unwrap().contains("kill\\-timeout"));
        for verb in definitions().get_subcommands() {
            let exists = page(&format!("supervisor-{}.1", verb.get_name())).is_ok();
            assert_eq!(exists, !verb.is_hide_set(), "{}", verb.get_name());
        }
    }
}
