//! Worker output becomes log lines: split, prefixed with the slot, written to files that never
//! grow without bound. A full disk or a slow terminal costs lines, which are counted, and never
//! blocks a worker. Nor does a log path that leads to a fifo or a device.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use config::spec::log_files;
use config::spec::{LogFiles, LogTo, Rotation};
use ipc::control::Notice;

use super::console::Console;
use super::event_log::EventLog;
use super::journal::{self, Journal};
use super::json_line::{local_time, time};
use super::line_parts::{piece, prefix};
use super::log_file::{self, LogFile};
use crate::base::stream::Stream;
use crate::base::time::Time;
use crate::limits::{TAIL_LINE, TAIL_LINES};
use crate::policy::log_rate::{Dropped, LineRates};
use crate::sys::{clock, socket};

/// Bytes of one pipe on their way to whole lines.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    partial: Vec<u8>,
    /// What comes continues a line that was cut.
    continues: bool,
    /// What came last is so much that its program may write whole blocks, which end anywhere.
    in_blocks: bool,
}

/// The smallest block in which a standard library writes: that of musl.
const LEAST_BLOCK: usize = 1024;

impl LineSplitter {
    /// Takes bytes in, in any split, and gives each whole line (without its newline), one that is
    /// longer than `longest` bytes in pieces. `true`: a piece that continues the line before it.
    pub(crate) fn push(&mut self, bytes: &[u8], longest: usize, mut line: impl FnMut(&[u8], bool)) {
        self.partial.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.in_blocks = bytes.len() >= LEAST_BLOCK;
        }
        let mut start = 0;
        loop {
            let rest = &self.partial[start..];
            let end = rest.iter().take(longest + 1).position(|byte| *byte == b'\n');
            if let Some(end) = end {
                // What was cut exactly at its end has no further piece.
                if end > 0 || !self.continues {
                    line(&rest[..end], self.continues);
                }
                (start, self.continues) = (start + end + 1, false);
            } else if rest.len() > longest {
                let count = piece(rest, longest);
                line(&rest[..count], self.continues);
                (start, self.continues) = (start + count, true);
            } else {
                break;
            }
        }
        self.partial.drain(..start);
    }

    /// Whether the program has written the beginning of a line, and meant to: the rest of a block
    /// comes with the next block.
    pub(crate) fn is_unended(&self) -> bool {
        !self.partial.is_empty() && !self.in_blocks
    }

    /// Gives the beginning of a line; what follows continues it.
    pub(crate) fn give_unended(&mut self, mut line: impl FnMut(&[u8], bool)) {
        line(&self.partial, self.continues);
        self.partial.clear();
        self.continues = true;
    }

    /// Gives what is left when the pipe has ended.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&[u8], bool)) {
        if !self.partial.is_empty() {
            line(&self.partial, self.continues);
            *self = Self::default();
        }
    }
}

/// The last lines of a worker's stderr.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
}

impl Tail {
    /// Remembers a line and forgets the oldest.
    pub(crate) fn push(&mut self, line: &[u8]) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        let kept = &line[..line.len().min(TAIL_LINE)];
        self.lines.push_back(String::from_utf8_lossy(kept).trim_end().to_owned());
    }

    /// With these lines, oldest first.
    pub(crate) fn of(lines: &[String]) -> Self {
        let mut tail = Self::default();
        lines.iter().for_each(|line| tail.push(line.as_bytes()));
        tail
    }

    /// Oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// Where an app's lines go.
#[derive(Debug)]
pub(crate) struct Logs {
    /// The files where the app names none.
    usual: [PathBuf; 2],
    /// What the app says about its files.
    files: LogFiles,
    out: Output,
    /// `None`: stderr goes where stdout goes.
    err: Option<Output>,
    /// What the primary itself says, in the background. It is our stderr.
    primary: Option<LogFile>,
    /// The events, for later questions.
    events: EventLog,
    journal: Journal,
    /// How fast the slots write.
    rates: LineRates,
    /// What is kept has changed.
    limits_changed: bool,
    /// When the beginning of a line is written that does not end.
    unended_due: Option<Time>,
    /// In the foreground the lines also go to our own stdout and stderr.
    pub(in crate::runtime) console: Console,
}

impl Logs {
    /// Opens the files of an app; `usual` are those for stdout and stderr where the app names none.
    /// Failing to is no reason not to run: lines are then dropped and counted, and the caller is
    /// told once.
    pub(crate) fn open(
        usual: [PathBuf; 2],
        files: &LogFiles,
        primary: Option<PathBuf>,
        events: PathBuf,
        console: Console,
    ) -> (Self, io::Result<()>) {
        let primary = primary.map(LogFile::stderr);
        let (out, err) = Output::both(&usual, files);
        let events = EventLog::new(events);
        let files = files.clone();
        let (limits_changed, rates) = (false, LineRates::default());
        let journal = Journal::new(journal::SOCKET.into(), console.app().to_owned());
        let mut logs = Self {
            usual,
            files,
            out,
            err,
            primary,
            events,
            journal,
            rates,
            limits_changed,
            unended_due: None,
            console,
        };
        let result = logs.reopen();
        (logs, result)
    }

    /// From now on the output goes where these say.
    pub(in crate::runtime) fn keep_to(&mut self, files: &LogFiles) -> io::Result<()> {
        if *files == self.files {
            return Ok(());
        }
        let same_files = LogFiles {
            rotation: self.files.rotation.clone(),
            rate: self.files.rate.clone(),
            ..files.clone()
        };
        let only_limits = self.files == same_files;
        self.files = files.clone();
        self.limits_changed = true;
        if only_limits {
            return Ok(());
        }
        (self.out, self.err) = Output::both(&self.usual, files);
        self.reopen()
    }

    /// Every log: the files where the app names none, those that it names (a path with `{slot}`
    /// stands for several), and that of the primary.
    pub(super) fn all_paths(&self) -> Vec<PathBuf> {
        let outputs = [Some(&self.out), self.err.as_ref()].into_iter().flatten();
        let named = outputs.map(|output| &output.path);
        let primary = self.primary.as_ref().map(|log| &log.path);
        let mut all: Vec<PathBuf> =
            self.usual.iter().chain(named).chain(primary).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// How much of the logs is kept.
    pub(super) fn limits(&self) -> &Rotation {
        &self.files.rotation
    }

    /// Whether there are rotated files, or limits, that came since the last call.
    pub(super) fn take_rotated(&mut self) -> bool {
        let changed = std::mem::take(&mut self.limits_changed);
        self.all().fold(changed, |any, file| std::mem::take(&mut file.has_rotated) || any)
    }

    /// Whether the primary writes files.
    fn has_files(&self) -> bool {
        match self.files.to {
            LogTo::Files => true,
            // In the background nobody would read it.
            LogTo::Stdout => self.console.format().is_none(),
            LogTo::Journald | LogTo::Direct | LogTo::None => false,
        }
    }

    /// Closes and opens the files again.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let (mut out, mut err) = (Ok(()), Ok(()));
        if self.has_files() {
            out = self.out.reopen();
            err = self.err.as_mut().map_or(Ok(()), Output::reopen);
        }
        let primary = self.primary.as_mut().map_or(Ok(()), LogFile::open);
        let events = self.events.open();
        out.and(err).and(primary).and(events)
    }

    /// Writes what the primary says, and keeps it for later questions.
    pub(in crate::runtime) fn notice(&mut self, notice: &Notice) {
        self.events.keep(notice);
        match self.primary.as_mut().filter(|log| log.file.is_some()) {
            Some(log) => log.write(self.console.line(notice).as_bytes(), &self.files.rotation),
            None => self.console.notice(notice),
        }
    }

    /// Whether the folder of the files was removed.
    pub(crate) fn folder_is_gone(&self) -> bool {
        self.usual[0].parent().is_some_and(|folder| !folder.exists())
    }

    /// Writes one chunk of whole lines of the worker in this slot, each already prefixed and ended.
    pub(crate) fn write(&mut self, stream: Stream, slot: u16, lines: &[u8]) {
        let lines = self.within_rate(stream, slot, lines);
        self.write_all(stream, slot, lines);
    }

    /// Those of the lines that the limit of the rate lets pass.
    fn within_rate<'a>(&mut self, stream: Stream, slot: u16, lines: &'a [u8]) -> &'a [u8] {
        if self.files.rate.lines == 0 {
            return lines;
        }
        let ends = || lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let count = u32::try_from(ends().count()).unwrap_or(u32::MAX);
        let kept = self.rates.admit(clock::now(), (slot, stream), count, &self.files.rate);
        match kept.checked_sub(1) {
            None => &[],
            _ if kept == count => lines,
            Some(last) => ends().nth(last as usize).map_or(lines, |(at, _)| &lines[..=at]),
        }
    }

    /// Says in the log how many lines were dropped.
    pub(in crate::runtime) fn say_dropped(&mut self, now: Time) {
        for Dropped { slot, stream, lines } in self.rates.take_dropped(now) {
            let limit = self.files.rate.lines;
            let text = format!(
                "supervisor: {lines} lines were dropped here: more than log_rate = {limit} a second"
            );
            let mut line = Vec::new();
            prefix(slot, (text.as_bytes(), false), &mut line);
            self.write_all(stream, slot, &line);
        }
    }

    /// When there is something to say about dropped lines, or the beginning of one is due.
    pub(in crate::runtime) fn deadline(&self) -> Option<Time> {
        self.rates.deadline().into_iter().chain(self.unended_due).min()
    }

    /// A worker has written the beginning of a line, which is written then if it has not ended.
    pub(super) fn awaits_end(&mut self, due: Option<Time>) {
        self.unended_due = self.unended_due.into_iter().chain(due).min();
    }

    /// Whether beginnings of lines are due.
    pub(super) fn take_unended_due(&mut self, now: Time) -> bool {
        self.unended_due.take_if(|due| *due <= now).is_some()
    }

    /// The lines that the limit of the rate has dropped, by slot.
    pub(in crate::runtime) fn dropped_lines(&self) -> &BTreeMap<u16, u64> {
        self.rates.total()
    }

    /// The files that a worker of this spec in this slot writes itself, if it does: for stdout and
    /// for stderr.
    pub(in crate::runtime) fn for_worker(
        &self,
        files: &LogFiles,
        slot: u16,
    ) -> io::Result<Option<[File; 2]>> {
        if files.to != LogTo::Direct {
            return Ok(None);
        }
        let (out, err) = Output::both(&self.usual, files);
        let out_file = out.for_worker(slot)?;
        let err_file = err.as_ref().unwrap_or(&out).for_worker(slot)?;
        Ok(Some([out_file, err_file]))
    }

    /// What people should know about dropped lines.
    pub(in crate::runtime) fn rate_note(&self) -> Option<String> {
        let dropped = self.rates.total();
        let lines: u64 = dropped.values().sum();
        let slots: Vec<String> = dropped.keys().take(8).map(u16::to_string).collect();
        let more = if dropped.len() > slots.len() { ", …" } else { "" };
        (lines > 0).then(|| {
            format!(
                "{lines} log lines were dropped because of log_rate (slots {}{more})",
                slots.join(", ")
            )
        })
    }

    fn write_all(&mut self, stream: Stream, slot: u16, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        match self.files.to {
            LogTo::Journald => self.journal.write(stream, lines),
            _ if self.has_files() => {
                let output = match stream {
                    Stream::Out => &mut self.out,
                    Stream::Err => self.err.as_mut().unwrap_or(&mut self.out),
                };
                output.write(slot, lines, &self.files);
            }
            LogTo::Files | LogTo::Stdout | LogTo::Direct | LogTo::None => {}
        }
        self.console.output(stream, lines);
    }

    /// The paths of the files.
    pub(crate) fn paths(&self) -> Vec<String> {
        if !self.has_files() && self.files.to != LogTo::Direct {
            return Vec::new();
        }
        let all = [Some(&self.out), self.err.as_ref()].into_iter().flatten();
        all.map(|output| output.path.display().to_string()).collect()
    }

    /// What could not be written since the last call, for people.
    pub(crate) fn take_complaints(&mut self) -> Vec<String> {
        let files = self.take_dropped() > 0;
        let files =
            files.then(|| "log lines were dropped: the log files cannot be written".to_owned());
        let console = self.console.take_complaint();
        let journal = self.journal.take_complaint();
        let mut complaints: Vec<String> = files.into_iter().chain(console).chain(journal).collect();
        complaints.extend(self.all().filter_map(|file| file.remark.take()));
        complaints
    }

    /// Bytes that could not be written since the last call.
    fn take_dropped(&mut self) -> u64 {
        self.all().map(|file| std::mem::take(&mut file.dropped)).sum()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut LogFile> {
        let err = self.err.iter_mut().flat_map(|output| output.files.values_mut());
        self.out.files.values_mut().chain(err).chain(&mut self.primary)
    }
}

/// Where the workers' stdout or stderr goes.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    /// The app named it: its lines are written as the workers wrote them, without the slot.
    is_own: bool,
    /// By slot, if each has a file of its own; else one.
    files: BTreeMap<Option<u16>, LogFile>,
}

impl Output {
    /// Where stdout goes, and where stderr goes if it goes elsewhere.
    fn both(usual: &[PathBuf; 2], files: &LogFiles) -> (Self, Option<Self>) {
        let output = |own: &Option<PathBuf>, usual: &PathBuf| Self {
            path: own.as_ref().unwrap_or(usual).clone(),
            is_own: own.is_some(),
            files: BTreeMap::new(),
        };
        let out = output(&files.out_file, &usual[0]);
        let err = output(&files.error_file, &usual[1]);
        let is_same = err.path == out.path;
        (out, (!is_same).then_some(err))
    }

    fn is_per_slot(&self) -> bool {
        self.is_own && log_files::is_per_slot(&self.path)
    }

    /// Opens the file that the worker in this slot writes itself.
    fn for_worker(&self, slot: u16) -> io::Result<File> {
        let path = match self.is_per_slot() {
            true => log_files::for_slot(&self.path, slot),
            false => self.path.clone(),
        };
        let file = log_file::open(&path, self.is_own, None)?;
        // A fifo blocks its writer, as the worker expects it.
        socket::set_nonblocking(file.as_fd(), false)?;
        Ok(file)
    }

    /// The files of slots are opened when their workers write something.
    fn reopen(&mut self) -> io::Result<()> {
        if self.is_per_slot() {
            self.files.retain(|_, file| file.dropped > 0 || file.remark.is_some());
            self.files.values_mut().for_each(|file| file.file = None);
            return Ok(());
        }
        let file = self.files.entry(None).or_insert_with(|| LogFile::new(self.path.clone()));
        file.is_own = self.is_own;
        file.open()
    }

    fn write(&mut self, slot: u16, lines: &[u8], files: &LogFiles) {
        let now = clock::unix_ms();
        let key = self.is_per_slot().then_some(slot);
        let file = self.files.entry(key).or_insert_with(|| {
            LogFile::new(match key {
                Some(slot) => log_files::for_slot(&self.path, slot),
                None => self.path.clone(),
            })
        });
        file.is_own = self.is_own;
        if key.is_some()
            && file.file.is_none()
            && let Err(error) = file.open()
        {
            file.remark = Some(format!("cannot write {}: {error}", file.path.display()));
        }
        file.note_time(now, &files.rotation);
        let stamp = Stamp::of(files, now);
        if !self.is_own && stamp.is_none() {
            return file.write(lines, &files.rotation);
        }
        let lines = rewritten(lines, !self.is_own, stamp.as_ref());
        file.write(&lines, &files.rotation);
    }
}

/// The time of lines, as the log has it.
#[derive(Debug, PartialEq)]
enum Stamp {
    /// Readers of the log know it: it stands before the slot.
    Usual(String),
    /// The app chose the format: it belongs to the text.
    Own(String),
}

impl Stamp {
    /// `None`: the app asks for none.
    fn of(files: &LogFiles, unix_ms: u64) -> Option<Self> {
        match &files.log_time_format {
            Some(format) => Some(Self::Own(local_time(unix_ms, format) + " ")),
            None => files.log_time.then(|| Self::Usual(time(unix_ms) + " ")),
        }
    }
}

/// Lines that are prefixed, with their time, and without the prefix unless `with_slot`.
fn rewritten(lines: &[u8], with_slot: bool, stamp: Option<&Stamp>) -> Vec<u8> {
    let (before, behind) = match stamp {
        None => ("", ""),
        Some(Stamp::Usual(time)) => (time.as_str(), ""),
        Some(Stamp::Own(time)) => ("", time.as_str()),
    };
    let mut all = Vec::with_capacity(lines.len() + lines.len() / 2);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let prefix = digits + PREFIX_MARK;
        let (mark, text) = line.split_at_checked(prefix).unwrap_or((&[], line));
        all.extend_from_slice(before.as_bytes());
        all.extend_from_slice(if with_slot { mark } else { &[] });
        all.extend_from_slice(behind.as_bytes());
        all.extend_from_slice(text);
    }
    all
}

/// Bytes of ` | `.
const PREFIX_MARK: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use config::spec::LogRate;
    use config::spec::log_files::rotated;
    use proptest::prelude::*;
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt;

    fn silent() -> Console {
        Console::new("web".into(), None)
    }

    fn opened(usual: [PathBuf; 2]) -> (Logs, io::Result<()>) {
        let events = usual[0].with_file_name("events.jsonl");
        Logs::open(usual, &LogFiles::default(), None, events, silent())
    }

    #[test]
    fn files_of_the_app() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        let (mut logs, result) = opened([at("out.log"), at("err.log")]);
        result.unwrap();
        logs.write(Stream::Out, 1, b"1 | usual\n");
        let each = LogFiles {
            out_file: Some(at("own/out-{slot}.log")),
            error_file: Some(at("own/err.log")),
            ..LogFiles::default()
        };
        logs.keep_to(&each).unwrap();
        logs.write(Stream::Out, 1, b"1 | one | two\n1 > three\n");
        logs.write(Stream::Out, 12, b"12 | \n");
        logs.write(Stream::Err, 1, b"1 | oh\n");
        assert_eq!(
            (read("out.log"), read("own/out-1.log")),
            ("1 | usual\n".into(), "one | two\nthree\n".into())
        );
        assert_eq!((read("own/out-12.log"), read("own/err.log")), ("\n".into(), "oh\n".into()));
        fs::rename(at("own/out-1.log"), at("moved")).unwrap();
        logs.reopen().unwrap();
        logs.write(Stream::Out, 1, b"1 | again\n");
        assert_eq!(read("own/out-1.log"), "again\n");
        let one = LogFiles {
            out_file: Some(at("all")),
            error_file: Some(at("all")),
            log_time: true,
            ..LogFiles::default()
        };
        logs.keep_to(&one).unwrap();
        logs.write(Stream::Out, 0, b"0 | to stdout\n");
        logs.write(Stream::Err, 0, b"0 | to stderr\n");
        let all = read("all");
        let texts: Vec<&str> = all.lines().map(|line| &line[25..]).collect();
        assert_eq!(texts, ["to stdout", "to stderr"]);
        assert_eq!((&all[..2], &all[23..25]), ("20", "Z "));
        assert_eq!((logs.take_dropped(), logs.paths().len()), (0, 1));
    }

    #[test]
    fn times_stand_where_readers_of_the_log_expect_them() {
        let lines = b"0 | one\n12 > two\n";
        let of = |with_slot, stamp: Option<&Stamp>| {
            String::from_utf8(rewritten(lines, with_slot, stamp)).unwrap()
        };
        let own = |format: &str| {
            let log_time_format = Some(format.to_owned());
            Stamp::of(&LogFiles { log_time_format, ..LogFiles::default() }, 0)
        };
        let usual = Stamp::of(&LogFiles { log_time: true, ..LogFiles::default() }, 0);
        assert_eq!(Stamp::of(&LogFiles::default(), 0), None);
        assert_eq!(own("at %%"), Some(Stamp::Own("at % ".to_owned())));
        for (with_slot, stamp, expected) in [
            (false, None, "one\ntwo\n"),
            (true, own("T"), "0 | T one\n12 > T two\n"),
            (false, own("T"), "T one\nT two\n"),
            (false, usual, "1970-01-01T00:00:00.000Z one\n1970-01-01T00:00:00.000Z two\n"),
        ] {
            assert_eq!(of(with_slot, stamp.as_ref()), expected);
        }
    }

    proptest! {
        #[test]
        fn a_long_line_is_cut_between_characters(text in "[a-z\u{e4}\u{20ac}\u{1f600}]{0,60}") {
            let mut splitter = LineSplitter::default();
            let mut pieces: Vec<(String, bool)> = Vec::new();
            let whole = format!("{text}\n");
            splitter.push(whole.as_bytes(), 7, |line, continues| {
                pieces.push((String::from_utf8(line.to_vec()).unwrap(), continues));
            });
            let (joined, marks): (Vec<String>, Vec<bool>) = pieces.into_iter().unzip();
            prop_assert_eq!(joined.concat(), text);
            prop_assert!(joined.iter().all(|piece| piece.len() <= 7));
            prop_assert!(marks.iter().enumerate().all(|(at, continues)| *continues == (at > 0)));
        }

        #[test]
        fn any_split_gives_the_same_lines(text in "[a-c\n]{0,200}", cuts in prop::collection::vec(1usize..9, 0..40)) {
            let mut splitter = LineSplitter::default();
            let mut seen: Vec<String> = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                let line = |line: &[u8], _| seen.push(String::from_utf8_lossy(line).into_owned());
                splitter.push(now, 1000, line);
                rest = later;
            }
            splitter.finish(|line, _| seen.push(String::from_utf8_lossy(line).into_owned()));
            prop_assert_eq!(seen, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut splitter = LineSplitter::default();
        let mut sizes = Vec::new();
        splitter.push(&[b'x'; 25], 10, |line, continues| sizes.push((line.len(), continues)));
        assert_eq!(sizes, [(10, false), (10, true)]);
        splitter.push(b"\n", 10, |line, continues| sizes.push((line.len(), continues)));
        assert_eq!(sizes, [(10, false), (10, true), (5, true)]);
        // Bytes that are no text are cut all the same.
        splitter.push(&[0x80; 21], 10, |line, continues| sizes.push((line.len(), continues)));
        assert_eq!(sizes[3..], [(10, false), (10, true)]);
    }

    #[test]
    fn the_beginning_of_a_line_is_given_unless_it_is_the_end_of_a_block() {
        let mut splitter = LineSplitter::default();
        let mut seen = Vec::new();
        let mut line = |line: &[u8], continues: bool| {
            seen.push((String::from_utf8_lossy(line).into_owned(), continues));
        };
        splitter.push(b"one\nPassword: ", 5000, &mut line);
        assert!(splitter.is_unended());
        splitter.give_unended(&mut line);
        assert!(!splitter.is_unended());
        // Its line ends, and the next one is whole.
        splitter.push(b"\n", 5000, &mut line);
        splitter.push(b"two\n", 5000, &mut line);
        splitter.push(&[b'x'; LEAST_BLOCK], 5000, &mut line);
        splitter.push(b"", 5000, &mut line);
        assert!(!splitter.is_unended());
        splitter.push(b"y", 5000, &mut line);
        assert!(splitter.is_unended());
        let expected = [("one", false), ("Password: ", false), ("two", false)];
        assert_eq!(seen, expected.map(|(text, continues)| (text.to_owned(), continues)));
    }

    #[test]
    fn the_tail_keeps_the_newest() {
        let mut tail = Tail::default();
        for number in 0..50 {
            tail.push(format!("line {number}").as_bytes());
        }
        assert_eq!(tail.lines().first().map(String::as_str), Some("line 30"));
        assert_eq!(tail.lines().last().map(String::as_str), Some("line 49"));
    }

    #[test]
    fn a_full_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.log");
        let (mut logs, opened) = opened([path.clone(), folder.path().join("err.log")]);
        opened.unwrap();
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..51 {
            logs.write(Stream::Out, 0, &chunk);
        }
        assert_eq!(fs::metadata(rotated(&path, 1)).unwrap().len(), 51 << 20);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(logs.take_dropped(), 0);
    }

    #[test]
    fn a_fifo_blocks_nobody() {
        use std::io::Read;
        let folder = tempfile::tempdir().unwrap();
        let (path, err) = (folder.path().join("out.log"), folder.path().join("err.log"));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let (mut logs, opened) = opened([path.clone(), err]);
        let why = opened.unwrap_err().to_string();
        assert!(why.contains("out.log is a fifo") && why.contains("nobody reads"), "{why}");
        let mut reader =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        logs.reopen().unwrap();
        assert!(logs.take_complaints().iter().any(|what| what.contains("is a fifo")));
        logs.write(Stream::Out, 0, b"0 | one\n");
        let mut taken = [0; 8];
        assert_eq!(reader.read(&mut taken).unwrap(), 8);
        let chunk = vec![b'x'; 1 << 20];
        logs.write(Stream::Out, 0, &chunk);
        assert!(logs.take_dropped() > 0, "a fifo has no room for so much");
        assert!(!rotated(&path, 1).exists(), "a fifo is not rotated");
    }

    #[test]
    fn lines_beyond_the_rate_are_dropped_and_the_log_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (mut logs, _) = opened([at("out.log"), at("err.log")]);
        let rate = LogRate { lines: 1, burst: 3 };
        logs.keep_to(&LogFiles { rate, ..LogFiles::default() }).unwrap();
        logs.write(Stream::Out, 0, b"0 | 1\n0 | 2\n");
        logs.write(Stream::Out, 0, b"0 | 3\n0 | 4\n0 | 5\n");
        logs.write(Stream::Err, 0, b"0 | oh\n");
        assert_eq!(fs::read_to_string(at("out.log")).unwrap(), "0 | 1\n0 | 2\n0 | 3\n");
        let due = logs.deadline().unwrap() + std::time::Duration::from_secs(1);
        logs.say_dropped(due);
        let said = fs::read_to_string(at("out.log")).unwrap();
        assert!(said.ends_with(
            "0 | supervisor: 2 lines were dropped here: more than log_rate = 1 a second\n"
        ));
        assert!(fs::read_to_string(at("err.log")).unwrap().contains(": 1 lines were dropped"));
        let note = logs.rate_note().unwrap();
        assert!(
            note.starts_with("3 log lines were dropped") && note.ends_with("(slots 0)"),
            "{note}"
        );
        assert_eq!(logs.take_dropped(), 0, "the files are well");
    }

    #[test]
    fn other_places_need_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (to, in_background) in
            [(LogTo::None, false), (LogTo::Journald, false), (LogTo::Stdout, true)]
        {
            let files = LogFiles { to, ..LogFiles::default() };
            let usual = [at("out.log"), at("err.log")];
            let (mut logs, opened) = Logs::open(usual, &files, None, at("events"), silent());
            opened.unwrap();
            logs.journal = Journal::new(at("no-journal"), "web".into());
            logs.write(Stream::Out, 0, b"0 | a\n");
            assert_eq!(at("out.log").exists(), in_background, "{to:?}");
            assert_eq!(logs.paths().is_empty(), !in_background);
            let complaint = logs.take_complaints();
            assert_eq!(complaint.iter().any(|why| why.contains("journal")), to == LogTo::Journald);
        }
    }

    #[test]
    fn a_worker_may_write_its_file_itself() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (logs, _) = opened([at("out.log"), at("err.log")]);
        assert!(logs.for_worker(&LogFiles::default(), 0).unwrap().is_none());
        let out_file = Some(at("own/{slot}.log"));
        let files = LogFiles { to: LogTo::Direct, out_file, ..LogFiles::default() };
        for text in [b"one\n", b"two\n"] {
            let [mut out, _] = logs.for_worker(&files, 3).unwrap().unwrap();
            out.write_all(text).unwrap();
        }
        assert_eq!(fs::read_to_string(at("own/3.log")).unwrap(), "one\ntwo\n");
        assert!(at("err.log").exists());
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let path = PathBuf::from("/nonexistent/out.log");
        let (mut logs, opened) = opened([path.clone(), path]);
        assert!(opened.is_err());
        logs.write(Stream::Err, 0, b"0 | lost\n");
        assert_eq!(logs.take_dropped(), 9);
    }
}
