"""The limits that the app's configuration sets ([shared.limits]): how many connections are open at
a time, and how many requests come in a second.

Values that are no limits are refused, and the limits stay as they are. Not locked: see `_core`.
"""

import math
import time

#: The least time between two reports of refused requests, in seconds, so that a flood of requests
#: is not also a flood of messages.
REPORT_INTERVAL = 1.0
#: The longest time that a refused request is told to wait, in seconds.
MAX_WAIT = 3600.0


class Admission:
    """Whether a request is within the rate. It is true if the request is."""

    __slots__ = ("ok", "wait")

    def __init__(self, wait=0.0):
        self.ok = wait == 0.0
        #: Seconds until the next request is within the rate.
        self.wait = wait

    def __bool__(self):
        return self.ok

    @property
    def retry_after(self):
        """The time to wait in whole seconds, for the header Retry-After."""
        return max(1, math.ceil(self.wait)) if self.wait else 0

    def __repr__(self):
        return f"Admission(wait={self.wait!r})"


ADMITTED = Admission()


def _read(values):
    """The limits among the shared values. An error says what is wrong, in the same words in all
    languages."""
    table = values.get("limits") if isinstance(values, dict) else None
    table = {} if table is None else table
    if not isinstance(table, dict):
        raise ValueError("invalid limits: not a table")
    connections, rate = table.get("connections", 0), table.get("rate", 0)
    numbers = {"connections": connections, "rate": rate, "burst": table.get("burst", rate)}
    for key, number in numbers.items():
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not is_number or not math.isfinite(number) or number < 0:
            raise ValueError(f"invalid limits: {key} is not a number of 0 or more")
    return connections or math.inf, rate, max(1.0, numbers["burst"])


class TokenBucket:
    """A request takes a token, and tokens come back at a steady rate."""

    def __init__(self, now):
        #: The tokens that come back in a second. 0: there is no limit.
        self.rate = 0
        #: The most tokens that it holds.
        self._burst = self._tokens = 1.0
        self._filled = now

    def resize(self, rate, burst, now):
        """Sets another rate and size. The tokens stay, as far as they fit."""
        self._fill(now)
        self._tokens = burst if self.rate == 0 else min(burst, self._tokens)
        self.rate, self._burst = rate, burst

    def take(self, now):
        """Takes a token. Returns the seconds until there will be one, or 0."""
        if self.rate == 0:
            return 0.0
        self._fill(now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return min(MAX_WAIT, (1.0 - self._tokens) / self.rate)

    def _fill(self, now):
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now


class Limits:
    def __init__(self, clock=time.monotonic):
        #: The connections that are open, and the most that may be.
        self.open = 0
        self.connections = math.inf
        self._clock = clock
        self._bucket = TokenBucket(clock())
        #: The refused requests since the last report, and the time of it.
        self._refused = 0
        self._reported = -math.inf

    def configure(self, values):
        connections, rate, burst = _read(values)
        self._bucket.resize(rate, burst, self._clock())
        self.connections = connections

    def has_room(self):
        return self.open < self.connections

    def admit(self):
        """Whether a request is within the rate, and how many refused requests to report now."""
        now = self._clock()
        wait = self._bucket.take(now)
        self._refused += wait > 0
        refused = 0
        if self._refused and now - self._reported >= REPORT_INTERVAL:
            self._reported = now
            refused, self._refused = self._refused, 0
        return (Admission(wait) if wait else ADMITTED), refused
