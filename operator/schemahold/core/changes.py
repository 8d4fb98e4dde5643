"""Says what others (a webhook, a policy) changed in a Job that we sent to the API server, where it matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

# Fields that decide what runs, how often and with which rights, with the value that "absent" stands for. Left out is what
# clusters adjust without harm: scheduling, resources, labels of their own, pull secrets.
_JOB_WATCHED: Json = {
    "activeDeadlineSeconds": None,
    "backoffLimit": 6,
    "completions": 1,
    "parallelism": 1,
    "podFailurePolicy": None,
    "podReplacementPolicy": "TerminatingOrFailed",
    "suspend": False,
    "ttlSecondsAfterFinished": None,
}
_POD_WATCHED: Json = {
    "activeDeadlineSeconds": None,
    "automountServiceAccountToken": None,
    "hostIPC": False,
    "hostNetwork": False,
    "hostPID": False,
    "hostUsers": None,
    "restartPolicy": "Always",
    "runtimeClassName": None,
    "securityContext": {},
    "serviceAccountName": None,
    "shareProcessNamespace": False,
    "terminationGracePeriodSeconds": 30,
}
_CONTAINER_WATCHED: Json = {
    "args": None,
    "command": None,
    "envFrom": None,
    "image": None,
    "lifecycle": None,
    "livenessProbe": None,
    "restartPolicy": None,
    "securityContext": {},
    "startupProbe": None,
    "workingDir": None,
}
# Said without their values, which are long or may be secret.
_UNSAID = ("args", "command", "envFrom", "lifecycle", "livenessProbe", "startupProbe")


def compare(sent: Json, returned: Json) -> list[str]:
    """What a third party (a webhook, a policy) changed in the Job that matters, in sentences without any variable's value.

    ``sent``: what ``job.build_job`` made; ``returned``: what create answered.  The API server's own defaults are no change.
    """
    before, after = sent["spec"]["template"]["spec"], returned["spec"]["template"]["spec"]
    return [
        *_lost_metadata(sent, returned),
        *_fields("The Job's", sent["spec"], returned["spec"], _JOB_WATCHED),
        *_fields("The pod's", before, after, _POD_WATCHED),
        *_volume_changes(before, after),
        *_container_changes(before, after),
    ]


def _lost_metadata(sent: Json, returned: Json) -> list[str]:
    wanted = sent["metadata"]["labels"] | sent["metadata"]["annotations"]
    got = (returned["metadata"].get("labels") or {}) | (returned["metadata"].get("annotations") or {})
    return [f"The Job's '{key}' was '{value}' and was changed." for key, value in wanted.items() if got.get(key) != value]


def _fields(whose: str, before: Json, after: Json, watched: Json) -> list[str]:
    out = []
    for field, absent in watched.items():
        old, new = before.get(field, absent), after.get(field, absent)
        if not _contains(new, old) or (field == "securityContext" and old != new):
            change = "was changed" if field in _UNSAID else f"was changed from {_shown(old)} to {_shown(new)}"
            out.append(f"{whose} `{field}` {change}.")
    return out


def _contains(new: Any, old: Any) -> bool:
    """Whether ``new`` is ``old``, but for fields that the API server filled in."""
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        return all(key in new and _contains(new[key], value) for key, value in old.items())
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_contains, new, old))
    return bool(new == old)


def _shown(value: Any) -> str:
    return "nothing" if value is None or value == {} else f"'{value}'"


def _volume_changes(before: Json, after: Json) -> list[str]:
    got = {volume["name"]: volume for volume in after.get("volumes") or []}
    changed = [one["name"] for one in before["volumes"] if not _contains(got.get(one["name"], {}), one)]
    return [f"The pod's volume '{name}' was removed or changed." for name in changed]


def _container_changes(before: Json, after: Json) -> list[str]:
    out: list[str] = []
    for kind in ("initContainers", "containers"):
        old = {one["name"]: one for one in before[kind]}
        new = {one["name"]: one for one in after.get(kind) or []}
        out += [f"Container '{name}' was added to `{kind}`." for name in new if name not in old]
        out += [f"Container '{name}' was removed from `{kind}`." for name in old if name not in new]
        both = [name for name in old if name in new]
        if both != [name for name in new if name in old]:
            out.append(f"The order of `{kind}` was changed.")
        for name in both:
            out += _fields(f"Container '{name}':", old[name], new[name], _CONTAINER_WATCHED)
            out += _items(name, "variable", "name", old[name].get("env"), new[name].get("env"))
            out += _items(name, "mount", "mountPath", old[name].get("volumeMounts"), new[name].get("volumeMounts"))
    return out


def _items(container: str, what: str, key: str, before: Sequence[Json] | None, after: Sequence[Json] | None) -> list[str]:
    old = {one[key]: one for one in before or []}
    new = {one[key]: one for one in after or []}
    out = [f"Container '{container}': {what} '{name}' was added." for name in new if name not in old]
    out += [f"Container '{container}': {what} '{name}' was removed." for name in old if name not in new]
    changed = [name for name in old if name in new and not _contains(new[name], old[name])]
    return out + [f"Container '{container}': {what} '{name}' was changed." for name in changed]
