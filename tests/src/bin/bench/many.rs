//! Many apps of `sleep`: how long a start, a list and a delete of all of them take, and what the
//! supervisor itself holds, beside PM2 in the same rounds.

use tests::{Home, process};

use crate::contestant::Contestant;
use crate::stats::Samples;

/// What one round measures of one of the two.
const FIGURES: [&str; 4] = ["start FILE, ms", "list, ms", "PSS, MiB", "delete all, ms"];

/// A configuration of `count` apps. Ours are ready at once, since PM2 waits for nothing.
fn file(of: &Contestant, home: &Home, count: usize) -> String {
    let apps: Vec<serde_json::Value> = (0..count)
        .map(|number| {
            let name = format!("a{number}");
            let (script, args) = ("sleep", ["100000"]);
            serde_json::json!({
                "name": name, "script": script, "args": args, "interpreter": "none"
            })
        })
        .collect();
    let ours = (0..count).map(|number| {
        format!(
            "[app.a{number}]\ncommand = [\"sleep\", \"100000\"]\nready = \"uptime\"\n\
                 min_uptime = \"0s\"\n"
        )
    });
    let (name, text) = match of {
        Contestant::Ours => ("many.toml", ours.collect()),
        Contestant::Pm2 { .. } => ("many.json", serde_json::json!({ "apps": apps }).to_string()),
    };
    home.write(name, &text).display().to_string()
}

fn round(of: &Contestant, binary: &str, count: usize) -> [f64; 4] {
    let home = Home::new(binary);
    let file = file(of, &home, count);
    if matches!(of, Contestant::Pm2 { .. }) {
        // PM2's daemon runs already in a working day.
        of.timed(&home, &["ping"]);
    }
    let start = of.timed(&home, &["start", &file]);
    of.timed(&home, &["list"]);
    let list = of.timed(&home, &["list"]);
    let own = process::of_home(home.path()).into_iter().filter(|p| p.name != "sleep");
    let held: u64 = own.map(|p| process::pss_kib(p.pid)).sum();
    let delete = of.timed(&home, &["delete", "all"]);
    [start, list, held as f64 / 1024.0, delete]
}

/// Measures each of the counts in `rounds` rounds and prints the medians with their spread.
pub(crate) fn apps(binary: &str, counts: &[usize], rounds: usize) {
    let contestants = Contestant::all();
    for count in counts {
        let mut measured: Vec<[Samples; 4]> =
            contestants.iter().map(|_| Default::default()).collect();
        for _ in 0..rounds {
            for (one, samples) in contestants.iter().zip(&mut measured) {
                let figures = round(one, binary, *count);
                samples.iter_mut().zip(figures).for_each(|(sample, figure)| sample.push(figure));
            }
        }
        println!("\n{count} apps of sleep, {rounds} rounds");
        for (index, figure) in FIGURES.iter().enumerate() {
            for (one, samples) in contestants.iter().zip(&measured) {
                println!("  {figure:<16} {:<12} {}", one.name(), samples[index]);
            }
        }
    }
}
