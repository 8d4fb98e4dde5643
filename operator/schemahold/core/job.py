"""Builds an attempt's Job from the SchemaMigration and its source.

What it copies of the source stands in ``core/copied.py``; what others changed in the Job is found by ``core/changes.py``;
the pod of sql mode is in ``core/sqlpod.py``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemahold.api import durations, models, names, pod
from schemahold.core import changes, copied, sqlpod, versions
from schemahold.core import plan as plans
from schemahold.core.origins import JobError, deployment_name, quoted, warnings, with_database
from schemahold.core.plan import PYTHON, Plan

__all__ = ["PYTHON", "JobError", "build_job", "compare", "warnings", "with_database"]

Json = Mapping[str, Any]
Made = dict[str, Any]

# A sidecar keeps the rest, probes and lifecycle too: `lock` starts when the startup probes of those before it are through.
_SIDECAR_LEFT = ("restartPolicy", "restartPolicyRules", "resizePolicy", "stdin", "stdinOnce", "tty")

compare = changes.compare  # who builds a Job also asks what became of it


def build_job(
    *,
    name: str,
    namespace: str,
    uid: str,
    spec: models.Spec,
    source: Json,
    ask: pod.Ask,
    image: str,
    image_pull_policy: str,
    inputs: str,
    database: str,
    image_volumes: bool = False,
) -> Made:
    """The Job of one attempt, ready to create.

    ``name``, ``namespace``, ``uid``: the SchemaMigration's; the Job is named ``<name>-<attempt>``.
    ``source``: the Deployment, as JSON.  ``ask``: what the pod asks the ledger; where its URL comes from is filled in here
    (:func:`with_database`).  ``image``, ``image_pull_policy``: ours.  ``inputs``, ``database``: hashes of ``core.inputs``.
    :class:`JobError` when the source cannot be copied: SidecarNotFound, DatabaseVariableNotFound, ContainerNameTaken,
    MountPathTaken, SourceHasNoContainer.
    """
    job = f"{name}-{ask.attempt}"
    work = spec.work_of(ask.phase) or spec.work
    labels = {
        names.MIGRATION: name,
        names.OWNER_UID: uid,
        names.ATTEMPT: str(ask.attempt),
        names.INPUTS: inputs,
        names.DATABASE: database,
        names.PHASE: ask.phase,
        names.MODE: "sql" if isinstance(work, models.Sql) else "run",
        names.MANAGED_BY: names.MANAGED_BY_VALUE,
    }
    annotations = {names.RUN_VERSION: ask.version}
    plan = plans.make(
        spec=spec,
        work=work,
        source=source,
        ask=dataclasses.replace(with_database(ask, spec, source), job=job),
        image=image,
        image_pull_policy=image_pull_policy,
        image_volumes=image_volumes,
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job, "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "template": {"metadata": copied.pod_metadata(plan.template, labels, annotations), "spec": _pod_spec(plan)},
        },
    }


# Pod -----------------------------------------------------------------------------------------------------------------


def _pod_spec(plan: Plan) -> Made:
    sidecars = [*_native_sidecars(plan), *_named_sidecars(plan)]
    _check_names(plan, sidecars)
    plan = _with_room_for_messages(plan, len(sidecars))
    if isinstance(plan.work, models.Sql):
        init, migrate, volumes = sqlpod.build(plan, plan.work)
    else:
        init, migrate, volumes = [_lock(plan), _gate(plan)], _migrate(plan, plan.work), []
    made: Made = {key: plan.pod_spec[key] for key in copied.POD_COPIED if key in plan.pod_spec}
    if node := (plan.pod_spec.get("affinity") or {}).get("nodeAffinity"):
        made["affinity"] = {"nodeAffinity": node}
    return {
        **made,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(durations.seconds(plan.work.grace_period)),
        "initContainers": [*sidecars, *init],
        "containers": [migrate],
        "volumes": [*_volumes(plan, [*sidecars, *init, migrate]), *_our_volumes(plan), *volumes],
    }


def _with_room_for_messages(plan: Plan, sidecars: int) -> Plan:
    """All containers of a pod share what the kubelet keeps; three are ours, and somebody may inject one."""
    share = pod.POD_MESSAGE_BYTES // (sidecars + 4)
    return dataclasses.replace(plan, ask=dataclasses.replace(plan.ask, message_bytes=min(pod.MESSAGE_BYTES, share)))


def _native_sidecars(plan: Plan) -> list[Made]:
    found = [one for one in plan.pod_spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"]
    return [_sidecar(one) for one in found]


def _named_sidecars(plan: Plan) -> list[Made]:
    natives = {one["name"] for one in _native_sidecars(plan)}
    ordinary = {one["name"]: one for one in versions.containers(plan.template) if one["name"] != plan.container["name"]}
    wanted = [name for name in plan.work.sidecars if name not in natives]
    for name in wanted:
        if name not in ordinary:
            raise JobError("SidecarNotFound", _no_sidecar(plan, name, sorted({*ordinary, *natives})))
    return [_sidecar(ordinary[name]) for name in wanted]


def _no_sidecar(plan: Plan, name: str, known: Sequence[str]) -> str:
    where = f"Deployment '{deployment_name(plan.source)}'"
    if name == plan.container["name"]:
        why = f"that is the container of {where} which the Job copies anyway"
    elif name in {one["name"] for one in plan.pod_spec.get("initContainers") or []}:
        why = f"that is an init container of {where} which ends by itself (its work belongs in `run.command`)"
    else:
        why = f"{where} has no such container"
    choice = f"write one of {quoted(known)}" if known else "it has no container that could be one"
    return f"`run.sidecars` names '{name}', but {why}; {choice}, or take the name out."


def _sidecar(container: Json) -> Made:
    made = {key: value for key, value in container.items() if key not in _SIDECAR_LEFT}
    if ports := container.get("ports"):
        # Probes may name a port, so ports stay; a host port is taken by the old pods, and would keep ours off their nodes.
        made["ports"] = [{key: value for key, value in port.items() if key not in ("hostPort", "hostIP")} for port in ports]
    if "resources" in container:
        made["resources"] = plans.resources(container)
    return {**made, "restartPolicy": "Always"}


def _check_names(plan: Plan, sidecars: Iterable[Json]) -> None:
    for one in sidecars:
        if one["name"] in names.OUR_CONTAINERS:
            raise JobError(
                "ContainerNameTaken",
                f"Deployment '{deployment_name(plan.source)}' has a sidecar named '{one['name']}', but the Job has a "
                "container of its own of that name: rename the sidecar in the Deployment.",
            )


def _volumes(plan: Plan, containers: Sequence[Json]) -> list[Json]:
    used: set[str] = set()
    for one in containers:
        used |= {mount["name"] for mount in [*(one.get("volumeMounts") or []), *(one.get("volumeDevices") or [])]}
        files = [(entry.get("valueFrom") or {}).get("fileKeyRef") or {} for entry in one.get("env") or []]
        used |= {file["volumeName"] for file in files if file}
    return [volume for volume in plan.pod_spec.get("volumes") or [] if volume["name"] in used]


def _our_volumes(plan: Plan) -> list[Made]:
    return [
        {"name": plan.shared, "emptyDir": {}},
        # Copies of key files end here: in memory, so that they are on no disk.
        {"name": plan.tmp, "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
    ]


# The containers of run mode ------------------------------------------------------------------------------------------


def _migrate(plan: Plan, work: models.Run) -> Made:
    made: Made = {key: plan.container[key] for key in copied.CONTAINER_COPIED if key in plan.container}
    if "resources" in plan.container:
        made["resources"] = plans.resources(plan.container)
    mounts = plan.container.get("volumeMounts") or []
    for mount in mounts:
        _check_mount(plan, mount["mountPath"])
    return {
        **made,
        "name": names.MIGRATE,
        "command": [pod.BUSYBOX, "sh", pod.SCRIPT, *work.command],
        "terminationMessagePolicy": "FallbackToLogsOnError" if work.log_tail else "File",
        "volumeMounts": [*mounts, plans.shared(plan)],
    }


def _check_mount(plan: Plan, path: str) -> None:
    if f"{path.rstrip('/')}/".startswith(f"{pod.SHARED_PATH}/"):
        raise JobError(
            "MountPathTaken",
            f"Container '{plan.container['name']}' of Deployment '{deployment_name(plan.source)}' mounts a volume at "
            f"'{path}', but the Job needs '{pod.SHARED_PATH}' for itself: mount the volume elsewhere.",
        )


def _lock(plan: Plan) -> Made:
    return {**plans.with_session(plan, names.LOCK), "restartPolicy": "Always"}


def _gate(plan: Plan) -> Made:
    return plans.ours(plan, names.GATE, [], [plans.shared(plan)])
