"""The attempt side of a decision: go on with the one that runs, start the next one, or say what it waits for.

The rules' numbers are those of docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
import hashlib

from schemahold.api import durations, models, names
from schemahold.api import pod as protocol
from schemahold.core import attempts, decision, events, idle, job, observed, verdicts
from schemahold.core import scene as scenes
from schemahold.core.attempts import Progress
from schemahold.core.conditions import State, busy, stalled
from schemahold.core.decision import Event, Write
from schemahold.core.scene import Scene

BUSY_POLL = 5.0  # seconds; another resource's Job on our database wakes nobody here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """What the attempt side of a decision came to: a state, and what is to be done for it."""

    state: State
    writes: tuple[Write, ...] = ()
    events: tuple[Event, ...] = ()
    requeue: float | None = None
    attempt: models.Attempt | None = None
    settling: models.Settling | None = None

    @property
    def starts(self) -> bool:
        return any(isinstance(write, decision.CreateJob) for write in self.writes)


def step(scene: Scene) -> Step:
    found = scene.found
    if found.running:
        return _running(scene)
    migrated = idle.migrated(scene.here, scene.history)
    if scene.spec.suspend:
        return Step(state=idle.suspended(scene.here.wanted, migrated))
    if scene.look.migration.deleting:
        return Step(state=busy("Deleting", "The SchemaMigration is being deleted; nothing starts any more.", migrated))
    if _needs_attempt(scene):
        return _next(scene)
    others = [one for one in scene.waiting if one.version != scene.here.target]
    if others:
        return Step(state=idle.waiting_for_version(others, scene.here.target, scene.spec, migrated))
    return Step(state=idle.state(scene.look.deployments, scene.here, scene.spec, scene.history, scene.released))


def _needs_attempt(scene: Scene) -> bool:
    source, last = scene.here.source, scene.found.attempt
    if any(one.version == scene.here.target or source is None for one in scene.waiting):
        return True
    if source is None or not source.by_hand or source.version != scene.here.target:
        return False
    # Rule 10: released by hand, nothing starts by itself; a retry token asks for it.
    token = scene.look.migration.token
    return bool(token) and (last is None or last.token != token)


def _running(scene: Scene) -> Step:
    found, attempt = scene.found, scene.found.attempt
    if found.foreign is not None:
        text = f"Job '{found.foreign.name}' of a deleted SchemaMigration with this name is still running."
        return Step(state=busy("Running", text), requeue=None)
    assert attempt is not None
    reason = attempts.useless(found, scene.plea, _is_wanted(scene))
    if reason:
        return _give_up(scene, attempt, attempts.REPLACED, reason)
    if found.missing_pod:
        return _without_pod(scene, attempt)
    left = attempts.overdue(found, scene.spec, scene.now)
    if left is not None and left <= 0:
        text = f"The migration had not started after `spec.run.startTimeout` ({scene.spec.run.start_timeout})"
        text += f": {found.problem}" if found.problem else "."
        return _give_up(scene, attempt, attempts.START_TIMEOUT, text)
    return Step(state=_running_state(found, attempt), requeue=_soonest(left, _pod_due(scene)), attempt=attempt)


def _is_wanted(scene: Scene) -> bool:
    """An attempt for a version released by hand stays useful: its success makes it Applied."""
    source = scene.here.source
    by_hand = source is not None and source.by_hand and source.version == scene.here.target
    return scene.here.wants_target or by_hand


def _pod_due(scene: Scene) -> float | None:
    found = scene.found
    if found.job is None or found.pod is not None:
        return None
    return max(1.0, scene.policy.pod_timeout - (scene.now - found.job.created).total_seconds())


def _soonest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _running_state(found: Progress, attempt: models.Attempt) -> State:
    if found.stage is verdicts.Stage.RUNNING:
        return busy("Running", f"Job '{attempt.job}' runs the migration to version '{attempt.version}'.")
    if found.problem:
        return busy("PodNotStarted", f"Job '{attempt.job}': {found.problem}")
    return busy("WaitingForLock", f"Job '{attempt.job}' is taking the lock for version '{attempt.version}'.")


def _without_pod(scene: Scene, attempt: models.Attempt) -> Step:
    found = scene.found
    assert found.job is not None
    why = scene.look.job_events or "the cluster gave no reason; see `kubectl describe job`"
    text = f"Job '{found.job.name}' has had no pod for {scene.policy.pod_timeout:g} s: {why}"
    return Step(state=stalled("PodNotCreated", text), requeue=BUSY_POLL, attempt=attempt)


def _give_up(scene: Scene, attempt: models.Attempt, reason: str, message: str) -> Step:
    """Deletes the pod of an attempt that has not started.

    If migrate starts meanwhile, this is an ordinary graceful deletion: its exit is recorded and is the verdict.  Without a
    pod there is nothing to delete but the Job.
    """
    given_up = attempt.model_copy(update={"reason": reason, "message": message[:1024]})
    pod, found_job = scene.found.pod, scene.found.job
    write: Write | None = None
    if pod is not None and not pod.deleting:
        write = decision.DeletePod(name=pod.name, uid=pod.uid)
    elif pod is None and found_job is not None and not found_job.deleting:
        write = decision.DeleteJob(name=found_job.name, uid=found_job.uid)
    return Step(state=busy("WaitingForLock", message), writes=(write,) if write else (), attempt=given_up)


def _next(scene: Scene) -> Step:
    refused = _refused_before_start(scene)
    if refused:
        return Step(state=refused)
    verdict = attempts.following(scene.found.attempt, scene.outcome, scene.plea, scene.now)
    settling = _settling(scene)
    if isinstance(verdict, attempts.Stop):
        migrated = "Unknown" if verdict.reason in _NOBODY_KNOWS else "False"
        return Step(state=stalled(verdict.reason, verdict.message, migrated), settling=settling)
    if isinstance(verdict, attempts.Wait):
        return Step(state=busy(verdict.reason, verdict.message), requeue=verdict.seconds, settling=settling)
    left = _settle_left(scene, settling)
    if left > 0:
        text = f"Waiting until version '{scene.here.target}' and its inputs have stood still for {scene.spec.settle}."
        return Step(state=busy("Settling", text), requeue=left, settling=settling)
    blocked = _blocked(scene)
    if blocked:
        return Step(state=busy("WaitingForLock", blocked), requeue=BUSY_POLL, settling=settling)
    return _start(scene, verdict, settling)


_NOBODY_KNOWS = (attempts.OUTCOME_UNKNOWN, attempts.LEDGER_LOST)


def _refused_before_start(scene: Scene) -> State | None:
    here, spec = scene.here, scene.spec
    if here.ambiguous:
        found = ", ".join(f"'{one.name}'" for one in scene.look.deployments)
        return stalled(
            "AmbiguousSource",
            f"Several Deployments carry the label {names.MIGRATION}: {scene.look.migration.name}: {found}. "
            f"Name the one whose container the Job copies in `spec.run.deployment`.",
        )
    if here.source is None:
        return busy(
            "WaitingForDeployment",
            f"`spec.run.deployment` names '{spec.run.deployment}', and no Deployment of that name carries the label "
            f"{names.MIGRATION}: {scene.look.migration.name}.",
        )
    if here.source.version != here.target:
        return busy(
            "WaitingForDeployment",
            f"The source, Deployment '{here.source.name}', carries version '{here.source.version}', not '{here.target}'.",
        )
    if len(here.target) > models.VERSION_LENGTH:
        return stalled(
            "InvalidVersion",
            f"The version of Deployment '{here.source.name}' ('{here.target[:40]}…') has {len(here.target)} characters: "
            f"shorten the template annotation {names.VERSION_ANNOTATION} to at most {models.VERSION_LENGTH}.",
        )
    return None


def _settling(scene: Scene) -> models.Settling | None:
    """Since when version and inputs have stood still; kept only where settling is asked for (rule 2)."""
    last, target = scene.found.attempt, scene.here.target
    tried = (last is not None and last.version == target) or any(one.version == target for one in scene.look.jobs)
    if scene.spec.version is not None and not tried:
        return None
    return settled(scene) or models.Settling(key=_settling_key(scene), since=observed.format_time(scene.now))


def settled(scene: Scene) -> models.Settling | None:
    """What status remembers of settling, if it is about what would run now."""
    before = scene.status.settling
    return before if before is not None and before.key == _settling_key(scene) else None


def _settling_key(scene: Scene) -> str:
    return hashlib.sha256(f"{scene.here.target}\n{scene.here.inputs}".encode()).hexdigest()[:16]


def _settle_left(scene: Scene, settling: models.Settling | None) -> float:
    if settling is None:
        return 0.0
    stood = (scene.now - observed.parse_time(settling.since)).total_seconds()
    # No longer than asked for: a clock that was set back must not make it wait for hours.
    return durations.seconds(scene.spec.settle) - max(0.0, stood)


def _blocked(scene: Scene) -> str:
    """Rule 7: one attempt at a time, per resource and per database reference."""
    for one in scene.look.jobs:
        if not one.finished:
            return f"Job '{one.name}' is still ending."
    if scene.look.busy:
        return f"Job '{scene.look.busy[0]}' of another SchemaMigration uses the same database."
    return ""


def _start(scene: Scene, start: attempts.Start, settling: models.Settling | None) -> Step:
    here, migration = scene.here, scene.look.migration
    assert here.source is not None
    seen = [*(one.attempt for one in scene.look.jobs), *(one.attempt for one in scene.look.pods)]
    number = 1 + max([scene.status.attempt.number if scene.status.attempt else 0, *seen])
    try:
        ask = job.with_database(_ask(scene, start, number), scene.spec, here.source.raw)
        built = job.build_job(
            name=migration.name,
            namespace=migration.namespace,
            uid=migration.uid,
            spec=scene.spec,
            source=here.source.raw,
            ask=ask,
            image=scene.policy.image,
            image_pull_policy=scene.policy.image_pull_policy,
            inputs=here.inputs,
            database=here.database,
        )
        warnings = job.warnings(scene.spec, here.source.raw)
    except job.JobError as error:
        return Step(state=stalled(error.reason, error.message), settling=settling)
    attempt = models.Attempt(
        number=number,
        job=ask.job,
        version=here.target,
        inputs=here.inputs,
        database=here.database,
        token=migration.token,
        answer=start.answer,
        tries=start.tries,
        accepts=start.accepts,
        any_ledger=start.any_ledger,
        started_at=observed.format_time(scene.now),
    )
    finalizer = () if names.RUNNING_FINALIZER in migration.finalizers else (decision.SetFinalizer(present=True),)
    text = f"Job '{ask.job}' runs the migration to version '{here.target}' (attempt {number})."
    advice = [Event(type="Warning", reason="LiteralDatabaseUrl", message=warning) for warning in warnings]
    return Step(
        state=_running_state(dataclasses.replace(scene.found, stage=None, problem=""), attempt),
        writes=(*finalizer, decision.CreateJob(job=built)),
        events=(*events.both("Normal", "MigrationStarted", text, here.source.name), *advice),
        attempt=attempt,
        settling=settling,
    )


def _ask(scene: Scene, start: attempts.Start, number: int) -> protocol.Ask:
    migration, spec, here = scene.look.migration, scene.spec, scene.here
    adopted = next((one.adopted for one in scene.look.deployments if one.adopted and one.adopted != here.target), "")
    ledger = scenes.ledger(scene)  # this look may be the first to have read it
    return protocol.Ask(
        ledger_name=migration.identity,
        phase="expand",
        version=here.target,
        inputs=here.inputs,
        attempt=number,
        job=f"{migration.name}-{number}",
        token=migration.token,
        answer=start.answer,
        answered_by=migration.annotations.get(names.ANSWERED_BY, "") if start.answer else "",
        adopted=adopted,
        expected_ledger=ledger.uuid if ledger and not start.any_ledger else "",
        lock_name=spec.lock.name,
        lock_timeout=durations.seconds(spec.lock.timeout),
        start_timeout=durations.seconds(spec.run.start_timeout),
        allow_pooler=spec.lock.allow_pooler,
        session_options=dict(spec.run.session_options),
        beat=scene.policy.beat,
        stale_after=scene.policy.stale_after,
    )
