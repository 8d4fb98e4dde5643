"""The beginning of an attempt: its number, its question to the ledger, its Job."""

from __future__ import annotations

import dataclasses

from schemahold.api import durations, models, names
from schemahold.api import pod as protocol
from schemahold.core import attempts, decision, events, job, observed, sqlpod
from schemahold.core import scene as scenes
from schemahold.core.conditions import State, busy, stalled
from schemahold.core.decision import Event, Write
from schemahold.core.scene import Scene


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """What the attempt side of a decision came to: a state, and what is to be done for it."""

    state: State
    writes: tuple[Write, ...] = ()
    events: tuple[Event, ...] = ()
    requeue: float | None = None
    attempt: models.Attempt | None = None
    settling: models.Settling | None = None
    contracting: tuple[str, str] | None = None  # reason and message of the contract's own condition, where they are news

    @property
    def starts(self) -> bool:
        return any(isinstance(write, decision.CreateJob) for write in self.writes)


def start(scene: Scene, plea: attempts.Plea, given: attempts.Start) -> Step:
    """The writes that begin an attempt; a Stalled step when the source cannot be copied as asked."""
    here, migration = scene.here, scene.look.migration
    assert here.source is not None
    seen = [*(one.attempt for one in scene.look.jobs), *(one.attempt for one in scene.look.pods)]
    number = 1 + max([scene.status.attempt.number if scene.status.attempt else 0, *seen])
    try:
        ask = job.with_database(_ask(scene, plea, given, number), scene.spec, here.source.raw)
        built = job.build_job(
            name=migration.name,
            namespace=migration.namespace,
            uid=migration.uid,
            spec=scene.spec,
            source=here.source.raw,
            ask=ask,
            image=scene.policy.image,
            image_pull_policy=scene.policy.image_pull_policy,
            inputs=plea.inputs,
            database=plea.database,
            image_volumes=scene.policy.image_volumes,
        )
        warnings = job.warnings(scene.spec, here.source.raw)
    except job.JobError as error:
        return Step(state=stalled(error.reason, error.message))
    last = _tried_before(scene.found.attempt, plea)
    attempt = models.Attempt(
        number=number,
        job=ask.job,
        phase=plea.phase,
        version=plea.target,
        inputs=plea.inputs,
        database=plea.database,
        token=migration.token,
        answer=given.answer,
        tries=given.tries,
        passed=last.passed if last else 0,
        before=f"{last.reason}: {last.message}"[:512] if last else "",
        accepts=given.accepts,
        any_ledger=given.any_ledger,
        started_at=observed.format_time(scene.now),
    )
    finalizer = () if names.RUNNING_FINALIZER in migration.finalizers else (decision.SetFinalizer(present=True),)
    reason = "MigrationStarted" if plea.phase == "expand" else "ContractStarted"
    text = f"Job '{ask.job}' runs the {attempts.what(plea.phase)} version '{plea.target}' (attempt {number})."
    advice = [Event(type="Warning", reason="LiteralDatabaseUrl", message=warning) for warning in warnings]
    return Step(
        state=begun(attempt),
        writes=(*finalizer, decision.CreateJob(job=built)),
        events=(*events.both("Normal", reason, text, here.source.name), *advice),
        attempt=attempt,
    )


def _tried_before(last: models.Attempt | None, plea: attempts.Plea) -> models.Attempt | None:
    """The try that this one repeats, if it is one: of the same run, and ended before its command began."""
    if last is None or (last.phase, last.version, last.inputs) != (plea.phase, plea.target, plea.inputs):
        return None
    return last if attempts.counts(last.reason) or last.reason in attempts.PASSING else None


def begun(attempt: models.Attempt) -> State:
    """The state of an attempt that has just begun."""
    text = f"Job '{attempt.job}' is taking the lock for version '{attempt.version}'."
    before = f" The attempt before it: {attempt.before}" if attempt.before else ""
    return busy("WaitingForLock", text + before)


def _ask(scene: Scene, plea: attempts.Plea, given: attempts.Start, number: int) -> protocol.Ask:
    migration, spec = scene.look.migration, scene.spec
    work = spec.work_of(plea.phase) or spec.work
    # What ran before us ran on the database of then: a later reference's ledger must not hear of it.
    ran = (one for one in reversed(scene.history) if one.outcome == "Adopted" and one.database == plea.database)
    adopted = next((one.version for one in ran if one.version != plea.target), "")
    ledger = scenes.ledger(scene)  # this look may be the first to have read it
    return protocol.Ask(
        ledger_name=migration.identity,
        phase=plea.phase,
        version=plea.target,
        inputs=plea.inputs,
        attempt=number,
        job=f"{migration.name}-{number}",
        token=migration.token,
        answer=given.answer,
        answered_by=migration.annotations.get(names.ANSWERED_BY, "") if given.answer else "",
        adopted=adopted,
        expected_ledger=ledger.uuid if ledger and not given.any_ledger else "",
        password_file=spec.database.password_file or "",
        lock_name=spec.lock.name,
        lock_timeout=durations.seconds(spec.lock.timeout),
        start_timeout=durations.seconds(work.start_timeout),
        allow_pooler=spec.lock.allow_pooler,
        session_options={} if isinstance(work, models.Sql) else dict(work.session_options),
        beat=scene.policy.beat,
        stale_after=scene.policy.stale_after,
        sql=_sql(scene, plea, work) if isinstance(work, models.Sql) else None,
    )


def _sql(scene: Scene, plea: attempts.Plea, work: models.Sql) -> protocol.SqlAsk:
    files, pinned = scene.look.files.get(plea.phase), scene.status.pin
    pin = files.pin if files else (pinned.hash if pinned and pinned.inputs == plea.inputs else "")
    contract = scene.spec.contract
    own = contract is not None and (contract.run is not None or contract.sql is not None)
    return sqlpod.ask(
        work,
        image_volumes=scene.policy.image_volumes,
        pin=pin,
        contract_elsewhere=own and plea.phase == "expand",
    )
