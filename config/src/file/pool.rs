//! The `[pool.NAME]` tables of an app. Refuses the keys of an app that a pool cannot have of its
//! own.

use std::ops::Range;

use super::app::{AppTable, env_file_first, is_word};
use crate::keys;
use crate::pool::{MAX_POOLS, check_name};
use crate::raw::{Findings, Written, in_order};
use crate::spec::PoolSpec;
use crate::tree::Table;

/// The key of this name that a pool can have.
fn find(name: &str) -> Option<&'static keys::Key> {
    keys::of_pool().find(|key| key.name == name)
}

impl AppTable<'_> {
    pub(super) fn pools(&mut self, value: &Written, findings: &mut Findings) {
        let Some(table) = findings.table("pool", value) else { return };
        for (name, span, value) in in_order(table) {
            if value.as_table().is_none() && find(name).is_some() {
                let message =
                    format!("{name:?} needs a pool: write [pool.NAME] with a name, not [pool]");
                findings.add(span, message);
                continue;
            }
            if let Err(message) = check_name(name) {
                findings.add(span.clone(), message);
            }
            let Some(table) = findings.table(&format!("pool.{name}"), value) else { continue };
            let pool = self.pool(name, span, table, findings);
            self.spec.pools.push(pool);
        }
        if self.spec.pools.len() > MAX_POOLS {
            let count = self.spec.pools.len();
            let message = format!("{count} pools: an app may have at most {MAX_POOLS}");
            findings.add(value.span(), message);
        }
    }

    fn pool(
        &mut self,
        name: &str,
        header: Range<usize>,
        table: &Table,
        findings: &mut Findings,
    ) -> PoolSpec {
        let mut table_of_pool = AppTable::new(&findings.base, header.clone(), Some(name));
        for (key, span, value) in env_file_first(table) {
            let Some(known) = find(key) else {
                findings.add(span, unknown(name, key));
                table_of_pool.perhaps_command = true;
                continue;
            };
            table_of_pool.places.values.insert(key.to_owned(), value.span());
            known.kind.read(findings, key, value, &mut table_of_pool.spec);
        }
        table_of_pool.what_to_run(findings);
        self.places.values.insert(format!("pool.{name}"), header);
        if let Some(span) = table_of_pool.places.values.get("instances") {
            self.places.values.insert(format!("pool.{name}.instances"), span.clone());
        }
        let has_cwd = table_of_pool.places.values.contains_key("cwd");
        let spec = table_of_pool.spec;
        PoolSpec {
            cwd: has_cwd.then_some(spec.cwd),
            env: spec.env,
            instances: spec.instances,
            user: spec.user,
            group: spec.group,
            ready: spec.ready,
            ..PoolSpec::new(name, spec.command)
        }
    }
}

fn unknown(pool: &str, key: &str) -> String {
    match is_word(key) {
        true => format!(
            "{key:?} is the same for all pools of an app: write it at the app's top level, not into \
             pool {pool:?}"
        ),
        false => {
            let known: Vec<&str> = keys::of_pool().map(|key| key.name).collect();
            let known = known.join(", ");
            format!("unknown key {key:?} in pool {pool:?}: a pool has {known}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::cpus::{CpuLimit, Cpus};
    use crate::spec::{AppSpec, ReadyRule};

    const CPUS: Cpus = Cpus { count: 4, limit: CpuLimit::Machine };

    fn read(text: &str) -> Result<AppSpec, String> {
        let specs = crate::parse(text, Path::new("/srv/f.toml"), &CPUS);
        specs.map(|mut specs| specs.remove(0)).map_err(|report| report.to_string())
    }

    #[test]
    fn every_key_arrives() {
        let text = "name = \"web\"\ncommand = \"serve\"\nenv = { A = 1 }\ncwd = \"app\"\n\
                    [pool.hash]\ncommand = \"hasher --fast\"\ninstances = \"50%\"\n\
                    env = { B = 2 }\ncwd = \"hash\"\nuser = \"www\"\ngroup = 33\nready = \"notify\"\n\
                    [pool.mail]\ncommand = [\"mailer\"]\n";
        let spec = read(text).unwrap();
        let [hash, mail] = &spec.pools[..] else { panic!("{spec:?}") };
        assert_eq!((hash.name.as_str(), hash.wanted, mail.wanted), ("hash", 2, 1));
        assert_eq!(hash.command, ["hasher", "--fast"]);
        assert_eq!((hash.cwd.as_deref(), &mail.cwd), (Some(Path::new("/srv/hash")), &None));
        assert_eq!((hash.user.as_deref(), hash.group.as_deref()), (Some("www"), Some("33")));
        assert_eq!((hash.ready, mail.ready), (ReadyRule::Notify, ReadyRule::Auto));
        assert_eq!((spec.wanted, spec.total()), (1, 4));
        let text = "[app.web]\ncommand = \"serve\"\n[app.web.pool.hash]\ncommand = \"hasher\"\n";
        assert_eq!(read(text).unwrap().pools[0].command, ["hasher"]);
    }

    #[test]
    fn refusals_say_where() {
        let app = "name = \"web\"\ncommand = \"serve\"\n";
        for (pool, expected) in [
            ("[pool.hash]\n", "f.toml:3:7: nothing says what to run"),
            ("[pool.hash]\ncommand = \"h\"\nlisten = 80\n", "5:1: \"listen\" is the same for all"),
            ("[pool.hash]\ncommand = \"h\"\ncolour = 1\n", "5:1: unknown key \"colour\" in pool"),
            ("[pool.default]\ncommand = \"h\"\n", "3:7: \"default\" is the app's own pool"),
            ("[pool.\"a b\"]\ncommand = \"h\"\n", "3:7: the name \"a b\" contains"),
            ("[pool]\ncommand = \"h\"\n", "4:1: \"command\" needs a pool"),
            ("[pool.hash]\ncommand = \"h ${fd:web}\"\n", "3:7: pool hash: no listener is called"),
            ("[pool.hash]\ncommand = \"h\"\ninstances = 0\n", "5:13: instances 0: at least 1"),
        ] {
            let report = read(&format!("{app}{pool}")).unwrap_err();
            assert!(report.contains(expected), "{expected} in {report}");
        }
        let many: String = (0..11).map(|n| format!("[pool.p{n}]\ncommand = \"h\"\n")).collect();
        let report = read(&format!("{app}{many}")).unwrap_err();
        assert!(report.contains("11 pools: an app may have at most 10"), "{report}");
    }
}
