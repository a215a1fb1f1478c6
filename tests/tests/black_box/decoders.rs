//! Runs every decoder for a moment in every test run: on each seed, on each seed cut short, and on
//! seeds with random changes. FUZZ_SECONDS sets the time for each decoder (1). `tests/fuzz`, which
//! is guided by coverage, finds more.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::decoders::ALL;

/// Bytes that decoders look for, so that random changes reach more of their code.
const WORDS: [&[u8]; 14] = [
    b"\n",
    b"\0",
    b"{",
    b"}",
    b"[",
    b"\"",
    b"\\ud800",
    b"=",
    b":",
    b"NODE_",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\xff",
];

fn span() -> Duration {
    let text = std::env::var("FUZZ_SECONDS").unwrap_or_else(|_| "1".to_owned());
    let seconds: f64 = text.parse().expect("FUZZ_SECONDS is a number");
    Duration::from_secs_f64(seconds)
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> =
        paths.iter().map(|path| fs::read(path).expect("read a seed")).collect();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds
}

/// splitmix64: the same numbers in every run, so that every failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).expect("it is below a usize")
    }
}

fn change(bytes: &mut Vec<u8>, numbers: &mut Numbers, other: &[u8]) {
    let at = numbers.below(bytes.len() + 1);
    let until = at + numbers.below(bytes.len() + 1 - at).min(40);
    match numbers.below(6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
        1 => drop(bytes.drain(at..until)),
        2 => {
            let again = bytes[at..until].to_vec();
            bytes.splice(at..at, again);
        }
        3 => {
            let from = numbers.below(other.len() + 1);
            let to = from + numbers.below(other.len() + 1 - from);
            bytes.splice(at..until, other[from..to].iter().copied());
        }
        _ => {
            let word = WORDS[numbers.below(WORDS.len())];
            bytes.splice(at..at, word.iter().copied());
        }
    }
    bytes.truncate(8192);
}

fn check(name: &str) {
    let (_, decode) = ALL.into_iter().find(|(known, _)| *known == name).expect("a decoder");
    let (seeds, mut numbers, begun) = (seeds(name), Numbers(1), Instant::now());
    let mut count = 0_u64;
    for seed in &seeds {
        (0..=seed.len()).for_each(|end| decode(&seed[..end]));
        count += seed.len() as u64 + 1;
    }
    while begun.elapsed() < span() {
        let mut bytes = seeds[numbers.below(seeds.len())].clone();
        for _ in 0..=numbers.below(6) {
            let other = numbers.below(seeds.len());
            change(&mut bytes, &mut numbers, &seeds[other]);
        }
        let shown = bytes.clone();
        let run = std::panic::catch_unwind(|| decode(&bytes));
        assert!(run.is_ok(), "{name} fails on {:?}", shown.escape_ascii().to_string());
        count += 1;
    }
    println!("{name}: {count} executions in {:.1?}", begun.elapsed());
}

macro_rules! decoders {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_decoder_has_a_test() {
            assert_eq!(ALL.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

decoders! { bus node control notify listen_fds configuration words }
