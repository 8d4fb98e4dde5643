"""One fresh look at everything a decision needs."""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import Sequence
from typing import Any

from schemahold.api import names
from schemahold.cluster import api, paths, selectors, sources
from schemahold.core import contract, observed, situation


async def look(
    client: api.Api, namespace: str, name: str, pod_timeout: float, now: datetime.datetime
) -> observed.Observed | None:
    """What there is for one SchemaMigration, or None if it does not exist.

    The resource is read before the Deployments: a status then never claims a generation together with Deployments that are
    older than it (docs/architecture.md, "One patch").
    """
    try:
        migration = observed.Migration.of(await client.get(paths.migrations(namespace, name)))
    except api.NotFound:
        return None
    selector = f"{names.MIGRATION}={name}"
    raws, jobs, pods = await asyncio.gather(
        client.items(paths.deployments(namespace), labelSelector=selector),
        # Only attempts: people's own Jobs may carry our label (kustomize's commonLabels), and old attempts get deleted.
        client.items(paths.jobs(namespace), labelSelector=f"{selector},{names.ATTEMPT}"),
        client.items(paths.pods(namespace), labelSelector=f"{selector},{names.ATTEMPT}"),
    )
    seen = observed.Observed(
        migration=migration,
        deployments=_alive(raws),
        jobs=tuple(observed.Job.of(raw) for raw in jobs),
        pods=tuple(observed.Pod.of(raw) for raw in pods),
        files=await sources.read(client, namespace, migration.spec) if migration.spec else {},
    )
    asks = migration.spec is not None and contract.asks(seen, migration.spec)
    return observed.with_surroundings(
        seen,
        busy=await _busy(client, seen, asks),
        job_events=await _why_no_pod(client, seen, pod_timeout, now),
        app_pods=await _app_pods(client, namespace, raws) if asks else None,
    )


async def _app_pods(client: api.Api, namespace: str, deployments: Sequence[Any]) -> tuple[observed.AppPod, ...]:
    """The pods under the labelled Deployments' selectors that have not ended.

    Those being deleted still run, and so do those of a Deployment that is being deleted.
    """
    found: dict[str, observed.AppPod] = {}
    for one in deployments:
        selector = selectors.text(one["spec"].get("selector") or {})
        for raw in await client.items(paths.pods(namespace), labelSelector=selector):
            ended = (raw.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            if not ended and names.ATTEMPT not in (raw["metadata"].get("labels") or {}):
                found[raw["metadata"]["uid"]] = observed.AppPod.of(raw)
    return tuple(sorted(found.values(), key=lambda pod: pod.name))


async def labelled_deployments(client: api.Api, namespace: str, name: str) -> tuple[observed.Deployment, ...]:
    """The Deployments that carry the label for this SchemaMigration, by name; not those being deleted."""
    return _alive(await client.items(paths.deployments(namespace), labelSelector=f"{names.MIGRATION}={name}"))


def _alive(raws: Sequence[Any]) -> tuple[observed.Deployment, ...]:
    alive = [raw for raw in raws if "deletionTimestamp" not in raw["metadata"]]
    return tuple(sorted((observed.Deployment.of(raw) for raw in alive), key=lambda one: one.name))


async def _busy(client: api.Api, seen: observed.Observed, asks: bool) -> tuple[str, ...]:
    """Unfinished Jobs of other SchemaMigrations on the same database reference.

    Asked only when something is wanted, or a contract may be due (``asks``).
    """
    migration = seen.migration
    if migration.spec is None:
        return ()
    here = situation.read(seen, migration.spec)
    if not (here.wanted or asks) or not here.database:
        return ()
    raws = await client.items(paths.jobs(migration.namespace), labelSelector=f"{names.DATABASE}={here.database}")
    others = [observed.Job.of(raw) for raw in raws if raw["metadata"]["labels"].get(names.MIGRATION) != migration.name]
    return tuple(sorted(job.name for job in others if not job.finished))


async def _why_no_pod(client: api.Api, seen: observed.Observed, pod_timeout: float, now: datetime.datetime) -> str:
    """The newest warning on an unfinished Job that should have had a pod by now."""
    with_pod = {pod.job for pod in seen.pods}
    for job in seen.jobs:
        if job.finished or job.name in with_pod or (now - job.created).total_seconds() < pod_timeout:
            continue
        events = await client.items(
            paths.events(seen.migration.namespace), fieldSelector=f"involvedObject.uid={job.uid},type=Warning"
        )
        newest = max(events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "", default=None)
        # Each try has a pod name of its own; in status it would be news for ever.
        return re.sub(rf"{re.escape(job.name)}-[a-z0-9]{{5}}\b", job.name, str(newest.get("message", ""))) if newest else ""
    return ""
