"""What the parts of an attempt's pod are built from, and what our own containers have in common."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from schemahold.api import models, pod
from schemahold.core import inputs as hashes
from schemahold.core import versions
from schemahold.core.origins import JobError, deployment_name

Json = Mapping[str, Any]
Made = dict[str, Any]

PYTHON = "/opt/schemahold/bin/python"
TMP_VOLUME = "schemahold-tmp"
TMP_PATH = "/tmp"
USER = 65532

# Mounts that would hide our own interpreter from our containers.
_OURS = (
    "/bin",
    "/etc",
    "/lib",
    "/lib64",
    "/opt",
    *(f"/usr{path}" for path in ("", "/bin", "/lib", "/local", "/local/bin", "/local/lib")),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """``work``: what runs in this phase.  ``image``, ``image_pull_policy``: ours.  ``image_volumes``: the cluster has them.

    ``shared``, ``tmp``: names of our volumes, free in the source.
    """

    spec: models.Spec
    work: models.Work
    source: Json
    ask: pod.Ask
    image: str
    image_pull_policy: str
    image_volumes: bool
    shared: str
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


def make(
    *,
    spec: models.Spec,
    work: models.Work,
    source: Json,
    ask: pod.Ask,
    image: str,
    image_pull_policy: str,
    image_volumes: bool,
) -> Plan:
    volumes = _volumes(source["spec"]["template"].get("spec") or {})
    plan = Plan(
        spec=spec,
        work=work,
        source=copy.deepcopy(source),  # what is built shares nothing with what was read
        ask=ask,
        image=image,
        image_pull_policy=image_pull_policy,
        image_volumes=image_volumes,
        shared=_free(pod.SHARED_VOLUME, volumes),
        tmp=_free(TMP_VOLUME, volumes),
    )
    if not plan.container:
        raise JobError(
            "SourceHasNoContainer", f"Deployment '{deployment_name(source)}' has no container to copy: give it one."
        )
    return plan


def ours(plan: Plan, name: str, env: Sequence[Json], mounts: Sequence[Json], *, word: str = "") -> Made:
    """A container of our image, fit for a namespace of Pod Security level ``restricted``.

    ``word``: what it runs, if not its own name.
    """
    return {
        "name": name,
        "image": plan.image,
        "imagePullPolicy": plan.image_pull_policy,
        # -I: neither the environment nor the working directory, which may be the user's, say what is imported.
        "command": [PYTHON, "-I", "-m", "schemahold.runner", word or name],
        "env": [*env, *_ask_env(plan)],  # ours last: of two entries with one name the kubelet takes the last
        "volumeMounts": [*mounts],
        "securityContext": _security(plan),
        "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}},
    }


def with_session(plan: Plan, name: str, more: Sequence[Json] = (), *, word: str = "") -> Made:
    """A container of ours that connects: it has the URL, and the user's files for TLS and passwords, read-only."""
    mounts = [read_only(mount) for mount in plan.container.get("volumeMounts") or [] if not hides_ours(mount["mountPath"])]
    wanted = {one for mount in mounts for one in hashes.references(mount.get("subPathExpr") or "")}
    env, env_from = url_env(plan, wanted)
    made = ours(plan, name, env, [*mounts, shared(plan), {"name": plan.tmp, "mountPath": TMP_PATH}, *more], word=word)
    return {**made, "envFrom": env_from} if env_from else made


def _ask_env(plan: Plan) -> list[Made]:
    return [
        {"name": pod.ENV_POD_UID, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}},
        {"name": pod.ENV_POD_NAME, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        # A person's reason may contain $(DATABASE_URL): doubled, a dollar is only a dollar to the kubelet.
        {"name": pod.ENV_ASK, "value": plan.ask.to_json().replace("$", "$$")},
    ]


def url_env(plan: Plan, also: set[str]) -> tuple[list[Json], list[Json]]:
    """``env`` and ``envFrom`` that bring ``lock`` the URL, and the variables ``also`` needed."""
    if plan.spec.database.url_from:
        ref = plan.spec.database.url_from.secret_key_ref
        wanted, url = also, [{"name": pod.ENV_URL, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}]
    else:
        wanted, url = also | {plan.spec.database.env or ""}, []
    env = hashes.needed_env(plan.container, wanted)
    env_from = plan.container.get("envFrom") if hashes.needs_env_from(plan.container, wanted) else None
    return [*env, *url], list(env_from or [])


def _security(plan: Plan) -> Made:
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


def resources(container: Json) -> Made:
    """Without claims on devices: see ``resourceClaims``."""
    return {key: value for key, value in container["resources"].items() if key != "claims"}


def shared(plan: Plan) -> Made:
    return {"name": plan.shared, "mountPath": pod.SHARED_PATH}


def read_only(mount: Json) -> Made:
    return {key: value for key, value in mount.items() if key not in ("mountPropagation", "recursiveReadOnly")} | {
        "readOnly": True
    }


def hides_ours(path: str) -> bool:
    path = path.rstrip("/")
    return path in (*_OURS, TMP_PATH) or f"{path}/".startswith("/opt/schemahold/")


def free(plan: Plan, name: str) -> str:
    """A name for a volume of ours that the source does not use."""
    return _free(name, _volumes(plan.pod_spec))


def _volumes(pod_spec: Json) -> set[str]:
    return {volume["name"] for volume in pod_spec.get("volumes") or []}


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else _free(f"{name}-0", taken)
