//! What workers write: long lines, characters of several bytes, and bytes that are no text.

use std::time::Duration;

use tests::{fixtures, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// One line of 60,000 bytes in characters of three bytes, and one of bytes that are no text.
const WRITES: &str = "
import sys, time
out = sys.stdout.buffer
out.write('\u{20ac}'.encode() * 20000 + b'\\n' + b'\\xff' * 20000 + b'\\nend\\n')
out.flush()
time.sleep(1000)
";

fn lines(options: &[&str]) -> Option<Vec<String>> {
    let home = tests::home!();
    let python = fixtures::need("python3")?;
    let mut all = vec!["--listen-wait", "100ms"];
    all.extend(options);
    home.start("web", &all, &[&python, "-c", WRITES]).ok();
    wait_until("the output", SOON, || home.log("web", "out.log").contains("| end").then_some(()));
    let lines = home.log("web", "out.log").lines().map(str::to_owned).collect();
    home.run(&["delete", "web", "--fast"]).ok();
    Some(lines)
}

#[test]
fn a_long_line_is_cut_between_characters_and_marked() {
    let Some(lines) = lines(&[]) else { return };
    let text: Vec<&String> = lines.iter().take_while(|line| line.contains('\u{20ac}')).collect();
    assert_eq!(text.len(), 4, "60,000 bytes in pieces of 16 KiB");
    for (at, line) in text.iter().enumerate() {
        let mark = if at == 0 { "0 | " } else { "0 > " };
        let rest = line.strip_prefix(mark).unwrap_or_else(|| panic!("no {mark:?}: {line:.20}"));
        assert!(rest.chars().all(|c| c == '\u{20ac}'), "a character was cut in piece {at}");
    }
    assert_eq!(text.iter().map(|line| line.chars().count() - 4).sum::<usize>(), 20_000);
    assert_eq!(lines.last().map(String::as_str), Some("0 | end"));
}

#[test]
fn a_longer_limit_keeps_it_whole() {
    let Some(lines) = lines(&["--log-line-max", "65536"]) else { return };
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0].chars().count(), 4 + 20_000);
}
