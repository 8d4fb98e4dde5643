"""Which held Deployments may go on.

Forward moves need an attempt whose gate asked the ledger (the database may have been restored since status was written);
its success is used once (``attempt.released``).  Status alone releases only a step back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemahold.api import models
from schemahold.core import attempts, observed
from schemahold.core.situation import Situation


def order(entry: models.Applied) -> tuple[int, int]:
    """Adopted versions are older than everything we applied; a row not yet known is the newest."""
    return (0, 0) if entry.outcome == "Adopted" else (1, entry.row if entry.row is not None else 2**63)


def remember(history: Sequence[models.Applied], entry: models.Applied) -> list[models.Applied]:
    """History with one more applied version, oldest first, the last ten; a version stands in it once."""
    same = next((one for one in history if one.version == entry.version and one.database == entry.database), None)
    rest = [one for one in history if one is not same]
    if same is not None and (entry.outcome == "Adopted" or entry.row is None):
        entry = same if same.outcome == "Applied" or entry.outcome == "Adopted" else entry
    return sorted([*rest, entry], key=order)[-10:]


def may_step_back(version: str, released: models.Released | None, history: Iterable[models.Applied], database: str) -> bool:
    """Whether ``version`` was applied or adopted before the version released last, on the same database reference."""
    if released is None or released.database != database:
        return False
    known = {entry.version: order(entry) for entry in history if entry.database == database}
    # A version that break-glass let out was never applied, and is newer than everything that was.
    newest = (2, 0)
    return version in known and known[version] < known.get(released.version, newest)


def is_covered(version: str, attempt: models.Attempt | None, now: Situation) -> bool:
    """Whether the current attempt's success lets ``version`` go forward.

    Guards: the inputs changed while the attempt ran (a new command met an old image, or the other way round), and the
    database reference changed.
    """
    if attempt is None or attempt.reason not in attempts.SUCCESSES or attempt.released or attempt.version != version:
        return False
    if attempt.database != now.database:
        return False
    source_is_there = now.source is not None and now.source.version == version
    return attempt.inputs == now.inputs if source_is_there else now.source is not None


def released_by(
    deployments: Iterable[observed.Deployment],
    attempt: models.Attempt | None,
    status: models.Status,
    history: Sequence[models.Applied],
    now: Situation,
) -> list[observed.Deployment]:
    """The Deployments that this look releases."""
    return [
        one
        for one in deployments
        if may_step_back(one.version, status.released, history, now.database) or is_covered(one.version, attempt, now)
    ]
