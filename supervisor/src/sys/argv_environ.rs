//! The arguments and the environment of this process, as the C library has them, and as the kernel
//! shows them in `/proc/PID/cmdline` and `/proc/PID/environ`.
//!
//! A process that was forked and executes nothing shows those of its parent. `ps` would name the
//! wrong app then, and `strays` would not know the process, so it is given its own.

use std::ffi::{OsStr, OsString, c_char};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

unsafe extern "C" {
    /// The environment of the C library (environ(7)).
    static mut environ: *const *const c_char;
}

/// Arguments and an environment in one piece of memory: each word with its zero byte, and an empty
/// word between the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArgvEnviron {
    bytes: Vec<u8>,
    /// Where the empty word is.
    middle: usize,
}

impl ArgvEnviron {
    /// `None`: a word is empty or has a zero byte, so its end could not be told.
    pub(crate) fn new<'a>(
        arguments: impl IntoIterator<Item = &'a OsStr>,
        environment: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> Option<Self> {
        let mut bytes = Vec::new();
        for argument in arguments {
            push(&mut bytes, &[argument.as_bytes()])?;
        }
        let middle = bytes.len();
        bytes.push(0);
        for (name, value) in environment {
            push(&mut bytes, &[name.as_bytes(), b"=", value.as_bytes()])?;
        }
        (middle > 0).then_some(Self { bytes, middle })
    }

    /// For another process, which reads it with [`Self::parse`].
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `None`: this is no such piece of memory.
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let middle = bytes.windows(2).position(|pair| pair == [0, 0])? + 1;
        let (arguments, environment) = (&bytes[..middle], &bytes[middle + 1..]);
        let is_whole = |part: &[u8]| words(part).all(|(_, word)| !word.is_empty());
        let ends = environment.last().is_none_or(|byte| *byte == 0);
        (ends && is_whole(arguments) && is_whole(environment)).then_some(Self { bytes, middle })
    }

    /// The arguments, of which the first is the program.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = OsString> {
        words(&self.bytes[..self.middle]).map(|(_, word)| OsString::from_vec(word.to_vec()))
    }

    /// Gives them to this process, for as long as it lives. If that fails, it has those from
    /// before.
    ///
    /// Call this only while the process has one thread.
    pub(crate) fn take(self) -> io::Result<()> {
        let middle = self.middle;
        let bytes: &'static [u8] = Vec::leak(self.bytes);
        let (arguments, environment) = (&bytes[..middle], &bytes[middle + 1..]);
        let span = |part: &[u8]| {
            let all = part.as_ptr_range();
            (all.start as u64, all.end as u64)
        };
        let mut map = Map::of_this_process()?;
        (map.arg_start, map.arg_end) = span(arguments);
        (map.env_start, map.env_end) = span(environment);
        map.set()?;
        let pointers = words(environment).map(|(at, _)| environment[at..].as_ptr().cast());
        let pointers: Vec<*const c_char> = pointers.chain([std::ptr::null()]).collect();
        // SAFETY: there is one thread, so nothing reads the variable now. The pointers and the
        // words, each with its zero byte, are never freed or changed.
        unsafe { environ = Vec::leak(pointers).as_ptr() };
        Ok(())
    }
}

/// Whether the kernel lets this process do what [`ArgvEnviron::take`] does: it has nothing changed.
pub(crate) fn may_be_taken() -> bool {
    Map::of_this_process().and_then(|map| map.set()).is_ok()
}

fn push(bytes: &mut Vec<u8>, parts: &[&[u8]]) -> Option<()> {
    let begin = bytes.len();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    let is_word = bytes.len() > begin && !bytes[begin..].contains(&0);
    bytes.push(0);
    is_word.then_some(())
}

/// The words and where each begins.
fn words(part: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    part.split_inclusive(|byte| *byte == 0).map(move |word| {
        let begin = at;
        at += word.len();
        (begin, word.strip_suffix(&[0]).unwrap_or(word))
    })
}

/// `struct prctl_mm_map` (linux/prctl.h): what the kernel shows of the memory of a process. It uses
/// none of it but the two words, and the end of the heap, which stays as it is.
#[derive(Debug)]
#[repr(C)]
struct Map {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// The first field after the name in `/proc/PID/stat`, as proc(5) counts.
const AFTER_NAME: usize = 3;

impl Map {
    fn of_this_process() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/self/stat")?;
        // SAFETY: asks where the heap ends, and moves nothing.
        let brk = unsafe { libc::sbrk(0) } as u64;
        Self::parse(&text, brk)
            .ok_or_else(|| io::Error::other("/proc/self/stat does not show the memory"))
    }

    fn parse(stat: &str, brk: u64) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - AFTER_NAME)?.parse().ok();
        Some(Self {
            start_code: field(26)?,
            end_code: field(27)?,
            start_stack: field(28)?,
            start_data: field(45)?,
            end_data: field(46)?,
            start_brk: field(47)?,
            brk,
            arg_start: field(48)?,
            arg_end: field(49)?,
            env_start: field(50)?,
            env_end: field(51)?,
            // The vector of the process and its program stay.
            auxv: 0,
            auxv_size: 0,
            exe_fd: u32::MAX,
        })
    }

    fn set(&self) -> io::Result<()> {
        // SAFETY: the kernel reads a live structure of the size that it is told, and checks the
        // addresses in it. The heap ends where it ended.
        let result = unsafe {
            libc::prctl(
                libc::PR_SET_MM,
                libc::PR_SET_MM_MAP,
                std::ptr::from_ref(self),
                size_of::<Self>(),
                0usize,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(arguments: &[&str], environment: &[(&str, &str)]) -> Option<ArgvEnviron> {
        let pairs = environment.iter().map(|(name, value)| (OsStr::new(*name), OsStr::new(*value)));
        ArgvEnviron::new(arguments.iter().map(OsStr::new), pairs)
    }

    #[test]
    fn words_arrive_as_they_were_sent() {
        let words = own(&["/bin/it", "primary", "web"], &[("A", "1"), ("B", "")]).unwrap();
        assert_eq!(words.as_bytes(), b"/bin/it\0primary\0web\0\0A=1\0B=\0");
        assert_eq!(ArgvEnviron::parse(words.as_bytes().to_vec()).as_ref(), Some(&words));
        let arguments: Vec<OsString> = words.arguments().collect();
        assert_eq!(arguments, ["/bin/it", "primary", "web"]);
        let alone = own(&["it"], &[]).unwrap();
        assert_eq!(ArgvEnviron::parse(alone.as_bytes().to_vec()), Some(alone));
    }

    #[test]
    fn what_has_no_clear_end_is_refused() {
        assert_eq!(own(&["it", ""], &[]), None);
        assert_eq!(own(&["i\0t"], &[]), None);
        assert_eq!(own(&[], &[("A", "1")]), None);
        assert_eq!(own(&["it"], &[("A", "1\0B=2")]), None);
        for bytes in [&b""[..], b"\0", b"it", b"it\0", b"it\0\0A=1", b"it\0\0A=1\0\0B=2\0", b"\0\0"]
        {
            assert_eq!(ArgvEnviron::parse(bytes.to_vec()), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_memory_of_this_process_is_found() {
        let map = Map::of_this_process().unwrap();
        assert!(map.start_code < map.end_code && map.arg_start < map.arg_end, "{map:?}");
        let odd = "1 (a) b) S 2";
        assert!(Map::parse(odd, 0).is_none());
    }
}
