//! Values that are one of a few words: the words, what they stand for, and what they mean.
//!
//! A file, the command line, the documentation and the messages read the same tables.

use crate::formats::Format;
use crate::spec::{
    Balance, Dependency, Engine, Graceful, IoUring, LogTo, ReadyRule, Resource, RestartOn,
};

/// A value that people write as one of a few words.
pub trait Word: Copy + PartialEq + Send + Sync + 'static {
    /// Each word, its value, and what it means, without a full stop.
    const WORDS: &'static [(&'static str, Self, &'static str)];
}

/// The value that `word` stands for.
pub fn value<T: Word>(word: &str) -> Option<T> {
    T::WORDS.iter().find(|(known, ..)| *known == word).map(|(_, value, _)| *value)
}

/// The word for `value`; empty if its table lacks it.
pub fn word<T: Word>(value: T) -> &'static str {
    T::WORDS.iter().find(|(_, known, _)| *known == value).map_or("", |(word, ..)| word)
}

impl Word for Format {
    const WORDS: &'static [(&'static str, Self, &'static str)] =
        &[("toml", Self::Toml, "TOML"), ("yaml", Self::Yaml, "YAML"), ("json", Self::Json, "JSON")];
}

impl Word for Dependency {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("started", Self::Started, "its start was tried"),
        ("ready", Self::Ready, "its workers are ready"),
        ("completed", Self::Completed, "its workers have done their work, and ended"),
    ];
}

impl Word for Balance {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("round-robin", Self::RoundRobin, "each ready worker in turn"),
        ("sticky", Self::Sticky, "the same client address, the same worker"),
        ("least-connections", Self::LeastConnections, "the worker with the fewest connections"),
        ("hash", Self::Hash, "the kernel places each connection evenly"),
        ("shared", Self::Shared, "one socket for all; the worker that accepts first"),
    ];
}

impl Word for LogTo {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("files", Self::Files, "log files, which the primary writes"),
        ("journald", Self::Journald, "the journal of systemd"),
        ("stdout", Self::Stdout, "stdout and stderr of a primary in the foreground"),
        ("direct", Self::Direct, "log files, which the workers write themselves"),
        ("none", Self::None, "nothing"),
    ];
}

impl Word for Engine {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("auto", Self::Auto, "kernel where it can, else primary"),
        ("kernel", Self::Kernel, "no connection passes through the primary"),
        ("primary", Self::Primary, "the primary accepts and hands over"),
    ];
}

impl Word for IoUring {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("allow", Self::Allow, "what the kernel allows"),
        ("deny", Self::Deny, "the workers see a kernel without io_uring"),
    ];
}

impl Word for ReadyRule {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("auto", Self::Auto, "it listens on what its predecessor served"),
        ("listen", Self::Listen, "like auto, but a worker that never listens has failed"),
        ("notify", Self::Notify, "it sends READY=1 to NOTIFY_SOCKET"),
        ("uptime", Self::Uptime, "it has lived for min_uptime"),
    ];
}

impl Word for Graceful {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("auto", Self::Auto, "where it is seen to handle the signal"),
        ("true", Self::Always, "it does: told to stop as soon as its connections stay busy"),
        ("false", Self::Never, "it does not: told to stop after drain_timeout"),
    ];
}

impl Word for RestartOn {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("always", Self::Always, "after every one"),
        ("on-failure", Self::Failure, "after an exit code other than 0, or a signal"),
        ("never", Self::Never, "after none"),
    ];
}

impl Word for Resource {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("as", Self::As, "address space in bytes"),
        ("core", Self::Core, "size of a core dump in bytes"),
        ("cpu", Self::Cpu, "CPU time in seconds"),
        ("data", Self::Data, "data segment in bytes"),
        ("fsize", Self::Fsize, "size of a file in bytes"),
        ("memlock", Self::Memlock, "locked memory in bytes"),
        ("msgqueue", Self::Msgqueue, "POSIX message queues in bytes"),
        ("nice", Self::Nice, "ceiling of the priority: 20 - nice"),
        ("nofile", Self::Nofile, "open files"),
        ("nproc", Self::Nproc, "processes and threads of the user"),
        ("rtprio", Self::Rtprio, "ceiling of the real-time priority"),
        ("sigpending", Self::Sigpending, "queued signals of the user"),
        ("stack", Self::Stack, "stack in bytes"),
    ];
}
