"""The bus between workers of the supervisor: events, calls, metrics, configuration.

`join()` returns a worker that uses threads, `aio.join()` one for asyncio.
"""

from ._core import CallError
from ._identity import Identity, identity
from ._leader import is_leader, until_leader
from .threads import Worker, join

__all__ = ["CallError", "Identity", "Worker", "identity", "is_leader", "join", "until_leader"]
