//! What an app consists of: `[defaults]`, its own table, and the profile that was chosen, each over
//! the one before; and the variables in it.

use std::ops::Range;

use crate::keys;
use crate::keys::suggest;
use crate::raw::Findings;
use crate::tree::{Table, Value, Written, in_order};

/// The table of what an app has where it says nothing itself.
pub(super) const DEFAULTS: &str = "defaults";
/// The table of an app's profiles.
pub(super) const PROFILE: &str = "profile";
/// Keys that are two ways to write one thing: the upper layer's goes, whichever it is.
const ONE_OF: [[&str; 2]; 2] = [["command", "script"], ["ready", "wait_ready"]];

/// The layers of an app in one table, with the profile of this name if the app has it.
pub(super) fn layered(
    defaults: Option<&Table>,
    app: &Table,
    profile: Option<&str>,
    findings: &mut Findings,
) -> Table {
    let mut table = defaults.cloned().unwrap_or_default();
    put_over(&mut table, app.clone());
    let Some(profiles) = table.remove(PROFILE) else { return table };
    let Some(profiles) = findings.table(PROFILE, &profiles.value).cloned() else { return table };
    for entry in profiles.entries {
        let name = format!("{PROFILE}.{}", entry.key);
        if entry.value.as_table().is_none() && keys::find(&entry.key).is_some() {
            let message = format!(
                "{:?} needs a profile: write [profile.NAME] with a name, not [profile]",
                entry.key
            );
            findings.add(entry.span, message);
            continue;
        }
        if findings.table(&name, &entry.value).is_none() {
            continue;
        }
        let Value::Table(over) = entry.value.value else { continue };
        let chosen = profile == Some(entry.key.as_str());
        check_keys(&over, &name, chosen, findings);
        if chosen {
            put_over(&mut table, over);
        }
    }
    table
}

/// Refuses keys that a profile cannot have. Those of the chosen one are read later, with the app's.
fn check_keys(profile: &Table, name: &str, chosen: bool, findings: &mut Findings) {
    for (key, span, _) in in_order(profile) {
        if matches!(key, "name" | PROFILE) {
            findings.add(span, format!("{key:?} cannot be in a profile ({name}): remove it"));
        } else if !chosen && key != "pool" && keys::find(key).is_none() {
            findings.add(span, suggest::message(key));
        }
    }
}

/// The names of an app's profiles.
pub(super) fn profiles<'t>(
    defaults: Option<&'t Table>,
    app: &'t Table,
) -> impl Iterator<Item = &'t str> {
    let tables = [defaults, Some(app)].into_iter().flatten();
    let tables = tables.filter_map(|table| table.get(PROFILE)?.as_table());
    tables.flat_map(|table| table.entries.iter().map(|entry| entry.key.as_str()))
}

/// Puts one layer of an app over another.
fn put_over(below: &mut Table, over: Table) {
    choose(below, &over);
    let pools = over.get("pool").and_then(Written::as_table);
    for (name, _, over) in pools.into_iter().flat_map(in_order) {
        let below = below.get_mut("pool").and_then(Written::as_table_mut);
        let below = below.and_then(|pools| pools.get_mut(name)).and_then(Written::as_table_mut);
        if let (Some(below), Some(over)) = (below, over.as_table()) {
            choose(below, over);
        }
    }
    below.put_over(over);
}

/// Drops what the upper layer writes in another way.
fn choose(below: &mut Table, over: &Table) {
    for [one, other] in ONE_OF {
        for (given, gone) in [(one, other), (other, one)] {
            if over.get(given).is_some() && over.get(gone).is_none() {
                below.remove(gone);
            }
        }
    }
}

/// Puts the values of variables into the strings of an app or a pool. `source` is the text of the
/// file. A command line is left alone: it is split before, so that a value stays one word.
pub(super) fn expand(table: &mut Table, source: &str, findings: &mut Findings) {
    for entry in &mut table.entries {
        match (entry.key.as_str(), &mut entry.value.value) {
            ("command", Value::Text(_)) => {}
            ("pool", Value::Table(pools)) => {
                for pool in &mut pools.entries {
                    if let Value::Table(pool) = &mut pool.value.value {
                        expand(pool, source, findings);
                    }
                }
            }
            _ => expand_value(&mut entry.value, source, findings),
        }
    }
}

fn expand_value(written: &mut Written, source: &str, findings: &mut Findings) {
    let span = written.span();
    match &mut written.value {
        Value::Text(text) => {
            if let Some(expanded) = findings.expanded(&text.text, &within(source, &span)) {
                text.written = Some(std::mem::replace(&mut text.text, expanded));
            }
        }
        Value::List(items) => {
            items.iter_mut().for_each(|item| expand_value(item, source, findings));
        }
        Value::Table(table) => {
            let values = table.entries.iter_mut().map(|entry| &mut entry.value);
            values.for_each(|value| expand_value(value, source, findings));
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date(_) | Value::Null => {}
    }
}

/// Where in a value a part of it is written; the whole value where that cannot be told.
pub(super) fn within<'s>(
    source: &'s str,
    span: &'s Range<usize>,
) -> impl Fn(&str) -> Range<usize> + 's {
    move |part| {
        let found = source.get(span.clone()).and_then(|value| value.find(part));
        found.map_or_else(|| span.clone(), |at| span.start + at..span.start + at + part.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use crate::cpus::{CpuLimit, Cpus};
    use crate::file::Reader;
    use crate::spec::{AppSpec, ReadyRule};

    fn read(text: &str, profile: Option<&str>) -> Result<Vec<AppSpec>, String> {
        let reader = Reader::new(&Cpus { count: 4, limit: CpuLimit::Machine }).profile(profile);
        let reader = reader.with_variables(&[
            ("HOME", "/home/me"),
            ("PORT", "8001"),
            ("SECRET", "hunter2"),
            ("WORDS", "two words"),
        ]);
        reader
            .parse(text, Path::new("/srv/f.toml"))
            .map(|loaded| loaded.apps)
            .map_err(|report| report.to_string().replace("/srv/", ""))
    }

    fn one(text: &str, profile: Option<&str>) -> AppSpec {
        read(text, profile).unwrap_or_else(|report| panic!("{report}")).remove(0)
    }

    const LAYERS: &str = "\
[defaults]
command = \"serve\"
env = { A = \"defaults\", B = \"defaults\", C = \"defaults\" }
ready = \"listen\"
[defaults.profile.production]
env.A = \"all\"
instances = 3
[app.web]
env = { B = \"web\" }
wait_ready = true
[app.web.pool.mail]
command = \"mailer\"
[app.web.profile.production]
env = { C = \"production\" }
[app.web.profile.production.pool.mail]
instances = 2
[app.api]
script = \"/bin/true\"
";

    #[test]
    fn layers_go_over_each_other() {
        let plain = read(LAYERS, None).unwrap();
        let env = |spec: &AppSpec| spec.env.values().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(env(&plain[0]), "defaults web defaults");
        assert_eq!((plain[0].ready, plain[1].ready), (ReadyRule::Notify, ReadyRule::Listen));
        assert_eq!(plain[1].command, ["/bin/true"], "script instead of the default command");
        assert_eq!((plain[0].wanted, plain[0].profile.as_deref()), (1, None));
        let production = read(LAYERS, Some("production")).unwrap();
        assert_eq!(env(&production[0]), "all web production");
        assert_eq!(env(&production[1]), "all defaults defaults");
        assert_eq!((production[0].wanted, production[0].pools[0].wanted), (3, 2));
        assert_eq!(production[1].profile.as_deref(), Some("production"));
        let single = "command = 'a'\n[profile.dev]\nscript = '/bin/true'\n";
        assert_eq!(one(single, Some("dev")).command, ["/bin/true"]);
    }

    #[test]
    fn mistakes_in_layers() {
        for (text, profile, expected) in [
            ("command = 'a'\n[profile.dev]\nnmae = 1\n", None, "f.toml:3:1: unknown key \"nmae\""),
            ("command = 'a'\n[profile.dev]\nname = 'x'\n", None, "3:1: \"name\" cannot be in a"),
            ("command = 'a'\n[profile]\nready = 'x'\n", None, "3:1: \"ready\" needs a profile"),
            ("command = 'a'\nprofile.dev = 1\n", None, "2:15: profile.dev must be a table"),
            ("command = 'a'\n[profile.dev]\n", Some("prod"), "no profile \"prod\": there is dev"),
            ("command = 'a'\n", Some("prod"), "\"prod\": no app has a [profile.NAME] table"),
            ("[defaults]\nname = 'x'\n[app.a]\ncommand = 'a'\n", None, "2:1: no two apps can"),
            ("[defaults]\ncommand = 'a'\n", None, "f.toml:1:2: unknown key \"defaults\""),
        ] {
            let report = read(text, profile).unwrap_err();
            assert!(report.contains(expected), "{expected} in {report}");
        }
        let twice = "[defaults]\nready = 'x'\n[app.a]\ncommand = 'a'\n[app.b]\ncommand = 'b'\n";
        assert_eq!(read(twice, None).unwrap_err().matches("ready cannot be").count(), 1);
    }

    #[test]
    fn variables_are_put_in() {
        let spec = one(
            "command = 'serve ${WORDS} ${fd:x} $$1 $X'\ncwd = '~/app'\nmax_restarts = '${PORT}'\n\
             intercept = '${NO:-true}'\nlisten = 'x=127.0.0.1:${PORT}'\n\
             env = { TOKEN = 'a${SECRET}', HOME_OF = '~' }\nshared = { a = ['${PORT}'] }",
            None,
        );
        assert_eq!(spec.command, ["serve", "two words", "${fd:x}", "$1", "$X"]);
        assert_eq!(spec.cwd, Path::new("/home/me/app"));
        assert_eq!((spec.restart.max_restarts, spec.intercept), (8001, true));
        assert_eq!(spec.listen[0].address.to_string(), "127.0.0.1:8001");
        let expected = [("HOME_OF", "~"), ("TOKEN", "ahunter2")];
        let expected: BTreeMap<String, String> =
            expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(spec.env, expected);
        assert_eq!(spec.shared.as_deref(), Some("{\"a\":[\"8001\"]}"));
        assert_eq!(one("command = ['${WORDS}']", None).command, ["two words"]);
    }

    #[test]
    fn a_missing_variable_is_named_where_it_is() {
        let text = "command = 'serve ${NO}'\ncwd = '/x/${ALSO_NO}/y'\n[profile.p]\nuser = '${X}'\n";
        assert_eq!(
            read(text, None).unwrap_err(),
            "f.toml:1:11: the variable \"NO\" is not set: set it, or write ${NO:-default}\n    \
             command = 'serve ${NO}'\n              ^^^^^^^^^^^^^\n\
             f.toml:2:11: the variable \"ALSO_NO\" is not set: set it, or write \
             ${ALSO_NO:-default}\n    cwd = '/x/${ALSO_NO}/y'\n              ^^^^^^^^^^"
        );
        assert!(read(text, Some("p")).unwrap_err().contains("\"X\" is not set"));
    }

    #[test]
    fn messages_show_no_value() {
        for text in [
            "command = 'serve'\ninstances = 'x${SECRET}'\n",
            "command = 'serve'\nname = '/${SECRET}'\n",
            "command = 'serve'\nlisten = '${SECRET}'\n",
            "command = 'serve'\nready = '${SECRET}'\n",
            "script = '/${SECRET}'\n",
            "command = 'serve'\nenv_file = '${SECRET}'\n",
            "command = 'serve'\nkill_timeout = '${SECRET}'\n",
            "command = 'serve'\nlimits = { nofile = '${SECRET}' }\n",
        ] {
            let report = read(text, None).unwrap_err();
            assert!(report.contains("${SECRET}") && !report.contains("hunter2"), "{report}");
        }
    }

    #[test]
    fn files_of_variables() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one.env"), "A=1\nB=1\nC=1\n").unwrap();
        std::fs::write(folder.path().join("two.env"), "B=2\nC=2\n").unwrap();
        let read = |text: &str| {
            let reader = Reader::new(&Cpus { count: 4, limit: CpuLimit::Machine });
            let reader = reader.with_variables(&[("N", "two")]);
            let report = reader.parse(text, &folder.path().join("f.toml"));
            report.map(|loaded| loaded.apps).map_err(|report| report.to_string())
        };
        let text = "command = 'a'\nenv.C = 3\nenv_file = ['one.env', '${N}.env']\n[pool.p]\n\
                    command = 'b'\nenv.A = 9\nenv_file = 'one.env'\n";
        let spec = read(text).unwrap().remove(0);
        let shown = |env: &BTreeMap<String, String>| env.values().cloned().collect::<String>();
        assert_eq!((shown(&spec.env), shown(&spec.pools[0].env)), ("123".into(), "911".into()));
        let report = read("command = 'a'\nenv_file = 'no.env'\n").unwrap_err();
        assert!(report.contains(":2:12: env_file \"no.env\": cannot read: No such"), "{report}");
    }
}
