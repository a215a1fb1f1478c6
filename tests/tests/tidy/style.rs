//! Rules for single files.

use std::fs;

use crate::sources::{code, files, has_word, none, root};

/// A file is one concept. One that needs more lines than this has two.
const LONGEST: usize = 600;

/// The rooms that decide, without a clock or a descriptor.
const PURE: [&str; 2] = ["supervisor/src/primary/", "supervisor/src/policy/"];

#[test]
fn every_file_says_what_it_is_for() {
    let broken: Vec<String> = files(".rs")
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path)
        .collect();
    none("a file opens with //! and what it is for", &broken);
}

#[test]
fn no_file_is_too_long() {
    let broken: Vec<String> = files(".rs")
        .into_iter()
        // `#[cfg(test)] mod tests;` moves the tests of a file into one of this name.
        .filter(|file| !file.is_all_tests())
        .map(|file| (file.before_tests().count(), file.path))
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    none("at most 600 lines before the tests; find the second concept", &broken);
}

/// `thread::spawn` panics where the user may have no further thread. A `Builder` gives an error,
/// which becomes a sentence.
#[test]
fn no_thread_that_cannot_be_had_is_a_panic() {
    let broken: Vec<String> = files(".rs")
        .into_iter()
        .filter(|file| ["supervisor/src/", "worker/src/"].iter().any(|p| file.path.starts_with(p)))
        .filter(|file| !file.path.contains("fake_primary") && !file.is_all_tests())
        .filter(|file| {
            let lines: Vec<&str> = file.before_tests().map(code).collect();
            lines
                .iter()
                .any(|line| line.contains("thread::spawn(") || line.contains("scope.spawn("))
        })
        .map(|file| file.path)
        .collect();
    none("thread::Builder instead of thread::spawn", &broken);
}

/// The machine's clock may be set forwards or back, so no decision depends on it. It stamps what
/// people read, and nothing else.
#[test]
fn deadlines_do_not_know_the_wall_clock() {
    let words = ["SystemTime", "Realtime", "CLOCK_REALTIME", "Timestamp::now", "Zoned::now"];
    let stamps = ["supervisor/src/sys/clock.rs", "supervisor/src/cli/verbs/save.rs"];
    let mut broken = Vec::new();
    for file in files(".rs") {
        if !file.path.starts_with("supervisor/src/") || stamps.contains(&file.path.as_str()) {
            continue;
        }
        for (number, line) in file.before_tests().enumerate() {
            if words.iter().any(|word| code(line).contains(word)) {
                broken.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    none("sys/clock.rs alone reads the wall clock", &broken);
    // Their caller tells them the time.
    let pure = files(".rs").into_iter().filter(|file| PURE.iter().any(|room| file.is_in(room)));
    let asks: Vec<String> =
        pure.filter(|file| file.text.contains("clock::")).map(|file| file.path).collect();
    none("primary/ and policy/ read no clock", &asks);
}

#[test]
fn unsafe_has_one_room() {
    let mut broken = Vec::new();
    for file in files(".rs") {
        let uses = file.text.lines().any(|line| has_word(code(line), "unsafe"));
        if !uses || file.is_tidy() {
            continue;
        }
        let sys = file.path.starts_with("supervisor/src/sys");
        if !sys && !file.path.starts_with("worker/src/") {
            broken.push(file.path.clone());
        }
        let expected = file.text.contains("expect(unsafe_code") || sys;
        assert!(expected, "{}: expect(unsafe_code, …)", file.path);
    }
    none("unsafe stands in supervisor/src/sys alone (and in worker, with a reason)", &broken);
}

#[test]
fn each_place_uses_one_crate_for_system_calls() {
    const FORBIDDEN: [(&str, &str); 3] =
        [("supervisor/", "rustix"), ("systemd/", "nix"), ("worker/", "nix")];
    let mut broken = Vec::new();
    for file in files(".rs") {
        let folder = FORBIDDEN.iter().find(|(folder, _)| file.path.starts_with(folder));
        let Some((_, name)) = folder else { continue };
        let in_sys = file.path.starts_with("supervisor/src/sys/");
        if !in_sys && file.text.lines().any(|line| has_word(code(line), name)) {
            broken.push(format!("{}: {name}", file.path));
        }
    }
    none("nix and rustix in the same place: see Dependencies in ARCHITECTURE.md", &broken);
}

#[test]
fn decisions_are_pure() {
    let mut forbidden: Vec<String> = ["fs", "net", "os", "process", "env", "io", "thread"]
        .iter()
        .map(|module| format!("std::{module}"))
        .collect();
    forbidden.extend(["nix", "rustix", "libc", "Instant", "SystemTime"].map(str::to_owned));
    let mut broken = Vec::new();
    for file in files(".rs") {
        if !PURE.iter().any(|room| file.is_in(room)) || file.is_all_tests() {
            continue;
        }
        for (number, line) in file.before_tests().enumerate() {
            // `use std::{fs, io}` is two paths, too.
            let grouped = code(line).contains("std::{");
            for word in &forbidden {
                let in_group = word.strip_prefix("std::").filter(|_| grouped);
                let found = in_group.is_some_and(|module| has_word(code(line), module));
                if found || has_word(code(line), word) {
                    broken.push(format!("{}:{}: {word}", file.path, number + 1));
                }
            }
        }
    }
    none("primary/ and policy/ decide; they have no clock, file, socket or process", &broken);
}

#[test]
fn documents_name_things_instead_of_lines() {
    let mut broken = Vec::new();
    for file in files(".md") {
        for (number, line) in file.text.lines().enumerate() {
            let cited = line.match_indices(".rs:").any(|(at, found)| {
                line[at + found.len()..].starts_with(|c: char| c.is_ascii_digit())
            });
            if cited {
                broken.push(format!("{}: line {}", file.path, number + 1));
            }
        }
    }
    none("a line number is wrong tomorrow; name the thing", &broken);
}

#[test]
fn only_one_place_of_the_tests_sleeps() {
    let sleeps = |text: &str| text.lines().any(|line| code(line).contains("thread::sleep"));
    let broken: Vec<String> = files(".rs")
        .into_iter()
        .filter(|file| file.path != "tests/src/wait.rs" && !file.is_tidy())
        .filter(|file| sleeps(&file.text))
        .map(|file| file.path)
        .collect();
    none("wait for events; bounded polls live in tests/src/wait.rs", &broken);
}

#[test]
fn the_program_begins_in_its_library() {
    let main = fs::read_to_string(root().join("supervisor/src/main.rs")).unwrap();
    assert!(main.lines().count() <= 12, "main.rs says nothing");
}

/// `cargo fast` leaves out every test with `heavy_` in its path, so the word must mean nothing
/// else.
#[test]
fn heavy_is_a_prefix_of_test_names() {
    let mut broken = Vec::new();
    for file in files(".rs") {
        for (number, line) in file.text.lines().enumerate() {
            let name = ["fn ", "mod "].iter().find_map(|word| line.trim_start().strip_prefix(word));
            if name.is_some_and(|name| name.find("heavy_").is_some_and(|at| at > 0)) {
                broken.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    none("heavy_ begins the name of a test or of its module, and stands nowhere else", &broken);
}
