"""The attempt side of a decision: go on with the one that runs, start the next one, or say what it waits for.

The rules' numbers are those of docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
import hashlib

from schemahold.api import durations, models, names
from schemahold.core import attempts, decision, idle, observed, starts, verdicts
from schemahold.core.attempts import Progress
from schemahold.core.conditions import Mood, State, busy, stalled
from schemahold.core.decision import Write
from schemahold.core.scene import Scene
from schemahold.core.starts import Step

BUSY_POLL = 5.0  # seconds; another resource's Job on our database wakes nobody here
REFUSED_POLL = 60.0
HANGING = 60.0  # seconds after which a pod that should have ended is in the way
FILES_POLL = 10.0  # seconds; nor does a ConfigMap that somebody mends


def step(scene: Scene) -> Step:
    found = scene.found
    if found.running:
        return _running(scene)
    migrated = idle.migrated(scene.here, scene.history)
    if scene.spec.suspend:
        return Step(state=idle.suspended(scene.here.wanted, migrated))
    if scene.look.migration.deleting:
        return Step(state=busy("Deleting", "The SchemaMigration is being deleted; nothing starts any more.", migrated))
    if scene.look.refused:
        return _release_refused(scene, migrated)
    if _needs_attempt(scene):
        return _next(scene)
    others = [one for one in scene.waiting if one.version != scene.here.target]
    if others:
        return Step(state=idle.waiting_for_version(others, scene.here.target, scene.spec, migrated))
    state = _idle(scene)
    contract = scene.standing.status
    if state.mood is not Mood.STALLED and contract is not None and contract.state == "Waiting":
        return _contract(scene, state)
    return Step(state=state, requeue=scene.standing.requeue)


def _idle(scene: Scene) -> State:
    look = scene.look
    return idle.state(look.deployments, scene.here, scene.spec, scene.history, scene.released, look.migration.name)


def _release_refused(scene: Scene, migrated: str) -> Step:
    name, words = next(iter(scene.look.refused.items()))
    text = f"Version '{scene.here.target}' may roll out, and the API server refuses to release Deployment '{name}': {words}"
    return Step(state=stalled("ReleaseRefused", text, migrated), requeue=REFUSED_POLL)


def _contract(scene: Scene, state: State) -> Step:
    """The same question as for any attempt, beside a state that stays what it is; unless a person has to look."""
    plea = scene.plea_of("contract")
    given = attempts.following(scene.found.attempt, scene.outcome, plea, scene.now)
    if isinstance(given, attempts.Stop):  # also while it is not due: a pod that is away for a moment mends nothing
        requeue = FILES_POLL if _reads_files(scene, "contract") else scene.standing.requeue
        failed = stalled(given.reason, given.message, state.migrated)
        return Step(state=failed, requeue=requeue, contracting=(given.reason, given.message))
    if not scene.standing.due or state.mood is not Mood.READY:
        return Step(state=state, requeue=scene.standing.requeue)
    if isinstance(given, attempts.Wait):
        return Step(state=state, requeue=given.seconds, contracting=(given.reason, given.message))
    refused = _refused_before_start(scene)
    if refused:  # what runs is fine; which container the Job would copy is not clear
        return Step(state=state, contracting=(refused.reason, refused.message))
    refused = _without_files(scene, "contract")
    if refused:
        return Step(state=refused, requeue=FILES_POLL, contracting=(refused.reason, refused.message))
    blocked = _blocked(scene)
    if blocked:
        return Step(state=state, requeue=BUSY_POLL, contracting=("WaitingForLock", blocked))
    # Whatever inputs the recorded contract had, it has removed what it had to.
    begun = starts.start(scene, plea, dataclasses.replace(given, accepts=True))
    if not begun.starts:
        return begun
    return dataclasses.replace(begun, state=state, contracting=(begun.state.reason, begun.state.message))


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
        text = (
            f"Job '{found.foreign.name}' of a deleted SchemaMigration with this name is still there; when it is of no use "
            f"any more: `kubectl delete job {found.foreign.name}`."
        )
        return Step(state=busy("Running", text), requeue=BUSY_POLL)  # its events carry no key of ours
    assert attempt is not None
    going = _going(scene, attempt)
    return _beside(scene, going) if attempt.phase == "contract" else going


def _going(scene: Scene, attempt: models.Attempt) -> Step:
    found = scene.found
    hanging = _hanging(scene, attempt)
    if hanging:
        return hanging
    reason = _useless(scene)
    if reason:
        return _give_up(scene, attempt, attempts.REPLACED, reason)
    if found.missing_pod:
        return _without_pod(scene, attempt)
    left = attempts.overdue(found, scene.spec, scene.now)
    if left is not None and left <= 0:
        work, given = _work(scene, attempt.phase)
        text = f"The migration had not started after `spec.{work}.startTimeout` ({given.start_timeout})"
        text += f": {found.problem}" if found.problem else "."
        return _give_up(scene, attempt, attempts.START_TIMEOUT, text)
    due = _soonest(left, _pod_due(scene), _hanging_due(scene))
    return Step(state=_running_state(found, attempt), requeue=due, attempt=attempt)


def _hanging(scene: Scene, attempt: models.Attempt) -> Step | None:
    """A pod that does not end: its node is gone, or somebody's container outlives migrate, and ``lock`` with it."""
    pod, now = scene.found.pod, scene.now
    if pod is None or pod.terminal:
        return None
    if pod.ends_by is not None and (now - pod.ends_by).total_seconds() >= HANGING:
        text = (
            f"Pod '{pod.name}' should have ended by {observed.format_time(pod.ends_by)}: its node does not answer, and the "
            f"migration may still run there. It ends when the node is back; if the node is gone for good: "
            f"`kubectl delete pod {pod.name} --force`, and the next attempt asks the ledger."
        )
        return Step(state=stalled("PodLost", text, "Unknown"), attempt=attempt)
    if not pod.migrate.finished_at or not pod.strangers or pod.deleting:
        return None
    over = (now - observed.parse_time(pod.migrate.finished_at)).total_seconds()
    if over < HANGING:
        return Step(state=_running_state(scene.found, attempt), requeue=HANGING - over, attempt=attempt)
    text = (
        f"Job '{attempt.job}' has ended, but container '{pod.strangers[0]}', which somebody put into its pod, has not: the "
        "pod is deleted."
    )
    return Step(state=busy("Running", text), writes=(decision.DeletePod(name=pod.name, uid=pod.uid),), attempt=attempt)


def _hanging_due(scene: Scene) -> float | None:
    pod = scene.found.pod
    if pod is None or pod.ends_by is None or pod.terminal:
        return None
    return max(1.0, HANGING + (pod.ends_by - scene.now).total_seconds())


def _beside(scene: Scene, going: Step) -> Step:
    """What runs is a contract: the rollout is complete, and its state stays; a version that waits is told why."""
    news = (going.state.reason, going.state.message)
    if scene.waiting:
        one = scene.waiting[0]
        text = f"Version '{one.version}' of Deployment '{one.name}' waits: {going.state.message}"
        return dataclasses.replace(going, state=busy("WaitingForContract", text), contracting=news)
    state = _idle(scene)
    return dataclasses.replace(going, state=state, contracting=news)


def _useless(scene: Scene) -> str:
    found = scene.found
    if found.stage in (verdicts.Stage.WAITING, verdicts.Stage.LOCKING):
        if scene.spec.suspend:
            return "`spec.suspend` is true, and the command had not started."
        if scene.look.migration.deleting:
            return "The SchemaMigration is being deleted, and the command had not started."
    if found.phase == "expand":
        return attempts.useless(found, scene.plea, _is_wanted(scene))
    return attempts.useless(found, scene.plea_of("contract"), scene.standing.due)


def _work(scene: Scene, phase: str) -> tuple[str, models.Work]:
    """Where the spec says what a phase runs, in words, and what that is."""
    spec = scene.spec
    work = spec.work_of(phase) or spec.work
    own = phase == "contract" and work is not spec.work
    return ("contract." if own else "") + ("sql" if isinstance(work, models.Sql) else "run"), work


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
        what = attempts.what(attempt.phase)
        return busy("Running", f"Job '{attempt.job}' runs the {what} version '{attempt.version}'.")
    if found.problem:
        return busy("PodNotStarted", f"Job '{attempt.job}': {found.problem}")
    return starts.begun(attempt)


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
    refused = _without_files(scene, "expand")
    if refused:
        return Step(state=refused, requeue=FILES_POLL)
    verdict = attempts.following(scene.found.attempt, scene.outcome, scene.plea, scene.now)
    settling = _settling(scene)
    if isinstance(verdict, attempts.Stop):
        migrated = "Unknown" if verdict.reason in _NOBODY_KNOWS else "False"
        requeue = FILES_POLL if _reads_files(scene, "expand") else None
        state = stalled(verdict.reason, verdict.message, migrated)
        return Step(state=state, settling=settling, requeue=requeue)
    if isinstance(verdict, attempts.Wait):
        return Step(state=busy(verdict.reason, verdict.message), requeue=verdict.seconds, settling=settling)
    left = _settle_left(scene, settling)
    if left > 0:
        text = f"Waiting until version '{scene.here.target}' and its inputs have stood still for {scene.spec.settle}."
        return Step(state=busy("Settling", text), requeue=left, settling=settling)
    blocked = _blocked(scene)
    if blocked:
        return Step(state=busy("WaitingForLock", blocked), requeue=BUSY_POLL, settling=settling)
    return dataclasses.replace(starts.start(scene, scene.plea, verdict), settling=settling)


_NOBODY_KNOWS = (attempts.OUTCOME_UNKNOWN, attempts.LEDGER_LOST)


def _reads_files(scene: Scene, phase: str) -> bool:
    """Whether mending is likely to be a change of a ConfigMap, of which no watch tells us."""
    return phase in scene.look.files


def _without_files(scene: Scene, phase: str) -> State | None:
    files = scene.look.files.get(phase)
    return stalled("SourceInvalid", files.problem) if files is not None and files.problem else None


def _refused_before_start(scene: Scene) -> State | None:
    here = scene.here
    work, given = _work(scene, "expand")
    if here.ambiguous:
        found = ", ".join(f"'{one.name}'" for one in scene.look.deployments)
        return stalled(
            "AmbiguousSource",
            f"Several Deployments carry the label {names.MIGRATION}: {scene.look.migration.name}: {found}. "
            f"Name the one whose container the Job copies in `spec.{work}.deployment`.",
        )
    if here.source is None:
        return busy(
            "WaitingForDeployment",
            f"`spec.{work}.deployment` names '{given.deployment}', and no Deployment of that name carries the label "
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
            return f"Job '{one.name}' is still ending; if it never does: `kubectl delete job {one.name}`."
    if scene.look.busy:
        return f"Job '{scene.look.busy[0]}' of another SchemaMigration uses the same database."
    return ""
