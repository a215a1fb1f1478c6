"""A worker that uses threads: one reads, one runs the handlers of events, one runs callbacks, and
each served topic has its own."""

import concurrent.futures
import queue
import socket
import struct
import threading

from . import _base, _core, _descriptors, _events, _listener, _wire
from ._core import CallError


class Worker(_base.Worker):
    """See the package's README."""

    def __init__(self, channel, pool=""):
        super().__init__(pool)
        self._channel = channel
        #: Held for each use of the core.
        self._lock = threading.RLock()
        #: Held while outgoing bytes are taken and written, so that they keep their order.
        self._write_lock = threading.Lock()
        #: Signalled when an event waits.
        self._events = threading.Condition(self._lock)
        #: Signalled when the handlers have taken an event, and at the end.
        self._event_room = threading.Condition(self._lock)
        #: Signalled when there may be room for a connection.
        self._connection_room = threading.Condition(self._lock)
        #: Held while the handler of the shared values runs. A handler may set another one.
        self._configuring = threading.RLock()
        #: The values and the handler that ran last.
        self._configured = (None, None)
        self._callbacks = queue.SimpleQueue()
        self._joined = queue.SimpleQueue()
        self._thread(self._run_handlers, "bus-handlers")
        self._thread(self._run_callbacks, "bus-callbacks")
        if channel is None:
            return
        channel.settimeout(None)
        seconds = struct.pack("ll", int(_core.WRITE_TIMEOUT), 0)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        with self._lock:
            self._core.join()
        self._thread(self._read, "bus-reader")
        self._flush()
        try:
            why = self._joined.get(timeout=_core.WELCOME_TIMEOUT)
        except queue.Empty:
            why = "no answer"
        if why is not None:
            self.leave()
            raise _base.refusal(why)

    @staticmethod
    def _thread(target, name):
        threading.Thread(target=target, name=name, daemon=True).start()

    # ---- events

    def on(self, topic, handler=None, *, wait=False):
        """Runs `handler(data, sender)` for each event. Without a handler, a decorator. With `wait`,
        the workers that emit have to wait while this handler does not keep up."""
        if handler is None:
            return lambda handler: self.on(topic, handler, wait=wait)
        self._tell(self._core.subscribe, topic, handler, False, wait)
        return handler

    def once(self, topic, handler=None):
        """As `on`, for the next event only."""
        if handler is None:
            return lambda handler: self.once(topic, handler)
        self._tell(self._core.subscribe, topic, handler, True, False)
        return handler

    def off(self, topic, handler=None):
        """Removes a handler, or all of the topic."""
        self._tell(self._core.unsubscribe, topic, handler)

    def emit(self, topic, data=None):
        """Gives data to all handlers in all workers, this one included."""
        with self._lock:
            if self._core.emit(topic, data):
                self._events.notify()
        self._flush()

    def send(self, slot, topic, data=None):
        """Gives data to the handlers in one slot's worker."""
        self._tell(self._core.send, slot, topic, data)

    def _run_handlers(self):
        while True:
            with self._lock:
                self._events.wait_for(lambda: len(self._core.events))
                topic, data, sender, handlers, last = self._core.take_event()
                self._event_room.notify_all()
            for handler in handlers:
                try:
                    handler(data, sender)
                except Exception:
                    self._failed(f"a handler of {topic!r}")
            if last:
                self._try_tell(self._core.finish_event, topic)

    # ---- calls

    def call(self, pool, topic, data=None, *, timeout=30, retry=False):
        """Asks an idle worker of a pool ("" is the caller's own), and waits for its answer."""
        future = concurrent.futures.Future()
        number = self._tell(self._core.call, future, pool, topic, data, timeout, retry)
        if number is None:
            return self._call_here(topic, data)
        try:
            return future.result(_wire.clamped(timeout) + _core.GRACE)
        except concurrent.futures.TimeoutError:
            raise CallError("timed-out", "the supervisor did not answer either") from None
        finally:
            self._forget_call(number)

    def _call_here(self, topic, data):
        with self._lock:
            (handler, threads), data = self._core.local_call(topic, data)
        try:
            return threads.submit(handler, data, self.peer).result()
        except Exception as error:
            raise CallError("failed", _wire.truncated(error)) from error

    def _forget_call(self, number):
        with self._lock:
            self._core.forget_call(number)

    def serve(self, topic, handler=None, *, at_once=1):
        """Answers requests with what `handler(data, sender)` returns, up to `at_once` (1 to 64) at
        a time."""
        if handler is None:
            return lambda handler: self.serve(topic, handler, at_once=at_once)
        at_once = min(max(1, at_once), _core.MAX_AT_ONCE)
        threads = concurrent.futures.ThreadPoolExecutor(at_once, f"bus-{topic}")
        self._retire(self._tell(self._core.serve, topic, (handler, threads), at_once))
        return handler

    def unserve(self, topic):
        """Stops answering requests. Those that came already are still answered."""
        self._retire(self._tell(self._core.unserve, topic))

    @staticmethod
    def _retire(served):
        """Ends the threads of a handler when they have answered what came already."""
        if served:
            served[1].shutdown(wait=False)

    def action(self, name, handler=None):
        """Lets people trigger this: `supervisor trigger NAME ACTION`."""
        if handler is None:
            return lambda handler: self.action(name, handler)
        threads = concurrent.futures.ThreadPoolExecutor(1, f"bus-{name}")
        self._retire(self._tell(self._core.action, name, (handler, threads)))
        return handler

    def _answer(self, number, served, data, sender):
        handler, threads = served

        def run():
            try:
                answer = handler(data, sender)
            except Exception as error:
                self._try_tell(self._core.fail, number, error)
            else:
                self._try_tell(self._core.answer, number, answer)

        try:
            threads.submit(run)
        except RuntimeError:
            # The program called `unserve` at this very moment.
            self._try_tell(self._core.fail, number, "this worker does not serve this any more")

    # ---- descriptors

    def give(self, slot, topic, data, file):
        """Gives a copy of a descriptor to one slot's worker. Returns when the descriptor is on its
        way; a CallError says why it is not."""
        future = concurrent.futures.Future()
        with self._lock:
            number, line = self._core.give(future, slot, topic, data)
        try:
            with self._write_lock:
                self._write()
                sent = socket.send_fds(self._channel, [line], [_descriptors.number(file)])
                self._channel.sendall(line[sent:])
            future.result(_descriptors.GIVE_TIMEOUT)
        except concurrent.futures.TimeoutError:
            raise CallError("timed-out", "the supervisor did not answer") from None
        finally:
            self._forget_call(number)

    def on_given(self, topic, handler=None):
        """Runs `handler(given)`, in a thread of its own, for each descriptor that another worker
        gives to this one on the topic. The client closes descriptors of topics without a handler,
        and those that come while 16 wait for their handler."""
        if handler is None:
            return lambda handler: self.on_given(topic, handler)
        waiting = queue.Queue(_descriptors.MAX_WAITING)

        def run():
            while True:
                given = waiting.get()
                try:
                    handler(given)
                except Exception:
                    self._failed(f"the handler of descriptors on {topic!r}")
                finally:
                    given.close()

        self._tell(self._core.on_given, topic, waiting)
        self._thread(run, "bus-given")
        return handler

    def hand_over(self, slot, name_or_address, connection):
        """Hands a connection over to the listener of that name or address in another slot's
        worker. After success this worker should close it; after an error it alone has it."""
        self.give(slot, _descriptors.connection_topic(name_or_address), None, connection)

    def on_connection(self, name_or_address, handler=None):
        """Runs `handler(connection, address)` for each connection that is handed over."""
        if handler is None:
            return lambda handler: self.on_connection(name_or_address, handler)
        topic = _descriptors.connection_topic(name_or_address)
        self.on_given(topic, _descriptors.as_connection(handler))
        return handler

    # ---- metrics, configuration, life

    def gauge(self, name, value, **labels):
        """Sets a value that goes up and down."""
        self._tell(self._core.metric, "gauge", name, value, "", labels)

    def counter(self, name, more=1, **labels):
        """Adds to a value that only grows."""
        self._tell(self._core.metric, "counter", name, more, "", labels)

    def histogram(self, name, value, **labels):
        """Adds one observation, in seconds."""
        self._tell(self._core.metric, "histogram", name, value, "seconds", labels)

    def on_config(self, handler):
        """Runs for the values that all workers share, now if there are any, and on changes."""
        with self._lock:
            self._core.configure = handler
        self._configure()
        return handler

    def _configure(self):
        """Runs the program's handler for the newest values, once for each handler and values, and
        reports the result."""
        with self._configuring:
            while True:
                with self._lock:
                    values, configure = newest = self._core.shared_values, self._core.configure
                if values is None or newest == self._configured:
                    return
                self._configured, error = newest, values.error
                try:
                    if configure:
                        configure(values.data)
                except Exception as failure:
                    error = _wire.truncated(failure)
                self._try_tell(self._core.applied, values.version, error)

    def admit(self):
        """Whether one more request is within the rate of [shared.limits]: true, or an object that
        is false and knows how long to `wait`, and `retry_after` for HTTP."""
        return self._try_tell(self._core.admit)

    def limit(self, listening):
        """Returns the same listening socket with an `accept` that waits while as many connections
        are open as [shared.limits] allows. The given socket object is closed."""
        return _listener.Listener(self._core.limits, self._connection_room, listening)

    def on_drain(self, run):
        """Runs this once when this worker gets no new connections any more."""
        with self._lock:
            now = self._core.on_drain(run)
        if now:
            run()
        return run

    def _drain(self, callbacks):
        for run in callbacks:
            try:
                run()
            except Exception:
                self._failed("a handler of draining")

    def _run_callbacks(self):
        """They may take their time, and may wait for answers, so the reader must not run them."""
        while True:
            run, *arguments = self._callbacks.get()
            run(*arguments)

    def ready(self):
        """Tells the supervisor that this worker serves."""
        self._tell(self._core.ready)

    def leaving(self):
        """Tells the supervisor that this worker is about to leave by itself."""
        self._tell(self._core.leaving)

    def leave(self):
        """Leaves the bus."""
        if self._channel is not None:
            try:
                self._channel.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # The channel has ended already.

    # ---- channel

    def _tell(self, tell, *arguments):
        """Calls a method of the core, and writes what it sends."""
        with self._lock:
            result = tell(*arguments)
        self._flush()
        return result

    def _try_tell(self, tell, *arguments):
        """As `_tell`, for the client's own threads: the reader notices the end of the channel."""
        with self._lock:
            result = tell(*arguments)
        self._try_flush()
        return result

    def _flush(self):
        with self._write_lock:
            self._write()

    def _try_flush(self):
        try:
            self._flush()
        except OSError:
            pass  # The reader notices the end of the channel.

    def _write(self):
        with self._lock:
            data = self._core.take_outgoing()
        if not data:
            return
        try:
            self._channel.sendall(data)
        except BlockingIOError:
            # The supervisor may hold half a message, so nothing more may follow.
            self.leave()
            raise TimeoutError(_core.NOT_READ) from None

    def _read(self):
        why = _core.ENDED
        try:
            while True:
                data, fds = _descriptors.receive(self._channel)
                if not data:
                    break
                self._take(data, fds)
                self._await_room()
        except OSError:
            pass  # The channel has ended.
        except Exception as error:
            # Whatever it is, no call may wait for an answer that nobody reads any more.
            _base.report_unreadable(error)
        with self._lock:
            actions = self._core.end(why)
        self._act(actions)

    def _take(self, data, fds=()):
        """Takes the bytes and descriptors of one read."""
        with self._lock:
            actions = self._core.receive(data, fds)
            if len(self._core.events):
                self._events.notify()
        self._try_flush()
        self._act(actions)

    def _await_room(self):
        """Reads no faster than the handlers run, where no event must be dropped."""
        with self._lock:
            events = self._core.events
            if events.needs_room():
                has_room = self._event_room.wait_for(
                    lambda: not events.needs_room(), _events.ROOM_TIMEOUT
                )
                if not has_room:
                    events.give_up()

    def _act(self, actions):
        for action in actions:
            if isinstance(action, _core.CallDone):
                if action.error is None:
                    action.future.set_result(action.data)
                else:
                    action.future.set_exception(action.error)
            elif isinstance(action, _core.Answer):
                self._answer(*action)
            elif isinstance(action, _core.Configure):
                with self._lock:
                    self._connection_room.notify_all()
                self._callbacks.put((self._configure,))
            elif isinstance(action, _core.Drain):
                self._callbacks.put((self._drain, action.callbacks))
            elif isinstance(action, _core.Joined):
                self._joined.put(action.why)


_only = None


def join(pool=""):
    """Joins the bus of the supervisor. Returns the same worker each time."""
    global _only
    if _only is None:
        _only = Worker(_wire.inherited(), pool)
    return _only
