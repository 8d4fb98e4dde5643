"""The pod of sql mode: one container of ours with the only session, and the files beside it.

::

    ConfigMaps    mounted side by side, one directory each
    a directory   of the source's image: as an image volume where the cluster has them, else copied:
                  `shell` (ours) puts busybox into the shared directory, `files` (the source's image) runs its cp
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemahold.api import durations, models, names, pod
from schemahold.core import plan as plans
from schemahold.core.origins import JobError, deployment_name
from schemahold.core.plan import Plan

Json = Mapping[str, Any]
Made = dict[str, Any]

_IMAGE_PATH = f"{pod.SQL_PATH}-image"
_COPY = 'cp -rL "$1/." "$2" || { echo "cannot copy $1 out of the image" >&2; exit 1; }'


def build(plan: Plan, work: models.Sql) -> tuple[list[Made], Made, list[Made]]:
    """Init containers, the container ``migrate``, and volumes of ours."""
    init, mounts, volumes = _from_config_maps(plan, work) if work.config_maps else _from_image(plan, work)
    return init, _migrate(plan, mounts), volumes


def ask(work: models.Sql, *, image_volumes: bool, pin: str, contract_elsewhere: bool) -> pod.SqlAsk:
    """What the pod is asked to run."""
    in_image = work.directory is not None and image_volumes
    return pod.SqlAsk(
        directory=f"{_IMAGE_PATH}{work.directory}" if in_image else pod.SQL_PATH,
        pin=pin,
        baseline=work.baseline or "",
        out_of_order=work.out_of_order == "allow",
        large_table=work.large_table,
        lock_timeout=durations.seconds(work.lock_timeout),
        statement_timeout=durations.seconds(work.statement_timeout),
        retry_for=durations.seconds(work.retry_for),
        contract_elsewhere=contract_elsewhere,
    )


def _from_config_maps(plan: Plan, work: models.Sql) -> tuple[list[Made], list[Made], list[Made]]:
    found = [(plans.free(plan, f"schemahold-sql-{number}"), one) for number, one in enumerate(work.config_maps or ())]
    mounts = [{"name": name, "mountPath": f"{pod.SQL_PATH}/{one}", "readOnly": True} for name, one in found]
    volumes = [{"name": name, "configMap": {"name": one}} for name, one in found]
    return [], mounts, volumes


def _from_image(plan: Plan, work: models.Sql) -> tuple[list[Made], list[Made], list[Made]]:
    volume = plans.free(plan, "schemahold-sql")
    if plan.image_volumes:
        image: Made = {"reference": plan.container.get("image", "")}
        if policy := plan.container.get("imagePullPolicy"):
            image["pullPolicy"] = policy
        return [], [{"name": volume, "mountPath": _IMAGE_PATH, "readOnly": True}], [{"name": volume, "image": image}]
    mount = {"name": volume, "mountPath": pod.SQL_PATH}
    shell = plans.ours(plan, names.SHELL, [], [plans.shared(plan)])
    return [shell, _copying(plan, work, mount)], [{**mount, "readOnly": True}], [{"name": volume, "emptyDir": {}}]


def _copying(plan: Plan, work: models.Sql, mount: Made) -> Made:
    """In the source's image, with its rights: what its process may read, this may."""
    made: Made = {
        key: plan.container[key] for key in ("image", "imagePullPolicy", "securityContext") if key in plan.container
    }
    return {
        **made,
        "name": names.FILES,
        "command": [pod.BUSYBOX, "sh", "-c", _COPY, "copy", work.directory, pod.SQL_PATH],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [plans.shared(plan), mount],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
    }


def _migrate(plan: Plan, files: list[Made]) -> Made:
    theirs = plan.container.get("volumeMounts") or []
    ours = (f"{pod.SQL_PATH}/", f"{_IMAGE_PATH}/")
    taken = [one["mountPath"] for one in theirs if f"{one['mountPath'].rstrip('/')}/".startswith(ours)]
    if taken:
        raise JobError(
            "MountPathTaken",
            f"Container '{plan.container['name']}' of Deployment '{deployment_name(plan.source)}' mounts a volume at "
            f"'{taken[0]}', but the Job needs '{pod.SQL_PATH}' for itself: mount the volume elsewhere.",
        )
    made = plans.with_session(plan, names.MIGRATE, files, word="sql")
    # One statement may be as long as it likes, and libpq keeps it whole: room for it, but not all of a node's.
    resources = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    return {**made, "resources": resources}
