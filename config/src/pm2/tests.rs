//! Each row of the table of options does what it says; whole files become the apps that are meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::{Answer, OPTIONS};
use crate::cpus::{CpuLimit, Cpus};
use crate::file::{Loaded, Reader};
use crate::keys;
use crate::spec::{AppSpec, Instances, LogFiles, ReadyRule};

const CPUS: Cpus = Cpus { count: 4, limit: CpuLimit::Machine };

/// A folder with the scripts that the examples name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    for script in ["sub/a.js", "a.js", "b.js", "app.py", "two words.js", "plain"] {
        std::fs::write(folder.path().join(script), "").unwrap();
    }
    folder
}

fn read_at(folder: &Path, name: &str, text: &str, profile: Option<&str>) -> Result<Loaded, String> {
    let reader = Reader::new(&CPUS).profile(profile);
    let path = folder.join(name);
    let shown = |text: String| text.replace(&format!("{}/", folder.display()), "");
    reader.parse(text, &path).map_err(|report| shown(report.to_string()))
}

fn read(text: &str) -> Result<Loaded, String> {
    read_at(folder().path(), "ecosystem.json", text, None)
}

/// The apps, and the notes without their places.
fn app(options: &str) -> (AppSpec, Vec<String>) {
    let text = format!("{{ apps: [{{ {options} }}] }}");
    let loaded = read(&text).unwrap_or_else(|report| panic!("{report}"));
    let notes = loaded.notes.into_iter().map(|note| note.message).collect();
    ({ loaded.apps }.remove(0), notes)
}

fn file_name(path: &str) -> Option<PathBuf> {
    Path::new(path).file_name().map(PathBuf::from)
}

/// The command without the folders of its files.
fn command(options: &str) -> String {
    let words = app(options).0.command;
    let plain = |word: &String| match word.starts_with('/') {
        true => file_name(word).unwrap().display().to_string(),
        false => word.clone(),
    };
    words.iter().map(plain).collect::<Vec<_>>().join("|")
}

#[test]
fn each_option_does_what_its_row_says() {
    let folder = folder();
    let read = |more: &str, profile| {
        let text = format!("{{ apps: [{{ script: 'a.js' {more} }}] }}");
        read_at(folder.path(), "ecosystem.json", &text, profile)
    };
    let plain = read("", None).unwrap();
    for option in OPTIONS {
        for name in [&option.name].into_iter().chain(option.aliases) {
            if *name == "script" || option.aliases.contains(&"exec") {
                continue;
            }
            // `--env` takes only the name of an environment that an app has.
            let known = if *name == "append_env_to_name" { ", env_NAME: {}" } else { "" };
            let found = read(
                &format!("{known}, {name}: {}", option.example),
                Some("NAME").filter(|_| ["env_NAME", "append_env_to_name"].contains(name)),
            );
            match option.answer {
                Answer::Refused => {
                    let report = found.unwrap_err();
                    assert!(report.contains(option.doc), "{report}");
                }
                Answer::Mapped => {
                    let found = found.unwrap_or_else(|report| panic!("{report}"));
                    let changed = keys::changed(&plain.apps[0], &found.apps[0]);
                    assert!(!changed.is_empty(), "{name} changes nothing");
                    assert!(found.notes.is_empty(), "{:?}", found.notes);
                }
                Answer::NeedsNothing | Answer::LeftOut => {
                    let found = found.unwrap_or_else(|report| panic!("{report}"));
                    assert_eq!(found.apps[0], plain.apps[0], "{name}");
                    let notes: Vec<&str> =
                        found.notes.iter().map(|note| note.message.as_str()).collect();
                    let noted = notes == [format!("a: {name:?} is left out: {}", option.doc)];
                    assert_eq!(noted, option.answer == Answer::LeftOut, "{name}: {notes:?}");
                }
            }
        }
    }
}

#[test]
fn the_watch() {
    let (spec, notes) = app("script: 'a.js', watch: ['lib', 'views'], watch_delay: 1000, \
                             ignore_watch: ['node_modules', './logs/*']");
    assert_eq!(notes, [""; 0]);
    assert_eq!(spec.watch.paths, Some(vec!["lib".into(), "views".into()]));
    assert_eq!(spec.watch.ignore, ["node_modules", "/logs/*"]);
    assert_eq!(spec.watch.delay, Duration::from_secs(1));
    assert_eq!(app("script: 'a.js', watch: true").0.watch.paths, Some(Vec::new()));
    assert_eq!(app("script: 'a.js', watch: false").0.watch.paths, None);
}

#[test]
fn what_is_off_needs_no_note() {
    let options = "script: 'a.js', watch: false, cron_restart: 0, filter_env: [], log_file: null, \
                   increment_var: '', max_memory_restart: null";
    assert_eq!(app(options).1, [""; 0]);
    let (_, notes) = app("script: 'a.js', colour: 1");
    assert_eq!(notes, ["a: \"colour\" is left out: PM2 has no such option either"]);
}

#[test]
fn one_file_for_both_outputs() {
    let files = |options: &str| {
        let (spec, notes) = app(&format!("script: 'a.js', {options}"));
        let name = |path: Option<PathBuf>| path.and_then(|path| file_name(path.to_str().unwrap()));
        let LogFiles { out_file, error_file, .. } = spec.logs;
        (name(out_file), name(error_file), notes.len())
    };
    let path = |name: &str| Some(PathBuf::from(name));
    assert_eq!(files("log: 'all.log'"), (path("all.log"), path("all.log"), 0));
    let each = "log_file: 'all.log', instances: 2";
    assert_eq!(files(each), (path("all-{slot}.log"), path("all-{slot}.log"), 0));
    assert_eq!(files("log_file: 'all.log', out: 'o.log'"), (path("o.log"), None, 1));
}

#[test]
fn the_chosen_environment_is_in_the_name_and_has_what_deploy_says() {
    let text = "{ apps: [{ script: 'a.js', append_env_to_name: true, env: { A: 1, B: 1 }, \
                env_live: { B: 3 } }], deploy: { live: { env: { A: 2, B: 2 } }, test: {} } }";
    let read = |profile| read_at(folder().path(), "ecosystem.json", text, profile);
    let spec = &read(Some("live")).unwrap().apps[0];
    assert_eq!((spec.name.as_str(), &*spec.env["A"], &*spec.env["B"]), ("a-live", "2", "3"));
    let spec = &read(None).unwrap().apps[0];
    assert_eq!((spec.name.as_str(), &*spec.env["A"]), ("a", "1"));
    assert!(read(Some("test")).is_err());
}

#[test]
fn a_time_of_zero_is_the_default() {
    let plain = app("script: 'a.js'").0;
    assert_eq!(app("script: 'a.js', kill_timeout: 0, listen_timeout: 0").0.times, plain.times);
}

#[test]
fn a_saved_list_has_the_apps_that_were_started() {
    let folder = folder();
    let process = |name: &str, more: &str| {
        format!(
            "{{ name: '{name}', pm_exec_path: '{0}/a.js', pm_cwd: '{0}/sub', args: ['x'], \
             exec_interpreter: 'node', node_args: [], namespace: 'default', status: 'online', \
             pm_out_log_path: '/home/u/.pm2/logs/{name}-out.log', PORT: '80', vizion: true, \
             env: {{ PORT: '80', PM2_HOME: '/x', SHLVL: '1', axm_x: {{}} }} {more} }}",
            folder.path().display()
        )
    };
    let processes = [process("web", ""), process("api", ", kill_timeout: 300"), process("web", "")];
    let text = format!("[{}]", processes.join(","));
    let loaded = read_at(folder.path(), "dump.pm2", &text, None).unwrap();
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    let [web, api] = &loaded.apps[..] else { panic!("{:?}", loaded.apps) };
    assert_eq!((web.name.as_str(), &web.instances), ("web", &Instances::Count(2)));
    assert_eq!(web.cwd, folder.path().join("sub"));
    assert_eq!(web.command[2], "x");
    assert_eq!(web.env, [("PORT".to_owned(), "80".to_owned())].into());
    assert_eq!((web.logs.out_file.as_ref(), web.namespace.as_ref()), (None, None));
    assert_eq!(api.times.kill_timeout.as_millis(), 300);
}

#[test]
fn commands() {
    for (options, expected) in [
        ("script: 'a.js'", "node|a.js"),
        ("script: './a.js', args: '--port 3 \"a b\"'", "node|a.js|--port|3|a b"),
        (
            "script: 'a.js', args: ['x', 3], nodeArgs: '--inspect -r x'",
            "node|--inspect|-r|x|a.js|x|3",
        ),
        ("script: 'two words.js'", "node|two words.js"),
        ("script: 'app.py'", "python3|app.py"),
        ("script: 'app.py', interpreter: '.venv/bin/python'", "python|app.py"),
        ("script: 'a.js', interpreter: 'tsx'", "tsx|a.js"),
        ("script: 'npm', args: 'start'", "npm|start"),
        ("script: 'npm start'", "npm|start"),
        ("script: 'cc a.c; ./a.out'", "sh|-c|cc a.c; ./a.out"),
        ("script: 'node -e \"f(); g()\"'", "node|-e|f(); g()"),
        ("script: 'npm ci && npm start', args: ['a b']", "sh|-c|npm ci && npm start 'a b'"),
        ("script: 'serve', interpreter: 'none', args: '80'", "serve|80"),
        ("exec: 'a.js'", "node|a.js"),
        ("script: 'plain'", "node|plain"),
    ] {
        assert_eq!(command(options), expected, "{options}");
    }
}

#[test]
fn values_are_translated() {
    let (spec, _) = app(
        "name: 'shop', script: 'a.js', instances: 0, wait_ready: true, listen_timeout: 4000, \
                         kill_timeout: '2s', stop_exit_codes: [0, '42'], shutdown_with_message: true, restart_delay: 50, port: 3000, \
                         max_restarts: 1000000, env: { A: 1, B: { c: 2 }, D: null, E: true }",
    );
    assert_eq!((spec.name.as_str(), spec.instances), ("shop", Instances::Max));
    assert_eq!((spec.ready, spec.times.ready_timeout.as_secs()), (ReadyRule::Notify, 4));
    assert_eq!((spec.times.kill_timeout.as_secs(), spec.stop_signal), (2, 2));
    assert_eq!(spec.stop_message.as_deref(), Some("shutdown"));
    assert_eq!(spec.restart.stop_exit_codes, [0, 42].into_iter().collect());
    assert_eq!(spec.restart.backoff_min, spec.restart.backoff_max);
    assert_eq!((spec.restart.max_restarts, spec.restart.give_up), (u16::MAX, true));
    let env = [("A", "1"), ("B", "{\"c\":2}"), ("E", "true"), ("PORT", "3000")];
    let env: BTreeMap<String, String> =
        env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(spec.env, env);
    let (spec, _) = app("script: 'a.js', instances: -1, listen_timeout: 4000, min_uptime: '10s'");
    assert_eq!((spec.instances, spec.wanted), (Instances::MaxMinus(1), 3));
    assert_eq!((spec.ready, spec.times.listen_wait.as_secs()), (ReadyRule::Auto, 4));
    assert_eq!((spec.restart.max_restarts, spec.restart.window.as_secs()), (16, 400));
    assert!(!spec.restart.give_up, "PM2's own number was not asked for");
}

#[test]
fn forms_of_files_and_environments() {
    let folder = folder();
    let yaml = "apps:\n  - name: web\n    script: a.js\n    env: { A: 1, B: $HOME }\n    env_production:\n      A: 2\n  \
                - name: api\n    script: b.js\ndeploy:\n  production: {}\n";
    let read = |name, text, profile| read_at(folder.path(), name, text, profile);
    let loaded = read("ecosystem.yaml", yaml, Some("production")).unwrap();
    assert_eq!(
        (loaded.apps[0].env["A"].as_str(), loaded.apps[0].env["B"].as_str()),
        ("2", "$HOME")
    );
    assert_eq!(loaded.apps[0].profile.as_deref(), Some("production"));
    let note = &loaded.notes[0];
    assert_eq!(note.place.as_ref().unwrap().line, 9);
    assert!(note.message.starts_with("\"deploy\" is left out"), "{}", note.message);
    assert_eq!(read("ecosystem.yaml", yaml, None).unwrap().apps[0].env["A"], "1");
    let unknown = read("ecosystem.yaml", yaml, Some("staging")).unwrap_err();
    assert!(unknown.contains("no profile \"staging\": there is production"), "{unknown}");
    for text in [
        "[{ script: 'a.js' }]",
        "{ script: 'a.js' }",
        "{ apps: { script: 'a.js' } }",
        "{ name: 'x', version: '1', pm2: { apps: [{ script: 'a.js' }] } }",
        "{ pm2: [{ script: 'a.js' }] }",
        "{ pm2: { script: 'a.js' } }",
    ] {
        assert_eq!(read("package.json", text, None).unwrap().apps[0].name, "a", "{text}");
    }
}

#[test]
fn refusals_have_their_places() {
    for (options, expected) in [
        ("script: 'gone.js'", "ecosystem.json:1:20: script \"gone.js\": cannot find gone.js"),
        ("name: 'a b', script: 'a.js'", "1:18: the name \"a b\" contains \" \""),
        ("name: 'a'", "1:10: nothing says what to run: add a \"script\""),
        ("script: 'a.js', kill_timeout: 'soon'", "kill_timeout \"soon\": expected milliseconds"),
        ("script: 'a.js', instances: 'many'", "instances \"many\""),
        ("script: 'a.js', stop_exit_codes: [0, 256]", "stop_exit_codes: expected"),
        ("script: 'a.js', interpreter: 'node@16'", "interpreter \"node@16\": a version"),
        ("script: 'a.js', args: 'a \"b'", "args \"a \\\"b\": a quote"),
        ("script: 'a.js', env: 3", "env must be a table, not an integer"),
    ] {
        let report = read(&format!("{{ apps: [{{ {options} }}] }}")).unwrap_err();
        assert!(report.contains(expected), "{expected} in {report}");
    }
    let report = read("{ apps: [{ script: 'a.js' }, { script: 'a.js' }] }").unwrap_err();
    assert!(report.contains("two apps are called \"a\""), "{report}");
    assert!(read("[]").unwrap_err().contains("there is no app in the file"));
    assert!(read("[3]").unwrap_err().contains("each app must be a table"));
}

#[test]
fn log_files() {
    let files = |options: &str| {
        let (spec, notes) = app(&format!("script: 'a.js', {options}"));
        assert_eq!(notes, [""; 0]);
        let show = |path: Option<PathBuf>| {
            path.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        let dated = spec.logs.log_time_format.is_some();
        (show(spec.logs.out_file), show(spec.logs.error_file), dated)
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(files("out_file: 'logs/a.log'"), (some("a.log"), None, false));
    let each = "out_file: 'a.log', error_file: 'b', instances: 2, time: true";
    assert_eq!(files(each), (some("a-{slot}.log"), some("b-{slot}"), true));
    assert_eq!(files(&format!("{each}, merge_logs: true")), (some("a.log"), some("b"), true));
    assert_eq!(files("out: '/dev/null', err: 'NULL'"), (some("null"), some("null"), false));
    assert_eq!(files("disable_logs: true"), (some("null"), some("null"), false));
    assert_eq!(files("log_date_format: 'YYYY'"), (None, None, true));
    for (option, expected) in
        [("log_date_format: 'YYYY-MM', time: true", "%Y-%m:"), ("time: true", "%Y-%m-%dT%H:%M:%S:")]
    {
        let (spec, _) = app(&format!("script: 'a.js', {option}"));
        assert_eq!(spec.logs.log_time_format.as_deref(), Some(expected));
    }
    let (spec, _) = app("script: 'a.js', cwd: 'sub', pid: 'x/a.pid'");
    assert!(spec.pid_file.unwrap().ends_with("sub/x/a-{slot}.pid"));
    let (spec, _) = app("script: 'a.js', cwd: 'sub', out_file: 'x/a.log'");
    let path = spec.logs.out_file.unwrap();
    assert!(path.ends_with("sub/x/a.log"), "it begins at the app's folder: {}", path.display());
}

#[test]
fn what_a_program_gave_has_no_places() {
    let folder = folder();
    let path = folder.path().join("ecosystem.config.js");
    let reader = Reader::new(&CPUS);
    let loaded = reader
        .evaluated("{\"apps\":[{\"script\":\"a.js\",\"log_type\":\"json\"}]}", &path)
        .unwrap();
    assert_eq!(loaded.apps[0].source.as_deref(), Some(path.as_path()));
    let note = loaded.notes[0].to_string();
    assert!(note.ends_with("ecosystem.config.js: a: \"log_type\" is left out: lines go into the log as the app writes them"), "{note}");
    let report =
        reader.evaluated("{\"apps\":[{\"name\":\"x\",\"script\":\"no.js\"}]}", &path).unwrap_err();
    assert!(
        report.to_string().contains("ecosystem.config.js: app x: script \"no.js\": cannot find"),
        "{report}"
    );
    let report = reader.evaluated("{\"app\":1}", &path).unwrap_err().to_string();
    assert!(report.contains("exports no apps"), "{report}");
}
