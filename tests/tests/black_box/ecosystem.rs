//! PM2's ecosystem files: `start ecosystem.config.js` starts a real Node app as the file means it,
//! `--only` and `--env` choose, and what does nothing here is named.

use std::time::Duration;

use tests::{Home, Port, fixtures, http};

const SOON: Duration = Duration::from_secs(15);

const SERVER: &str = "require('http').createServer((request, response) => {\n  \
    response.end([process.pid, process.env.NODE_ENV, process.argv.slice(2)].join(' '));\n\
    }).listen(Number(process.env.PORT), '127.0.0.1');\n";

/// A home with `server.js`, and a file of this name which exports `apps`.
fn with_file(name: &str, begin: &str, apps: &str, end: &str) -> (Home, String) {
    let home = tests::home!();
    home.write("server.js", SERVER);
    let file = home.write(name, &format!("{begin}{{ apps: [{apps}] }}{end}"));
    (home, file.display().to_string())
}

fn web(port: &Port) -> String {
    format!(
        "{{ name: 'web', script: './server.js', args: '--flag x', instances: 2, \
         exec_mode: 'cluster', env: {{ PORT: {port}, NODE_ENV: 'development' }}, \
         env_production: {{ NODE_ENV: 'production' }}, max_memory_restart: '1G', instance_var: 'INSTANCE', watch: false }}"
    )
}

/// What a worker answers.
fn body(port: &Port) -> String {
    http::get(port.v4(), SOON).expect("an answer").body
}

const API: &str = "{ name: 'api', script: 'sleep', args: [60] }";

#[test]
fn a_program_of_each_kind_starts_its_node_app() {
    if fixtures::need("node").is_none() {
        return;
    }
    for (name, begin) in [
        ("ecosystem.config.js", "console.log('noise');\nmodule.exports = "),
        ("ecosystem.config.cjs", "const path = require('path');\nmodule.exports = "),
        ("ecosystem.config.mjs", "export default "),
    ] {
        let port = Port::new();
        let (home, file) = with_file(name, begin, &web(&port), ";\n");
        let started = home.run(&["start", &file]).ok();
        started.says(&["web: \"instance_var\" is left out", "SUPERVISOR_SLOT"]);
        let answer = body(&port);
        assert!(answer.contains(" development --flag,x"), "{name}: {answer}");
        assert_eq!(home.pids("web").len(), 2);
        home.run(&["reload", "web"]).ok();
        assert!(body(&port).contains(" development "), "{name}");
        home.run(&["delete", "all"]).ok();
        home.nothing_left();
    }
}

#[test]
fn env_and_only_choose() {
    if fixtures::need("node").is_none() {
        return;
    }
    let port = Port::new();
    let apps = format!("{}, {API}", web(&port));
    let (home, _) = with_file("ecosystem.config.js", "module.exports = ", &apps, ";");
    // No file is named: this folder has one.
    home.run(&["start", "--only", "web", "--env", "production"]).ok();
    let names: Vec<String> = home.list().into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["web"]);
    assert!(body(&port).contains(" production "));
    home.run(&["reload", "web"]).ok();
    assert!(body(&port).contains(" production "), "a reload keeps it");
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}

#[test]
fn json_and_yaml_need_no_node() {
    let home = tests::home!();
    let json = home.write("ecosystem.json", &format!("{{ \"apps\": [{API}], }}"));
    let yaml = "apps:\n  - name: two\n    script: sleep\n    args: '60'\n  - name: three\n    \
                script: sleep\n    args: '60'\n    autostart: false\n";
    let yaml = home.write("ecosystem.yaml", yaml);
    home.run(&["start", &json.display().to_string()]).ok();
    home.run(&["start", &yaml.display().to_string()]).ok().says(&["not started", "three"]);
    let names: Vec<String> = home.list().into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["api", "two"]);
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}

#[test]
fn mistakes_in_programs_are_refused() {
    if fixtures::need("node").is_none() {
        return;
    }
    for (text, says) in [
        ("module.exports = { apps: [", "SyntaxError"),
        ("throw new Error('no luck')", "no luck"),
        ("module.exports = 3", "exports no apps"),
        ("process.exit(0)", "node ended before"),
        (
            "module.exports = { apps: [{ name: 'x', script: 'gone.js' }] }",
            "app x: script \"gone.js\"",
        ),
        (
            "module.exports = { apps: [{ script: 'a', increment_var: 'P' }] }",
            "\"increment_var\" cannot",
        ),
    ] {
        let home = tests::home!();
        let file = home.write("ecosystem.config.js", text).display().to_string();
        home.run(&["start", &file]).code(2).says(&["ecosystem.config.js", says]).one_line();
        home.nothing_left();
    }
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    if fixtures::need("node").is_none() {
        return;
    }
    let home = tests::home!();
    let file = home.write("ecosystem.config.js", "for (;;) {}\n").display().to_string();
    home.run(&["check", &file]).code(2).says(&["it took longer than 10 s"]).one_line();
    home.nothing_left();
}
