"""A worker for asyncio. The same words; what talks is awaited, handlers may be coroutines."""

import asyncio
import inspect
import json
import socket
import sys

from . import _gifts, _limits, _server, _wire
from ._wire import CallError


#: Events that wait for their handlers; then the oldest is dropped.
WAITING = 16 * 1024


class Worker:
    """See the package's README."""

    def __init__(self):
        self.peer = {"worker": 0, "slot": 0, "pool": ""}
        self.alone = True
        self.draining = False
        self.failures = 0
        self.dropped = 0
        self._writer = None
        self._handlers = _wire.Handlers()
        self._calls = {}
        self._next_call = 0
        self._served = {}
        self._actions = {}
        self._on_drain = []
        self._configure = None
        #: The newest shared values: version, data, and why their limits do not hold.
        self._config = None
        self._tasks = set()
        self._standing = _wire.Standing()
        self._pool = ""
        self._channel = None
        self._gifts = _gifts.Gifts()
        self._on_given = {}
        self._limits = _limits.Limits()
        self._room = asyncio.Event()

    @classmethod
    async def over(cls, channel, pool=""):
        """On a channel that is there already (None: alone)."""
        worker = cls()
        worker._pool = pool
        worker._events = asyncio.Queue()
        worker._task(worker._run_handlers())
        if channel is None:
            return worker
        worker.alone = False
        # Streams pass no descriptors on: they only write, and read from a copy is by ourselves.
        worker._channel = channel.dup()
        worker._channel.setblocking(False)
        _, worker._writer = await asyncio.open_unix_connection(sock=channel)
        worker._writer.transport.pause_reading()
        worker._welcome = asyncio.get_running_loop().create_future()
        worker._task(worker._read())
        await worker._write(_wire.hello(pool))
        await asyncio.wait_for(worker._welcome, 30)
        return worker

    def _task(self, work):
        # The loop itself keeps only weak references.
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- events

    async def on(self, topic, handler, *, wait=False):
        await self._listen(topic, handler, False, wait)

    async def once(self, topic, handler):
        await self._listen(topic, handler, True, False)

    async def _listen(self, topic, handler, once, wait):
        _wire.name("topic", topic)
        if self._handlers.add(topic, handler, once) or wait:
            when_full = "wait" if wait else "drop-oldest"
            await self._tell("subscribe", {"topic": topic, "when_full": when_full})

    async def off(self, topic, handler=None):
        if self._handlers.remove(topic, handler):
            await self._tell("unsubscribe", {"topic": topic})

    def listener_count(self, topic):
        return self._handlers.count(topic)

    def set_max_listeners(self, most):
        self._handlers.most = most

    async def emit(self, topic, data=None):
        """To all handlers in all workers, this one included."""
        text = _wire.data_text(data)
        _wire.name("topic", topic)
        if self.listener_count(topic):
            self._push(topic, json.loads(text), self.peer)
        await self._write(_wire.line("emit", {"topic": topic}, text))

    async def send(self, slot, topic, data=None):
        """To one slot's worker."""
        message = {"slot": int(slot), "topic": _wire.name("topic", topic)}
        await self._write(_wire.line("send", message, _wire.data_text(data)))

    def _push(self, topic, data, sender):
        self._events.put_nowait((topic, data, sender))
        if self._events.qsize() > WAITING:
            self._events.get_nowait()
            self.dropped += 1

    async def _run_handlers(self):
        # One after the other: the order of each sender is kept. Not in the reader, so that a
        # handler may call and wait for its answer.
        while True:
            await self._deliver(*await self._events.get())

    async def _deliver(self, topic, data, sender):
        handlers, empty = self._handlers.take(topic)
        for handler in handlers:
            try:
                await _done(handler(data, sender))
            except Exception:
                self.failures += 1
                _wire.report(f"a handler of {topic!r}")
        if empty and not self._handlers.count(topic):
            await self._tell("unsubscribe", {"topic": topic})

    # ---- calls

    async def call(self, pool, topic, data=None, *, timeout=30, retry=False):
        """Asks an idle worker of a pool ("" is the caller's own)."""
        self._next_call += 1
        number = self._next_call
        message = _wire.call(number, pool, topic, data, timeout, retry)
        if self.alone:
            return await self._call_here(topic, json.loads(_wire.data_text(data)))
        future = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            await self._write(message)
            return await asyncio.wait_for(future, timeout + _wire.GRACE)
        except asyncio.TimeoutError:
            raise CallError("timed-out", "the supervisor did not answer either") from None
        finally:
            self._calls.pop(number, None)

    async def _call_here(self, topic, data):
        handler = self._served.get(topic)
        if handler is None:
            raise CallError("alone", "there is no supervisor, and nothing here serves the call")
        try:
            return await _done(handler(data, self.peer))
        except Exception as error:
            raise CallError("failed", _wire.short(error)) from error

    async def serve(self, topic, handler, *, at_once=1):
        """Answers calls with what `handler(data, sender)` returns."""
        self._served[_wire.name("topic", topic)] = handler
        await self._tell("serve", {"topic": topic, "at_once": min(max(1, at_once), 64)})

    async def unserve(self, topic):
        self._served.pop(topic, None)
        await self._tell("unserve", {"topic": topic})

    async def action(self, name, handler):
        """Lets people trigger this: `supervisor trigger NAME ACTION`."""
        self._actions[_wire.name("action's name", name)] = handler
        await self._tell("action", {"name": name})

    async def _answer(self, number, handler, data, sender):
        try:
            if handler is None:
                raise LookupError("this worker does not serve that any more")
            text = _wire.data_text(await _done(handler(data, sender)))
            answer = _wire.line("answer", {"id": number}, text)
        except Exception as error:
            answer = _wire.line("fail", {"id": number, "message": _wire.short(error)})
        await self._write(answer)

    # ---- descriptors

    async def give(self, slot, topic, data, file):
        """Gives a copy of a descriptor to one slot's worker. Returns when it is on its way there;
        a CallError says why it is not."""
        if self.alone:
            raise CallError("alone", "there is no supervisor")
        self._next_call += 1
        number = self._next_call
        message = _wire.give(number, slot, topic, data)
        future = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            await self._write_with(message, _gifts.number(file))
            await asyncio.wait_for(future, _gifts.PATIENCE)
        except asyncio.TimeoutError:
            raise CallError("timed-out", "the supervisor did not answer") from None
        finally:
            self._calls.pop(number, None)

    async def on_given(self, topic, handler):
        """Runs `handler(given)`, one after the other, for each descriptor that is given to this
        worker on the topic. Those for which there is no handler, or which wait too long for it,
        are closed."""
        _wire.name("topic", topic)
        waiting = asyncio.Queue(_gifts.WAITING)

        async def run():
            while True:
                given = await waiting.get()
                try:
                    await _done(handler(given))
                except Exception:
                    self.failures += 1
                    _wire.report(f"the handler of what is given on {topic!r}")
                finally:
                    given.close()

        first = not self._on_given
        self._on_given[topic] = waiting
        self._task(run())
        if first:
            await self._tell("subscribe", {"topic": _gifts.TAKES, "when_full": "drop-oldest"})

    async def hand_over(self, slot, name_or_address, connection):
        """Hands a connection over to the listener of that name or address in another slot's
        worker. On an error this worker still has it to itself; afterwards it should close it."""
        await self.give(slot, _gifts.connection_topic(name_or_address), None, connection)

    async def on_connection(self, name_or_address, handler):
        """Runs `handler(connection, address)` for each connection that is handed over."""
        topic = _gifts.connection_topic(name_or_address)
        await self.on_given(topic, _gifts.as_connection(handler))

    def _take(self, said):
        given = self._gifts.claim(said)
        if given is not None:
            _gifts.pass_on(given, self._on_given.get(given.topic))

    # ---- metrics, configuration, life

    async def gauge(self, name, value, **labels):
        await self._write(_wire.metric("gauge", name, value, "", labels))

    async def counter(self, name, more=1, **labels):
        await self._write(_wire.metric("counter", name, more, "", labels))

    async def histogram(self, name, value, **labels):
        """One observation, in seconds."""
        await self._write(_wire.metric("histogram", name, value, "seconds", labels))

    async def on_config(self, handler):
        """Runs for the values that all workers share, now if there are any, and on changes."""
        self._configure = handler
        await self._apply()

    def _learn(self, version, data):
        error = None
        try:
            self._limits.configure(data)
            self._room.set()
        except ValueError as failure:
            error = _wire.short(failure)
        self._config = (version, data, error)
        self._task(self._apply())

    async def _apply(self):
        """Has the program take the newest values, and says what it made of them. Where this runs
        twice at a time, who took older ones takes the newest after them."""
        known = None
        while self._config is not known:
            version, data, error = known = self._config
            try:
                if self._configure:
                    await _done(self._configure(data))
            except Exception as failure:
                error = _wire.short(failure)
            await self._tell("applied", {"version": version, "error": error})

    async def admit(self):
        """Whether one more request is within the rate of [shared.limits]: true, or an object that
        is false and knows how long to `wait`, and `retry_after` for HTTP."""
        admission, untold = self._limits.admit(), self._limits.untold()
        if untold:
            await self.counter("requests_limited", untold)
        return admission

    async def start_server(self, connected, listening, **options):
        """As asyncio.start_server of a listening socket, which accepts no further connection while
        as many are open as [shared.limits] says. `options`: `limit` of the streams, and what
        `loop.connect_accepted_socket` takes."""
        loop, size = asyncio.get_running_loop(), options.pop("limit", 2**16)

        def protocol():
            reader = asyncio.StreamReader(limit=size, loop=loop)
            return asyncio.StreamReaderProtocol(reader, connected, loop=loop)

        return await self.create_server(protocol, listening, **options)

    async def create_server(self, protocol, listening, **options):
        """As loop.create_server of a listening socket, with the same limit."""
        return _server.Server(self._limits, self._room, protocol, listening, options)

    @property
    def connections(self):
        """How many connections are open, of those that these servers accepted."""
        return self._limits.open

    def on_drain(self, run):
        """Runs once when this worker gets no new connections any more."""
        if self.draining:
            run()
        else:
            self._on_drain.append(run)

    def _drain(self):
        self.draining = True
        runs, self._on_drain = self._on_drain, []
        for run in runs:
            try:
                run()
            except Exception:
                self.failures += 1
                _wire.report("a handler of draining")

    async def ready(self):
        await self._tell("ready", {})

    async def leaving(self):
        await self._tell("draining", {})

    def leave(self):
        """Leaves the bus; what was said before is still written."""
        if self._writer is not None:
            self._writer.close()
            self._task(self._close())

    async def _close(self):
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # It has ended already.
        if self._channel.fileno() >= 0:
            self._channel.shutdown(socket.SHUT_RDWR)

    # ---- wire

    async def _tell(self, word, message):
        self._standing.keep(word, message)
        await self._write(_wire.line(word, message))

    async def _write(self, message):
        if self.alone:
            return
        if len(message) > _wire.MAX_FRAME:
            raise ValueError(f"a message must have at most {_wire.MAX_FRAME} bytes")
        self._writer.write(message)
        await self._writer.drain()

    async def _write_with(self, message, fd):
        """Behind everything that waits, and in one piece: the descriptor goes with its first byte,
        and the stream knows of none."""
        transport = self._writer.transport
        transport.set_write_buffer_limits(high=0)
        while True:
            while transport.get_write_buffer_size() > 0:
                await self._writer.drain()
            try:
                sent = socket.send_fds(self._channel, [message], [fd])
                break
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
        transport.set_write_buffer_limits()
        if sent < len(message):
            self._writer.write(message[sent:])

    async def _ready(self, watch, forget):
        ready = self._loop.create_future()
        fd = self._channel.fileno()
        watch(fd, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            forget(fd)

    @property
    def _loop(self):
        return asyncio.get_running_loop()

    async def _resume(self):
        """Another primary goes on: it has not heard the last of what lasts, and no calls."""
        for future in self._calls.values():
            if not future.done():
                future.set_exception(CallError("lost", _wire.LOST))
        if self.peer["worker"] == 0:
            await self._write(_wire.hello(self._pool))
        for word, message in self._standing.all():
            await self._tell(word, message)

    async def _receive(self):
        while True:
            try:
                data, fds = _gifts.receive(self._channel)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
                continue
            self._gifts.keep(fds)
            return data

    async def _read(self):
        lines = _wire.Lines()
        why = "the channel to the supervisor has ended"
        try:
            while True:
                data = await self._receive()
                if not data:
                    break
                for word, said in lines.take(data):
                    await self._hear(word, said)
        except (OSError, ValueError, RecursionError) as error:
            why = f"{why}: {error}"
        self.alone = True
        self._gifts.close()
        self._channel.close()
        self._writer.close()
        if not self._welcome.done():
            self._welcome.set_exception(ConnectionError(why))
        for future in self._calls.values():
            if not future.done():
                future.set_exception(CallError("alone", why))

    async def _hear(self, word, said):
        if word == "welcome":
            self.peer = said["you"]
            if not self._welcome.done():
                self._welcome.set_result(None)
        elif word == "refused":
            reason = said["reason"]
            print(f"supervisor: this worker was cut off from the bus: {reason}", file=sys.stderr)
            if not self._welcome.done():
                self._welcome.set_exception(ConnectionError(reason))
        elif word == "event":
            self._push(said["topic"], said["data"], said["from"])
        elif word == "call":
            handler = self._served.get(said["topic"])
            self._task(self._answer(said["id"], handler, said["data"], said["from"]))
        elif word == "trigger":
            handler = self._actions.get(said["action"])
            self._task(self._answer(said["id"], handler, said["data"], {}))
        elif word in ("answer", "error"):
            future = self._calls.get(said["id"])
            if future is None or future.done():
                return
            if word == "answer":
                future.set_result(said["data"])
            else:
                future.set_exception(CallError(said["kind"], said["message"]))
        elif word == "given":
            self._take(said)
        elif word == "config":
            self._learn(said["version"], said["data"])
        elif word == "drain":
            self._drain()
        elif word == "dropped":
            self.dropped = said["count"]
        elif word == "resumed":
            await self._resume()
        elif word == "ping":
            await self._tell("pong", {"id": said["id"]})


async def _done(result):
    return await result if inspect.isawaitable(result) else result


_only = None


async def join(pool=""):
    """Joins the bus of the supervisor above; the same worker each time."""
    global _only
    if _only is None:
        _only = await Worker.over(_wire.inherited(), pool)
    return _only
