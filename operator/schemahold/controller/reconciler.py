"""One key: look, decide, write, tell."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time

from schemahold.api import models, names
from schemahold.cluster import api, apply, events, gather
from schemahold.controller.metrics import Metrics
from schemahold.controller.queue import Key, Queue
from schemahold.core import decide, decision, observed, redact, scene

log = logging.getLogger(__name__)

MISSING_FOR = 10.0  # seconds that a SchemaMigration may come later than its Deployment before anyone is told


class ReleaseRefused(Exception):
    """The API server does not let a Deployment go (a webhook, a policy, a field that no longer validates)."""

    def __init__(self, deployment: str, words: str) -> None:
        super().__init__(words)
        self.deployment, self.words = deployment, words


class Reconciler:
    """Everything it needs comes in from outside, so that the tests can put a simulated cluster in its place."""

    def __init__(self, client: api.Api, recorder: events.Recorder, policy: scene.Policy, metrics: Metrics) -> None:
        self._client = client
        self._recorder = recorder
        self._policy = policy
        self._metrics = metrics
        self._missing: dict[Key, datetime.datetime] = {}  # since when a held Deployment's SchemaMigration is not there

    async def work(self, queue: Queue) -> None:
        """A worker: takes keys until the queue is closed."""
        while (key := await queue.take()) is not None:
            try:
                await self._guarded(key, queue)
            finally:
                await queue.done(key)

    async def _guarded(self, key: Key, queue: Queue) -> None:
        where = {"namespace": key.namespace, "migration": key.name}
        try:
            requeue = await self.reconcile(key)
        except api.Conflict as error:
            # Someone wrote since the look.  Looking again is all there is to do.
            self._metrics.errors.labels(kind="conflict").inc()
            log.info("looking again: %s", error.message, extra=where)
            queue.retry(key)
        except (api.ApiError, api.Unavailable) as error:
            self._metrics.errors.labels(kind="api").inc()
            log.warning("again in %.1f s: %s", queue.retry(key), error, extra=where)
        except Exception:
            self._metrics.errors.labels(kind="fault").inc()
            log.exception("a fault of ours; again in %.1f s", queue.retry(key), extra=where)
        else:
            queue.succeed(key)
            if requeue is not None:
                queue.add_after(key, requeue)

    async def reconcile(self, key: Key) -> float | None:
        """One look and what it calls for; seconds until the next look is due, None for "when something happens"."""
        begun = time.monotonic()
        now = datetime.datetime.now(datetime.UTC)
        look = await gather.look(self._client, key.namespace, key.name, self._policy.pod_timeout, now)
        if look is None:
            return await self._without_migration(key, now)
        self._missing.pop(key, None)
        decided = decide.decide(look, self._policy, now)
        while True:
            try:
                was_refused = await self._apply(look, decided)
                break
            except ReleaseRefused as refused:  # at most once for each Deployment
                # The rest of the decision counts without that one: a verdict must not be lost to somebody's policy.
                look = dataclasses.replace(look, refused={**look.refused, refused.deployment: refused.words})
                decided = decide.decide(look, self._policy, now)
        told = [one for one in decided.events if not (was_refused and one.reason == "MigrationStarted")]
        for event in told:
            await self._event(look, event, now)
        self._measure(key, look, decided, time.monotonic() - begun)
        return 0.0 if was_refused else decided.requeue

    async def _apply(self, look: observed.Observed, decided: decision.Decision) -> bool:
        """Writes; whether the Job was refused."""
        was_refused = False
        applier = apply.Applier(self._client, look.migration)
        for write in decided.writes:
            kind = type(write).__name__
            try:
                await applier.write(write)
            except api.Conflict:
                raise
            except api.ApiError as error:
                if isinstance(write, decision.Release) and error.status in (400, 403, 422):
                    raise ReleaseRefused(write.deployment, redact.redact(error.message)) from error
                # A webhook that fails is a 500; were it another fault and the Job created, its verdict would still count.
                if not isinstance(write, decision.CreateJob) or error.status > 500 or error.status == 429:
                    raise
                await self._refused(applier, decided, error)
                was_refused = True
                continue
            self._metrics.writes.labels(kind=kind).inc()
            log.info("wrote %s", kind, extra={"namespace": look.migration.namespace, "migration": look.migration.name})
        for note in applier.notes:
            await self._event(look, decision.Event(type="Warning", reason="JobChanged", message=note))
        return was_refused

    async def _refused(self, applier: apply.Applier, decided: decision.Decision, error: api.ApiError) -> None:
        """The Job was refused (admission, quota): the reason goes into the attempt, or nobody would learn it."""
        status = next(write.status for write in decided.writes if isinstance(write, decision.WriteStatus))
        assert status.attempt is not None
        text = f"The API server refused Job '{status.attempt.job}': {redact.redact(error.message)}"
        attempt = status.attempt.model_copy(update={"reason": "JobRefused", "message": text[:1024]})
        await applier.write(decision.WriteStatus(status=status.model_copy(update={"attempt": attempt})))

    async def _event(self, look: observed.Observed, event: decision.Event, now: datetime.datetime | None = None) -> None:
        subject = _subject(look, event.deployment)
        if subject is not None:
            moment = now or datetime.datetime.now(datetime.UTC)
            await self._recorder.record(subject, event.type, event.reason, event.message, moment)

    async def _without_migration(self, key: Key, now: datetime.datetime) -> float | None:
        """An opted-in Deployment whose SchemaMigration does not exist stays held; the Deployment says why.

        Not at once: both often come in one apply, the Deployment first.
        """
        self._metrics.forgot(key)
        held = [one for one in await gather.labelled_deployments(self._client, key.namespace, key.name) if one.held]
        if not held:
            self._missing.pop(key, None)
            return None
        missing = (now - self._missing.setdefault(key, now)).total_seconds()
        if missing < MISSING_FOR:
            return MISSING_FOR - missing
        for one in held:
            text = (
                f"Held for version '{one.version}': the label {names.MIGRATION}: {key.name} names a SchemaMigration that "
                f"does not exist in namespace '{key.namespace}'. Create it, or mend the label."
            )
            await self._recorder.record(_deployment(key.namespace, one), "Warning", "MigrationNotFound", text, now)
        return None

    def _measure(self, key: Key, look: observed.Observed, decided: decision.Decision, seconds: float) -> None:
        self._metrics.decision_time.observe(seconds)
        if any(isinstance(write, decision.Release) for write in decided.writes):
            self._metrics.release_time.observe(seconds)
        for run in decided.finished:
            self._metrics.ended(run)
        self._metrics.saw(key, _status_after(look, decided))


def _status_after(look: observed.Observed, decided: decision.Decision) -> models.Status:
    written = [write.status for write in decided.writes if isinstance(write, decision.WriteStatus)]
    return written[-1] if written else look.migration.status


def _subject(look: observed.Observed, deployment: str) -> events.Subject | None:
    migration = look.migration
    if deployment:
        found = next((one for one in look.deployments if one.name == deployment), None)
        return _deployment(migration.namespace, found) if found else None
    return events.Subject(
        api_version=names.API_VERSION,
        kind=names.KIND,
        namespace=migration.namespace,
        name=migration.name,
        uid=migration.uid,
    )


def _deployment(namespace: str, one: observed.Deployment) -> events.Subject:
    return events.Subject(api_version="apps/v1", kind="Deployment", namespace=namespace, name=one.name, uid=one.uid)
