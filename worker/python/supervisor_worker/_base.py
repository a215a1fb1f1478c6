"""What the workers of `threads` and `aio` have in common."""

import sys
import traceback

from . import _core


class Worker:
    """See the package's README."""

    def __init__(self, pool):
        self._core = _core.Core(pool)
        #: The handlers that raised.
        self.failures = 0

    @property
    def peer(self):
        """The identity of this worker on the bus: worker, slot, pool. Worker 0 without a bus."""
        return self._core.peer

    @property
    def alone(self):
        """Whether there is no bus: no supervisor, or its channel has ended."""
        return self._core.alone

    @property
    def draining(self):
        """Whether this worker gets no new connections any more."""
        return self._core.draining

    @property
    def dropped(self):
        """The messages to this worker that the supervisor or this client had to drop."""
        return self._core.dropped

    @property
    def connections(self):
        """How many connections are open, of those that limited sockets or servers accepted."""
        return self._core.limits.open

    def listener_count(self, topic):
        """The number of handlers that a topic has in this worker."""
        return self._core.handlers.count(topic)

    def set_max_listeners(self, most):
        """The number of handlers of one topic beyond which a leak is reported, instead of 10.
        0: never."""
        self._core.handlers.max_listeners = most

    def _failed(self, what):
        """Counts and reports the current exception of the program's own code."""
        self.failures += 1
        print(f"supervisor: {what} failed:", file=sys.stderr)
        traceback.print_exc()


def refusal(why):
    """The error of a join that failed."""
    return ConnectionError(f"cannot join the supervisor's bus: {why}")


def report_unreadable(error):
    """The bytes of the supervisor are no messages."""
    print(f"supervisor: cannot read a message of the supervisor: {error!r}", file=sys.stderr)
