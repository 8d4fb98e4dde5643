"""What can go wrong with the database, sorted by what it means for the run.

::

    Fault
    ├── Lost      the session is gone, or was abandoned at its deadline: connect again; what was sent last may have happened
    └── Refused   the server answered, and the answer is no: carries the reason a user sees
"""

from __future__ import annotations

from schemahold.api import pod


class Fault(Exception):
    """Base of both; the text is fit for users: no secrets."""


class Lost(Fault):
    """The session is gone.  Nothing is known about the statement that was under way."""


class Refused(Fault):
    """``reason``: what a user sees.  ``retry``: trying again within a few seconds may help."""

    def __init__(self, reason: pod.Reason, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry = retry
