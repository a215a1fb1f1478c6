"""Messages: JSON lines over the inherited channel SUPERVISOR_CHANNEL_FD, and their bounds.

Refuses names and data beyond the bounds of the bus before they are sent, because the supervisor
cuts off a worker that sends more.
"""

import json
import math
import os
import socket
import stat
import sys

VERSION = 1
#: The longest line, newline included, in bytes.
MAX_FRAME = 1 << 20
#: The longest data of one message, in bytes: a line less what names and numbers may need.
MAX_DATA = MAX_FRAME - 8 * 1024
#: The longest name of a topic, a pool, an action, a metric or a label, in bytes.
MAX_NAME = 200
#: The longest text for people, in bytes.
MAX_TEXT = 1024
MAX_LABELS = 8
#: The longest time limit of a call, in seconds.
MAX_TIMEOUT = 3600.0


def check_name(what, text):
    size = len(text.encode()) if isinstance(text, str) else 0
    controls = size and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
    if not 1 <= size <= MAX_NAME or controls:
        raise ValueError(f"a {what} must have 1 to {MAX_NAME} bytes and no control characters")
    return text


def data_text(data):
    """Data as JSON text."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    if len(text.encode()) > MAX_DATA:
        raise ValueError(f"data must have at most {MAX_DATA} bytes")
    return text


def line(word, message, data=None):
    """One message. `data` is JSON text already."""
    text = json.dumps(message, separators=(",", ":"), allow_nan=False)
    if data is not None:
        text = text[:-1] + ("," if message else "") + '"data":' + data + "}"
    encoded = ('{"' + word + '":' + text + "}\n").encode()
    if len(encoded) > MAX_FRAME:
        raise ValueError(f"a message must have at most {MAX_FRAME} bytes")
    return encoded


def truncated(error):
    """The longest beginning of an error's text that fits into a message."""
    text = str(error) or type(error).__name__
    return text.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore")


def hello(pool):
    client = "python %d.%d.%d" % sys.version_info[:3]
    return line("hello", {"oldest": 1, "newest": VERSION, "client": client, "pool": pool})


def clamped(timeout):
    """The time limit of a call, from 1 ms to an hour."""
    return min(max(0.001, timeout), MAX_TIMEOUT)


def call(number, pool, topic, data, timeout, retry):
    message = {
        "id": number,
        "pool": check_name("pool", pool) if pool else "",
        "topic": check_name("topic", topic),
        "timeout_ms": round(clamped(timeout) * 1000),
        "retry": bool(retry),
    }
    return line("call", message, data_text(data))


def give(number, slot, topic, data):
    message = {"id": number, "slot": int(slot), "topic": check_name("topic", topic)}
    return line("give", message, data_text(data))


def metric(kind, name, value, unit, labels):
    check_name("metric's name", name)
    value = float(value)
    if not math.isfinite(value) or (kind == "counter" and value < 0):
        raise ValueError("a metric's value must be a finite number, and a counter's not negative")
    if len(labels) > MAX_LABELS:
        raise ValueError(f"a metric must have at most {MAX_LABELS} labels")
    pairs = []
    for label, text in labels.items():
        check_name("label's name", label)
        text = str(text)
        pairs.append([label, text and check_name("label's value", text)])
    message = {"name": name, "kind": kind, "value": value, "unit": unit, "labels": pairs}
    return line("metric", message)


def inherited():
    """The channel that this process inherited, or None without a supervisor."""
    number = os.environ.pop("SUPERVISOR_CHANNEL_FD", None)
    if number is None:
        return None
    fd = int(number)
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise OSError(f"SUPERVISOR_CHANNEL_FD={number}: not an open socket")
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


class Lines:
    """Makes messages of the bytes that come."""

    def __init__(self):
        self._rest = bytearray()

    def take(self, data):
        """The word, the content and the length in bytes of each whole message."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if len(rest) > MAX_FRAME:
            raise ValueError("a line is too long")
        self._rest = bytearray(rest)
        for text in lines:
            if text.strip():
                for word, content in json.loads(text).items():
                    yield word, content, len(text)
