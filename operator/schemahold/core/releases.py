"""Which held Deployments may go on.

Forward moves need an attempt whose gate asked the ledger (the database may have been restored since status was written);
its success is used once (``attempt.released``).  Status alone releases only a step back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemahold.api import models
from schemahold.core import attempts, observed
from schemahold.core.situation import Situation

KEPT_VERSIONS = 10


def remember(history: Sequence[models.Applied], entry: models.Applied) -> list[models.Applied]:
    """History with one more applied version, oldest first, the last ten; a version stands in it once per database."""
    same = next((one for one in history if one.version == entry.version and one.database == entry.database), None)
    if same is not None and _adds_nothing(entry, same):
        return list(history)
    rest = [one for one in history if one is not same]
    place = _place(entry, rest)
    return [*rest[:place], entry, *rest[place:]][-KEPT_VERSIONS:]


def _adds_nothing(entry: models.Applied, same: models.Applied) -> bool:
    """Whether all of ``entry`` is known: adoption is the least that is known, and an unknown row adds none."""
    return entry.outcome == "Adopted" or (same.outcome == "Applied" and entry.row in (None, same.row))


def _place(entry: models.Applied, rest: Sequence[models.Applied]) -> int:
    """Adopted versions are older than everything we applied; a row not yet known is the newest."""
    if entry.outcome == "Adopted":
        return 0
    if entry.row is None:
        return len(rest)
    later = (
        place
        for place, one in enumerate(rest)
        if one.database == entry.database and one.row is not None and one.row > entry.row
    )
    return next(later, len(rest))


def may_step_back(
    version: str,
    released: models.Released | None,
    history: Iterable[models.Applied],
    database: str,
    by_hand: bool = False,
    floor: models.Floor | None = None,
) -> bool:
    """Whether ``version`` was applied or adopted before the version released last, on the same database reference.

    ``by_hand``: break-glass let that one out; it was never applied, and is newer than everything that was.  Without it, a
    released version that history does not know says nothing about what came before.
    """
    if released is None or released.database != database:
        return False
    here = [entry for entry in history if entry.database == database]
    known = [entry.version for entry in here]
    if version not in known or _is_below(version, here, floor):
        return False
    if released.version not in known:
        return by_hand
    return known.index(version) < known.index(released.version)


def _is_below(version: str, history: Sequence[models.Applied], floor: models.Floor | None) -> bool:
    """Whether a contract may have removed what ``version`` needs.  Then its gate decides, not status."""
    if floor is None:
        return False
    known = [entry.version for entry in history]
    if floor.version not in known:
        return True
    adopted = any(entry.version == version and entry.outcome == "Adopted" for entry in history)
    return adopted or known.index(version) < known.index(floor.version)


def is_covered(version: str, attempt: models.Attempt | None, now: Situation) -> bool:
    """Whether the current attempt's success lets ``version`` go forward.

    Guards: the inputs changed while the attempt ran (a new command met an old image, or the other way round), and the
    database reference changed.
    """
    if attempt is None or attempt.reason not in attempts.SUCCESSES or attempt.released or attempt.version != version:
        return False
    if attempt.phase != "expand":
        return False
    if attempt.database != now.database:
        return False
    source_is_there = now.source is not None and now.source.version == version
    return attempt.inputs == now.inputs if source_is_there else now.source is not None


def last_released(
    now: Situation, before: models.Released | None, released: Sequence[observed.Deployment], at: str | None
) -> models.Released | None:
    """The version that went out last, as the source's approval tells: released by this look (``released``), by a decision

    that a crash cut off after its release, by break-glass, or adopted.
    """
    if now.source is None:
        version = released[0].version if released else ""
    else:
        version = now.source.version if now.source in released else now.source.approved[: models.TEXT_LENGTH]
    by_us = now.source is None or now.source in released
    if not version or (before is not None and before.version == version and not by_us):
        return before
    return models.Released(version=version, database=now.database, at=at if by_us else None)


def released_by(
    deployments: Sequence[observed.Deployment],
    attempt: models.Attempt | None,
    before: models.Released | None,
    history: Sequence[models.Applied],
    now: Situation,
    floor: models.Floor | None = None,
) -> list[observed.Deployment]:
    """The Deployments that this look releases."""

    def may_go(one: observed.Deployment, last: models.Released | None) -> bool:
        by_hand = last is not None and any(each.was_let_out(last.version) for each in deployments)
        back = may_step_back(one.version, last, history, now.database, by_hand, floor)
        return back or is_covered(one.version, attempt, now)

    first = [one for one in deployments if may_go(one, last_released(now, before, (), None))]
    # With the source out, a follower's version may be one from before: it need not wait for the next look to see that.
    last = last_released(now, before, first, None)
    return [one for one in deployments if one in first or may_go(one, last)]
