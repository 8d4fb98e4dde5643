"""From a state to conditions, as kstatus reads them.

``Ready`` is always there; ``Reconciling`` and ``Stalled`` only while true; a plain ``Ready=False`` would mean
"in progress" for ever (kubernetes-sigs/cli-utils, pkg/kstatus).  ``Migrated`` and ``Released`` say the two halves apart.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from schemahold.api import models


class Mood(enum.Enum):
    """What the user should make of a state."""

    READY = "ready"
    BUSY = "busy"  #: goes on by itself
    STALLED = "stalled"  #: needs a person, or a change from outside


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """One row of the table in docs/reference.md.  ``migrated``: True, False or Unknown as text."""

    mood: Mood
    reason: str
    message: str
    migrated: str


def ready(reason: str, message: str, migrated: str = "True") -> State:
    return State(mood=Mood.READY, reason=reason, message=message, migrated=migrated)


def busy(reason: str, message: str, migrated: str = "False") -> State:
    return State(mood=Mood.BUSY, reason=reason, message=message, migrated=migrated)


def stalled(reason: str, message: str, migrated: str = "False") -> State:
    return State(mood=Mood.STALLED, reason=reason, message=message, migrated=migrated)


def build(
    state: State,
    held: Sequence[models.Held],
    old: Sequence[models.Condition],
    generation: int,
    now: str,
    contracted: tuple[str, str, str] | None = None,
) -> list[models.Condition]:
    """The conditions of a state; ``lastTransitionTime`` stays where the status did not change."""
    wanted = [("Ready", "True" if state.mood is Mood.READY else "False", state.reason, state.message)]
    if state.mood is Mood.BUSY:
        wanted.append(("Reconciling", "True", state.reason, state.message))
    if state.mood is Mood.STALLED:
        wanted.append(("Stalled", "True", state.reason, state.message))
    wanted.append(("Migrated", state.migrated, state.reason, state.message))
    wanted.append(_released(held))
    if contracted is not None:
        wanted.append(("Contracted", *contracted))
    before = {condition.type: condition for condition in old}
    return [
        _condition(before.get(kind), kind, status, reason, text, generation, now) for kind, status, reason, text in wanted
    ]


def _released(held: Sequence[models.Held]) -> tuple[str, str, str, str]:
    if not held:
        return ("Released", "True", "NothingHeld", "No Deployment is held.")
    names = ", ".join(f"'{one.deployment}' for version '{one.version}'" for one in held)
    return ("Released", "False", "Held", f"Held: {names}.")


def _condition(
    before: models.Condition | None, kind: str, status: str, reason: str, message: str, generation: int, now: str
) -> models.Condition:
    since = before.last_transition_time if before and before.status == status else now
    return models.Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message[:1024],
            "observed_generation": generation,
            "last_transition_time": since,
        }
    )
