"""The handlers of events, and the events that wait for them."""

import collections
import sys

#: More handlers of one topic than this are probably a leak: as many as Node's EventEmitter allows.
MAX_LISTENERS = 10
#: The most events that wait: as many as the supervisor holds for one reader.
MAX_EVENTS = 16 * 1024
#: The most bytes of their messages: 16 MiB, twice what the supervisor holds for one reader.
MAX_BYTES = 16 << 20
#: How long the client stops reading while the queue is full, in seconds. Afterwards events are
#: dropped, until the handlers take some: a handler may itself wait for an answer that must be read.
ROOM_TIMEOUT = 1.0


class Handlers:
    """The handlers of each topic."""

    def __init__(self):
        self._by_topic = {}
        self.max_listeners = MAX_LISTENERS

    def add(self, topic, handler, once):
        """Adds a handler. Returns whether it is the topic's first."""
        handlers = self._by_topic.setdefault(topic, [])
        handlers.append((handler, once))
        if self.max_listeners and len(handlers) == self.max_listeners + 1:
            print(
                f"supervisor: {len(handlers)} handlers on {topic!r} are a possible leak "
                "(if you want them, call set_max_listeners)",
                file=sys.stderr,
            )
        return len(handlers) == 1

    def remove(self, topic, handler):
        """Removes a handler, or all with None. Returns whether the topic has none any more."""
        handlers = self._by_topic.get(topic)
        if not handlers:
            return False
        if handler is None:
            handlers.clear()
        for at, (known, _) in enumerate(handlers):
            if known == handler:
                del handlers[at]
                break
        return self._forget_empty(topic)

    def count(self, topic):
        return len(self._by_topic.get(topic, ()))

    def take(self, topic):
        """The handlers that must run now, and whether the topic has none any more."""
        handlers = self._by_topic.get(topic, [])
        now = [handler for handler, _ in handlers]
        handlers[:] = [pair for pair in handlers if not pair[1]]
        return now, bool(now) and self._forget_empty(topic)

    def _forget_empty(self, topic):
        if self._by_topic.get(topic):
            return False
        self._by_topic.pop(topic, None)
        return True


class EventQueue:
    """Bounded: drops the oldest event first. If a topic's events must not be dropped, the client
    stops reading the channel instead while `needs_room()`, so that the supervisor makes the senders
    wait."""

    def __init__(self):
        self._events = collections.deque()
        self._bytes = 0
        #: Whether the client got no room in time, and the handlers have taken no event since.
        self._stalled = False
        #: The topics whose events must not be dropped.
        self.lossless = set()
        self.dropped = 0

    def __len__(self):
        return len(self._events)

    def _is_over(self):
        return len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES

    def push(self, topic, data, sender, size):
        """Adds an event that this process emitted."""
        self._add(topic, data, sender, size)
        self._drop_oldest()

    def push_from_channel(self, topic, data, sender, size):
        """Adds an event of the channel. While events must not be dropped, the queue grows beyond
        its bound by the events of one read."""
        self._add(topic, data, sender, size)
        if not self.needs_room():
            self._drop_oldest()

    def _add(self, topic, data, sender, size):
        self._events.append((topic, data, sender, size))
        self._bytes += size

    def _drop_oldest(self):
        while self._is_over():
            self._bytes -= self._events.popleft()[3]
            self.dropped += 1

    def needs_room(self):
        return bool(self.lossless) and not self._stalled and self._is_over()

    def give_up(self):
        """The handlers took nothing for ROOM_TIMEOUT."""
        self._stalled = True
        self._drop_oldest()

    def pop(self):
        """The oldest event: topic, data, sender."""
        topic, data, sender, size = self._events.popleft()
        self._bytes -= size
        self._stalled = False
        return topic, data, sender
