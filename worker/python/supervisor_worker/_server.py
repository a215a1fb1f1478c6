"""A server for asyncio that accepts no connection while as many are open as [shared.limits] allows.

asyncio's own server accepts many connections at once, and asks nobody in between.
"""

import asyncio
import sys

from ._listener import Connection

#: The pause after a failed accept, in seconds, for example for want of descriptors. The failure
#: lasts, so an immediate retry would spin.
ACCEPT_PAUSE = 1.0


class Server:
    """Serves until it is closed."""

    def __init__(self, limits, room, protocol, listening, options):
        self._limits = limits
        self._room = room
        self._protocol = protocol
        self._listening = listening
        self._options = options
        self._open = 0
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._connecting = set()
        listening.setblocking(False)
        self._accepting = asyncio.ensure_future(self._accept())

    @property
    def sockets(self):
        return () if self._listening is None else (self._listening,)

    def is_serving(self):
        return self._listening is not None

    def close(self):
        """Stops accepting. Open connections go on."""
        self._accepting.cancel()

    async def wait_closed(self):
        """Waits until the server and all its connections are closed."""
        await asyncio.wait([self._accepting])
        await self._all_gone.wait()

    async def serve_forever(self):
        """Waits until the server is closed."""
        try:
            await asyncio.wait([self._accepting])
        finally:
            self.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *failure):
        self.close()
        await self.wait_closed()

    async def _accept(self):
        loop = asyncio.get_running_loop()
        try:
            while True:
                while not self._limits.has_room():
                    self._room.clear()
                    await self._room.wait()
                # Counts before the accept, since another server of this worker may accept too.
                self._limits.open += 1
                try:
                    plain, _ = self._listening.accept()
                except BlockingIOError:
                    self._leave()
                    await self._readable(loop)
                except ConnectionError:
                    self._leave()
                except OSError as error:
                    self._leave()
                    print(f"supervisor: cannot accept a connection: {error}", file=sys.stderr)
                    await asyncio.sleep(ACCEPT_PAUSE)
                else:
                    task = asyncio.ensure_future(self._serve(loop, plain))
                    self._connecting.add(task)
                    task.add_done_callback(self._connecting.discard)
        finally:
            self._listening.close()
            self._listening = None

    async def _readable(self, loop):
        ready = loop.create_future()
        fd = self._listening.fileno()
        loop.add_reader(fd, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(fd)

    async def _serve(self, loop, plain):
        family, kind, proto = plain.family, plain.type, plain.proto
        connection = Connection(family, kind, proto, plain.detach())
        connection.setblocking(False)
        connection.on_leave(self._gone)
        self._open += 1
        self._all_gone.clear()
        try:
            await loop.connect_accepted_socket(self._protocol, connection, **self._options)
        except OSError:
            pass  # The TLS handshake failed, and asyncio has closed the connection.
        except BaseException:
            connection.close()
            raise

    def _gone(self):
        self._open -= 1
        if self._open == 0:
            self._all_gone.set()
        self._leave()

    def _leave(self):
        self._limits.open -= 1
        self._room.set()
