//! What to start, and everything that the child needs for it. It is made before the fork: what can
//! fail for lack of memory or because of a bad name fails here.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::unistd::Gid;

use crate::sys::privileges::Privileges;
use crate::sys::users::{self, Identity};

/// Where to look for a program if the environment has no PATH, as in the C library.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What to start, and how.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The program and its arguments. The program is looked up on the PATH of `env`.
    pub(crate) argv: Vec<OsString>,
    /// The complete environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Whether to add LISTEN_PID, the child's own pid.
    pub(crate) listen_pid: bool,
    pub(crate) cwd: &'a Path,
    pub(crate) user: Option<Identity>,
    pub(crate) privileges: Privileges,
    /// Standard output. (Standard input is /dev/null.)
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    /// The child inherits these descriptors under exactly these numbers, from 3 on, and nothing
    /// else.
    pub(crate) inherit: Vec<(BorrowedFd<'a>, i32)>,
    /// Whether to intercept its `bind` and `listen`.
    pub(crate) intercept: bool,
    /// Without interception: whether it gives up the right to gain privileges by exec where
    /// interception needs that.
    pub(crate) as_intercepted: bool,
    /// With interception: whether `io_uring_setup` fails.
    pub(crate) deny_io_uring: bool,
    /// Whether it becomes a child of this process's parent, which then has to reap it.
    pub(crate) sibling: bool,
}

/// Everything that the child needs, in the form that the kernel takes.
pub(super) struct Prepared<'a> {
    /// The paths where the program may be, in the order of PATH.
    pub(super) candidates: Vec<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) listen_pid: bool,
    pub(super) cwd: CString,
    pub(super) user: Option<Credentials>,
    /// The supplementary groups, if they differ from those of this process.
    pub(super) groups: Option<Vec<Gid>>,
    pub(super) null: OwnedFd,
    pub(super) launch: &'a Launch<'a>,
}

/// The user that the child becomes.
pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(launch: &'a Launch<'a>) -> io::Result<Self> {
        let program = launch.argv.first().ok_or_else(|| invalid("an empty command"))?;
        let path = launch.env.iter().rev().find(|(key, _)| key == "PATH");
        let path = path.map_or_else(|| OsStr::new(DEFAULT_PATH), |(_, path)| path.as_os_str());
        if launch.inherit.iter().any(|(_, number)| *number < 3) {
            return Err(invalid("an inherited fd below 3"));
        }
        let variable = |(key, value): &(OsString, OsString)| {
            c_string([key.as_bytes(), b"=", value.as_bytes()].concat())
        };
        let (user, groups) = credentials(launch)?;
        Ok(Self {
            candidates: candidates(program, path)?,
            argv: launch
                .argv
                .iter()
                .map(|word| c_string(word.as_bytes()))
                .collect::<Result<_, _>>()?,
            env: launch.env.iter().map(variable).collect::<Result<_, _>>()?,
            listen_pid: launch.listen_pid,
            cwd: c_string(launch.cwd.as_os_str().as_bytes())?,
            user,
            groups,
            null: std::fs::File::open("/dev/null")?.into(),
            launch,
        })
    }
}

/// The user to become and the groups to have. `None`: those of this process.
fn credentials(launch: &Launch<'_>) -> io::Result<(Option<Credentials>, Option<Vec<Gid>>)> {
    let user = launch.user.as_ref().filter(|identity| !users::is_ourselves(identity));
    let Some(identity) = user else { return Ok((None, launch.privileges.groups(None)?)) };
    let groups = identity.groups.iter().copied().map(Gid::from_raw).collect();
    let groups = launch.privileges.groups(Some(groups))?;
    Ok((Some(Credentials { uid: identity.uid, gid: identity.gid }), groups))
}

fn candidates(program: &OsStr, path: &OsStr) -> io::Result<Vec<CString>> {
    if program.is_empty() {
        return Err(invalid("an empty command"));
    }
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(program.as_bytes())?]);
    }
    folders(path).map(|folder| c_string(folder.join(program).into_os_string().into_vec())).collect()
}

/// The folders of a PATH; an empty entry means the present folder.
fn folders(path: &OsStr) -> impl Iterator<Item = PathBuf> + '_ {
    path.as_bytes().split(|byte| *byte == b':').map(|folder| {
        Path::new(if folder.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(folder) })
            .to_path_buf()
    })
}

fn c_string(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| invalid("a zero byte in the command or environment"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} cannot be started"))
}
