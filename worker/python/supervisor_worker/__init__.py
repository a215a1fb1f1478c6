"""Workers under the supervisor talk: events, calls, metrics, configuration.

`join()` gives a worker that uses threads; `aio.join()` one for asyncio.
"""

from ._wire import CallError
from .threads import Worker, join

__all__ = ["CallError", "Worker", "join"]
