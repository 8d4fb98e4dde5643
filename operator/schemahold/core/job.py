"""Builds an attempt's Job from the SchemaMigration and its source.

What it copies of the source stands in ``core/copied.py``; what others changed in the Job is found by ``core/changes.py``.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemahold.api import durations, models, names, pod
from schemahold.core import changes, copied, versions
from schemahold.core import inputs as hashes

Json = Mapping[str, Any]
Made = dict[str, Any]

PYTHON = "/opt/schemahold/bin/python"
TMP_VOLUME = "schemahold-tmp"
TMP_PATH = "/tmp"
USER = 65532

# A sidecar keeps the rest, probes and lifecycle too: `lock` starts when the startup probes of those before it are through.
_SIDECAR_LEFT = ("restartPolicy", "restartPolicyRules", "resizePolicy", "stdin", "stdinOnce", "tty")

# Mounts that would hide our own interpreter from `lock`.
_OURS = (
    "/bin",
    "/etc",
    "/lib",
    "/lib64",
    "/opt",
    *(f"/usr{path}" for path in ("", "/bin", "/lib", "/local", "/local/bin", "/local/lib")),
)

compare = changes.compare  # who builds a Job also asks what became of it


class JobError(Exception):
    """No Job can be built.  ``reason``: for the condition; ``message``: names the field, the value and the fix."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """What the parts of a Job are built from."""

    spec: models.Spec
    source: Json
    ask: pod.Ask
    image: str
    image_pull_policy: str
    shared: str  # names of our volumes, free in the source
    tmp: str

    @property
    def template(self) -> Json:
        template: Json = self.source["spec"]["template"]
        return template

    @property
    def pod_spec(self) -> Json:
        return self.template.get("spec") or {}

    @property
    def container(self) -> Json:
        return versions.container(self.template)


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
) -> Made:
    """The Job of one attempt, ready to create.

    ``name``, ``namespace``, ``uid``: the SchemaMigration's; the Job is named ``<name>-<attempt>``.
    ``source``: the Deployment, as JSON.  ``ask``: what the pod asks the ledger; where its URL comes from is filled in here
    (:func:`with_database`).  ``image``, ``image_pull_policy``: ours.  ``inputs``, ``database``: hashes of ``core.inputs``.
    :class:`JobError` when the source cannot be copied: SidecarNotFound, DatabaseVariableNotFound, ContainerNameTaken,
    MountPathTaken, SourceHasNoContainer.
    """
    job = f"{name}-{ask.attempt}"
    labels = {
        names.MIGRATION: name,
        names.OWNER_UID: uid,
        names.ATTEMPT: str(ask.attempt),
        names.INPUTS: inputs,
        names.DATABASE: database,
        names.MANAGED_BY: names.MANAGED_BY_VALUE,
    }
    annotations = {names.RUN_VERSION: ask.version}
    plan = _plan(spec, source, dataclasses.replace(with_database(ask, spec, source), job=job), image, image_pull_policy)
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


def with_database(ask: pod.Ask, spec: models.Spec, source: Json) -> pod.Ask:
    """``ask`` with the variable that holds the database URL, and where that comes from in words (never a value).

    :class:`JobError` DatabaseVariableNotFound when the copied container has no such variable.
    """
    if spec.database.url_from:
        ref = spec.database.url_from.secret_key_ref
        return dataclasses.replace(ask, url_variable=pod.ENV_URL, url_origin=_secret(ref.name, ref.key))
    variable = spec.database.env or ""
    container = versions.container(source["spec"]["template"])
    origin = f"variable '{variable}' of container '{container.get('name', '')}' ({_origin(variable, container, source)})"
    return dataclasses.replace(ask, url_variable=variable, url_origin=origin)


def warnings(spec: models.Spec, source: Json) -> list[str]:
    """What is allowed but unwise, in sentences without any value: a database URL that stands in the Deployment as text."""
    container = versions.container(source["spec"]["template"])
    entry = _entry(spec.database.env or "", container)
    # What a reference brings in is not in the text.
    text = re.sub(r"\$\([^)]*\)", "", str(entry.get("value") or ""))
    if not re.search(r"://[^/?#\s]*:[^@\s]+@|password=[^&\s]", text, re.IGNORECASE):
        return []
    return [
        f"Variable '{spec.database.env}' of container '{container.get('name')}' holds a database URL with its password as "
        "plain text, for everyone who may read the Deployment: move it to a Secret and use `valueFrom.secretKeyRef`."
    ]


def _plan(spec: models.Spec, source: Json, ask: pod.Ask, image: str, image_pull_policy: str) -> _Plan:
    volumes = {volume["name"] for volume in (source["spec"]["template"].get("spec") or {}).get("volumes") or []}
    plan = _Plan(
        spec=spec,
        source=copy.deepcopy(source),  # what is built shares nothing with what was read
        ask=ask,
        image=image,
        image_pull_policy=image_pull_policy,
        shared=_free(pod.SHARED_VOLUME, volumes),
        tmp=_free(TMP_VOLUME, volumes),
    )
    if not plan.container:
        raise JobError("SourceHasNoContainer", f"Deployment '{_name(source)}' has no container to copy: give it one.")
    return plan


# Pod -----------------------------------------------------------------------------------------------------------------


def _pod_spec(plan: _Plan) -> Made:
    sidecars = [*_native_sidecars(plan), *_named_sidecars(plan)]
    migrate = _migrate(plan)
    init = [*sidecars, _lock(plan), _gate(plan)]
    _check_names(plan, sidecars)
    made: Made = {key: plan.pod_spec[key] for key in copied.POD_COPIED if key in plan.pod_spec}
    if node := (plan.pod_spec.get("affinity") or {}).get("nodeAffinity"):
        made["affinity"] = {"nodeAffinity": node}
    return {
        **made,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(durations.seconds(plan.spec.run.grace_period)),
        "initContainers": init,
        "containers": [migrate],
        "volumes": [*_volumes(plan, [*sidecars, migrate]), *_our_volumes(plan)],
    }


def _native_sidecars(plan: _Plan) -> list[Made]:
    found = [one for one in plan.pod_spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"]
    return [_sidecar(one) for one in found]


def _named_sidecars(plan: _Plan) -> list[Made]:
    natives = {one["name"] for one in _native_sidecars(plan)}
    ordinary = {one["name"]: one for one in versions.containers(plan.template) if one["name"] != plan.container["name"]}
    wanted = [name for name in plan.spec.run.sidecars if name not in natives]
    for name in wanted:
        if name not in ordinary:
            raise JobError("SidecarNotFound", _no_sidecar(plan, name, sorted({*ordinary, *natives})))
    return [_sidecar(ordinary[name]) for name in wanted]


def _no_sidecar(plan: _Plan, name: str, known: Sequence[str]) -> str:
    where = f"Deployment '{_name(plan.source)}'"
    if name == plan.container["name"]:
        why = f"that is the container of {where} which the Job copies anyway"
    elif name in {one["name"] for one in plan.pod_spec.get("initContainers") or []}:
        why = f"that is an init container of {where} which ends by itself (its work belongs in `run.command`)"
    else:
        why = f"{where} has no such container"
    choice = f"write one of {_quoted(known)}" if known else "it has no container that could be one"
    return f"`run.sidecars` names '{name}', but {why}; {choice}, or take the name out."


def _sidecar(container: Json) -> Made:
    made = {key: value for key, value in container.items() if key not in _SIDECAR_LEFT}
    if ports := container.get("ports"):
        # Probes may name a port, so ports stay; a host port is taken by the old pods, and would keep ours off their nodes.
        made["ports"] = [{key: value for key, value in port.items() if key not in ("hostPort", "hostIP")} for port in ports]
    if "resources" in container:
        made["resources"] = _resources(container)
    return {**made, "restartPolicy": "Always"}


def _check_names(plan: _Plan, sidecars: Iterable[Json]) -> None:
    for one in sidecars:
        if one["name"] in (names.LOCK, names.GATE, names.MIGRATE):
            raise JobError(
                "ContainerNameTaken",
                f"Deployment '{_name(plan.source)}' has a sidecar named '{one['name']}', but the Job has a container of its "
                "own of that name: rename the sidecar in the Deployment.",
            )


def _volumes(plan: _Plan, containers: Sequence[Json]) -> list[Json]:
    used: set[str] = set()
    for one in containers:
        used |= {mount["name"] for mount in [*(one.get("volumeMounts") or []), *(one.get("volumeDevices") or [])]}
        files = [(entry.get("valueFrom") or {}).get("fileKeyRef") or {} for entry in one.get("env") or []]
        used |= {file["volumeName"] for file in files if file}
    return [volume for volume in plan.pod_spec.get("volumes") or [] if volume["name"] in used]


def _our_volumes(plan: _Plan) -> list[Made]:
    return [
        {"name": plan.shared, "emptyDir": {}},
        # Copies of key files end here: in memory, so that they are on no disk.
        {"name": plan.tmp, "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
    ]


# Containers ----------------------------------------------------------------------------------------------------------


def _migrate(plan: _Plan) -> Made:
    made: Made = {key: plan.container[key] for key in copied.CONTAINER_COPIED if key in plan.container}
    if "resources" in plan.container:
        made["resources"] = _resources(plan.container)
    mounts = plan.container.get("volumeMounts") or []
    for mount in mounts:
        _check_mount(plan, mount["mountPath"])
    return {
        **made,
        "name": names.MIGRATE,
        "command": [pod.BUSYBOX, "sh", pod.SCRIPT, *plan.spec.run.command],
        "terminationMessagePolicy": "FallbackToLogsOnError" if plan.spec.run.log_tail else "File",
        "volumeMounts": [*mounts, _shared(plan)],
    }


def _check_mount(plan: _Plan, path: str) -> None:
    if f"{path.rstrip('/')}/".startswith(f"{pod.SHARED_PATH}/"):
        raise JobError(
            "MountPathTaken",
            f"Container '{plan.container['name']}' of Deployment '{_name(plan.source)}' mounts a volume at '{path}', but "
            f"the Job needs '{pod.SHARED_PATH}' for itself: mount the volume elsewhere.",
        )


def _lock(plan: _Plan) -> Made:
    mounts = [_read_only(mount) for mount in plan.container.get("volumeMounts") or [] if not _hides_ours(mount["mountPath"])]
    env, env_from = _url_env(plan, {name for mount in mounts for name in hashes.references(mount.get("subPathExpr") or "")})
    made = _ours(plan, names.LOCK, env, [*mounts, _shared(plan), {"name": plan.tmp, "mountPath": TMP_PATH}])
    return {**made, **({"envFrom": env_from} if env_from else {}), "restartPolicy": "Always"}


def _gate(plan: _Plan) -> Made:
    return _ours(plan, names.GATE, [], [_shared(plan)])


def _ours(plan: _Plan, name: str, env: Sequence[Json], mounts: Sequence[Json]) -> Made:
    """A container of our image, fit for a namespace of Pod Security level ``restricted``."""
    return {
        "name": name,
        "image": plan.image,
        "imagePullPolicy": plan.image_pull_policy,
        # -I: neither the environment nor the working directory, which may be the user's, say what is imported.
        "command": [PYTHON, "-I", "-m", "schemahold.runner", name],
        "env": [*env, *_ask_env(plan)],  # ours last: of two entries with one name the kubelet takes the last
        "volumeMounts": [*mounts],
        "securityContext": _security(plan),
        "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}},
    }


def _ask_env(plan: _Plan) -> list[Made]:
    return [
        {"name": pod.ENV_POD_UID, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}},
        {"name": pod.ENV_POD_NAME, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        # A person's reason may contain $(DATABASE_URL): doubled, a dollar is only a dollar to the kubelet.
        {"name": pod.ENV_ASK, "value": plan.ask.to_json().replace("$", "$$")},
    ]


def _url_env(plan: _Plan, also: set[str]) -> tuple[list[Json], list[Json]]:
    """``env`` and ``envFrom`` that bring ``lock`` the URL, and the variables ``also`` needed."""
    if plan.spec.database.url_from:
        ref = plan.spec.database.url_from.secret_key_ref
        wanted, url = also, [{"name": pod.ENV_URL, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}]
    else:
        wanted, url = also | {plan.spec.database.env or ""}, []
    env = hashes.needed_env(plan.container, wanted)
    env_from = plan.container.get("envFrom") if hashes.needs_env_from(plan.container, wanted) else None
    return [*env, *url], list(env_from or [])


def _security(plan: _Plan) -> Made:
    """The user and group of the user's container, so that files for it alone are readable; never root."""
    container: Json = plan.container.get("securityContext") or {}
    user = container.get("runAsUser", (plan.pod_spec.get("securityContext") or {}).get("runAsUser")) or USER
    return {
        **{key: container[key] for key in ("runAsGroup", "seLinuxOptions") if key in container},
        "runAsUser": user,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _resources(container: Json) -> Made:
    """Without claims on devices: see ``resourceClaims``."""
    return {key: value for key, value in container["resources"].items() if key != "claims"}


def _shared(plan: _Plan) -> Made:
    return {"name": plan.shared, "mountPath": pod.SHARED_PATH}


def _read_only(mount: Json) -> Made:
    return {key: value for key, value in mount.items() if key not in ("mountPropagation", "recursiveReadOnly")} | {
        "readOnly": True
    }


def _hides_ours(path: str) -> bool:
    path = path.rstrip("/")
    return path in (*_OURS, TMP_PATH) or f"{path}/".startswith("/opt/schemahold/")


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else _free(f"{name}-0", taken)


# Where the URL comes from, in words ----------------------------------------------------------------------------------


def _origin(variable: str, container: Json, source: Json) -> str:
    entry = _entry(variable, container)
    if "valueFrom" in entry:
        return _value_from(entry["valueFrom"])
    if entry and (references := sorted(hashes.references(entry.get("value") or ""))):
        return f"put together from {_quoted(references)}"
    if entry:
        return "a literal value"
    if container.get("envFrom"):
        return "from `envFrom`: " + ", ".join(_env_from(one) for one in container["envFrom"])
    raise JobError("DatabaseVariableNotFound", _no_variable(variable, container, source))


def _no_variable(variable: str, container: Json, source: Json) -> str:
    known = [entry["name"] for entry in container.get("env") or []]
    listed = _quoted(known[:10]) + (", …" if len(known) > 10 else "")
    choice = f"write one of {listed}" if known else "add it to the container"
    return (
        f"`database.env` is '{variable}', but container '{container.get('name', '')}' of Deployment '{_name(source)}' has "
        f"no such variable and no `envFrom`: {choice}, or use `database.urlFrom`."
    )


def _value_from(given: Json) -> str:
    if ref := given.get("secretKeyRef"):
        return _secret(ref.get("name", ""), ref.get("key", ""))
    if ref := given.get("configMapKeyRef"):
        return f"ConfigMap '{ref.get('name', '')}', key '{ref.get('key', '')}'"
    return f"`valueFrom.{next(iter(given), '')}`"


def _env_from(given: Json) -> str:
    secret = given.get("secretRef")
    ref: Json = secret or given.get("configMapRef") or {}
    return f"{'Secret' if secret else 'ConfigMap'} '{ref.get('name', '')}'"


def _secret(name: str, key: str) -> str:
    return f"Secret '{name}', key '{key}'"


def _entry(variable: str, container: Json) -> Json:
    return next((entry for entry in reversed(container.get("env") or []) if entry["name"] == variable), {})


def _name(source: Json) -> str:
    return str((source.get("metadata") or {}).get("name", ""))


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
