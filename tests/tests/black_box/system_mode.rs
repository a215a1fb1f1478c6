//! `--system`: the apps of root, for their operators and observers. The test runs in a mount
//! namespace of its own, with empty folders in place of the machine's.

use std::collections::BTreeMap;
use std::time::Duration;

use tests::{fixtures, run, staging};

const SOON: Duration = Duration::from_secs(120);

/// `as GROUP ARGS...` runs the program as `nobody` in this group. `step NAME COMMAND...` prints the
/// name, the exit code and the output.
const SCRIPT: &str = r#"
for folder in /run /var/log /var/lib; do mount -t tmpfs -o mode=755 tmpfs $folder || exit 9; done
program=$1; unset SUPERVISOR_HOME
as() { setpriv --reuid 65534 --regid 65534 --groups $1 -- "$program" "${@:2}"; }
step() { local name=$1 said code=0; shift; said=$("$@" 2>&1) || code=$?; echo "@ $name $code"; echo "$said"; }
flags="--operators 70001 --observers 70002 --listen-wait 100ms --min-uptime 100ms"
step start "$program" start -n web $flags -- sleep 1000
step own as 70001 list --json
step list as 70001 --system list --json
step last as 70001 list --json --system
step reload as 70001 --system reload web
step scale as 70001 --system scale web 2
step logs as 70001 --system logs web
step look as 70002 --system describe web
step act as 70002 --system reload web
step stranger as 70003 --system list
step stop as 70003 --system stop web
step all as 70003 --system stop all
step mine as 70001 --system start -n mine -- sleep 1000
step save as 70001 --system save
SUPERVISOR_HOME=/tmp/elsewhere step root "$program" --system list --json
step left ls /run/supervisor
step delete as 70001 --system delete web
step gone "$program" list
"#;

#[test]
fn the_apps_of_root() {
    if !nix::unistd::geteuid().is_root() {
        assert!(!fixtures::on_ci(), "this test needs root, and on CI it must run");
        eprintln!("SKIPPED: only root can mount");
        return;
    }
    let home = tests::home!();
    let mut command = home.command_of("unshare");
    command.args(["--mount", "bash", "-c", SCRIPT, "-"]).arg(staging::program(home.built()));
    let outcome = run::spawn(&mut command, home.path()).end(SOON).ok();
    let mut steps: BTreeMap<&str, (&str, String)> = BTreeMap::new();
    for part in outcome.stdout.split("@ ").skip(1) {
        let (head, said) = part.split_once('\n').expect("a step has a line");
        let (name, code) = head.split_once(' ').expect("a name and a code");
        steps.insert(name, (code, said.trim().to_owned()));
    }
    let said = |name: &str, code: &str, words: &[&str]| {
        let (found, text) = &steps[name];
        assert_eq!(*found, code, "{name}: {outcome:#?}");
        for word in words {
            assert!(text.contains(word), "{name}: no {word:?} in {text}");
        }
        text.as_str()
    };
    said("start", "0", &["web: 1 worker ready"]);
    // Without --system the command is about their own apps, and they have none.
    assert_eq!(said("own", "0", &[]), "[]");
    said("list", "0", &["\"name\": \"web\"", "\"status\": \"ready\""]);
    said("last", "0", &["\"name\": \"web\""]);
    said("reload", "0", &["generation 2"]);
    said("scale", "0", &["2 workers"]);
    said("logs", "0", &[]);
    said("look", "0", &["sleep 1000", "2 of 2 ready"]);
    said("act", "6", &["look and not act"]);
    // Other users see nothing and may do nothing.
    assert!(!said("stranger", "0", &["no apps"]).contains("web"));
    said("stop", "6", &["70001", "70002"]);
    said("all", "0", &[]);
    // No user becomes root by it.
    assert_ne!(steps["mine"].0, "0", "{outcome:#?}");
    assert_ne!(steps["save"].0, "0", "{outcome:#?}");
    // For root --system takes precedence over SUPERVISOR_HOME.
    said("root", "0", &["\"name\": \"web\"", "\"generation\": 2"]);
    assert!(!said("left", "0", &["web.sock"]).contains("mine"));
    said("delete", "0", &["web"]);
    assert!(!said("gone", "0", &[]).contains("web"));
}
