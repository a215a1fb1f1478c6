"""A listening socket that accepts no connection while as many are open as [shared.limits] allows.
It is a socket like any other, so the servers of the standard library can use it."""

import socket


class Connection(socket.socket):
    """An accepted connection. It counts as open until it and all files that `makefile` made of it
    are closed, or until `detach` passes it on, as ssl does."""

    _left = None

    def on_leave(self, left):
        self._left = left

    def close(self):
        super().close()
        if self.fileno() == -1:
            self._leave()

    def detach(self):
        self._leave()
        return super().detach()

    def __del__(self):
        self._leave()

    def _leave(self):
        left, self._left = self._left, None
        if left is not None:
            left()


class Listener(socket.socket):
    """See Worker.limit."""

    def __init__(self, limits, room, listening):
        timeout = listening.gettimeout()
        family, kind, proto = listening.family, listening.type, listening.proto
        super().__init__(family, kind, proto, listening.detach())
        self.settimeout(timeout)
        self._limits = limits
        self._room = room

    def accept(self):
        timeout = self.gettimeout()
        with self._room:
            if not self._room.wait_for(self._limits.has_room, timeout):
                if timeout == 0:
                    raise BlockingIOError("as many connections are open as [shared.limits] allows")
                raise socket.timeout(
                    "timed out: as many connections are open as [shared.limits] allows"
                )
            self._limits.open += 1
        try:
            plain, address = super().accept()
            timeout = plain.gettimeout()
            connection = Connection(self.family, self.type, self.proto, plain.detach())
            connection.settimeout(timeout)
        except BaseException:
            self._leave()
            raise
        connection.on_leave(self._leave)
        return connection, address

    def _leave(self):
        with self._room:
            self._limits.open -= 1
            self._room.notify_all()
