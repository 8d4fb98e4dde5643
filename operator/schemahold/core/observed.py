"""What one look at the cluster found, as frozen dataclasses: the input of ``decide``.

Each class reads the API's JSON in ``of`` and keeps only what a rule asks for.  Nothing here is cached between two looks:
every decision is made on a fresh read, so there is no stale copy to be wrong about.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from schemahold.api import models, names
from schemahold.core import versions

Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Migration:
    """A SchemaMigration.  ``spec`` is None when it cannot be read; ``spec_error`` then says why."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    annotations: Mapping[str, str]
    finalizers: Sequence[str]
    deleting: bool
    spec: models.Spec | None
    spec_error: str
    status: models.Status
    raw: Json

    @property
    def identity(self) -> str:
        """The name in the ledger."""
        given = self.spec.identity if self.spec else None
        return given or f"{self.namespace}/{self.name}"

    # Both are remembered in status, which has bounds: longer ones are compared by what fits.

    @property
    def token(self) -> str:
        return self.annotations.get(names.RETRY_AT, "")[: models.TEXT_LENGTH]

    @property
    def answer(self) -> str:
        return self.annotations.get(names.ANSWER, "")[: models.TEXT_LENGTH]

    @classmethod
    def of(cls, raw: Json) -> Migration:
        meta = raw["metadata"]
        spec, error = _read_spec(raw.get("spec") or {})
        return cls(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            generation=int(meta.get("generation") or 0),
            resource_version=str(meta.get("resourceVersion") or ""),
            annotations=meta.get("annotations") or {},
            finalizers=tuple(meta.get("finalizers") or ()),
            deleting="deletionTimestamp" in meta,
            spec=spec,
            spec_error=error,
            status=models.parse_status(raw.get("status")),
            raw=raw,
        )


def _read_spec(raw: Json) -> tuple[models.Spec | None, str]:
    try:
        return models.Spec.model_validate(raw), ""
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(["spec", *map(str, first["loc"])])
        return None, f"`{field}`: {first['msg']}; apply the SchemaMigration again with this field mended"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
    """A Deployment that carries our label."""

    name: str
    uid: str
    version: str
    approved: str
    held: str
    adopted: str
    failed: str
    let_out: str  # "<user> <version>" of the last break-glass, "" for none
    paused: bool
    rolled_out: bool
    stuck: bool
    raw: Json

    @property
    def wants(self) -> bool:
        """Whether its version is not approved."""
        return self.approved != self.version

    @property
    def by_hand(self) -> bool:
        """Whether break-glass let its version through."""
        return self.was_let_out(self.version)

    def was_let_out(self, version: str) -> bool:
        """Whether break-glass let ``version`` through.  By its end, because a user's name may have blanks in it."""
        return bool(version) and self.let_out.endswith(f" {version}")

    @property
    def template(self) -> Json:
        template: Json = self.raw["spec"]["template"]
        return template

    @classmethod
    def of(cls, raw: Json) -> Deployment:
        meta, spec = raw["metadata"], raw["spec"]
        annotations = meta.get("annotations") or {}
        # Resumed while we were uninstalled, it carries the annotation of a hold that is no more.
        paused = bool(spec.get("paused"))
        return cls(
            name=meta["name"],
            uid=meta["uid"],
            version=versions.version(spec["template"]),
            approved=annotations.get(names.APPROVED, ""),
            held=annotations.get(names.HELD, "") if paused else "",
            adopted=annotations.get(names.ADOPTED, ""),
            failed=annotations.get(names.FAILED, ""),
            let_out=annotations.get(names.BREAK_GLASS_BY, ""),
            paused=paused,
            rolled_out=_is_rolled_out(raw),
            stuck=_is_stuck(raw),
            raw=raw,
        )


def _is_current(raw: Json) -> bool:
    observed = (raw.get("status") or {}).get("observedGeneration") or 0
    return bool(observed >= (raw["metadata"].get("generation") or 0))


def _is_rolled_out(raw: Json) -> bool:
    """As ``kubectl rollout status`` judges: everything updated, nothing old left, everything available."""
    status = raw.get("status") or {}
    want = raw["spec"].get("replicas", 1)
    updated, total = status.get("updatedReplicas") or 0, status.get("replicas") or 0
    available = status.get("availableReplicas") or 0
    return _is_current(raw) and updated >= want and total <= updated and available >= updated


def _is_stuck(raw: Json) -> bool:
    """Past its progress deadline.  While it is paused the condition is a stale one: it survives the pause."""
    if raw["spec"].get("paused") or not _is_current(raw):
        return False
    return any(
        condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in (raw.get("status") or {}).get("conditions") or []
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """An attempt's Job.  ``finished``: it has a terminal condition; its pods are gone or terminal then.

    ``had_pod``: a pod of it has ended, whether or not that pod still exists.
    """

    name: str
    uid: str
    owner_uid: str
    attempt: int
    version: str
    inputs: str
    database: str
    finished: bool
    had_pod: bool
    owned: bool
    deleting: bool
    created: datetime.datetime
    phase: str = "expand"

    @classmethod
    def of(cls, raw: Json) -> Job:
        meta = raw["metadata"]
        labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
        status = raw.get("status") or {}
        met = {one.get("type") for one in status.get("conditions") or [] if one.get("status") == "True"}
        return cls(
            name=meta["name"],
            uid=meta["uid"],
            owner_uid=labels.get(names.OWNER_UID, ""),
            attempt=_number(labels),
            version=annotations.get(names.RUN_VERSION, ""),
            inputs=labels.get(names.INPUTS, ""),
            database=labels.get(names.DATABASE, ""),
            finished=bool(met & {"Complete", "Failed"}),
            # The Job controller counts a pod before it lets it go (its finalizer), so one of these is there by then.
            had_pod=bool(met or status.get("failed") or status.get("succeeded") or status.get("uncountedTerminatedPods")),
            owned=bool(meta.get("ownerReferences")),
            phase=_phase(labels),
            deleting="deletionTimestamp" in meta,
            created=parse_time(meta["creationTimestamp"]),
        )


def _phase(labels: Json) -> str:
    return "contract" if labels.get(names.PHASE) == "contract" else "expand"


def _number(labels: Json) -> int:
    text = str(labels.get(names.ATTEMPT, ""))
    return int(text) if text.isascii() and text.isdigit() else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Container:
    """One container's state.  ``problem``: why it cannot start, in the kubelet's words."""

    started: bool = False
    finished: bool = False
    running: bool = False
    exit_code: int | None = None
    message: str = ""
    problem: str = ""
    started_at: str = ""
    finished_at: str = ""


# A container that waits for one of these is not on its way: someone has to mend something.
_PROBLEMS = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RunContainerError",
    "CrashLoopBackOff",
)


def _problem(reason: str, message: str) -> str:
    """The kubelet's words; the same ones while it tries an image again and again, or they would be news each time.

    ``ImagePullBackOff`` repeats the cause after ``ErrImagePull: `` in its own message.
    """
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        reason, message = "ErrImagePull", message.rpartition("ErrImagePull: ")[2]
    return f"{reason}: {message}".rstrip(": ")


def _container(statuses: Sequence[Json], name: str) -> Container:
    found: Json = next((status for status in statuses if status.get("name") == name), {})
    state: Json = found.get("state") or {}
    waiting, running, terminated = (state.get(key) or {} for key in ("waiting", "running", "terminated"))
    reason = waiting.get("reason", "")
    return Container(
        started=bool(state.get("running") is not None or terminated.get("startedAt")),
        finished=state.get("terminated") is not None,
        running=state.get("running") is not None,
        exit_code=terminated.get("exitCode"),
        message=terminated.get("message", ""),
        problem=_problem(reason, waiting.get("message", "")) if reason in _PROBLEMS else "",
        started_at=running.get("startedAt") or terminated.get("startedAt") or "",
        finished_at=terminated.get("finishedAt") or "",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pod:
    """An attempt's pod.  ``job`` and ``job_uid``: whose it is; a pod may outlive its Job, and a name may come again."""

    name: str
    uid: str
    job: str
    job_uid: str
    owner_uid: str
    attempt: int
    version: str
    inputs: str
    terminal: bool
    deleting: bool
    created: datetime.datetime
    lock: Container
    gate: Container
    migrate: Container
    problem: str  # why it cannot start: a container's problem, or the scheduler's words; "" for none
    unscheduled: str
    sql: bool = False  # one container of ours, which speaks for itself
    files: Container = Container()  # sql mode: what copies the files out of the image
    ends_by: datetime.datetime | None = None  # when the kubelet should be done with deleting it
    strangers: tuple[str, ...] = ()  # running containers that somebody put beside migrate

    @classmethod
    def of(cls, raw: Json) -> Pod:
        meta, status = raw["metadata"], raw.get("status") or {}
        labels = meta.get("labels") or {}
        init, main = status.get("initContainerStatuses") or [], status.get("containerStatuses") or []
        lock, gate, migrate = _container(init, names.LOCK), _container(init, names.GATE), _container(main, names.MIGRATE)
        return cls(
            name=meta["name"],
            uid=meta["uid"],
            job=labels.get("batch.kubernetes.io/job-name", ""),
            job_uid=labels.get("batch.kubernetes.io/controller-uid", ""),
            owner_uid=labels.get(names.OWNER_UID, ""),
            attempt=_number(labels),
            version=(meta.get("annotations") or {}).get(names.RUN_VERSION, ""),
            inputs=labels.get(names.INPUTS, ""),
            terminal=status.get("phase") in ("Succeeded", "Failed"),
            deleting="deletionTimestamp" in meta,
            created=parse_time(meta["creationTimestamp"]),
            lock=lock,
            gate=gate,
            migrate=migrate,
            problem=_first_problem([*init, *main]),
            unscheduled=_unscheduled(status),
            sql=labels.get(names.MODE) == "sql",
            files=_container(init, names.FILES),
            ends_by=parse_time(meta["deletionTimestamp"]) if "deletionTimestamp" in meta else None,
            strangers=_strangers(main),
        )


def _strangers(statuses: Sequence[Json]) -> tuple[str, ...]:
    others = (one for one in statuses if one.get("name") != names.MIGRATE)
    return tuple(one["name"] for one in others if (one.get("state") or {}).get("running") is not None)


def _first_problem(statuses: Sequence[Json]) -> str:
    for status in statuses:
        name = status.get("name", "")
        problem = _container([status], name).problem
        if problem:
            return f"container '{name}' cannot start: {problem}"
    return ""


def _unscheduled(status: Json) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message", ""))
    return ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AppPod:
    """A pod of the application: under the selector of a labelled Deployment, not ours, and not ended."""

    name: str
    version: str
    deleting: bool

    @classmethod
    def of(cls, raw: Json) -> AppPod:
        return cls(
            name=raw["metadata"]["name"], version=versions.version(raw), deleting="deletionTimestamp" in raw["metadata"]
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """What a phase's ConfigMaps hold: the hash of names and contents, or why they cannot be used."""

    pin: str = ""
    problem: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observed:
    """One look.  ``inputs`` and ``database`` are hashes of what would run now, "" without a source.

    ``busy``: unfinished Jobs of other SchemaMigrations on the same database reference.  ``job_events``: the newest warning
    of an unfinished Job that has no pod.  ``files``: by phase, of those that take theirs from ConfigMaps.
    ``app_pods``: those of every labelled Deployment; None when nobody asked for them.  ``refused``: Deployments that the API
    server did not let us release, with its words.
    """

    migration: Migration
    deployments: tuple[Deployment, ...] = ()
    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()
    busy: tuple[str, ...] = ()
    job_events: str = ""
    files: Mapping[str, Files] = dataclasses.field(default_factory=dict)
    app_pods: tuple[AppPod, ...] | None = None
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)


def parse_time(text: str) -> datetime.datetime:
    """An aware datetime of the API's RFC 3339 text."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def format_time(moment: datetime.datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as the API writes it."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_surroundings(
    look: Observed, *, busy: tuple[str, ...], job_events: str, app_pods: tuple[AppPod, ...] | None = None
) -> Observed:
    """The look with what only a second question could tell."""
    return dataclasses.replace(look, busy=busy, job_events=job_events, app_pods=app_pods)
