//! `start Procfile`: an app for each line, in a shell where it needs one.

#[test]
fn each_line_becomes_an_app() {
    let home = tests::home!();
    let text = "# a comment\nweb: sleep 1000\nworker: exec sleep ${SECONDS_OF_SLEEP:-1000}\n";
    let file = home.write("Procfile", text).display().to_string();
    home.run(&["check", &file]).ok();
    let imported = home.run(&["import", &file]).ok().stdout;
    assert!(imported.contains("[app.web]"), "{imported}");
    home.run(&["start", &file]).ok();
    let names: Vec<String> = home.list().into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["web", "worker"]);
    home.run(&["plan", &file]).ok();
    home.write("Procfile", "web: sleep 1000\nworker: sleep 999\n");
    home.run(&["reload", "worker"]).ok();
    assert_eq!(home.app("worker").command, ["sleep", "999"]);
    home.write("Procfile", "web sleep\n");
    home.run(&["start", &file]).code(2).says(&["Procfile:1:1", "expected NAME: COMMAND"]);
    home.run(&["delete", &file]).code(2);

    let other = home.write("other/Procfile", "web: sleep 1000\n").display().to_string();
    let pids = home.pids("web");
    for verb in ["stop", "restart", "reload", "delete"] {
        home.run(&[verb, &other]).code(2).says(&["was started from", "another name"]).one_line();
    }
    assert_eq!(home.pids("web"), pids);
    home.run(&["stop", "web"]).ok();
    home.run(&["start", &other]).code(2).says(&["the app web that is there"]).one_line();
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}
