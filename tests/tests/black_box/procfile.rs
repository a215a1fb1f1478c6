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
    home.run(&["delete", "all"]).ok();
    home.nothing_left();
}
