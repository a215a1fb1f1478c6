//! What the Rust client of the control socket does to an app: control-client PROGRAM COMMAND...

use std::thread;
use std::time::Duration;

use serde_json::json;
use supervisor_client::{Ask, Control, Error, Notice, NoticeKind};

fn fails<T>(call: Result<T, Error>) {
    if let Err(error) = call {
        println!("{}", error.kind());
    }
}

fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let control = Control::new().with_program(words.next().unwrap_or_default());
    let command: Vec<String> = words.collect();
    let options = ["-i", "2", "--observe", "200ms", "--min-uptime", "200ms"];
    let app = control.start(&command, "web", &options)?;
    let names: Vec<String> = control.apps().iter().map(|app| app.name().to_owned()).collect();
    let status = serde_json::to_value(app.status()?.status).unwrap_or_default();
    println!("{} {}", names.join(" "), status.as_str().unwrap_or_default());
    let mut notices = app.notices(Some(Duration::from_secs(30)))?;
    let told = thread::spawn(move || {
        notices.any(|notice| notice.is_ok_and(|notice| notice.event == NoticeKind::ReloadDone))
    });
    let mut replaced = 0;
    let mut count = |notice: &Notice| {
        replaced += usize::from(notice.event == NoticeKind::SlotReplaced);
    };
    let done = app.reload(Ask::new().on_notice(&mut count))?;
    println!("{}\n{replaced}", if done.message.is_empty() { "nothing" } else { "done" });
    println!("{}", if told.join().unwrap_or(false) { "told" } else { "not told" });
    println!("{}", app.scale(3, Ask::new())?.message);
    fails(app.scale(0, Ask::new()));
    fails(app.ask_json(&json!({ "request": "dance" }), Ask::new()));
    fails(control.app("nobody"));
    fails(app.reload(Ask::new().within(Duration::from_millis(10))));
    app.delete(Ask::new())?;
    println!("done");
    fails(control.start(&["/nonexistent"], "web", &[]));
    Ok(())
}
