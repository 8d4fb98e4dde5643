"""Where a database URL comes from: in words for messages, never a value."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from schemahold.api import models, pod
from schemahold.core import inputs as hashes
from schemahold.core import versions

Json = Mapping[str, Any]


class JobError(Exception):
    """No Job can be built.  ``reason``: for the condition; ``message``: names the field, the value and the fix."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


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


def _origin(variable: str, container: Json, source: Json) -> str:
    entry = _entry(variable, container)
    if "valueFrom" in entry:
        return _value_from(entry["valueFrom"])
    if entry and (references := sorted(hashes.references(entry.get("value") or ""))):
        return f"put together from {quoted(references)}"
    if entry:
        return "a literal value"
    if container.get("envFrom"):
        return "from `envFrom`: " + ", ".join(_env_from(one) for one in container["envFrom"])
    raise JobError("DatabaseVariableNotFound", _no_variable(variable, container, source))


def _no_variable(variable: str, container: Json, source: Json) -> str:
    known = [entry["name"] for entry in container.get("env") or []]
    listed = quoted(known[:10]) + (", …" if len(known) > 10 else "")
    choice = f"write one of {listed}" if known else "add it to the container"
    return (
        f"`database.env` is '{variable}', but container '{container.get('name', '')}' of Deployment "
        f"'{deployment_name(source)}' has no such variable and no `envFrom`: {choice}, or use `database.urlFrom`."
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


def deployment_name(source: Json) -> str:
    return str((source.get("metadata") or {}).get("name", ""))


def quoted(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
