//! The peer of a unix socket, as the kernel recorded it at `connect`. No name is looked up, and the
//! peer cannot change the record afterwards.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{getsockopt, sockopt};

/// The most supplementary groups a process can have (NGROUPS_MAX).
const MOST_GROUPS: usize = 65_536;

/// The credentials of a connected process, from when it connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    /// Its primary group and its supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// The peer of a connected unix socket.
pub(crate) fn peer(fd: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = getsockopt(&fd, sockopt::PeerCredentials)?;
    let mut groups = vec![credentials.gid()];
    // A kernel before 4.13 does not tell; then only the primary group counts.
    groups.extend(supplementary(fd).unwrap_or_default());
    Ok(Peer { uid: credentials.uid(), groups })
}

fn supplementary(fd: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(groups.len() * size_of::<u32>())
            .map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the kernel writes at most `bytes` bytes, which `groups` has, and then stores in
        // `bytes` how many there are (or would be).
        let result = unsafe {
            libc::getsockopt(
                fd.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let told = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<u32>();
        if result == 0 {
            groups.truncate(told);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || told > MOST_GROUPS || told <= groups.len()
        {
            return Err(error);
        }
        groups.resize(told, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn our_own_other_end_is_ourselves() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = peer(one.as_fd()).unwrap();
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        let mut ours: Vec<u32> =
            nix::unistd::getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
        ours.push(nix::unistd::getegid().as_raw());
        let sorted = |mut groups: Vec<u32>| {
            groups.sort_unstable();
            groups.dedup();
            groups
        };
        assert_eq!(sorted(peer.groups), sorted(ours));
    }
}
