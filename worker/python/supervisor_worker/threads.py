"""A worker that uses threads: one reads, one runs the handlers of events, each served topic has
its own."""

import collections
import concurrent.futures
import json
import queue
import socket
import sys
import threading

from . import _gifts, _limits, _listener, _wire
from ._wire import CallError

#: Events that wait for their handlers; then the oldest is dropped.
WAITING = 16 * 1024
#: How long the supervisor may take to say welcome, or to read, in seconds.
PATIENCE = 30


class Worker:
    """See the package's README."""

    def __init__(self, channel, pool=""):
        self.peer = {"worker": 0, "slot": 0, "pool": ""}
        self.alone = channel is None
        self.draining = False
        self.failures = 0
        self.dropped = 0
        self._channel = channel
        self._lock = threading.RLock()
        self._write_lock = threading.Lock()
        #: Held while what lasts is written, so that the supervisor hears it in this order.
        self._standing_lock = threading.RLock()
        self._standing = _wire.Standing()
        self._pool = pool
        self._gifts = _gifts.Gifts()
        self._on_given = {}
        self._limits = _limits.Limits()
        #: Held while limits are looked at, and told when there is room again.
        self._room = threading.Condition()
        self._handlers = _wire.Handlers()
        self._events = collections.deque()
        self._arrived = threading.Semaphore(0)
        self._calls = {}
        self._next_call = 0
        self._served = {}
        self._actions = {}
        self._on_drain = []
        self._configure = None
        #: The newest shared values: version, data, and why their limits do not hold.
        self._config = None
        self._welcome = queue.Queue()
        self._thread(self._run_handlers, "bus-handlers")
        if channel is None:
            return
        channel.settimeout(None)
        self._thread(self._read, "bus-reader")
        self._write(_wire.hello(pool))
        try:
            refused = self._welcome.get(timeout=PATIENCE)
        except queue.Empty:
            refused = "no answer"
        if refused:
            self.leave()
            raise ConnectionError(f"cannot join the supervisor's bus: {refused}")

    @staticmethod
    def _thread(target, name):
        threading.Thread(target=target, name=name, daemon=True).start()

    # ---- events

    def on(self, topic, handler=None, *, wait=False):
        """Runs `handler(data, sender)` for each event; without a handler, a decorator."""
        if handler is None:
            return lambda handler: self.on(topic, handler, wait=wait)
        return self._listen(topic, handler, False, wait)

    def once(self, topic, handler=None):
        if handler is None:
            return lambda handler: self.once(topic, handler)
        return self._listen(topic, handler, True, False)

    def _listen(self, topic, handler, once, wait):
        _wire.name("topic", topic)
        with self._lock:
            first = self._handlers.add(topic, handler, once)
        if first or wait:
            when_full = "wait" if wait else "drop-oldest"
            self._tell("subscribe", {"topic": topic, "when_full": when_full})
        return handler

    def off(self, topic, handler=None):
        """Removes a handler, or all of the topic."""
        with self._lock:
            empty = self._handlers.remove(topic, handler)
        if empty:
            self._unsubscribe(topic)

    def _unsubscribe(self, topic):
        """Unless there is another handler by now, from one that ran or from another thread."""
        with self._standing_lock:
            if not self.listener_count(topic):
                self._tell("unsubscribe", {"topic": topic})

    def listener_count(self, topic):
        with self._lock:
            return self._handlers.count(topic)

    def set_max_listeners(self, most):
        self._handlers.most = most

    def emit(self, topic, data=None):
        """To all handlers in all workers, this one included."""
        text = _wire.data_text(data)
        _wire.name("topic", topic)
        if self.listener_count(topic):
            self._push(topic, json.loads(text), self.peer)
        self._write(_wire.line("emit", {"topic": topic}, text))

    def send(self, slot, topic, data=None):
        """To one slot's worker."""
        message = {"slot": int(slot), "topic": _wire.name("topic", topic)}
        self._write(_wire.line("send", message, _wire.data_text(data)))

    def _push(self, topic, data, sender):
        with self._lock:
            self._events.append((topic, data, sender))
            if len(self._events) > WAITING:
                self._events.popleft()
                self.dropped += 1
                return
        self._arrived.release()

    def _run_handlers(self):
        while True:
            self._arrived.acquire()
            with self._lock:
                if not self._events:
                    continue
                topic, data, sender = self._events.popleft()
                handlers, empty = self._handlers.take(topic)
            for handler in handlers:
                try:
                    handler(data, sender)
                except Exception:
                    self.failures += 1
                    _wire.report(f"a handler of {topic!r}")
            if empty:
                self._unsubscribe(topic)

    # ---- calls

    def call(self, pool, topic, data=None, *, timeout=30, retry=False):
        """Asks an idle worker of a pool ("" is the caller's own), and waits for its answer."""
        future = concurrent.futures.Future()
        with self._lock:
            self._next_call += 1
            number = self._next_call
        message = _wire.call(number, pool, topic, data, timeout, retry)
        if self.alone:
            return self._call_here(topic, json.loads(_wire.data_text(data)))
        with self._lock:
            self._calls[number] = future
            if self.alone:
                future.set_exception(CallError("alone", "the channel has ended"))
        try:
            self._write(message)
            return future.result(timeout + _wire.GRACE)
        except concurrent.futures.TimeoutError:
            raise CallError("timed-out", "the supervisor did not answer either") from None
        finally:
            with self._lock:
                self._calls.pop(number, None)

    def _call_here(self, topic, data):
        served = self._served.get(topic)
        if served is None:
            raise CallError("alone", "there is no supervisor, and nothing here serves the call")
        try:
            return served[1].submit(served[0], data, self.peer).result()
        except Exception as error:
            raise CallError("failed", _wire.short(error)) from error

    def serve(self, topic, handler=None, *, at_once=1):
        """Answers calls with what `handler(data, sender)` returns."""
        if handler is None:
            return lambda handler: self.serve(topic, handler, at_once=at_once)
        at_once = min(max(1, at_once), 64)
        _wire.name("topic", topic)
        threads = concurrent.futures.ThreadPoolExecutor(at_once, f"bus-{topic}")
        with self._lock:
            self._served[topic] = (handler, threads)
        self._tell("serve", {"topic": topic, "at_once": at_once})
        return handler

    def unserve(self, topic):
        with self._lock:
            served = self._served.pop(topic, None)
        if served:
            served[1].shutdown(wait=False)
        self._tell("unserve", {"topic": topic})

    def action(self, name, handler=None):
        """Lets people trigger this: `supervisor trigger NAME ACTION`."""
        if handler is None:
            return lambda handler: self.action(name, handler)
        threads = concurrent.futures.ThreadPoolExecutor(1, f"bus-{name}")
        with self._lock:
            self._actions[_wire.name("action's name", name)] = (handler, threads)
        self._tell("action", {"name": name})
        return handler

    def _answer(self, number, served, data, sender):
        if served is None:
            message = "this worker does not serve that any more"
            return self._tell("fail", {"id": number, "message": message})
        handler, threads = served

        def run():
            try:
                text = _wire.data_text(handler(data, sender))
                answer = _wire.line("answer", {"id": number}, text)
            except Exception as error:
                answer = _wire.line("fail", {"id": number, "message": _wire.short(error)})
            try:
                self._write(answer)
            except OSError:
                pass  # The channel's end is noticed by the reader.

        try:
            threads.submit(run)
        except RuntimeError:
            # It was unserved this very moment.
            self._answer(number, None, data, sender)

    # ---- descriptors

    def give(self, slot, topic, data, file):
        """Gives a copy of a descriptor to one slot's worker. Returns when it is on its way there;
        a CallError says why it is not."""
        if self.alone:
            raise CallError("alone", "there is no supervisor")
        future = concurrent.futures.Future()
        with self._lock:
            self._next_call += 1
            number = self._next_call
            self._calls[number] = future
        try:
            message = _wire.give(number, slot, topic, data)
            with self._write_lock:
                sent = socket.send_fds(self._channel, [message], [_gifts.number(file)])
                self._channel.sendall(message[sent:])
            future.result(_gifts.PATIENCE)
        except concurrent.futures.TimeoutError:
            raise CallError("timed-out", "the supervisor did not answer") from None
        finally:
            with self._lock:
                self._calls.pop(number, None)

    def on_given(self, topic, handler=None):
        """Runs `handler(given)`, in a thread of its own, for each descriptor that is given to this
        worker on the topic. Those for which there is no handler, or which wait too long for it,
        are closed."""
        if handler is None:
            return lambda handler: self.on_given(topic, handler)
        _wire.name("topic", topic)
        waiting = queue.Queue(_gifts.WAITING)

        def run():
            while True:
                given = waiting.get()
                try:
                    handler(given)
                except Exception:
                    self.failures += 1
                    _wire.report(f"the handler of what is given on {topic!r}")
                finally:
                    given.close()

        with self._lock:
            first = not self._on_given
            self._on_given[topic] = waiting
        self._thread(run, "bus-given")
        if first:
            self._tell("subscribe", {"topic": _gifts.TAKES, "when_full": "drop-oldest"})
        return handler

    def hand_over(self, slot, name_or_address, connection):
        """Hands a connection over to the listener of that name or address in another slot's
        worker. On an error this worker still has it to itself; afterwards it should close it."""
        self.give(slot, _gifts.connection_topic(name_or_address), None, connection)

    def on_connection(self, name_or_address, handler=None):
        """Runs `handler(connection, address)` for each connection that is handed over."""
        if handler is None:
            return lambda handler: self.on_connection(name_or_address, handler)
        self.on_given(_gifts.connection_topic(name_or_address), _gifts.as_connection(handler))
        return handler

    def _take(self, said):
        given = self._gifts.claim(said)
        if given is not None:
            with self._lock:
                waiting = self._on_given.get(given.topic)
            _gifts.pass_on(given, waiting)

    # ---- metrics, configuration, life

    def gauge(self, name, value, **labels):
        self._write(_wire.metric("gauge", name, value, "", labels))

    def counter(self, name, more=1, **labels):
        self._write(_wire.metric("counter", name, more, "", labels))

    def histogram(self, name, value, **labels):
        """One observation, in seconds."""
        self._write(_wire.metric("histogram", name, value, "seconds", labels))

    def on_config(self, handler):
        """Runs for the values that all workers share, now if there are any, and on changes."""
        self._configure = handler
        self._apply()
        return handler

    def _learn(self, version, data):
        error = None
        try:
            with self._room:
                self._limits.configure(data)
                self._room.notify_all()
        except ValueError as failure:
            error = _wire.short(failure)
        self._config = (version, data, error)
        self._apply()

    def _apply(self):
        """Has the program take the newest values, and says what it made of them. Where two threads
        do it at a time, who took older ones takes the newest after them."""
        known = None
        while self._config is not known:
            version, data, error = known = self._config
            try:
                if self._configure:
                    self._configure(data)
            except Exception as failure:
                error = _wire.short(failure)
            self._tell("applied", {"version": version, "error": error})

    def admit(self):
        """Whether one more request is within the rate of [shared.limits]: true, or an object that
        is false and knows how long to `wait`, and `retry_after` for HTTP."""
        with self._room:
            admission, untold = self._limits.admit(), self._limits.untold()
        if untold:
            self.counter("requests_limited", untold)
        return admission

    def limit(self, listening):
        """The same listening socket, of which `accept` waits while as many connections are open as
        [shared.limits] says. The one that is given is closed."""
        return _listener.Listener(self._limits, self._room, listening)

    @property
    def connections(self):
        """How many connections are open, of those that limited sockets accepted."""
        return self._limits.open

    def on_drain(self, run):
        """Runs once when this worker gets no new connections any more."""
        with self._lock:
            if not self.draining:
                self._on_drain.append(run)
                return run
        run()
        return run

    def _drain(self):
        with self._lock:
            self.draining = True
            runs, self._on_drain = self._on_drain, []
        for run in runs:
            try:
                run()
            except Exception:
                self.failures += 1
                _wire.report("a handler of draining")

    def ready(self):
        self._tell("ready", {})

    def leaving(self):
        self._tell("draining", {})

    def leave(self):
        """Leaves the bus."""
        if self._channel is not None:
            try:
                self._channel.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It has ended already.

    # ---- wire

    def _tell(self, word, message):
        with self._standing_lock:
            self._standing.keep(word, message)
            self._write(_wire.line(word, message))

    def _resume(self):
        """Another primary goes on: it has not heard the last of what lasts, and no calls."""
        with self._lock:
            calls = list(self._calls.values())
            self._calls.clear()
        for future in calls:
            if not future.done():
                future.set_exception(CallError("lost", _wire.LOST))
        if self.peer["worker"] == 0:
            self._write(_wire.hello(self._pool))
        with self._standing_lock:
            for word, message in self._standing.all():
                self._tell(word, message)

    def _write(self, message):
        if self.alone:
            return
        if len(message) > _wire.MAX_FRAME:
            raise ValueError(f"a message must have at most {_wire.MAX_FRAME} bytes")
        with self._write_lock:
            self._channel.sendall(message)

    def _read(self):
        lines = _wire.Lines()
        why = "the channel to the supervisor has ended"
        try:
            while True:
                data, fds = _gifts.receive(self._channel)
                self._gifts.keep(fds)
                if not data:
                    break
                for word, said in lines.take(data):
                    self._hear(word, said)
        except Exception as error:
            # Whatever it is, nobody may wait for answers that are not read any more.
            why = f"{why}: {error!r}"
        self._gifts.close()
        self.alone = True
        self._welcome.put(why)
        with self._lock:
            calls = list(self._calls.values())
        for future in calls:
            if not future.done():
                future.set_exception(CallError("alone", why))

    def _hear(self, word, said):
        if word == "welcome":
            self.peer = said["you"]
            self._welcome.put(None)
        elif word == "refused":
            reason = said["reason"]
            print(f"supervisor: this worker was cut off from the bus: {reason}", file=sys.stderr)
            self._welcome.put(reason)
        elif word == "event":
            self._push(said["topic"], said["data"], said["from"])
        elif word == "call":
            self._answer(said["id"], self._served.get(said["topic"]), said["data"], said["from"])
        elif word == "trigger":
            self._answer(said["id"], self._actions.get(said["action"]), said["data"], {})
        elif word in ("answer", "error"):
            with self._lock:
                future = self._calls.pop(said["id"], None)
            if future and word == "answer":
                future.set_result(said["data"])
            elif future:
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
            self._resume()
        elif word == "ping":
            self._tell("pong", {"id": said["id"]})


_only = None


def join(pool=""):
    """Joins the bus of the supervisor above; the same worker each time."""
    global _only
    if _only is None:
        _only = Worker(_wire.inherited(), pool)
    return _only
