"""``decide``: what one look at the cluster calls for.  Pure; the rules are numbered as in docs/architecture.md.

It may be asked at any moment, after any crash, with any status, and as often as anyone likes: whatever it writes is either
tested by the API server (release, status, the Job's name) or changes nothing when it is done twice.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from schemahold.api import models, names
from schemahold.core import attempts, conditions, decision, events, observed, releases, scene, starts, steps
from schemahold.core.conditions import State, stalled
from schemahold.core.decision import Decision, Write
from schemahold.core.observed import Observed
from schemahold.core.scene import Policy, Scene

KEPT_JOBS = 3
LISTED_HOLDS = 64
CLEARS_ITSELF = ("PodNotCreated", "PodLost", "ReleaseRefused")  # no word on the migration, and gone when its cause is


def decide(look: Observed, policy: Policy, now: datetime.datetime) -> Decision:
    """The decision for one look.  ``now`` is aware UTC."""
    if look.migration.spec is None:
        return _unreadable(look, now)
    here = scene.build(look, look.migration.spec, policy, now)
    step = steps.step(here)
    status = _settled_status(here, step)
    told = [*events.held(here, status), *events.verdict(here), *events.contract(here), *step.events, *events.released(here)]
    return Decision(
        writes=(
            *_released_and_told(here, _around_status(step.writes, look.migration.status, status)),
            *_failure_marks(here, step),
            *_housekeeping(here, step),
        ),
        events=(*told, *events.by_hand(here, step.state)),
        requeue=step.requeue,
        finished=(attempts.finished(here.found),) if here.found.ended else (),
    )


def _settled_status(here: Scene, step: starts.Step) -> models.Status:
    """The new status, or the old one while all that is new came late and something else will be written soon.

    lock's report comes a second after migrate's exit: its row and ledger ride along with the end of the rollout.
    """
    status, before = _status(here, step), here.status
    if not here.found.late or step.state.reason != "RollingOut" or before.attempt is None or status.attempt is None:
        return status
    attempt = before.attempt.model_copy(update={"row": status.attempt.row})
    late = {
        "attempt": attempt,
        "history": status.history,
        "ledger": status.ledger,
        "floor": status.floor,
        "contract": status.contract,
    }
    return before if before.model_copy(update=late) == status else status


def _released_and_told(here: Scene, writes: list[Write]) -> list[Write]:
    """Releases first, since people wait for them; but a step back beside a contract only after status has said so.

    Interleaving: another controller has looked before the Deployment stepped back, and is about to create the contract's
    Job.  It writes status first as well, with the resourceVersion of its look, so one of the two finds a conflict.
    """
    if here.standing.status is None or here.spec.work_of("contract") is None:
        return [*_releases(here), *writes]
    return [*writes, *_releases(here)]


def _around_status(writes: Sequence[Write], before: models.Status, status: models.Status) -> list[Write]:
    """The step's writes with the status among them.

    The attempt's number is in status before its Job exists, so a crash between the two loses a number and never a Job; and
    why a pod is deleted is in status before it is, so a crash loses no reason.
    """
    if status == before:
        return list(writes)
    first = [one for one in writes if isinstance(one, decision.SetFinalizer)]
    return [*first, decision.WriteStatus(status=status), *(one for one in writes if one not in first)]


def _unreadable(look: Observed, now: datetime.datetime) -> Decision:
    """A spec that the CRD let through and this operator cannot read: an older CRD, or a newer one."""
    migration = look.migration
    state = stalled("InvalidSpec", migration.spec_error, "Unknown")
    held = _held(look.deployments, ())
    changed = {
        "observed_generation": migration.generation,
        "conditions": _conditions(migration, state, held, now),
        "held": held[:LISTED_HOLDS],
        "held_count": len(held),
    }
    status = migration.status.model_copy(update=changed)
    writes: list[Write] = [decision.WriteStatus(status=status)] if status != migration.status else []
    if migration.deleting and not _has_running_jobs(look):
        writes += _without_finalizer(migration)
    return Decision(writes=tuple(writes))


def _conditions(
    migration: observed.Migration,
    state: State,
    held: Sequence[models.Held],
    now: datetime.datetime,
    contracted: tuple[str, str, str] | None = None,
) -> list[models.Condition]:
    before, moment = migration.status.conditions, observed.format_time(now)
    return conditions.build(state, held, before, migration.generation, moment, contracted)


def _contracted(here: Scene, step: starts.Step) -> tuple[str, str, str] | None:
    if here.standing.condition is None or step.contracting is None:
        return here.standing.condition
    return ("False", *step.contracting)


def _held(deployments: Sequence[observed.Deployment], released: Sequence[observed.Deployment]) -> list[models.Held]:
    return [
        models.Held(deployment=one.name, version=one.held[: models.TEXT_LENGTH])
        for one in deployments
        if one.held and one not in released
    ]


def _status(here: Scene, step: starts.Step) -> models.Status:
    migration = here.look.migration
    held = _held(here.look.deployments, here.released)
    return models.Status(
        observed_generation=migration.generation,
        conditions=_conditions(migration, step.state, held, here.now, _contracted(here, step)),
        version=(here.here.target or here.status.version)[: models.TEXT_LENGTH],
        attempt=step.attempt or scene.mark_released(here),
        held=held[:LISTED_HOLDS],
        held_count=len(held),
        history=list(here.history),
        released=releases.last_released(here.here, here.status.released, here.released, observed.format_time(here.now)),
        settling=step.settling or steps.settled(here),
        ledger=scene.ledger(here),
        outcome=here.outcome,
        contract=here.standing.status,
        floor=here.floor,
        pin=scene.pin(here),
    )


def _releases(here: Scene) -> list[Write]:
    return [
        decision.Release(
            deployment=one.name,
            version=one.version,
            held=bool(one.held),
            resource_version=one.raw["metadata"].get("resourceVersion", ""),
        )
        for one in here.released
    ]


def _failure_marks(here: Scene, step: starts.Step) -> list[Write]:
    """So that a health check on the Deployment can fail a sync that waits for it; taken back while it is tried again."""
    held = [one for one in here.waiting if one.held]
    # Resumed while we were uninstalled: with this write admission adopts what runs, and drops what is left of the hold.
    stale = [one for one in here.waiting if one.failed and not one.paused]
    unmarked = []
    if step.state.mood is conditions.Mood.STALLED and step.state.reason not in CLEARS_ITSELF:
        unmarked = [one for one in held if one.held == here.here.target and one.failed != one.held]
    else:
        stale += [one for one in held if one.failed == one.held]
    return [
        *(decision.MarkFailed(deployment=one.name, version=one.held) for one in unmarked),
        *(decision.MarkFailed(deployment=one.name, version="") for one in stale),
    ]


def _housekeeping(here: Scene, step: starts.Step) -> list[Write]:
    """Finished Jobs get an owner, old ones go, and the finalizer goes when nothing runs any more.

    While it runs, a Job has no owner: deleting an owner in the foreground kills its Jobs at once, whatever finalizers say.
    """
    migration, jobs = here.look.migration, here.look.jobs
    finished = sorted((one for one in jobs if one.finished and not one.deleting), key=lambda one: -one.attempt)
    writes: list[Write] = [
        decision.OwnJob(name=one.name, uid=one.uid)
        for one in finished[:KEPT_JOBS]
        if one.owner_uid == migration.uid and not one.owned
    ]
    writes += [decision.DeleteJob(name=one.name, uid=one.uid) for one in finished[KEPT_JOBS:]]
    if not here.found.running and not _has_running_jobs(here.look) and not step.starts:
        writes += _without_finalizer(migration)
    return writes


def _has_running_jobs(look: Observed) -> bool:
    return any(not one.finished and one.owner_uid == look.migration.uid for one in look.jobs)


def _without_finalizer(migration: observed.Migration) -> list[Write]:
    return [decision.SetFinalizer(present=False)] if names.RUNNING_FINALIZER in migration.finalizers else []
