"""Which worker this is."""

import os
import typing


class Identity(typing.NamedTuple):
    """Which worker this is, as the supervisor set it in the environment at the start."""

    app: str
    slot: int
    #: The pool in the configuration; the app's own is "default".
    pool: str
    #: How many workers of its pool were wanted when this one started.
    workers: int
    #: Grows with each reload.
    generation: int


def identity(environ=os.environ):
    """Which worker this is. None without a supervisor."""
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
