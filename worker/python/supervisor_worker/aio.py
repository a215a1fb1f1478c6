"""A worker for asyncio. Methods that talk are awaited, and handlers may be coroutines."""

import asyncio
import contextlib
import inspect
import socket
import threading

from . import _base, _core, _descriptors, _events, _leader, _server, _wire
from ._core import CallError

#: The bytes that may wait to be written before a method that talks waits: 64 KiB, asyncio's own
#: limit of a stream.
MAX_WAITING = 1 << 16


class Worker(_base.Worker):
    """See the package's README."""

    def __init__(self, pool=""):
        super().__init__(pool)
        self._writer = None
        self._channel = None
        self._tasks = set()
        #: Set when an event waits.
        self._events = asyncio.Event()
        #: Set when the handlers have taken an event.
        self._event_room = asyncio.Event()
        #: Set when there may be room for a connection.
        self._connection_room = asyncio.Event()
        #: Held by the task that waits until less waits to be written.
        self._draining_writes = asyncio.Lock()
        #: Held by the task that runs the handler of the shared values.
        self._configuring = asyncio.Lock()
        self._configurer = None
        #: The values and the handler of its last run.
        self._configured = (None, None)

    @classmethod
    async def over(cls, channel, pool=""):
        """Joins over a channel that is open already. None: there is no supervisor."""
        worker = cls(pool)
        worker._task(worker._run_handlers())
        if channel is None:
            return worker
        # asyncio's streams pass no descriptors on. So the stream only writes, and the worker reads
        # from a copy of the socket.
        worker._channel = channel.dup()
        worker._channel.setblocking(False)
        _, worker._writer = await asyncio.open_unix_connection(sock=channel)
        worker._writer.transport.pause_reading()
        worker._joined = asyncio.get_running_loop().create_future()
        worker._core.join()
        worker._task(worker._read())
        await worker._flush()
        try:
            why = await asyncio.wait_for(worker._joined, _core.WELCOME_TIMEOUT)
        except asyncio.TimeoutError:
            why = "no answer"
        if why is not None:
            worker.leave()
            raise _base.refusal(why)
        return worker

    def _task(self, work):
        # The loop itself keeps only weak references.
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- events

    async def on(self, topic, handler, *, wait=False):
        """Runs `handler(data, sender)` for each event. With `wait`, the workers that emit have to
        wait while this handler does not keep up."""
        self._core.subscribe(topic, handler, False, wait)
        await self._flush()

    async def once(self, topic, handler):
        """As `on`, for the next event only."""
        self._core.subscribe(topic, handler, True, False)
        await self._flush()

    async def off(self, topic, handler=None):
        """Removes a handler, or all of the topic."""
        self._core.unsubscribe(topic, handler)
        await self._flush()

    async def emit(self, topic, data=None):
        """Gives data to all handlers in all workers, this one included."""
        if self._core.emit(topic, data):
            self._events.set()
        await self._flush()

    async def send(self, slot, topic, data=None):
        """Gives data to the handlers in one slot's worker."""
        self._core.send(slot, topic, data)
        await self._flush()

    async def _run_handlers(self):
        """One event after the other, so that each sender's order is kept. Not in the task that
        reads: a handler may wait for an answer."""
        while True:
            while not len(self._core.events):
                self._events.clear()
                await self._events.wait()
            topic, data, sender, handlers, last = self._core.take_event()
            self._event_room.set()
            for handler in handlers:
                try:
                    await _done(handler(data, sender))
                except Exception:
                    self._failed(f"a handler of {topic!r}")
            if last:
                self._core.finish_event(topic)
                self._write()

    # ---- calls

    async def call(self, pool, topic, data=None, *, timeout=30, retry=False):
        """Asks an idle worker of a pool ("" is the caller's own)."""
        future = asyncio.get_running_loop().create_future()
        number = self._core.call(future, pool, topic, data, timeout, retry)
        if number is None:
            return await self._call_here(topic, data)
        try:
            await self._flush()
            return await asyncio.wait_for(future, _wire.clamped(timeout) + _core.GRACE)
        except asyncio.TimeoutError:
            raise CallError("timed-out", "the supervisor did not answer either") from None
        finally:
            self._core.forget_call(number)

    async def _call_here(self, topic, data):
        handler, data = self._core.local_call(topic, data)
        try:
            return await _done(handler(data, self.peer))
        except Exception as error:
            raise CallError("failed", _wire.truncated(error)) from error

    async def serve(self, topic, handler, *, at_once=1):
        """Answers requests with what `handler(data, sender)` returns. The supervisor passes on up
        to `at_once` (1 to 64) at a time."""
        self._core.serve(topic, handler, at_once)
        await self._flush()

    async def unserve(self, topic):
        """Stops answering requests. Those that came already are still answered."""
        self._core.unserve(topic)
        await self._flush()

    async def action(self, name, handler):
        """Lets people trigger this: `supervisor trigger NAME ACTION`."""
        self._core.action(name, handler)
        await self._flush()

    async def _answer(self, number, handler, data, sender):
        try:
            answer = await _done(handler(data, sender))
        except Exception as error:
            self._core.fail(number, error)
        else:
            self._core.answer(number, answer)
        self._write()

    # ---- descriptors

    async def give(self, slot, topic, data, file):
        """Gives a copy of a descriptor to one slot's worker. Returns when the descriptor is on its
        way; a CallError says why it is not."""
        future = asyncio.get_running_loop().create_future()
        number, line = self._core.give(future, slot, topic, data)
        try:
            await self._write_with(line, _descriptors.number(file))
            await asyncio.wait_for(future, _descriptors.GIVE_TIMEOUT)
        except asyncio.TimeoutError:
            raise CallError("timed-out", "the supervisor did not answer") from None
        finally:
            self._core.forget_call(number)

    async def on_given(self, topic, handler):
        """Runs `handler(given)`, one after the other, for each descriptor that another worker gives
        to this one on the topic. The client closes descriptors of topics without a handler, and
        those that come while 16 wait for their handler."""
        waiting = asyncio.Queue(_descriptors.MAX_WAITING)

        async def run():
            while True:
                given = await waiting.get()
                try:
                    await _done(handler(given))
                except Exception:
                    self._failed(f"the handler of descriptors on {topic!r}")
                finally:
                    given.close()

        self._core.on_given(topic, waiting)
        self._task(run())
        await self._flush()

    async def hand_over(self, slot, name_or_address, connection):
        """Hands a connection over to the listener of that name or address in another slot's
        worker. After success this worker should close it; after an error it alone has it."""
        await self.give(slot, _descriptors.connection_topic(name_or_address), None, connection)

    async def on_connection(self, name_or_address, handler):
        """Runs `handler(connection, address)` for each connection that is handed over."""
        topic = _descriptors.connection_topic(name_or_address)
        await self.on_given(topic, _descriptors.as_connection(handler))

    # ---- metrics, configuration, life

    async def gauge(self, name, value, **labels):
        """Sets a value that goes up and down."""
        self._core.metric("gauge", name, value, "", labels)
        await self._flush()

    async def counter(self, name, more=1, **labels):
        """Adds to a value that only grows."""
        self._core.metric("counter", name, more, "", labels)
        await self._flush()

    async def histogram(self, name, value, **labels):
        """Adds one observation, in seconds."""
        self._core.metric("histogram", name, value, "seconds", labels)
        await self._flush()

    async def on_config(self, handler):
        """Runs for the values that all workers share, now if there are any, and on changes."""
        self._core.configure = handler
        await self._configure()

    async def _configure(self):
        """Runs the program's handler for the newest values, once for each handler and values, and
        reports the result. If values or a handler come while one runs, that run goes on with
        them."""
        if self._configurer is asyncio.current_task():
            return
        async with self._configuring:
            self._configurer = asyncio.current_task()
            try:
                while await self._configure_once():
                    pass
            finally:
                self._configurer = None

    async def _configure_once(self):
        values, configure = self._core.shared_values, self._core.configure
        had_values, had_handler = self._configured
        if values is None or (values is had_values and configure is had_handler):
            return False
        self._configured, error = (values, configure), values.error
        try:
            if configure:
                await _done(configure(values.data))
        except Exception as failure:
            error = _wire.truncated(failure)
        self._core.applied(values.version, error)
        self._write()
        return True

    async def admit(self):
        """Whether one more request is within the rate of [shared.limits]: true, or an object that
        is false and knows how long to `wait`, and `retry_after` for HTTP."""
        admission = self._core.admit()
        self._write()
        return admission

    async def start_server(self, connected, listening, **options):
        """As asyncio.start_server of a listening socket, but accepts no connection while as many
        are open as [shared.limits] allows. `options`: `limit` of the streams, and those of
        `loop.connect_accepted_socket`."""
        loop, size = asyncio.get_running_loop(), options.pop("limit", 2**16)

        def protocol():
            reader = asyncio.StreamReader(limit=size, loop=loop)
            return asyncio.StreamReaderProtocol(reader, connected, loop=loop)

        return await self.create_server(protocol, listening, **options)

    async def create_server(self, protocol, listening, **options):
        """As loop.create_server of a listening socket, with the same limit."""
        limits, room = self._core.limits, self._connection_room
        return _server.Server(limits, room, protocol, listening, options)

    def on_drain(self, run):
        """Runs this once when this worker gets no new connections any more."""
        if self._core.on_drain(run):
            run()

    def _drain(self, callbacks):
        for run in callbacks:
            try:
                run()
            except Exception:
                self._failed("a handler of draining")

    async def ready(self):
        """Tells the supervisor that this worker serves."""
        self._core.ready()
        await self._flush()

    async def leaving(self):
        """Tells the supervisor that this worker is about to leave by itself."""
        self._core.leaving()
        await self._flush()

    def leave(self):
        """Leaves the bus. What this worker has sent is still written."""
        if self._writer is not None:
            self._writer.close()
            self._task(self._close())

    async def _close(self):
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # The channel has ended already.
        if self._channel.fileno() >= 0:
            self._channel.shutdown(socket.SHUT_RDWR)

    # ---- channel

    @property
    def _loop(self):
        return asyncio.get_running_loop()

    def _write(self):
        """Gives what the core sends to the stream."""
        data = self._core.take_outgoing()
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def _flush(self):
        """The same, and waits while much waits to be written."""
        self._write()
        if self.alone or self._writer.transport.get_write_buffer_size() <= MAX_WAITING:
            return
        try:
            await asyncio.wait_for(self._drain_writes(), _core.WRITE_TIMEOUT)
        except asyncio.TimeoutError:
            raise TimeoutError(_core.NOT_READ) from None

    async def _drain_writes(self):
        # One task at a time: before Python 3.12 a stream allows no more.
        async with self._draining_writes:
            await self._writer.drain()

    async def _write_with(self, line, fd):
        """Writes a line with a descriptor behind all that waits. The descriptor goes with the first
        byte, and the stream cannot send it."""
        transport = self._writer.transport
        transport.set_write_buffer_limits(high=0)
        while True:
            self._write()
            while transport.get_write_buffer_size() > 0:
                await self._drain_writes()
            try:
                sent = socket.send_fds(self._channel, [line], [fd])
                break
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
        transport.set_write_buffer_limits()
        if sent < len(line):
            self._writer.write(line[sent:])

    async def _ready(self, watch, forget):
        ready = self._loop.create_future()
        fd = self._channel.fileno()
        watch(fd, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            forget(fd)

    async def _read(self):
        try:
            while True:
                try:
                    data, fds = _descriptors.receive(self._channel)
                except BlockingIOError:
                    await self._ready(self._loop.add_reader, self._loop.remove_reader)
                    continue
                if not data:
                    break
                self._take(data, fds)
                await self._await_room()
        except OSError:
            pass  # The channel has ended.
        except Exception as error:
            # Whatever it is, no call may wait for an answer that nobody reads any more.
            _base.report_unreadable(error)
        actions = self._core.end()
        self._channel.close()
        self._writer.close()
        self._act(actions)

    def _take(self, data, fds=()):
        """Takes the bytes and descriptors of one read."""
        actions = self._core.receive(data, fds)
        if len(self._core.events):
            self._events.set()
        self._act(actions)
        self._write()

    async def _await_room(self):
        """Reads no faster than the handlers run, where no event must be dropped."""
        events, loop = self._core.events, asyncio.get_running_loop()
        deadline = loop.time() + _events.ROOM_TIMEOUT
        while events.needs_room():
            self._event_room.clear()
            try:
                await asyncio.wait_for(self._event_room.wait(), deadline - loop.time())
            except asyncio.TimeoutError:
                events.give_up()

    def _act(self, actions):
        for action in actions:
            if isinstance(action, _core.CallDone):
                if action.future.done():
                    continue  # The caller was cancelled, or gave up.
                if action.error is None:
                    action.future.set_result(action.data)
                else:
                    action.future.set_exception(action.error)
            elif isinstance(action, _core.Answer):
                self._task(self._answer(*action))
            elif isinstance(action, _core.Configure):
                self._connection_room.set()
                self._task(self._configure())
            elif isinstance(action, _core.Drain):
                self._drain(action.callbacks)
            elif isinstance(action, _core.Joined):
                if not self._joined.done():
                    self._joined.set_result(action.why)


async def _done(result):
    return await result if inspect.isawaitable(result) else result


_only = None


async def join(pool=""):
    """Joins the bus of the supervisor. Returns the same worker each time."""
    global _only
    if _only is None:
        _only = await Worker.over(_wire.inherited(), pool)
    return _only


async def until_leader():
    """Waits until this process leads its app, and returns at once if it does. A process whose
    waiting is cancelled still leads as soon as no other one does."""
    loop = asyncio.get_running_loop()
    leads = loop.create_future()

    def tell(error):
        if leads.done():
            return
        if error is None:
            leads.set_result(None)
        else:
            leads.set_exception(error)

    def wait():
        error = None
        try:
            _leader.until_leader()
        except Exception as failed:
            error = failed
        # If the loop is closed, no coroutine waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, error)

    # A thread of an executor would keep the program from ending.
    threading.Thread(target=wait, name="leader", daemon=True).start()
    await leads
