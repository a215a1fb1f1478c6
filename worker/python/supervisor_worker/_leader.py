"""The lease of the leader. At most one process of an app holds it.

The lease is a lock by flock(2), which belongs to the open file description that this worker
inherited. All processes that share the description have it: after a fork, that is the parent and
the child. So the one that leads also holds a lock by fcntl(2) on the same file, which belongs to
one process. A process gives that up when it closes any descriptor of the file, so ours stay open.
"""

import fcntl
import os

VARIABLE = "SUPERVISOR_LEADER_FD"
#: What /proc shows of the file behind the descriptor.
FILE = "/memfd:supervisor-leader"

#: The lease, once it is found: a descriptor of the inherited description, and one of our own.
_found = {}


def is_leader():
    """Whether this process leads its app at this moment, which needs `leader = true`. If no process
    does, this one does from now on, until it ends: ask only where the work would be done. Without a
    supervisor a process is alone, and leads."""
    lease = _lease()
    if lease is None:
        return True
    shared, own = lease
    return _takes(fcntl.flock, shared) and _takes(fcntl.lockf, own)


def until_leader():
    """Waits until this process leads its app, and returns at once if it does. It waits for as long
    as another process leads, so give it a thread of its own."""
    lease = _lease()
    if lease is not None:
        shared, own = lease
        fcntl.flock(shared, fcntl.LOCK_EX)
        fcntl.lockf(own, fcntl.LOCK_EX)


def _takes(lock, fd):
    try:
        lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except (BlockingIOError, PermissionError):
        return False


def _lease():
    if "lease" not in _found:
        number = os.environ.get(VARIABLE)
        if number is None and "SUPERVISOR_APP" not in os.environ:
            return None
        if number is None:
            raise RuntimeError("cannot ask who leads: the app has no lease; set leader = true")
        # Of two threads that come here, the second one's descriptors stay open as well.
        _found.setdefault("lease", _inherited(number))
    return _found["lease"]


def _inherited(number):
    path = f"/proc/self/fd/{number}"
    try:
        is_lease = os.readlink(path).startswith(FILE)
    except OSError:
        is_lease = False
    if not is_lease:
        raise RuntimeError(f"cannot ask who leads: {VARIABLE}={number}: not the lease (only the "
                           "worker's own process inherits it)")
    shared = os.dup(int(number))
    # A program that this one starts must not share the lease.
    os.set_inheritable(int(number), False)
    return shared, os.open(path, os.O_RDWR | os.O_CLOEXEC)
