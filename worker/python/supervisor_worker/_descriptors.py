"""Descriptors for other workers: an open file, a pipe, a connection. They travel beside their
messages (SCM_RIGHTS), in the same order."""

import asyncio
import collections
import os
import queue
import socket
import sys

#: The most descriptors that one read accepts. The supervisor sends one at a time.
MAX_RECEIVED = 4
#: The descriptors that may wait for their handler. The client closes further ones.
MAX_WAITING = 16
#: How long the supervisor may take to say whether it passes a descriptor on, in seconds.
GIVE_TIMEOUT = 10.0
#: A client that speaks lines subscribes to this topic to say that it takes descriptors.
ACCEPTS = "supervisor:given"


def connection_topic(name_or_address):
    """The topic on which workers give connections to a listener."""
    return f"supervisor:connection:{name_or_address}"


class Given:
    """A descriptor that another worker gave. The client closes it after the handler, unless the
    handler takes it out with `detach`, `open` or `socket`."""

    def __init__(self, topic, data, sender, fd):
        self.topic = topic
        self.data = data
        self.sender = sender
        self._fd = fd

    def fileno(self):
        return self._fd

    def detach(self):
        """The descriptor. The caller must close it."""
        fd, self._fd = self._fd, -1
        return fd

    def open(self, mode="r", **options):
        """The descriptor as a file."""
        return os.fdopen(self.detach(), mode, **options)

    def socket(self):
        """The descriptor as a socket."""
        return socket.socket(fileno=self.detach())

    def close(self):
        fd = self.detach()
        if fd >= 0:
            os.close(fd)


class Descriptors:
    """The queues of the handlers, and the descriptors that came before their messages."""

    def __init__(self):
        self._unclaimed = collections.deque()
        self._handlers = {}

    def handle(self, topic, waiting):
        """Sets the queue of a topic's handler. Returns whether it is the first of all."""
        first = not self._handlers
        self._handlers[topic] = waiting
        return first

    def keep(self, fds):
        """Keeps descriptors until their messages come, which is never earlier."""
        self._unclaimed.extend(fds)

    def claim(self, topic, data, sender):
        """Passes the oldest descriptor on to the handler of the message that belongs to it. Returns
        what it passed on or closed."""
        fd = self._unclaimed.popleft() if self._unclaimed else None
        if fd is None:
            print(
                f"supervisor: a message on {topic!r} came without its descriptor", file=sys.stderr
            )
            return None
        given = Given(topic, data, sender, fd)
        waiting = self._handlers.get(topic)
        try:
            if waiting is None:
                given.close()
            else:
                waiting.put_nowait(given)
        except (queue.Full, asyncio.QueueFull):
            print(
                f"supervisor: a descriptor was closed: {MAX_WAITING} wait for their handler "
                "already",
                file=sys.stderr,
            )
            given.close()
        return given

    def close(self):
        for fd in self._unclaimed:
            if fd is not None:
                os.close(fd)
        self._unclaimed.clear()


def receive(channel, flags=0):
    """Reads bytes and descriptors. None stands for a descriptor that the kernel could not deliver
    because this process has no free number."""
    flags |= socket.MSG_CMSG_CLOEXEC
    data, fds, came, _ = socket.recv_fds(channel, 65536, MAX_RECEIVED, flags)
    if came & socket.MSG_CTRUNC:
        # Else the message of this one would take the descriptor of the next.
        fds.append(None)
    return data, fds


def number(file):
    """The number of a file, a socket, or the number itself."""
    return file if isinstance(file, int) else file.fileno()


def as_connection(handler):
    """A handler of descriptors that calls `handler(connection, address)`."""

    def taken(given):
        connection = given.socket()
        connection.setblocking(True)
        return handler(connection, connection.getpeername())

    return taken
