"""What a statement does, in the words that all rules use: effects, and locks by their names in Postgres."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from schemahold.core.sql.model import Class
from schemahold.core.sql.rules.catalogue import RULES

ACCESS_SHARE = "ACCESS SHARE"
ROW_SHARE = "ROW SHARE"
ROW_EXCLUSIVE = "ROW EXCLUSIVE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
SHARE = "SHARE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
EXCLUSIVE = "EXCLUSIVE"
ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"

#: Table locks, weakest first (PostgreSQL: Explicit Locking).
LOCKS = (
    "",
    ACCESS_SHARE,
    ROW_SHARE,
    ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    EXCLUSIVE,
    ACCESS_EXCLUSIVE,
)
CLASSES = (Class.EXPAND, Class.CONTRACT, Class.UNSAFE)

#: The fix of whatever only the old code has against it.
LATER = "put it into a file named *.contract.sql: it runs when the last old pod is gone."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """One thing that a statement does.

    ``rule``: "" when there is nothing to say and only the lock counts.  ``warning``: it may be all right, which the text
    cannot tell.  ``table``: when only its size makes it dangerous.
    """

    rule: str = ""
    cls: Class = Class.EXPAND
    lock: str = ""
    breaks: str = ""
    fix: str = ""
    table: str = ""

    @property
    def warning(self) -> bool:
        return self.cls is Class.EXPAND


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What a statement is: its worst class, its strongest lock, and the effects that have a rule."""

    cls: Class = Class.EXPAND
    lock: str = ""
    effects: tuple[Effect, ...] = ()

    @staticmethod
    def of(effects: Iterable[Effect]) -> Reading:
        found = tuple(effects)
        return Reading(
            cls=max((effect.cls for effect in found), key=CLASSES.index, default=Class.EXPAND),
            lock=strongest(effect.lock for effect in found),
            effects=tuple(effect for effect in found if effect.rule),
        )


def strongest(locks: Iterable[str]) -> str:
    """The strongest of ``locks``, "" if there is none."""
    return max(locks, key=LOCKS.index, default="")


def keeps_writers_out(lock: str) -> bool:
    """SHARE and stronger."""
    return LOCKS.index(lock) >= LOCKS.index(SHARE)


def quiet(lock: str = "") -> Effect:
    """Old code goes on, and there is nothing to say."""
    return Effect(lock=lock)


def finding(rule: str, lock: str = "", *, breaks: str, fix: str = LATER, table: str = "") -> Effect:
    """An effect of ``rule``, with the class that the catalogue gives it."""
    return Effect(rule=rule, cls=RULES[rule].cls, lock=lock, breaks=breaks, fix=fix, table=table)
