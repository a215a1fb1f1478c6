"""The client of the bus without input and output: bytes go in; bytes and actions come out.

The workers of `threads` and `aio` share it. It never blocks, knows no clock but that of the limits,
and is not locked: `threads` holds a lock for each call.

Every method that talks appends to `outgoing`. The worker writes these bytes in this order.
`receive` returns actions, which the worker carries out in order.
"""

import json
import sys
import typing

from . import _descriptors, _events, _limits, _wire

#: How long the supervisor may take to welcome this worker, in seconds. It answers within
#: milliseconds; while a new primary takes over, within a few seconds.
WELCOME_TIMEOUT = 10.0
#: How long a write may block, in seconds. The supervisor stops reading a worker for at most 5
#: seconds while a slow reader makes no progress, so after this time the supervisor is stuck.
WRITE_TIMEOUT = 30.0
#: How much longer than the supervisor the client waits for an answer, in seconds, so that the
#: caller gets the supervisor's more precise error.
GRACE = 2.0
#: The most requests of one topic that a worker works on at a time.
MAX_AT_ONCE = 64

LOST = (
    "the supervisor's primary died while the call was under way: "
    "whether it was carried out is not known"
)
ENDED = "the channel to the supervisor has ended"
ALONE = "there is no supervisor to relay the call, and this worker does not serve it"
NOT_READ = "the supervisor does not read this worker's channel"
#: The sender of what a person on the command line sends.
PERSON = {"worker": 0, "slot": 0, "pool": ""}

#: The messages that hold from then on. The client repeats them to a new primary.
REGISTRATIONS = ("subscribe", "serve", "action", "ready", "draining", "applied")
#: The messages that end a registration.
ENDS = {"unsubscribe": "subscribe", "unserve": "serve"}


class CallError(Exception):
    """Why a call has no answer. `kind` is a word for programs: failed, timed-out, died, full,
    no-pool, lost or alone."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Joined(typing.NamedTuple):
    """The supervisor has welcomed this worker, or not: then `why` is the reason."""

    why: typing.Optional[str]


class Answer(typing.NamedTuple):
    """Run this handler, and give its result to `answer` or `fail`."""

    number: int
    served: typing.Any
    data: typing.Any
    sender: dict


class CallDone(typing.NamedTuple):
    """A call has ended: with data, or with an error."""

    future: typing.Any
    data: typing.Any
    error: typing.Optional[CallError]


class Configure(typing.NamedTuple):
    """Run the program's handler of the shared values. The limits may have changed as well."""


class Drain(typing.NamedTuple):
    """Run these callbacks once."""

    callbacks: list


class SharedValues(typing.NamedTuple):
    version: int
    data: typing.Any
    #: Why the client does not obey the limits among them.
    error: typing.Optional[str]


class Core:
    def __init__(self, pool=""):
        self.peer = dict(PERSON)
        #: Whether there is no bus: no supervisor, or its channel has ended.
        self.alone = True
        self.draining = False
        self.handlers = _events.Handlers()
        self.events = _events.EventQueue()
        self.limits = _limits.Limits()
        self.descriptors = _descriptors.Descriptors()
        self.configure = None
        self.shared_values = None
        self._pool = pool
        self._lines = _wire.Lines()
        self._outgoing = []
        self._registrations = {}
        self._calls = {}
        self._last_number = 0
        self._served = {}
        self._actions = {}
        self._on_drain = []
        #: The messages to this worker that the supervisor had to drop.
        self._dropped = 0

    # ---- output

    def take_outgoing(self):
        """The bytes to write."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def _send(self, line):
        if not self.alone:
            self._outgoing.append(line)

    def _tell(self, word, message):
        name = message.get("topic", message.get("name", ""))
        line = _wire.line(word, message)
        if word in REGISTRATIONS:
            self._registrations[word, name] = line
        elif word in ENDS:
            self._registrations.pop((ENDS[word], name), None)
        self._send(line)

    # ---- life

    def join(self):
        """There is a channel: says hello."""
        self.alone = False
        self._send(_wire.hello(self._pool))

    def end(self, why=ENDED):
        """The channel has ended. Returns actions."""
        self.alone = True
        self._outgoing.clear()
        self.descriptors.close()
        return [Joined(why), *self._end_calls("alone", why)]

    def _end_calls(self, kind, why):
        calls, self._calls = self._calls, {}
        return [CallDone(future, None, CallError(kind, why)) for future in calls.values()]

    def ready(self):
        self._tell("ready", {})

    def leaving(self):
        self._tell("draining", {})

    def on_drain(self, run):
        """Keeps a callback. Returns whether the worker must run it now."""
        if not self.draining:
            self._on_drain.append(run)
        return self.draining

    @property
    def dropped(self):
        return self._dropped + self.events.dropped

    # ---- events

    def subscribe(self, topic, handler, once=False, wait=False):
        _wire.check_name("topic", topic)
        first = self.handlers.add(topic, handler, once)
        stricter = wait and topic not in self.events.lossless
        if wait:
            self.events.lossless.add(topic)
        if first or stricter:
            when_full = "wait" if wait else "drop-oldest"
            self._tell("subscribe", {"topic": topic, "when_full": when_full})

    def unsubscribe(self, topic, handler=None):
        if self.handlers.remove(topic, handler):
            self._unsubscribed(topic)

    def _unsubscribed(self, topic):
        self.events.lossless.discard(topic)
        self._tell("unsubscribe", {"topic": topic})

    def emit(self, topic, data):
        """Returns whether an event waits for handlers of this process."""
        text = _wire.data_text(data)
        line = _wire.line("emit", {"topic": _wire.check_name("topic", topic)}, text)
        heard = self.handlers.count(topic) > 0
        if heard:
            self.events.push(topic, json.loads(text), self.peer, len(line))
        self._send(line)
        return heard

    def send(self, slot, topic, data):
        message = {"slot": int(slot), "topic": _wire.check_name("topic", topic)}
        self._send(_wire.line("send", message, _wire.data_text(data)))

    def take_event(self):
        """The oldest event: topic, data, sender, handlers, and whether to call `finish_event`
        afterwards."""
        topic, data, sender = self.events.pop()
        return (topic, data, sender, *self.handlers.take(topic))

    def finish_event(self, topic):
        """The topic's last handlers have run once. They may have added others meanwhile."""
        if not self.handlers.count(topic):
            self._unsubscribed(topic)

    # ---- calls

    def _next_number(self):
        self._last_number += 1
        return self._last_number

    def call(self, future, pool, topic, data, timeout, retry):
        """Starts a call, which ends with CallDone(future), and returns its number. Without a bus
        returns None: see `local_call`."""
        number = self._next_number()
        line = _wire.call(number, pool, topic, data, timeout, retry)
        if self.alone:
            return None
        self._calls[number] = future
        self._send(line)
        return number

    def local_call(self, topic, data):
        """What serves the topic in this process, and a copy of the data."""
        if topic not in self._served:
            raise CallError("alone", ALONE)
        return self._served[topic], json.loads(_wire.data_text(data))

    def give(self, future, slot, topic, data):
        """Starts to give a descriptor. Returns the number, and the line that the worker must write
        together with the descriptor, behind all outgoing bytes."""
        if self.alone:
            raise CallError("alone", "there is no supervisor")
        number = self._next_number()
        line = _wire.give(number, slot, topic, data)
        self._calls[number] = future
        return number, line

    def forget_call(self, number):
        self._calls.pop(number, None)

    def serve(self, topic, served, at_once):
        """`served` comes back in Answer. Returns what served the topic before."""
        before = self._served.get(_wire.check_name("topic", topic))
        self._served[topic] = served
        self._tell("serve", {"topic": topic, "at_once": min(max(1, at_once), MAX_AT_ONCE)})
        return before

    def unserve(self, topic):
        """Returns what served the topic."""
        served = self._served.pop(topic, None)
        self._tell("unserve", {"topic": topic})
        return served

    def action(self, name, served):
        before = self._actions.get(_wire.check_name("action's name", name))
        self._actions[name] = served
        self._tell("action", {"name": name})
        return before

    def answer(self, number, data):
        """Answers a request, or fails it if the data does not fit into a message."""
        try:
            line = _wire.line("answer", {"id": number}, _wire.data_text(data))
        except (TypeError, ValueError, RecursionError) as error:
            return self.fail(number, error)
        self._send(line)

    def fail(self, number, error):
        self._send(_wire.line("fail", {"id": number, "message": _wire.truncated(error)}))

    # ---- descriptors

    def on_given(self, topic, waiting):
        """`waiting`: the queue of the handler."""
        _wire.check_name("topic", topic)
        if self.descriptors.handle(topic, waiting):
            message = {"topic": _descriptors.ACCEPTS, "when_full": "drop-oldest"}
            self._tell("subscribe", message)

    # ---- metrics and limits

    def metric(self, kind, name, value, unit, labels):
        self._send(_wire.metric(kind, name, value, unit, labels))

    def admit(self):
        admission, refused = self.limits.admit()
        if refused:
            self.metric("counter", "requests_limited", refused, "", {})
        return admission

    def applied(self, version, error):
        """What the program made of the shared values."""
        self._tell("applied", {"version": version, "error": error})

    # ---- input

    def receive(self, data, fds=()):
        """Takes the bytes and descriptors of one read. Returns actions."""
        self.descriptors.keep(fds)
        actions = []
        for word, content, size in self._lines.take(data):
            act = self._ACTS.get(word)
            if word == "event":
                topic, sender = content["topic"], content["from"]
                self.events.push_from_channel(topic, content.get("data"), sender, size)
            elif act is not None:
                actions += act(self, content) or ()
            # Else it is a message of a newer supervisor.
        return actions

    def _welcomed(self, content):
        self.peer = content["you"]
        return [Joined(None)]

    def _refused(self, content):
        reason = content["reason"]
        print(f"supervisor: this worker was cut off from the bus: {reason}", file=sys.stderr)
        return [Joined(reason)]

    def _called(self, content):
        return self._requested(self._served, content["topic"], content, content["from"])

    def _triggered(self, content):
        return self._requested(self._actions, content["action"], content, dict(PERSON))

    def _requested(self, table, name, content, sender):
        if name in table:
            return [Answer(content["id"], table[name], content.get("data"), sender)]
        self.fail(content["id"], f"this worker does not serve {json.dumps(name)}")

    def _answered(self, content):
        future = self._calls.pop(content["id"], None)
        if future is not None:
            return [CallDone(future, content.get("data"), None)]

    def _failed(self, content):
        future = self._calls.pop(content["id"], None)
        if future is not None:
            return [CallDone(future, None, CallError(content["kind"], content["message"]))]

    def _given(self, content):
        self.descriptors.claim(content["topic"], content.get("data"), content["from"])

    def _configured(self, content):
        error = None
        try:
            self.limits.configure(content.get("data"))
        except ValueError as failure:
            error = _wire.truncated(failure)
        self.shared_values = SharedValues(content["version"], content.get("data"), error)
        return [Configure()]

    def _drained(self, content):
        self.draining = True
        callbacks, self._on_drain = self._on_drain, []
        return [Drain(callbacks)]

    def _dropped_by_supervisor(self, content):
        self._dropped = content["count"]

    def _resumed(self, content):
        """A new primary has taken over. It does not know the last registrations, and no calls."""
        if self.peer["worker"] == 0:
            self._send(_wire.hello(self._pool))
        for line in self._registrations.values():
            self._send(line)
        return self._end_calls("lost", LOST)

    def _pinged(self, content):
        self._send(_wire.line("pong", {"id": content.get("id", 0)}))

    _ACTS = {
        "welcome": _welcomed,
        "refused": _refused,
        "call": _called,
        "trigger": _triggered,
        "answer": _answered,
        "error": _failed,
        "given": _given,
        "config": _configured,
        "drain": _drained,
        "dropped": _dropped_by_supervisor,
        "resumed": _resumed,
        "ping": _pinged,
    }
