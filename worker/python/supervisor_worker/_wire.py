"""What is said: JSON lines over the inherited channel SUPERVISOR_CHANNEL_FD, and its bounds.

Refuses names and data beyond the bus's bounds before they are sent: the supervisor would cut this
worker off.
"""

import json
import math
import os
import socket
import stat
import sys
import traceback

VERSION = 1
MAX_FRAME = 1 << 20
MAX_DATA = MAX_FRAME - 8 * 1024
MAX_NAME = 200
MAX_TEXT = 1024
MANY = 10
#: How much later than the supervisor we ourselves give up, in seconds.
GRACE = 2.0


LOST = (
    "the supervisor's primary died while the call was under way: "
    "whether it was carried out is not known"
)


class CallError(Exception):
    """Why a call has no answer; `kind` says it for programs."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def name(what, text):
    size = len(text.encode()) if isinstance(text, str) else 0
    controls = size and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
    if not 1 <= size <= MAX_NAME or controls:
        raise ValueError(f"a {what} must have 1 to {MAX_NAME} bytes and no control characters")
    return text


def data_text(data):
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_DATA:
        raise ValueError(f"data must have at most {MAX_DATA} bytes")
    return text


def line(word, message, data=None):
    """One message; `data` is JSON text already."""
    text = json.dumps(message, separators=(",", ":"), allow_nan=False)
    if data is not None:
        text = text[:-1] + ("," if message else "") + '"data":' + data + "}"
    return ('{"' + word + '":' + text + "}\n").encode()


def short(error):
    text = str(error) or type(error).__name__
    return text.encode()[:MAX_TEXT].decode(errors="ignore")


def hello(pool):
    client = "python %d.%d.%d" % sys.version_info[:3]
    return line("hello", {"oldest": 1, "newest": VERSION, "client": client, "pool": pool})


def call(number, pool, topic, data, timeout, retry):
    message = {
        "id": number,
        "pool": name("pool", pool) if pool else "",
        "topic": name("topic", topic),
        "timeout_ms": min(max(1, round(timeout * 1000)), 3_600_000),
        "retry": bool(retry),
    }
    return line("call", message, data_text(data))


def give(number, slot, topic, data):
    message = {"id": number, "slot": int(slot), "topic": name("topic", topic)}
    return line("give", message, data_text(data))


def metric(kind, metric_name, value, unit, labels):
    name("metric's name", metric_name)
    value = float(value)
    if not math.isfinite(value) or (kind == "counter" and value < 0):
        raise ValueError("a metric's value must be a finite number, and a counter's not negative")
    if len(labels) > 8:
        raise ValueError("a metric must have at most 8 labels")
    pairs = [[name("label", key), str(text)] for key, text in labels.items()]
    return line(
        "metric",
        {"name": metric_name, "kind": kind, "value": value, "unit": unit, "labels": pairs},
    )


def report(what):
    print(f"supervisor: {what} failed:", file=sys.stderr)
    traceback.print_exc()


def inherited():
    """The channel that this process inherited, or None without a supervisor."""
    number = os.environ.pop("SUPERVISOR_CHANNEL_FD", None)
    if number is None:
        return None
    fd = int(number)
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise OSError(f"SUPERVISOR_CHANNEL_FD={number} is no open socket")
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


class Standing:
    """What was said that lasts. It is said again when another primary goes on, which may not have
    heard the last of it."""

    LASTING = ("subscribe", "serve", "action", "ready", "draining", "applied")
    ENDING = {"unsubscribe": "subscribe", "unserve": "serve"}

    def __init__(self):
        self._said = {}

    def keep(self, word, message):
        name = message.get("topic", message.get("name", ""))
        if word in self.LASTING:
            self._said[word, name] = (word, message)
        elif word in self.ENDING:
            self._said.pop((self.ENDING[word], name), None)

    def all(self):
        return list(self._said.values())


class Lines:
    """Bytes in, messages out."""

    def __init__(self):
        self._rest = bytearray()

    def take(self, data):
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if len(rest) > MAX_FRAME:
            raise ValueError("the bus sent a line without end")
        self._rest = bytearray(rest)
        for text in lines:
            if text.strip():
                message = json.loads(text)
                yield from message.items()


class Handlers:
    """The handlers of each topic, with the EventEmitter's words."""

    def __init__(self):
        self._all = {}
        self.most = MANY

    def add(self, topic, handler, once):
        """Whether it is the topic's first."""
        handlers = self._all.setdefault(topic, [])
        handlers.append((handler, once))
        if self.most and len(handlers) == self.most + 1:
            print(
                f"supervisor: possible leak: {len(handlers)} handlers on {topic!r}",
                file=sys.stderr,
            )
        return len(handlers) == 1

    def remove(self, topic, handler):
        """Whether the topic has none any more."""
        handlers = self._all.get(topic)
        if not handlers:
            return False
        if handler is None:
            handlers.clear()
        for at, (known, _) in enumerate(handlers):
            if known == handler:
                del handlers[at]
                break
        return self._drop(topic)

    def count(self, topic):
        return len(self._all.get(topic, ()))

    def take(self, topic):
        """The handlers that shall run now, and whether the topic has none any more."""
        handlers = self._all.get(topic, [])
        now = [handler for handler, _ in handlers]
        handlers[:] = [pair for pair in handlers if not pair[1]]
        return now, bool(now) and self._drop(topic)

    def _drop(self, topic):
        if self._all.get(topic):
            return False
        self._all.pop(topic, None)
        return True
