"""Takes one look at the cluster."""

from __future__ import annotations

import datetime
import json
import time

from . import probe
from .cluster import Cluster, Json
from .snapshot import CONTAINERS, Attempt, Container, Contract, Deployment, Lock, Pods, ReplicaSet, Row, Snapshot, Status

GROUP = "schemahold.dev"
VERSION = f"{GROUP}/version"

# One line each: who holds an advisory lock of schemahold's, whether the column is there, and the ledger's rows.
LOOK = """
\\set name '%s'
select coalesce(jsonb_agg(x), '[]') from (select l.pid, a.application_name, coalesce(host(a.client_addr), '') address
  from pg_locks l join pg_stat_activity a on a.pid = l.pid where l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and a.application_name like 'schemahold lock %%') x;
select coalesce(to_json(bool_or(attname = 'legacy_name' and not attisdropped)), 'null')
  from pg_attribute where attrelid = to_regclass('customers');
select to_regclass('schemahold.ledger') is not null as there \\gset
\\if :there
select coalesce(jsonb_agg(x order by id), '[]')
  from (select id, phase, version, state, exit_code, pod_name from schemahold.ledger where name = :'name') x;
\\endif"""
STARTS = """
select jsonb_object_agg(version, n)
  from (select version, count(*) n from migration_log where event = 'start' group by 1) x;"""


class Watch:
    """Reads a namespace, again and again."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._database = cluster.database()
        self._began = time.monotonic()

    def begin(self) -> None:
        """The clock starts now."""
        self._began = time.monotonic()

    def look(self, app: str) -> Snapshot:
        """Pods before the ledger: a pod that is seen together with a success was not started long before it."""
        namespace = self._cluster.namespace
        deployment = self._cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{app}")
        pods = self._cluster.items("api/v1", "pods")
        lock, has_legacy_name, rows = self._ask_database(app, pods)
        jobs = self._cluster.items("apis/batch/v1", "jobs", f"{GROUP}/migration={app}")
        migration = self._cluster.get(f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/schemamigrations/{app}")
        return Snapshot(
            seconds=time.monotonic() - self._began,
            app=app,
            deployment=_deployment(deployment),
            replica_sets=_replica_sets(self._cluster.items("apis/apps/v1", "replicasets", f"app={app}")),
            pods=_pods(pods, app),
            attempts=max([_number(job) for job in jobs], default=0),
            attempt=_attempt(jobs, pods),
            status=_status(migration),
            lock=lock,
            rows=rows,
            traffic=probe.counted(self._cluster, app),
            has_legacy_name=has_legacy_name,
        )

    def starts(self) -> dict[str, int]:
        """How often the shop's own migration began, by version, as Alembic's environment wrote it."""
        lines = self._database.ask(STARTS)
        return dict(json.loads(lines[0])) if lines and lines[0] else {}

    def close(self) -> None:
        self._database.close()

    def _ask_database(self, app: str, pods: list[Json]) -> tuple[Lock | None, bool | None, tuple[Row, ...]]:
        if not any(pod["metadata"]["name"] == "postgres-0" and _is_ready(pod) for pod in pods):
            return None, None, ()
        answers = self._database.ask(LOOK % f"{self._cluster.namespace}/{app}")
        locks, has_legacy_name, rows = [*(json.loads(line) for line in answers), [], None, []][:3]
        return _lock(locks, pods), has_legacy_name, tuple(_row(row) for row in rows or [])


def _deployment(found: Json) -> Deployment:
    if not found:
        return Deployment()
    notes = found["metadata"].get("annotations") or {}
    spec = found["spec"]
    return Deployment(
        version=_version_of(spec["template"]),
        replicas=spec.get("replicas", 1),
        paused=bool(spec.get("paused")),
        held=notes.get(f"{GROUP}/held", ""),
        approved=notes.get(f"{GROUP}/approved", ""),
    )


def _version_of(template: Json) -> str:
    return str((template["metadata"].get("annotations") or {}).get(VERSION, ""))


def _replica_sets(found: list[Json]) -> tuple[ReplicaSet, ...]:
    sets = sorted(found, key=lambda one: _version_of(one["spec"]["template"]))
    return tuple(
        ReplicaSet(
            name=one["metadata"]["name"],
            version=_version_of(one["spec"]["template"]),
            wanted=one["spec"].get("replicas", 0),
            ready=one.get("status", {}).get("readyReplicas", 0),
        )
        for one in sets
    )


def _pods(found: list[Json], app: str) -> dict[str, Pods]:
    counted: dict[str, Pods] = {}
    for pod in found:
        if (pod["metadata"].get("labels") or {}).get("app") != app:
            continue
        before = counted.get(_version_of(pod), Pods())
        live = "deletionTimestamp" not in pod["metadata"]
        ready = live and _is_ready(pod)
        counted[_version_of(pod)] = Pods(before.total + 1, before.live + live, before.ready + ready)
    return counted


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _number(job: Json) -> int:
    return int(job["metadata"]["labels"][f"{GROUP}/attempt"])


def _attempt(jobs: list[Json], pods: list[Json]) -> Attempt | None:
    if not jobs:
        return None
    job = max(jobs, key=_number)
    name = job["metadata"]["name"]
    owned = (pod for pod in pods if (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name") == name)
    version = str((job["metadata"].get("annotations") or {}).get(f"{GROUP}/run-version", ""))
    phase = job["metadata"]["labels"].get(f"{GROUP}/phase", "expand")
    return Attempt(_number(job), name, version, _containers(job, next(owned, {})), phase)


def _containers(job: Json, pod: Json) -> tuple[Container, ...]:
    spec, status = job["spec"]["template"]["spec"], pod.get("status", {})
    there = [one["name"] for one in [*(spec.get("initContainers") or []), *spec["containers"]]]
    found = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    states = {one["name"]: one["state"] for one in found}
    return tuple(_container(name, states.get(name, {})) for name in CONTAINERS if name in there)


def _container(name: str, state: Json) -> Container:
    if "terminated" in state:
        code = state["terminated"].get("exitCode", 0)
        return Container(name, "failed" if code else "done", f"exit {code}")
    if "running" in state:
        since = datetime.datetime.fromisoformat(state["running"]["startedAt"])
        age = (datetime.datetime.now(datetime.UTC) - since).total_seconds()
        return Container(name, "running", f"{max(0.0, age):.0f} s")
    reason = str(state.get("waiting", {}).get("reason", ""))
    return Container(name, "waiting", "" if reason == "PodInitializing" else reason)


def _status(found: Json) -> Status:
    status = found.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or []}
    ready = conditions.get("Ready", {})
    return Status(
        version=str(status.get("version") or ""),
        ready=ready.get("status") == "True",
        stalled=conditions.get("Stalled", {}).get("status") == "True",
        reason=ready.get("reason", ""),
        message=ready.get("message", ""),
        current=bool(found) and status.get("observedGeneration") == found["metadata"].get("generation"),
        contract=_contract(conditions.get("Contracted", {})),
    )


def _contract(found: Json) -> Contract:
    return Contract(found.get("status") == "True", found.get("reason", ""), found.get("message", ""))


def _lock(locks: list[Json], pods: list[Json]) -> Lock | None:
    if not locks:
        return None
    address = locks[0]["address"]
    names = (pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("podIP") == address)
    return Lock(locks[0]["pid"], locks[0]["application_name"], next(names, address))


def _row(row: Json) -> Row:
    return Row(row["id"], row["version"], row["state"], row["exit_code"], row["pod_name"], row["phase"])
