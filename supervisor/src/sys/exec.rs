//! Replaces the program of this process and keeps every descriptor.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::Mode;

/// Becomes the program. Returns only if that fails, with everything as before.
pub(crate) fn become_program(program: &Path, arguments: &[OsString]) -> io::Error {
    match prepared(program, arguments) {
        Ok((path, argv)) => {
            let Err(error) = nix::unistd::execv(&path, &argv);
            // Workers started from now on would inherit every descriptor that is not marked again.
            let _ = close_at_exec();
            error.into()
        }
        Err(error) => {
            let _ = close_at_exec();
            error
        }
    }
}

fn prepared(program: &Path, arguments: &[OsString]) -> io::Result<(CString, Vec<CString>)> {
    let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::other);
    let path = c_string(program.as_os_str().as_bytes().to_vec())?;
    let argv = std::iter::once(program.as_os_str().to_owned()).chain(arguments.iter().cloned());
    let argv = argv.map(|argument| c_string(argument.into_vec())).collect::<Result<_, _>>()?;
    for number in open_numbers()? {
        // SAFETY: reads a flag of an open descriptor; its owner keeps it.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok((path, argv))
}

/// The program of this process, also if another build has its path by now, or none (proc(5)).
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

/// The program of this process, even if its file is replaced; run it as `/proc/self/fd/N`.
pub(crate) fn own_program() -> io::Result<OwnedFd> {
    Ok(open(OWN_PROGRAM, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Marks every descriptor but the standard three close-on-exec, so that no program run from now on
/// inherits a descriptor that was opened without the flag.
pub(crate) fn close_at_exec() -> io::Result<()> {
    // SAFETY: changes flags of descriptors and no memory.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        _ if result == 0 => return Ok(()),
        // A kernel before 5.11: mark them one by one.
        Some(libc::ENOSYS | libc::EINVAL) => {}
        _ => return Err(error),
    }
    for number in open_numbers()? {
        // SAFETY: as above.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok(())
}

/// All open descriptors from 3 on.
pub(crate) fn open_numbers() -> io::Result<Vec<RawFd>> {
    use std::os::fd::AsRawFd;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = Dir::open("/proc/self/fd", flags, Mode::empty())?;
    let own = folder.as_raw_fd();
    let mut numbers = Vec::new();
    for entry in folder.iter() {
        let number = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok());
        numbers.extend(number.filter(|number: &RawFd| *number > 2 && *number != own));
    }
    Ok(numbers)
}
