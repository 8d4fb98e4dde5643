"""Hashes that say whether two attempts would do the same thing to the same database.

``inputs``: everything in the SchemaMigration and its source that decides *what* runs, *against what*, and whether it may
start: command or files, image, database reference, password file, session options, names of the sidecars, name of the
lock and whether a pooler is allowed.  Someone who mends a failed migration changes one of these, and that alone starts the
next attempt.

Never: our own containers (an upgrade of the operator would run everything again), resources and scheduling, times
(``lock.timeout``, ``startTimeout``, ``gracePeriod``, ``settle``), ``retries``, images of sidecars (a newer proxy is no new
migration), and the container's other variables, which change with every configuration change.  For those there is
``schemahold.dev/retry-at``.

``database_reference``: where the URL comes from, not what it is, because the operator reads no Secret.  A Secret's key is
the same reference whether ``urlFrom`` names it or a variable does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemahold.api import models

Json = Mapping[str, Any]

# The kubelet's expansion: $(NAME) is replaced, $$ is a plain dollar.
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


def inputs(spec: models.Spec, container: Json, *, phase: str = "expand", pin: str = "") -> str:
    """16 hex characters: equal when the same would run (see the module).

    ``container``: the copied one, as JSON.  ``pin``: hash of the files, as far as the operator can read them.
    """
    facts = {
        "allowPooler": spec.lock.allow_pooler,
        "database": database_reference(spec, container),
        "lock": spec.lock.name,
        "passwordFile": spec.database.password_file or "",
    }
    work = spec.work_of(phase) or spec.work
    return _hash({**facts, **(_of_sql(work, container, pin) if isinstance(work, models.Sql) else _of_run(work, container))})


def _of_run(work: models.Run, container: Json) -> dict[str, Any]:
    return {
        "command": work.command,
        "image": container.get("image", ""),
        "sessionOptions": dict(work.session_options),
        "sidecars": sorted(work.sidecars),
    }


def _of_sql(work: models.Sql, container: Json, pin: str) -> dict[str, Any]:
    """The image counts only where the files are in it."""
    return {
        "baseline": work.baseline or "",
        "directory": work.directory or "",
        "files": pin,
        "image": container.get("image", "") if work.directory else "",
        "largeTable": work.large_table,
        "outOfOrder": work.out_of_order,
        "sidecars": sorted(work.sidecars),
    }


def database_reference(spec: models.Spec, container: Json) -> str:
    """16 hex characters: equal when the URL comes from the same place.  ``container``: the copied one, as JSON.

    A variable that the container lacks has a reference too; ``job.build_job`` is what refuses it.
    """
    if spec.database.url_from:
        secret = spec.database.url_from.secret_key_ref
        return _secret(secret.name, secret.key)
    return _variable(spec.database.env or "", container)


def references(text: str) -> set[str]:
    """Names of the variables that ``text`` refers to as ``$(NAME)``; ``$$(NAME)`` refers to none."""
    return {match.group(1) for match in _REFERENCE.finditer(text) if match.group(1)}


def needed_env(container: Json, wanted: Iterable[str]) -> list[Json]:
    """The container's ``env`` entries of the ``wanted`` names and, transitively, of those they refer to, in their order."""
    entries: Sequence[Json] = container.get("env") or []
    names, before = set(wanted), set[str]()
    while names != before:
        before = set(names)
        names |= {name for entry in entries if entry["name"] in names for name in references(entry.get("value") or "")}
    return [entry for entry in entries if entry["name"] in names]


def needs_env_from(container: Json, wanted: Iterable[str]) -> bool:
    """Whether a wanted variable, or one that it refers to, can only come from the container's ``envFrom``."""
    entries = needed_env(container, wanted)
    referred = {name for entry in entries for name in references(entry.get("value") or "")}
    missing = (set(wanted) | referred) - {entry["name"] for entry in entries}
    return bool(missing and container.get("envFrom"))


def _variable(name: str, container: Json) -> str:
    entries = needed_env(container, [name])
    own: Json = entries[-1] if entries else {}
    secret = (own.get("valueFrom") or {}).get("secretKeyRef")
    if len(entries) == 1 and secret:
        return _secret(secret.get("name", ""), secret.get("key", ""))
    from_ = (container.get("envFrom") or []) if needs_env_from(container, [name]) else []
    return _hash({"variable": name, "env": entries, "envFrom": from_})


def _secret(name: str, key: str) -> str:
    return _hash({"secret": name, "key": key})


def _hash(facts: Json) -> str:
    """Not a secret keeper: a literal URL goes in whole, but so it stands in the Deployment, which more people may read."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
