//! PM2's command line, for people and scripts that know it: `supervisor pm2 VERB`, or a link with
//! the name `pm2` to the program.
//!
//! It is a translation. Each verb becomes one of ours, with the numbers, expressions and namespaces
//! that PM2 has for apps. What has no translation fails and says why. [`ids`] has the only state.

mod bring;
mod described;
mod flags;
mod ids;
mod inspect;
mod line;
mod ours;
mod pid_file;
mod processes;
mod saved;
mod start;
mod targets;

use std::path::Path;

use super::elsewhere;
use super::exit::{Exit, Failure};
use super::output::Stdout;
use super::session::Session;
use crate::home::Home;
use line::Line;
use ours::{each, ours, words};
use processes::Processes;
use targets::Target;

/// The name of a link to the program, and of the word after it, which both mean this.
const NAME: &str = "pm2";

/// The verbs, with PM2's other names for them, and what they are here.
const HELP: &str = "\
PM2's commands, on the apps of the supervisor. Flags stand anywhere; \"-- ARGS\" go to the script.

  start FILE|SCRIPT|NAME...     start an ecosystem file, a script, or what is stopped
  startOrReload, startOrRestart FILE
  stop|restart|reload|delete TARGET...
  scale NAME N|+N|-N
  list (ls l ps status), jlist, prettylist, describe (desc info show), env, id, pid
  logs [NAME], flush [NAME], reloadLogs
  reset TARGET, sendSignal SIGNAL TARGET, trigger NAME ACTION [JSON]
  save (dump), resurrect, startup, unstartup, kill, ping, update

A TARGET is a name, a number of \"pm2 list\", a namespace, /regex/, all, or an ecosystem file.
Everything else that PM2 can do is missing; see \"Coming from PM2\" in the documentation.";

/// The arguments after `pm2`, if this process is called that way.
pub(super) fn arguments(argv: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let mut argv = argv;
    let program = argv.next()?;
    if Path::new(&program).file_name().is_some_and(|name| name == NAME) {
        return Some(argv.collect());
    }
    (argv.next()? == NAME).then(|| argv.collect())
}

/// Runs a command line of PM2.
pub(super) fn run(arguments: Vec<String>) -> Result<Exit, Failure> {
    let asks =
        |words: &[&str]| arguments.first().is_some_and(|word| words.contains(&word.as_str()));
    let mut session = Session { home: Home::find()?, out: Stdout::new() };
    let exit = if arguments.is_empty() || asks(&["--help", "-h", "help"]) {
        session.out.line(HELP);
        if arguments.is_empty() { Exit::Usage } else { Exit::Done }
    } else if asks(&["--version", "-v", "-V"]) {
        session.out.line(crate::version());
        Exit::Done
    } else {
        let line = Line::read(arguments.into_iter())?;
        let exit = translate(&line, &mut session);
        // It says what runs, whatever the verb has come to.
        pid_file::write(&session.home);
        exit?
    };
    session.out.finish().map(|()| exit)
}

fn translate(line: &Line, session: &mut Session) -> Result<Exit, Failure> {
    let verb = line.verb.to_ascii_lowercase();
    let needs_no_apps = match verb.as_str() {
        "start" => Some(start::run(line, session)),
        "save" | "dump" => Some(saved::save(line, session)),
        "resurrect" => Some(saved::resurrect(line, session)),
        "startup" | "unstartup" => Some(words(&[&verb])),
        "init" | "ecosystem" => Some(words(&["init"])),
        "monit" => Some(words(&["monit"])),
        "ping" => {
            session.out.line("{ msg: 'pong' }");
            Some(Ok(Exit::Done))
        }
        // Scripts unlink from PM2's service to be sure; nothing is ever linked here.
        "link" if line.targets == ["delete"] => Some(Ok(Exit::Done)),
        "unlink" => Some(Ok(Exit::Done)),
        _ => None,
    };
    match needs_no_apps {
        Some(result) => result,
        None => with_apps(&verb, line, session),
    }
}

/// The verbs that need to know which apps there are.
fn with_apps(verb: &str, line: &Line, session: &mut Session) -> Result<Exit, Failure> {
    let mut processes = Processes::read(session)?;
    if let Some(result) = show(verb, line, &processes, session) {
        return result;
    }
    let resolve = |words: &[String]| {
        targets::resolve(words, line, &processes).and_then(|found| only(found, line))
    };
    match verb {
        "stop" | "delete" | "del" => {
            let verb = if verb == "stop" { "stop" } else { "delete" };
            let targets = resolve(&line.targets)?;
            whole(verb, &targets)?;
            if verb == "stop" {
                bring::unwatch(&targets, &processes, &session.home)?;
            }
            each(&[verb], &targets)
        }
        "restart" => replace(verb, line, &processes, session),
        "reload" | "gracefulreload" => replace("reload", line, &processes, session),
        "startorrestart" | "startorreload" | "startorgracefulreload" => {
            let verb = if verb == "startorrestart" { "restart" } else { "reload" };
            let [file] = &line.targets[..] else {
                return Err(Failure::usage(format!("{} needs one file", line.verb)));
            };
            start::file(file, line, &processes, verb, session)
        }
        "scale" => {
            let [target, count] = &line.targets[..] else {
                return Err(Failure::usage("write: pm2 scale NAME N, +N or -N"));
            };
            let mut worst = Exit::Done;
            for target in &resolve(std::slice::from_ref(target))? {
                worst = worst.or_worse(words(&["scale", target.app(), count])?);
            }
            Ok(worst)
        }
        "flush" if line.targets.is_empty() => words(&["flush"]),
        "flush" => each(&["flush"], &resolve(&line.targets)?),
        "reloadlogs" => words(&["logs", "--reopen"]),
        "reset" => {
            for target in resolve(&line.targets)? {
                processes.reset(target.app(), &session.home)?;
            }
            Ok(Exit::Done)
        }
        "sendsignal" => {
            let Some((signal, of)) = line.targets.split_first() else {
                return Err(Failure::usage("write: pm2 sendSignal SIGNAL NAME"));
            };
            send_signal(signal, &resolve(of)?)
        }
        "trigger" => {
            let Some((target, rest)) = line.targets.split_first() else {
                return Err(Failure::usage("write: pm2 trigger NAME ACTION"));
            };
            let target = resolve(std::slice::from_ref(target))?;
            let name = target.first().map(Target::app).unwrap_or_default().to_owned();
            ours(["trigger".to_owned(), name].into_iter().chain(rest.iter().cloned()))
        }
        "kill" | "update" | "updatepm2" if processes.apps.is_empty() => Ok(Exit::Done),
        "kill" => words(&["delete", "all"]),
        "update" | "updatepm2" => words(&["upgrade", "all"]),
        _ => {
            Err(Failure::usage(elsewhere::verb(&line.verb).unwrap_or_else(|| {
                format!("PM2 has no command {:?}: see \"pm2 --help\"", line.verb)
            })))
        }
    }
}

/// The verbs that only show something. `None`: it is another verb.
fn show(
    verb: &str,
    line: &Line,
    processes: &Processes,
    session: &mut Session,
) -> Option<Result<Exit, Failure>> {
    let resolve = || targets::resolve(&line.targets, line, processes);
    let first = line.targets.first().map(String::as_str);
    let done = match verb {
        "list" | "ls" | "l" | "ps" | "status" => {
            let text = processes.table(line.value("--sort"), session.out.width());
            text.map(|text| session.out.line(text))
        }
        "jlist" => session.out.json(&processes.jlist()),
        "prettylist" => {
            session.out.line(inspect::text(&processes.jlist()));
            Ok(())
        }
        "describe" | "desc" | "info" | "show" => {
            return Some(resolve().and_then(|targets| each(&["describe"], &targets)));
        }
        "env" => {
            return Some(resolve().and_then(|targets| each(&["env", "--show"], &targets)));
        }
        "id" => {
            let ids = processes.ids_of(first.unwrap_or_default());
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            session.out.line(match ids.is_empty() {
                true => "[]".to_owned(),
                false => format!("[ {} ]", ids.join(", ")),
            });
            Ok(())
        }
        "pid" => {
            for pid in processes.pids(first) {
                session.out.line(pid);
            }
            Ok(())
        }
        "logs" => return Some(logs(line, processes)),
        _ => return None,
    };
    Some(done.map(|()| Exit::Done))
}

/// Those of the targets that `--only` names.
fn only(targets: Vec<Target>, line: &Line) -> Result<Vec<Target>, Failure> {
    let Some(names) = line.value("--only") else { return Ok(targets) };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    for name in &names {
        if !targets.iter().any(|target| target.app() == *name) {
            return Err(Failure::usage(format!("--only {name}: no such app is meant here")));
        }
    }
    Ok(targets.into_iter().filter(|target| names.contains(&target.app())).collect())
}

/// `restart` and `reload`: apps that are described get what is described, or are started.
fn replace(
    verb: &str,
    line: &Line,
    processes: &Processes,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let is_file = |word: &&String| described::is_file(word);
    let (files, words): (Vec<String>, Vec<String>) =
        line.targets.iter().cloned().partition(|word| is_file(&word));
    let mut worst = Exit::Done;
    for file in &files {
        worst = worst.or_worse(start::file(file, line, processes, verb, session)?);
    }
    if words.is_empty() && !files.is_empty() {
        return Ok(worst);
    }
    let targets = only(targets::resolve(&words, line, processes)?, line)?;
    Ok(worst.or_worse(start::replace(verb, line, &targets, processes, session)?))
}

/// Refuses workers of apps that have more: the others would have to take over their number.
fn whole(verb: &str, targets: &[Target]) -> Result<(), Failure> {
    match targets.iter().find(|target| matches!(target, Target::Worker { .. })) {
        None => Ok(()),
        Some(target) => Err(Failure::usage(format!(
            "cannot {verb} one of several workers of {app}: \"pm2 scale {app} -1\" leaves one fewer",
            app = target.app()
        ))),
    }
}

fn logs(line: &Line, processes: &Processes) -> Result<Exit, Failure> {
    let mut words = vec!["logs".to_owned()];
    if !line.targets.is_empty() {
        let targets = targets::resolve(&line.targets, line, processes)?;
        words.extend(targets.iter().map(|target| target.app().to_owned()));
    }
    if !line.has("--nostream") {
        words.push("-f".to_owned());
    }
    words.extend(["--err", "--out"].iter().filter(|flag| line.has(flag)).map(ToString::to_string));
    if let Some(lines) = line.value("--lines") {
        words.extend(["--lines".to_owned(), lines.to_owned()]);
    }
    ours(words)
}

fn send_signal(signal: &str, targets: &[Target]) -> Result<Exit, Failure> {
    let mut worst = Exit::Done;
    for target in targets {
        let mut words = vec!["signal".to_owned(), target.app().to_owned(), signal.to_owned()];
        if let Target::Worker { slot, .. } = target {
            words.extend(["--slot".to_owned(), slot.to_string()]);
        }
        worst = worst.or_worse(ours(words)?);
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::verbs::definitions;

    const PAGE: &str = include_str!("../../../../docs/pm2.md");

    #[test]
    fn a_link_and_a_word_mean_this() {
        let read = |argv: &[&str]| arguments(argv.iter().map(|&word| word.to_owned()));
        assert_eq!(read(&["/usr/bin/pm2", "ls"]).unwrap(), ["ls"]);
        assert_eq!(read(&["supervisor", "pm2", "ls"]).unwrap(), ["ls"]);
        assert_eq!(read(&["supervisor", "start", "pm2"]), None);
        assert_eq!(read(&["supervisor"]), None);
    }

    /// The commands between backticks in a cell.
    fn commands(cell: &str) -> Vec<Vec<String>> {
        let spans = cell.split('`').skip(1).step_by(2).filter(|span| !span.starts_with('-'));
        spans.map(|span| span.split(' ').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn the_table_of_words_names_commands_that_exist() {
        let table = PAGE.split("## Words").nth(1).unwrap().split("\n\n").nth(1).unwrap();
        let rows: Vec<Vec<&str>> =
            table.lines().skip(2).map(|row| row.split(" | ").collect()).collect();
        assert!(rows.len() > 15, "{table}");
        let ours = definitions();
        for row in rows {
            for command in commands(row[0]).iter().filter(|command| command[0] == NAME) {
                Line::read(command[1..].iter().cloned()).unwrap();
            }
            let here = commands(row[1]);
            assert!(!here.is_empty(), "{row:?}");
            for command in here {
                assert_eq!(command[0], "supervisor", "{row:?}");
                if let Err(error) = ours.clone().try_get_matches_from(&command) {
                    panic!("{command:?}: {error}");
                }
            }
        }
    }
}
