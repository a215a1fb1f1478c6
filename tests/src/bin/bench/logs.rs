//! Lines of workers on their way into log files: how many a second are kept, what that costs the
//! process that keeps them, and whether some are lost; beside PM2 in the same rounds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::wait::try_until;
use tests::{Home, process, wait_until};

use crate::contestant::Contestant;
use crate::log_writer::{LINE, MODE};
use crate::stats::Samples;

const WORKERS: usize = 2;

/// How long all lines may take to come into the files after the last was written.
const LIMIT: Duration = Duration::from_secs(120);

/// Ours must keep at least this many times the lines that PM2 keeps for a second of CPU time.
const AIM: f64 = 5.0;

/// What is printed of each.
const FIGURES: [&str; 4] =
    ["lines kept/s", "CPU of the keeping process, ms", "its RSS at the end, KiB", "lines/CPU s"];

/// What one round found of one of the two.
struct Kept {
    figures: [f64; 4],
    lost: u64,
}

/// Measures `rounds` rounds in which each worker writes for `span`, and prints the medians with
/// their spread. `binary`: the supervisor; `me`: this program.
pub(crate) fn lines(binary: &str, me: &Path, rounds: usize, span: Duration) {
    let contestants = Contestant::all();
    let mut measured: Vec<[Samples; 4]> = contestants.iter().map(|_| Default::default()).collect();
    let mut lost = vec![0; contestants.len()];
    for _ in 0..rounds {
        for (at, one) in contestants.iter().enumerate() {
            let kept = round(one, binary, me, span);
            let figures = measured[at].iter_mut().zip(kept.figures);
            figures.for_each(|(sample, figure)| sample.push(figure));
            lost[at] += kept.lost;
        }
    }
    println!("\n{WORKERS} workers write lines of {LINE} bytes for {span:.0?}, {rounds} rounds");
    for (index, figure) in FIGURES.iter().enumerate() {
        for (one, samples) in contestants.iter().zip(&measured) {
            println!("  {figure:<32} {:<12} {}", one.name(), samples[index]);
        }
    }
    for (one, lost) in contestants.iter().zip(&lost) {
        println!("  {:<32} {:<12} {lost}", "lines lost", one.name());
    }
    if let [ours, theirs] = measured.as_slice() {
        let ratio = ours[3].median() / theirs[3].median();
        let met = if ratio >= AIM && lost[0] == 0 { "met   " } else { "MISSED" };
        println!("  aim {met}: nothing lost, >= {AIM} x PM2's lines per CPU second: {ratio:.1}");
    }
}

fn round(one: &Contestant, binary: &str, me: &Path, span: Duration) -> Kept {
    let home = Home::new(binary);
    let go = home.path().join("go");
    let file = config(one, &home, me, &go, span);
    one.timed(&home, &["start", &file]);
    let keeper = match one {
        Contestant::Ours => home.app("bench").primary_pid,
        Contestant::Pm2 { .. } => {
            let pid = fs::read_to_string(home.path().join("pm2/pm2.pid"));
            pid.expect("the pid of PM2's daemon").trim().parse().expect("a pid")
        }
    };
    let before = process::ticks(keeper);
    let begun = Instant::now();
    home.write("go", "");
    let written = wait_until("the workers to end", span + LIMIT, || written(&home));
    let expected = written * bytes_of_a_line(one);
    let kept = try_until(LIMIT, || {
        let size: u64 = files(one, &home).iter().map(|path| size(path)).sum();
        (size >= expected).then_some(())
    });
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_ms = (process::ticks(keeper) - before) as f64 * 10.0;
    let rss = process::rss_kib(keeper) as f64;
    let found = kept_lines(&files(one, &home));
    assert!(kept.is_none() || found == written, "{found} of {written} lines in files of full size");
    one.timed(&home, &["delete", "all"]);
    let lines = found as f64;
    Kept {
        figures: [lines / seconds, cpu_ms, rss, lines / (cpu_ms / 1000.0)],
        lost: written - found,
    }
}

/// A file with the app. Neither rotates what a round writes.
fn config(one: &Contestant, home: &Home, me: &Path, go: &Path, span: Duration) -> String {
    let args = [MODE.to_owned(), go.display().to_string(), span.as_secs().to_string()];
    let me = me.display().to_string();
    let (name, text) = match one {
        Contestant::Ours => {
            let command: Vec<&String> = std::iter::once(&me).chain(&args).collect();
            let command = serde_json::to_string(&command).expect("strings are JSON");
            let keys = "ready = \"uptime\"\nmin_uptime = \"0s\"\nlog_max_size = \"1T\"\n";
            ("bench.toml", format!("name = \"bench\"\ncommand = {command}\ninstances = 2\n{keys}"))
        }
        Contestant::Pm2 { .. } => {
            let app = serde_json::json!({
                "name": "bench", "script": me, "args": args, "interpreter": "none",
                "exec_mode": "fork", "instances": WORKERS,
            });
            ("bench.json", serde_json::json!({ "apps": [app] }).to_string())
        }
    };
    home.write(name, &text).display().to_string()
}

/// Ours has the slot in front: `0 | `.
fn bytes_of_a_line(one: &Contestant) -> u64 {
    let more = if matches!(one, Contestant::Ours) { 4 } else { 0 };
    (LINE + more) as u64
}

/// How many lines the workers wrote, when all have ended.
fn written(home: &Home) -> Option<u64> {
    let marks = named(home.path(), |name| name.starts_with("go."));
    let counts = marks.iter().filter_map(|path| fs::read_to_string(path).ok()?.parse::<u64>().ok());
    let counts: Vec<u64> = counts.collect();
    (counts.len() == WORKERS).then(|| counts.iter().sum())
}

/// The files with the lines.
fn files(one: &Contestant, home: &Home) -> Vec<PathBuf> {
    match one {
        Contestant::Ours => {
            home.files().into_iter().filter(|path| path.ends_with("bench/out.log")).collect()
        }
        Contestant::Pm2 { .. } => {
            named(&home.path().join("pm2/logs"), |name| name.starts_with("bench-out"))
        }
    }
}

fn named(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| wanted(&entry.file_name().to_string_lossy()));
    entries.map(|entry| entry.path()).collect()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The lines that are there, whole and in the order in which each worker wrote them.
fn kept_lines(files: &[PathBuf]) -> u64 {
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    let mut kept = 0;
    for path in files {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for line in BufReader::new(file).lines() {
            let line = line.expect("a log file of ASCII");
            let own = line.split_once(" | ").map_or(line.as_str(), |(_, own)| own);
            let mut words = own.split(' ').map(str::parse);
            let (Some(Ok(worker)), Some(Ok(number))) = (words.next(), words.next()) else {
                continue;
            };
            let expected = next.entry(worker).or_default();
            if own.len() + 1 == LINE && number >= *expected {
                *expected = number + 1;
                kept += 1;
            }
        }
    }
    kept
}
