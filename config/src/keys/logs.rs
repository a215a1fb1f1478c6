//! Where the output of workers goes, and how much of it is kept.

use std::time::Duration;

use super::forms::{
    BOOLEAN, DURATION, FILE_PATH, SIZE, choice, form, integer, optional_text, shown_size, string,
    told,
};
use super::key::{Change, Flag, Key, Section};
use super::kind::{Field, Form, at};
use crate::spec::LogTo;
use crate::units;

pub(super) const SECTION: Section = Section { name: "logs", title: "Logs", keys: KEYS };

static TO: Form<LogTo> = choice();

static KEYS: &[Key] = &[
    Key {
        name: "log",
        flag: Some(Flag::value("WHERE")),
        help: "What gets the output of the workers",
        doc: "What gets the output of the workers ([logs](start.md#other-places)): `\"files\"`, \
              `\"journald\"` (the journal of systemd, with fields), `\"stdout\"` (no files: only what a \
              primary in the foreground prints), `\"direct\"` (the workers write the files \
              themselves) or `\"none\"`",
        example: Some("\"journald\""),
        elsewhere: &["log_driver", "log_target", "logging"],
        ..Key::of(&Field { place: at!(logs.to), form: &TO })
    },
    Key {
        name: "log_line_max",
        unit: Some("bytes"),
        flag: Some(Flag {
            help: Some("The longest log line that is kept whole, in bytes"),
            ..Flag::value("BYTES")
        }),
        help: "The longest log line that is kept whole",
        doc: "The longest line of a worker's output that is kept whole, in bytes, from 1024 to \
              1048576. A longer one is cut between two characters; each further piece begins with \
              `0 > ` instead of `0 | `, and has `continues` in JSON",
        example: Some("65536"),
        ..Key::of(&Field { place: at!(log_line_max), form: &LINE_LENGTH })
    },
    Key {
        name: "out_file",
        absent: "`out.log` in the app's log folder",
        help: "Where stdout goes; {slot} in the name: a file for each worker",
        doc: "The file that gets what the workers write to stdout, as they write it, without the \
              slot in front ([logs](start.md#logs)). With `{slot}` in its name, each worker has a \
              file of its own. `/dev/null` keeps nothing. If `error_file` names the same file, it \
              gets both. Missing folders are made. A change holds from the end of the reload on",
        example: Some("\"logs/out-{slot}.log\""),
        elsewhere: &["stdout", "stdout_logfile"],
        ..Key::of(&Field { place: at!(logs.out_file), form: &FILE_PATH })
    },
    Key {
        name: "error_file",
        absent: "`err.log` in the app's log folder",
        help: "Where stderr goes; {slot} in the name: a file for each worker",
        doc: "As `out_file`, for what the workers write to stderr",
        example: Some("\"logs/err-{slot}.log\""),
        elsewhere: &["stderr", "stderr_logfile"],
        ..Key::of(&Field { place: at!(logs.error_file), form: &FILE_PATH })
    },
    Key {
        name: "log_time",
        help: "Whether each line in the log files begins with its time",
        doc: "`true`: each line in the log files begins with the time at which it was written \
              (`2026-11-27T19:11:38.273Z `). `logs --timestamps` knows the times without it, too",
        example: Some("true"),
        elsewhere: &["log_timestamps"],
        ..Key::of(&Field { place: at!(logs.log_time), form: &BOOLEAN })
    },
    Key {
        name: "log_time_format",
        help: "How the time before each line is written, as for strftime",
        doc: "How the time before each line in the log files is written, as for `strftime`, in the \
              time zone of the machine; `log_time` need not be set then. In the app's own log folder \
              it follows the slot: `0 | 27 Nov 19:11 hello`. At most 128 characters",
        example: Some("\"%d %b %H:%M:%S\""),
        elsewhere: &["log_date_format"],
        ..Key::of(&Field { place: at!(logs.log_time_format), form: &TIME_FORMAT })
    },
    Key {
        name: "log_rate",
        unit: Some("lines a second"),
        help: "The most log lines of a worker in a second; 0: no limit",
        doc: "How many lines of each worker's output are kept in a second. Further ones are dropped \
              and counted, and the log says how many ([a limit](start.md#a-limit-for-lines)). \
              `0`: no limit",
        example: Some("1000"),
        elsewhere: &["log_rate_limit", "rate_limit_interval"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(logs.rate.lines), form: &LINES })
    },
    Key {
        name: "log_burst",
        unit: Some("lines"),
        help: "How many lines may come at once beyond log_rate",
        doc: "How many lines of a worker are kept that come at once. `0`: as many as `log_rate` \
              allows in ten seconds",
        example: Some("20000"),
        elsewhere: &["rate_limit_burst"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(logs.rate.burst), form: &LINES })
    },
    Key {
        name: "log_max_size",
        help: "A log file that is larger than this is rotated",
        doc: "A log file that is larger than this is rotated: `out.log` becomes `out.log.1`, that one \
              `out.log.2`, and so on ([logs](start.md#logs)); from `\"64K\"` to `\"1T\"`",
        example: Some("\"10M\""),
        elsewhere: &[
            "log_size",
            "max_log_size",
            "stdout_logfile_maxbytes",
            "stderr_logfile_maxbytes",
        ],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(logs.rotation.max_size), form: &FILE_SIZE })
    },
    Key {
        name: "log_rotate_every",
        help: "A log file that was begun this long ago is rotated",
        doc: "A log file whose first line is older than this is rotated when its next line is \
              written. `\"0s\"`: size alone decides; else at least `\"1s\"`",
        example: Some("\"1day\""),
        elsewhere: &["log_rotate_interval", "rotate_interval"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(logs.rotation.every), form: &INTERVAL })
    },
    Key {
        name: "log_keep",
        unit: Some("files"),
        help: "How many rotated files of each log are kept",
        doc: "How many rotated files of each log are kept, from 1 to 365",
        example: Some("30"),
        elsewhere: &["log_retain", "stdout_logfile_backups", "stderr_logfile_backups"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(logs.rotation.keep), form: &KEPT_FILES })
    },
    Key {
        name: "log_total_max",
        help: "What all log files of the app may take together",
        doc: "What all log files of the app may take together. After a rotation, the oldest rotated \
              files beyond this are removed; a file that is being written never is. `0`: no limit",
        example: Some("\"2G\""),
        elsewhere: &["log_max_total", "log_total_size"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(logs.rotation.total_max), form: &SIZE })
    },
    Key {
        name: "log_compress",
        help: "Whether rotated log files are compressed",
        doc: "Whether rotated log files are compressed (`out.log.1.gz`), by a process of low \
              priority. `logs` reads them as it reads the others, and so does `zcat`",
        example: Some("false"),
        elsewhere: &["compress_logs"],
        change: Change::Nothing,
        ..Key::of(&Field { place: at!(logs.rotation.compress), form: &BOOLEAN })
    },
];

/// Bytes of a line.
static LINE_LENGTH: Form<usize> = integer!(usize, 1024, 1 << 20);

/// A number of lines. The bound is above any rate at which they can be written.
static LINES: Form<u32> = integer!(u32, 0, 100_000_000);

/// How large a log file may become.
static FILE_SIZE: Form<u64> = form(
    "size",
    string,
    |findings, key, value| {
        let text = findings.text_or_integer(key, value)?;
        findings.keep(key, value, file_size(&text))
    },
    file_size,
    |bytes| Some(shown_size(*bytes)),
);

fn file_size(text: &str) -> Result<u64, String> {
    let bytes = told(units::size(text))?;
    let fits = (64 << 10..=1 << 40).contains(&bytes);
    fits.then_some(bytes).ok_or_else(|| "expected a size from 64K to 1T".to_owned())
}

/// How long a log file may be written.
static INTERVAL: Form<Duration> = Form {
    read: |findings, key, value| {
        let every = findings.duration(key, value)?;
        findings.keep(key, value, interval(every))
    },
    parse: |text| interval(told(units::duration(text))?).map_err(str::to_owned),
    ..DURATION
};

fn interval(every: Duration) -> Result<Duration, &'static str> {
    let fits = every.is_zero() || every >= Duration::from_secs(1);
    fits.then_some(every).ok_or("expected 0s or at least 1s")
}

/// A number of rotated files. The primary renames all of a log when it rotates the log.
static KEPT_FILES: Form<u16> = integer!(u16, 1, 365);

/// How a time is written.
static TIME_FORMAT: Form<Option<String>> = optional_text!(time_format);

/// Characters of a format of times.
const LONGEST_FORMAT: usize = 128;

fn time_format(format: &str) -> Result<Option<String>, String> {
    if format.is_empty() || format.chars().count() > LONGEST_FORMAT {
        return Err(format!("expected 1 to {LONGEST_FORMAT} characters"));
    }
    if format.chars().any(char::is_control) {
        return Err("expected a format without control characters".to_owned());
    }
    let any_time = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    let made = jiff::fmt::strtime::format(format, &any_time).map_err(|error| error.to_string())?;
    match made.chars().any(char::is_control) {
        true => Err("expected a format that gives one line".to_owned()),
        false => Ok(Some(format.to_owned())),
    }
}
