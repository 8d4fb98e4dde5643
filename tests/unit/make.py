"""Builders for looks at a cluster: one word per state, everything else as it would be.

A look is made of the API's own JSON, so that the tests go through the same reading as the operator.  What could not stand
in a cluster is refused (:class:`Impossible`), so that a table cannot lie.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from schemahold.api import models, names
from schemahold.api import pod as protocol
from schemahold.api.pod import Reason
from schemahold.core import conditions, decide, decision, inputs, observed, scene, versions
from schemahold.core.observed import Observed
from tests.unit import kstatus

Json = dict[str, Any]

NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
POLICY = scene.Policy(image="schemahold/runner:1")
NAMESPACE, NAME, UID = "ns", "shop", "uid-shop"
URL = {"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}}
OTHER_URL = {"urlFrom": {"secretKeyRef": {"name": "other-db", "key": "url"}}}
COMMAND = ["npm", "run", "migrate"]


class Impossible(Exception):
    """No cluster would ever show this."""


def ago(seconds: float) -> str:
    return observed.format_time(NOW - datetime.timedelta(seconds=seconds))


def in_(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


# The SchemaMigration --------------------------------------------------------------------------------------------------


def migration(version: str | None = "v2", *, status: models.Status | Json | None = None, **more: Any) -> Json:
    """``more``: ``annotations``, ``deleting``, ``finalizer``, ``generation``; anything else is a field of the spec."""
    annotations, deleting = more.pop("annotations", {}), more.pop("deleting", False)
    running, generation = more.pop("finalizer", False), more.pop("generation", 3)
    spec: Json = {"database": URL, "run": {"command": COMMAND}, **more}
    if version is not None:
        spec["version"] = version
    dumped = models.dump_status(status) if isinstance(status, models.Status) else status
    finalizers = [names.RUNNING_FINALIZER] if running else ["example.com/other"] if deleting else []
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "namespace": NAMESPACE,
            "name": NAME,
            "uid": UID,
            "generation": generation,
            "resourceVersion": "100",
            "annotations": annotations,
            "finalizers": finalizers,
            **({"deletionTimestamp": ago(1)} if deleting else {}),
        },
        "spec": spec,
        "status": {"observedGeneration": -1} if dumped is None else dumped,
    }


def token(value: str = "again") -> Json:
    return {names.RETRY_AT: value}


def answer(text: str = "7 retry looked") -> Json:
    return {names.ANSWER: text, names.ANSWERED_BY: "ann"}


# Deployments ----------------------------------------------------------------------------------------------------------


def deployment(version: str = "v2", approved: str = "v1", *, name: str = "shop-api", **more: Any) -> Json:
    """Held for ``version`` while ``approved`` runs; rolled out when they are equal.

    ``more``: ``follow`` (the version is the image), ``image``, ``paused`` (by its user), ``rolled_out``, ``stuck``,
    ``adopted``, ``by`` (break-glass), ``failed``, ``replicas``.
    """
    ours = version != approved and not more.get("paused")
    owned = {
        names.APPROVED: approved,
        names.HELD: version if ours else "",
        names.ADOPTED: more.get("adopted", ""),
        names.FAILED: more.get("failed", ""),
        names.BREAK_GLASS_BY: more.get("by", ""),
    }
    image = more.get("image", version if more.get("follow") else "shop:1")
    template_annotations = {} if more.get("follow") else {names.VERSION_ANNOTATION: version}
    spec: Json = {
        "replicas": more.get("replicas", 2),
        "template": {
            "metadata": {"annotations": template_annotations},
            "spec": {"containers": [{"name": "api", "image": image}]},
        },
    }
    if ours or more.get("paused"):
        spec["paused"] = True
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": f"uid-{name}",
            "generation": 5,
            "resourceVersion": "50",
            "labels": {names.MIGRATION: NAME},
            "annotations": {key: value for key, value in owned.items() if value},
        },
        "spec": spec,
        "status": _rollout(spec["replicas"], more.get("rolled_out", version == approved), more.get("stuck", False)),
    }


def _rollout(replicas: int, done: bool, stuck: bool) -> Json:
    status: Json = {"observedGeneration": 5, "replicas": replicas, "updatedReplicas": replicas if done else 0}
    status["availableReplicas"] = replicas
    if stuck:
        status["conditions"] = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    return status


# Attempts, Jobs, pods -------------------------------------------------------------------------------------------------


def hashes(shop: Json | None = None, one: Json | None = None) -> tuple[str, str]:
    """Inputs and database reference of what would run."""
    spec = models.Spec.model_validate((shop or migration())["spec"])
    container = versions.container((one or deployment())["spec"]["template"])
    return inputs.inputs(spec, container), inputs.database_reference(spec, container)


INPUTS, DATABASE = hashes()
OTHER_DATABASE = hashes(migration(database=OTHER_URL))[1]


def attempt(reason: str = "", *, number: int = 1, version: str = "v2", **more: Any) -> models.Attempt:
    """Ended with ``reason`` a second ago; "" has not ended."""
    ended = {"reason": reason, "finished_at": ago(1), "message": f"{reason} it was."} if reason else {}
    given = {"inputs": INPUTS, "database": DATABASE, "started_at": ago(30), **ended, **more}
    return models.Attempt.model_validate({"number": number, "job": f"{NAME}-{number}", "version": version, **given})


def status(last: models.Attempt | None = None, **more: Any) -> models.Status:
    return models.Status.model_validate({"observed_generation": 3, "attempt": last, **more})


def applied(*entries: str, database: str = DATABASE) -> list[models.Applied]:
    """``v1`` is applied, in rows 1, 2, …; ``(v0)`` is adopted."""
    return [
        models.Applied(version=text.strip("()"), outcome="Adopted", database=database)
        if text.startswith("(")
        else models.Applied(version=text, outcome="Applied", row=row, database=database, at=ago(1000 - row))
        for row, text in enumerate(entries, 1)
    ]


def out(version: str, database: str = DATABASE) -> models.Released:
    return models.Released(version=version, database=database, at=ago(500))


def job(number: int = 1, *, version: str = "v2", **more: Any) -> Json:
    """Unfinished and 20 s old.

    ``more``: ``finished``, ``owned``, ``deleting``, ``uid`` (its owner's), ``inputs``, ``database``, ``age``.
    """
    finished = more.get("finished", False)
    labels = {
        names.MIGRATION: NAME,
        names.OWNER_UID: more.get("uid", UID),
        names.ATTEMPT: str(number),
        names.INPUTS: more.get("inputs", INPUTS),
        names.DATABASE: more.get("database", DATABASE),
        names.PHASE: more.get("phase", "expand"),
    }
    meta: Json = {
        "namespace": NAMESPACE,
        "name": f"{NAME}-{number}",
        "uid": f"uid-job-{number}",
        "labels": labels,
        "annotations": {names.RUN_VERSION: version},
        "creationTimestamp": ago(more.get("age", 20)),
    }
    if more.get("owned"):
        meta["ownerReferences"] = [{"kind": names.KIND, "uid": UID}]
    if more.get("deleting"):
        meta["deletionTimestamp"] = ago(1)
    done = [{"type": "Failed" if finished == "failed" else "Complete", "status": "True"}] if finished else []
    return {"metadata": meta, "status": {"conditions": done} if done else {}}


def report(reason: Reason, **more: Any) -> str:
    return protocol.Report(reason=reason, **{"message": f"{reason.value} says the pod.", **more}).to_json()


RUNNING: Json = {"running": {"startedAt": ago(10)}}


def ended(code: int, message: str = "") -> Json:
    return {"terminated": {"exitCode": code, "message": message, "startedAt": ago(10), "finishedAt": ago(2)}}


def waiting(reason: str = "PodInitializing", message: str = "") -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def pod(number: int = 1, **more: Any) -> Json:
    """``lock``, ``gate``, ``migrate``: states of containers, absent until given.

    Also ``phase``, ``deleting``, ``age``, ``unscheduled``; ``version`` and ``inputs`` of its run; ``uid`` (its owner's) and
    ``job_uid``.
    """
    lock, gate, migrate = (more.get(name, {}) for name in (names.LOCK, names.GATE, names.MIGRATE))
    meta: Json = {
        "namespace": NAMESPACE,
        "name": f"{NAME}-{number}-x",
        "uid": f"uid-pod-{number}",
        "labels": {
            "batch.kubernetes.io/job-name": f"{NAME}-{number}",
            "batch.kubernetes.io/controller-uid": more.get("job_uid", f"uid-job-{number}"),
            names.ATTEMPT: str(number),
            names.OWNER_UID: more.get("uid", UID),
            names.INPUTS: more.get("inputs", INPUTS),
            **({names.MODE: "sql"} if more.get("sql") else {}),
        },
        "annotations": {names.RUN_VERSION: more.get("version", "v2")},
        "creationTimestamp": ago(more.get("age", 19)),
    }
    if more.get("deleting"):
        meta["deletionTimestamp"] = ago(1)
    kubelet: Json = {"phase": more.get("phase", "Running" if migrate else "Pending")}
    if more.get("unscheduled"):
        kubelet["conditions"] = [{"type": "PodScheduled", "status": "False", "message": more["unscheduled"]}]
    kubelet["initContainerStatuses"] = [
        {"name": name, "state": state} for name, state in ((names.LOCK, lock), (names.GATE, gate)) if state
    ]
    kubelet["containerStatuses"] = [{"name": names.MIGRATE, "state": migrate}] if migrate else []
    return {"metadata": meta, "status": kubelet}


def pod_locking(number: int = 1, **more: Any) -> Json:
    return pod(number, lock=RUNNING, gate=RUNNING, **more)


def pod_refused(reason: Reason, number: int = 1, **more: Any) -> Json:
    """Gate has stopped with a report."""
    return pod(number, lock=RUNNING, gate=ended(1, report(reason, **more)))


def pod_running(number: int = 1, **more: Any) -> Json:
    return pod(number, lock=RUNNING, gate=ended(0), migrate=RUNNING, **more)


def pod_ended(code: int, said: str = "", number: int = 1, *, migrate: str = "", **more: Any) -> Json:
    """migrate has ended with ``code`` and its own last words; ``said`` is lock's report, "" for none yet."""
    lock = ended(0, said) if said else RUNNING
    return pod(number, lock=lock, gate=ended(0), migrate=ended(code, migrate), **more)


def pod_succeeded(number: int = 1, row: int | None = None, **more: Any) -> Json:
    said = report(Reason.SUCCEEDED, row=row, exit_code=0, ledger="ledger-1") if row is not None else ""
    return pod_ended(0, said, number, **more)


def pod_failed(number: int = 1, **more: Any) -> Json:
    return pod_ended(
        1, report(Reason.FAILED, row=7, exit_code=1, ledger="ledger-1"), number, migrate="column exists", **more
    )


# Looks and decisions --------------------------------------------------------------------------------------------------


def look(
    shop: Json | None = None,
    *deployments: Json,
    jobs: Sequence[Json] = (),
    pods: Sequence[Json] = (),
    busy: Sequence[str] = (),
    job_events: str = "",
    files: Mapping[str, observed.Files] | None = None,
    app_pods: Sequence[observed.AppPod] | None = None,
) -> Observed:
    """What one look found: by default ``shop`` for v2 and one Deployment held for it while v1 runs."""
    found = Observed(
        migration=observed.Migration.of(shop or migration()),
        deployments=tuple(observed.Deployment.of(one) for one in deployments),
        jobs=tuple(observed.Job.of(one) for one in jobs),
        pods=tuple(observed.Pod.of(one) for one in pods),
        busy=tuple(busy),
        job_events=job_events,
        files=files or {},
        app_pods=None if app_pods is None else tuple(app_pods),
    )
    check(found)
    return found


def check(found: Observed) -> None:
    """Refuses what no cluster would show."""
    for one in found.deployments:
        if not one.paused and one.wants:
            raise Impossible(f"'{one.name}' runs a version that is not approved: admission holds it")
        if one.held and (one.held != one.version or not one.paused or not one.wants):
            raise Impossible(f"'{one.name}' is held for '{one.held}', which is not what it waits for")
    if len({one.name for one in found.deployments}) < len(found.deployments):
        raise Impossible("two Deployments of one name")
    if len({one.name for one in found.jobs}) < len(found.jobs):
        raise Impossible("two Jobs of one name")
    jobs = {one.name: one for one in found.jobs}
    for pod_ in found.pods:
        if pod_.job in jobs and jobs[pod_.job].finished and not pod_.terminal:
            raise Impossible(f"Job '{pod_.job}' has finished with a pod that has not (podReplacementPolicy: Failed)")
        if pod_.migrate.started and not pod_.sql and not (pod_.gate.finished and pod_.gate.exit_code == 0):
            raise Impossible(f"pod '{pod_.name}' has started migrate before gate had let it")


def decided(found: Observed, now: datetime.datetime = NOW, policy: scene.Policy = POLICY) -> decision.Decision:
    """``decide``, with what must be true of every decision."""
    made = decide.decide(found, policy, now)
    for one in made.writes:
        if isinstance(one, decision.WriteStatus):
            kstatus.check(one.status, found.migration.generation)
    assert not any(isinstance(one, decision.CreateJob) for one in made.writes) or _number_is_kept(made), made.writes
    for event in made.events:
        assert event.type in ("Normal", "Warning")
        assert kstatus.CAMEL_CASE.fullmatch(event.reason)
        assert event.message and len(event.message) <= 1024
    assert made.requeue is None or made.requeue > 0
    return made


def _number_is_kept(made: decision.Decision) -> bool:
    """The attempt's number is in status before its Job is created."""
    kinds = [type(one) for one in made.writes]
    return decision.WriteStatus in kinds[: kinds.index(decision.CreateJob)]


def writes(made: decision.Decision, kind: type[Any]) -> list[Any]:
    return [one for one in made.writes if isinstance(one, kind)]


def status_of(made: decision.Decision, found: Observed) -> models.Status:
    """The status after the decision."""
    written = writes(made, decision.WriteStatus)
    return written[-1].status if written else found.migration.status


def condition(after: models.Status, kind: str = "Ready") -> models.Condition:
    found = [one for one in after.conditions if one.type == kind]
    assert found, f"no {kind}: {after.conditions}"
    return found[0]


def state(found: Observed, now: datetime.datetime = NOW) -> tuple[str, str]:
    """Mood and reason after the decision, as the conditions say them: ``("stalled", "MigrationFailed")``."""
    after = status_of(decided(found, now), found)
    kinds = {one.type for one in after.conditions if one.status == "True"}
    mood = "ready" if "Ready" in kinds else "stalled" if "Stalled" in kinds else "busy"
    return mood, condition(after).reason


def message(found: Observed, now: datetime.datetime = NOW) -> str:
    return condition(status_of(decided(found, now), found)).message


def released(found: Observed) -> list[str]:
    return [one.deployment for one in writes(decided(found), decision.Release)]


def starts(found: Observed, now: datetime.datetime = NOW) -> protocol.Ask | None:
    """What the Job asks that the decision creates, None if it creates none."""
    made = writes(decided(found, now), decision.CreateJob)
    return ask_of(made[0].job) if made else None


def ask_of(created: Mapping[str, Any]) -> protocol.Ask:
    spec = created["spec"]["template"]["spec"]
    ours = {one["name"]: one for one in [*spec["containers"], *spec["initContainers"]]}
    lock = ours.get(names.LOCK) or ours[names.MIGRATE]
    text = next(one["value"] for one in lock["env"] if one["name"] == protocol.ENV_ASK)
    return protocol.Ask.from_json(text.replace("$$", "$"))


MOODS = {one.value for one in conditions.Mood}
