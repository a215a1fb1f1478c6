"""Workers under the supervisor talk: events, calls, metrics, configuration.

`join()` gives a worker that uses threads; `aio.join()` one for asyncio.
"""

from ._identity import Identity, identity
from ._wire import CallError
from .threads import Worker, join

__all__ = ["CallError", "Identity", "Worker", "identity", "join"]
