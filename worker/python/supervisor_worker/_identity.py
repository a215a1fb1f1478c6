"""Which worker this is."""

import os
import typing


class Identity(typing.NamedTuple):
    """As the supervisor told it at its start."""

    app: str
    slot: int
    #: As the configuration has it; the app's own is "default".
    pool: str
    #: How many workers of its pool were wanted.
    workers: int
    generation: int


def identity(environ=os.environ):
    """Which worker this is; None without a supervisor."""
    try:
        return Identity(
            environ["SUPERVISOR_APP"],
            int(environ["SUPERVISOR_SLOT"]),
            environ.get("SUPERVISOR_POOL", "default"),
            int(environ["SUPERVISOR_WORKERS"]),
            int(environ["SUPERVISOR_GENERATION"]),
        )
    except (KeyError, ValueError):
        return None
