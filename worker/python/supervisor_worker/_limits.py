"""Limits that the app's configuration sets ([shared.limits]) and that hold from one moment to the
next: how many connections are open at a time, and how many requests come in a second.

Refuses values that are no limits, and keeps those that it has. Not locked: who uses it from
several threads does that.
"""

import math
import time

#: How often it is told at most how many requests were refused, in seconds.
TELL = 1.0
#: The longest that a request is told to wait, in seconds.
LONGEST = 3600.0


class Admission:
    """Whether a request is within the rate: true if it is."""

    __slots__ = ("ok", "wait")

    def __init__(self, wait=0.0):
        self.ok = wait == 0.0
        #: Seconds until the next request is within the rate.
        self.wait = wait

    def __bool__(self):
        return self.ok

    @property
    def retry_after(self):
        """Whole seconds, as the header Retry-After wants them."""
        return max(1, math.ceil(self.wait)) if self.wait else 0

    def __repr__(self):
        return f"Admission(wait={self.wait!r})"


ADMITTED = Admission()


def _read(values):
    limits = values.get("limits") if isinstance(values, dict) else None
    limits = {} if limits is None else limits
    if not isinstance(limits, dict):
        raise ValueError("these are no limits: no table")
    connections, rate = limits.get("connections", 0), limits.get("rate", 0)
    numbers = {"connections": connections, "rate": rate, "burst": limits.get("burst", rate)}
    for what, number in numbers.items():
        plain = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not plain or not math.isfinite(number) or number < 0:
            raise ValueError(f"these are no limits: {what} is no number")
    return connections or math.inf, rate, max(1.0, numbers["burst"])


class Limits:
    def __init__(self, clock=time.monotonic):
        self.open = 0
        self.connections = math.inf
        self._clock = clock
        self._rate = 0
        self._burst = self._tokens = 1.0
        self._filled = clock()
        self._limited = 0
        self._told = -math.inf

    def configure(self, values):
        connections, rate, burst = _read(values)
        self._fill()
        self._tokens = burst if self._rate == 0 else min(burst, self._tokens)
        self.connections, self._rate, self._burst = connections, rate, burst

    def has_room(self):
        return self.open < self.connections

    def admit(self):
        if self._rate == 0:
            return ADMITTED
        self._fill()
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return ADMITTED
        self._limited += 1
        return Admission(min(LONGEST, (1.0 - self._tokens) / self._rate))

    def untold(self):
        """How many refused requests are to be told of now."""
        now = self._clock()
        if self._limited == 0 or now - self._told < TELL:
            return 0
        self._told = now
        limited, self._limited = self._limited, 0
        return limited

    def _fill(self):
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
