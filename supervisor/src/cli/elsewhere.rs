//! Words of other tools: verbs and flags of PM2, OxMgr, systemd and supervisord that are none of
//! ours. A command line with one of them gets our word for it in the error.

/// A verb or a flag of another tool.
struct Foreign {
    /// How the tool spells it. Letters count in both cases.
    words: &'static [&'static str],
    tool: &'static str,
    /// What to do here instead.
    here: &'static str,
}

const fn pm2(words: &'static [&'static str], here: &'static str) -> Foreign {
    Foreign { words, tool: "PM2", here }
}

const fn of(tool: &'static str, words: &'static [&'static str], here: &'static str) -> Foreign {
    Foreign { words, tool, here }
}

/// Verbs. Aliases that our verbs have are not here.
const VERBS: &[Foreign] = &[
    pm2(
        &["jlist", "prettylist"],
        "use \"supervisor list --json\"; \"supervisor pm2 jlist\" has PM2's fields",
    ),
    pm2(&["id", "pid"], "use \"supervisor list --json\", or \"supervisor pm2 pid NAME\""),
    pm2(
        &["startOrReload", "startOrGracefulReload"],
        "use \"supervisor reload FILE\", which starts what does not run",
    ),
    pm2(&["startOrRestart"], "use \"supervisor restart FILE\", which starts what does not run"),
    pm2(&["gracefulReload", "softReload"], "use \"supervisor reload NAME\""),
    pm2(&["sendSignal"], "use \"supervisor signal NAME SIGNAL\""),
    pm2(&["reloadLogs"], "use \"supervisor logs --reopen\""),
    pm2(
        &["reset"],
        "counters of restarts cannot be reset; \"supervisor pm2 reset NAME\" counts from now on",
    ),
    pm2(&["kill"], "there is no daemon; \"supervisor delete all\" ends all apps"),
    pm2(&["ping"], "there is no daemon to answer; use \"supervisor health\""),
    pm2(&["dump"], "use \"supervisor save\""),
    pm2(&["cleardump"], "use \"supervisor save --empty\""),
    pm2(&["ecosystem"], "use \"supervisor init\""),
    pm2(&["imonit", "dashboard"], "use \"supervisor monit\""),
    pm2(&["slist", "sysinfos"], "use the tools of your system, such as top"),
    pm2(&["updatePM2", "deepUpdate"], "use \"supervisor upgrade all\""),
    pm2(&["attach"], "use \"supervisor logs -f NAME\" to read, \"supervisor send\" to write"),
    pm2(&["logrotate"], "log files are rotated by themselves"),
    pm2(
        &["set", "get", "multiset", "unset", "conf", "config"],
        "settings are in supervisor.toml: \"supervisor init\" writes one",
    ),
    pm2(
        &["deploy", "pull", "forward", "backward"],
        "update the code yourself, then \"supervisor reload NAME\"",
    ),
    pm2(&["serve", "expose"], "files are not served: start a web server"),
    pm2(
        &["inspect", "profile:cpu", "profile:mem"],
        "start the program with the options of its profiler",
    ),
    pm2(
        &[
            "install",
            "uninstall",
            "publish",
            "package",
            "link",
            "unlink",
            "plus",
            "register",
            "login",
            "logout",
            "monitor",
            "unmonitor",
            "open",
            "module:install",
            "module:update",
        ],
        "there are no modules and there is no service",
    ),
    pm2(&["report"], "use \"supervisor describe NAME\""),
    of(
        "PM2 and supervisord",
        &["update"],
        "use \"supervisor upgrade NAME\" for another build, \"supervisor apply FILE\" for another configuration",
    ),
    of("OxMgr", &["validate"], "use \"supervisor check FILE\""),
    of("OxMgr", &["convert"], "use \"supervisor import FILE\""),
    of("OxMgr", &["doctor"], "use \"supervisor describe NAME\""),
    of("OxMgr", &["runtime"], "use \"supervisor start --foreground\""),
    of("OxMgr", &["service"], "use \"supervisor startup NAME\""),
    of("OxMgr", &["daemon"], "there is no daemon: each app has a primary of its own"),
    of("systemd", &["enable"], "use \"supervisor startup NAME\""),
    of("systemd", &["disable"], "use \"supervisor unstartup NAME\""),
    of("systemd", &["is-active", "is-failed"], "use \"supervisor health NAME\""),
    of("systemd", &["daemon-reload"], "use \"supervisor apply FILE\""),
    of(
        "systemd",
        &["try-restart", "reload-or-restart", "try-reload-or-restart"],
        "use \"supervisor reload NAME\"",
    ),
    of("systemd", &["list-units"], "use \"supervisor list\""),
    of("systemd", &["cat"], "use \"supervisor export NAME\""),
    of("supervisord", &["reread"], "use \"supervisor plan FILE\""),
    of("supervisord", &["tail", "maintail"], "use \"supervisor logs -f NAME\""),
    of("supervisord", &["fg"], "use \"supervisor start --foreground\""),
    of("supervisord", &["avail"], "use \"supervisor check FILE\""),
    of("supervisord", &["shutdown"], "use \"supervisor delete all\""),
];

/// Flags. Those that ours spell the same way are not here.
const FLAGS: &[Foreign] = &[
    pm2(&["--ignore-watch"], "use --watch-ignore"),
    pm2(&["--ext"], "use --watch-ignore"),
    pm2(&["--no-daemon", "--no-daemonize"], "use --foreground"),
    pm2(&["--no-autorestart"], "use --restart never"),
    pm2(&["--restart-delay", "--exp-backoff-restart-delay"], "use --backoff-min and --backoff-max"),
    pm2(
        &["--interpreter", "--interpreter-args", "--node-args", "-x", "--execute-command"],
        "write the whole command after \"--\", as in: supervisor start -- node --inspect app.js",
    ),
    pm2(&["--listen-timeout"], "use --ready-timeout, with which a late worker has failed"),
    pm2(&["--cron", "-c"], "use --cron-restart"),
    pm2(
        &["-o", "--output", "--error", "--merge-logs", "--disable-logs"],
        "write out_file and error_file into a configuration file",
    ),
    pm2(
        &["--log-date-format", "--time"],
        "use \"supervisor logs --timestamps\", or log_time in a configuration file",
    ),
    pm2(&["--log-type"], "use \"supervisor logs --json\""),
    pm2(&["--uid"], "use --user"),
    pm2(&["--gid"], "use --group"),
    pm2(&["-f", "--force"], "an app that runs is replaced by \"supervisor reload NAME\""),
    pm2(&["--parallel"], "the supervisor chooses how many apps it works on at once"),
    pm2(&["--no-treekill"], "the whole process group of a worker is stopped; see --keep-detached"),
    pm2(&["--shutdown-with-message"], "workers are stopped by a signal: see --stop-signal"),
    pm2(&["--filter-env"], "unset the variables before the start"),
    pm2(&["--no-autostart"], "do not name the app, or write autostart = false into its file"),
    pm2(&["-s", "--silent", "-m", "--mini-list"], "results go to stdout: redirect them"),
    pm2(&["--no-color"], "set NO_COLOR=1 in the environment"),
    pm2(&["--nostream"], "leave it out: only -f follows"),
    pm2(
        &["--raw", "--format", "--highlight", "--timestamp"],
        "use --no-prefix, --json or --timestamps",
    ),
    pm2(
        &[
            "--source-map-support",
            "--disable-source-map-support",
            "--no-vizion",
            "--no-pmx",
            "--no-automation",
            "--trace",
            "--v8",
            "--deep-monitoring",
        ],
        "leave it out: it configures PM2's own agent",
    ),
    of(
        "OxMgr",
        &["--max-memory-mb", "--max-cpu-percent", "--cgroup-enforce"],
        "use --max-memory, --limits, or the limits of a systemd unit",
    ),
    of(
        "OxMgr",
        &["--health-cmd", "--health-interval"],
        "use --hang-timeout, which needs no command",
    ),
    of("OxMgr", &["--stop-timeout"], "use --kill-timeout"),
    of(
        "OxMgr",
        &["--log-out", "--log-err"],
        "write out_file and error_file into a configuration file",
    ),
    of("systemd", &["--now"], "leave it out: \"startup\" also starts the app"),
];

/// What to type instead of this verb, if it is one of another tool.
pub(crate) fn verb(word: &str) -> Option<String> {
    answer(VERBS, word)
}

/// What to type instead of this flag, if it is one of another tool.
pub(crate) fn flag(word: &str) -> Option<String> {
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    answer(FLAGS, name)
}

fn answer(table: &[Foreign], word: &str) -> Option<String> {
    let is_it = |row: &&Foreign| row.words.iter().any(|known| known.eq_ignore_ascii_case(word));
    let Foreign { tool, here, .. } = table.iter().find(is_it)?;
    Some(format!("\"{word}\" is a word of {tool}: {here}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usage;
    use crate::cli::verbs::{Cli, definitions};
    use clap::Parser;
    use std::collections::BTreeSet;

    fn reason(argv: &[&str]) -> String {
        let line = ["supervisor"].iter().chain(argv);
        usage::failure(&Cli::try_parse_from(line).unwrap_err()).reason
    }

    #[test]
    fn a_word_of_another_tool_gets_ours() {
        for (argv, expected) in [
            (&["jlist"][..], "\"jlist\" is a word of PM2: use \"supervisor list --json\""),
            (&["startorreload", "x.js"], "a word of PM2: use \"supervisor reload FILE\""),
            (&["validate"], "a word of OxMgr: use \"supervisor check FILE\""),
            (&["is-active", "web"], "a word of systemd: use \"supervisor health NAME\""),
            (&["reread"], "a word of supervisord: use \"supervisor plan FILE\""),
            (&["start", "x.js", "--ext", "js"], "\"--ext\" is a word of PM2: use --watch-ignore"),
            (&["start", "x.js", "--cron=0 4 * * *"], "use --cron-restart"),
            (&["start", "x.js", "-x"], "write the whole command after"),
        ] {
            let reason = reason(argv);
            assert!(reason.contains(expected), "{argv:?}: {reason}");
            assert_eq!(reason.lines().count(), 1, "{reason}");
        }
        assert!(!reason(&["frobnicate"]).contains("is a word of"));
    }

    const PAGE: &str = include_str!("../../../docs/coming-from.md");

    #[test]
    fn the_page_names_commands_and_keys_that_exist() {
        let (ours, mut commands, mut keys) = (definitions(), 0, 0);
        let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
        for row in rows {
            let here = row.split(" | ").nth(1).unwrap();
            for span in here.split('`').skip(1).step_by(2) {
                let words: Vec<&str> = span.split(' ').collect();
                if words[0] == "supervisor" {
                    let line = span.replace("\"node app.js\"", "node-app");
                    let read = ours.clone().try_get_matches_from(line.split(' '));
                    assert!(read.is_ok(), "{span}: {}", read.unwrap_err());
                    commands += 1;
                } else {
                    assert!(config::keys::find(words[0]).is_some(), "{span} is no key");
                    keys += 1;
                }
            }
        }
        assert!(commands > 25 && keys > 25, "{commands} commands, {keys} keys");
    }

    #[test]
    fn no_word_is_ours_and_none_stands_twice() {
        let ours = definitions();
        let mut known = BTreeSet::new();
        for word in VERBS.iter().flat_map(|row| row.words) {
            assert!(ours.find_subcommand(word).is_none(), "{word} is a verb of ours");
            assert!(known.insert(word.to_ascii_lowercase()), "{word}");
        }
        let start = ours.find_subcommand("start").unwrap();
        for word in FLAGS.iter().flat_map(|row| row.words) {
            let is_word = |arg: &&clap::Arg| {
                let long = arg.get_long().map(|long| format!("--{long}"));
                let short = arg.get_short().map(|short| format!("-{short}"));
                long.as_deref() == Some(word) || short.as_deref() == Some(word)
            };
            assert!(!start.get_arguments().any(|arg| is_word(&arg)), "start has {word}");
            assert!(known.insert((*word).to_owned()), "{word}");
        }
    }

    #[test]
    fn what_the_advice_names_exists() {
        let ours = definitions();
        let flags: BTreeSet<String> = ours
            .get_subcommands()
            .flat_map(clap::Command::get_arguments)
            .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
            .collect();
        for row in VERBS.iter().chain(FLAGS) {
            for (at, _) in row.here.match_indices("\"supervisor ") {
                let words = row.here[at + 12..].split(['"', ' ']);
                let verb = words.clone().next().unwrap();
                let is_ours = verb == "pm2" || ours.find_subcommand(verb).is_some();
                assert!(is_ours, "{}", row.here);
            }
            let plain = row.here.split_once("-- ").map_or(row.here, |(before, _)| before);
            for word in plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
                let is_flag = word.starts_with("--") && word.len() > 2;
                assert!(!is_flag || flags.contains(word), "{word}: {}", row.here);
            }
        }
    }
}
