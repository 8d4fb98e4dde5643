"""The Events of a decision: each on the SchemaMigration, and on the Deployment that it concerns."""

from __future__ import annotations

from schemahold.api import models
from schemahold.core import attempts
from schemahold.core.conditions import State
from schemahold.core.decision import Event
from schemahold.core.scene import Scene


def both(kind: str, reason: str, message: str, deployment: str) -> tuple[Event, ...]:
    """The same words on both; ``deployment`` "" when there is none."""
    # In one line: `kubectl get events` shows nothing after a line break, and the cause of a failure stands at its end.
    text = " ".join(message.split())[:1024]
    on_migration = Event(type=kind, reason=reason, message=text)
    if not deployment:
        return (on_migration,)
    return (on_migration, Event(type=kind, reason=reason, message=text, deployment=deployment))


def held(scene: Scene, status: models.Status) -> list[Event]:
    """Deployments that are held and were not when status was written."""
    before = {(one.deployment, one.version) for one in scene.status.held}
    return [
        event
        for one in status.held
        if (one.deployment, one.version) not in before
        for event in both(
            "Normal",
            "Held",
            f"Deployment '{one.deployment}' is held until the migration to version '{one.version}' has succeeded.",
            one.deployment,
        )
    ]


def verdict(scene: Scene) -> list[Event]:
    """How an attempt ended, if this look found its end."""
    attempt = scene.found.attempt
    if not scene.found.ended or attempt is None:
        return []
    expand = attempt.phase == "expand"
    if attempt.reason in attempts.SUCCESSES:
        reason, what = ("MigrationSucceeded", "is applied") if expand else ("ContractSucceeded", "has its contract done")
        text = f"Version '{attempt.version}' {what} (attempt {attempt.number})."
        return list(both("Normal", reason, text, scene.source_name))
    if attempt.reason == attempts.NOTHING_TO_RUN:
        return []
    text = f"Attempt {attempt.number} for version '{attempt.version}': {attempt.reason}. {attempt.message}".strip()
    if attempt.reason in attempts.PASSING:
        # Nothing has failed and another attempt follows by itself: no alert should hear of it. Without its number, or Events
        # would never be counted as one.
        text = f"An attempt for version '{attempt.version}' is gone: {attempt.reason}. {attempt.message}"
        return list(both("Normal", "AttemptGone", text, scene.source_name))
    return list(both("Warning", "MigrationFailed" if expand else "ContractFailed", text, scene.source_name))


def contract(scene: Scene) -> list[Event]:
    """A contract that another version has passed over."""
    version = scene.standing.skipped
    if not version:
        return []
    text = (
        f"The contract of version '{version}' had not begun when another version arrived: its files stay pending for the "
        "next contract, and a command must do what it would have done."
    )
    return list(both("Normal", "ContractSkipped", text, scene.source_name))


def released(scene: Scene) -> list[Event]:
    return [
        event
        for one in scene.released
        for event in both("Normal", "Released", f"Deployment '{one.name}' may roll out version '{one.version}'.", one.name)
    ]


def by_hand(scene: Scene, state: State) -> list[Event]:
    """Break-glass, once: when the state is first seen."""
    before = next((one.reason for one in scene.status.conditions if one.type == "Ready"), "")
    if state.reason != "ReleasedByHand" or state.reason == before:
        return []
    return list(both("Warning", state.reason, state.message, scene.source_name))
