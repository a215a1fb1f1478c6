"""Descriptors from worker to worker: an open file, a pipe, a connection. They travel beside their
messages (SCM_RIGHTS), in the order of these."""

import asyncio
import collections
import os
import queue
import socket
import sys

#: Descriptors that one read may bring; the supervisor sends one at a time.
AT_ONCE = 4
#: Descriptors that wait for their handler; further ones are closed.
WAITING = 16
#: How long the supervisor may take to say whether it passes a descriptor on, in seconds.
PATIENCE = 10
#: Who speaks lines and takes descriptors says so by reading this topic.
TAKES = "supervisor:given"


def connection_topic(name_or_address):
    """On which connections for a listener are given."""
    return f"supervisor:connection:{name_or_address}"


class Given:
    """Something that another worker gave. Its descriptor is closed after the handler, unless it
    was taken out of here: by `detach`, `open` or `socket`."""

    def __init__(self, topic, data, sender, fd):
        self.topic = topic
        self.data = data
        self.sender = sender
        self._fd = fd

    def fileno(self):
        return self._fd

    def detach(self):
        """The descriptor, which is then the caller's to close."""
        fd, self._fd = self._fd, -1
        return fd

    def open(self, mode="r", **options):
        """As a file."""
        return os.fdopen(self.detach(), mode, **options)

    def socket(self):
        """As a socket."""
        return socket.socket(fileno=self.detach())

    def close(self):
        fd = self.detach()
        if fd >= 0:
            os.close(fd)


class Gifts:
    """Descriptors whose messages have not come yet."""

    def __init__(self):
        self._unclaimed = collections.deque()

    def keep(self, fds):
        self._unclaimed.extend(fds)

    def claim(self, said):
        """What a message brought; None: not what belongs to it."""
        topic = said["topic"]
        fd = self._unclaimed.popleft() if self._unclaimed else None
        if fd is None:
            print(
                f"supervisor: the descriptor of a message on {topic!r} did not come",
                file=sys.stderr,
            )
            return None
        return Given(topic, said["data"], said["from"], fd)

    def close(self):
        for fd in self._unclaimed:
            if fd is not None:
                os.close(fd)
        self._unclaimed.clear()


def receive(channel, flags=0):
    """Bytes and descriptors; None for one that did not arrive, for want of a free number."""
    flags |= socket.MSG_CMSG_CLOEXEC
    data, fds, came, _ = socket.recv_fds(channel, 65536, AT_ONCE, flags)
    if came & socket.MSG_CTRUNC:
        # Its message must not get the descriptor of the next.
        fds.append(None)
    return data, fds


def number(file):
    """The descriptor of a file, a socket or itself."""
    return file if isinstance(file, int) else file.fileno()


def as_connection(handler):
    """A handler of what is given that wants `handler(connection, address)`."""

    def taken(given):
        connection = given.socket()
        connection.setblocking(True)
        return handler(connection, connection.getpeername())

    return taken


def pass_on(given, waiting):
    """To the queue of its handler, if there is one and it has room."""
    if waiting is None:
        return given.close()
    try:
        waiting.put_nowait(given)
    except (queue.Full, asyncio.QueueFull):
        print(
            f"supervisor: {WAITING} descriptors wait for their handler: one on {given.topic!r} "
            "was closed",
            file=sys.stderr,
        )
        given.close()
