"""The SQL files that stand in ConfigMaps: read when a run is decided, so that what is judged is what runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemahold.api import models
from schemahold.cluster import api, paths
from schemahold.core import observed
from schemahold.core.sql import names as files


async def read(client: api.Api, namespace: str, spec: models.Spec) -> dict[str, observed.Files]:
    """By phase, for those that take their files from ConfigMaps."""
    found: dict[str, observed.Files] = {}
    for phase in ("expand", "contract"):
        work = spec.work_of(phase)
        if isinstance(work, models.Sql) and work.config_maps:
            same = phase == "contract" and work is spec.sql
            found[phase] = found["expand"] if same else await _read(client, namespace, work.config_maps)
    return found


async def _read(client: api.Api, namespace: str, names: Sequence[str]) -> observed.Files:
    maps: dict[str, Mapping[str, Any]] = {}
    for name in names:
        try:
            maps[name] = await client.get(paths.config_maps(namespace, name))
        except api.NotFound:
            problem = f"ConfigMap '{name}' of `sql.configMaps` does not exist in namespace '{namespace}'"
            return observed.Files(problem=f"{problem}: create it, or mend the name.")
    return together(maps)


def together(maps: Mapping[str, Mapping[str, Any]]) -> observed.Files:
    """All files of the ConfigMaps, by name, as one set: its hash, or what is wrong with it."""
    checksums: dict[str, str] = {}
    home: dict[str, str] = {}
    for name, raw in maps.items():
        for key, text in sorted((raw.get("data") or {}).items()):
            if not key.endswith(".sql"):
                continue
            if key in home:
                problem = f"ConfigMaps '{home[key]}' and '{name}' both have a file '{key}': take one of them out."
                return observed.Files(problem=problem)
            home[key] = name
            checksums[key] = files.checksum(text.encode())
        binary = next((key for key in sorted(raw.get("binaryData") or {}) if key.endswith(".sql")), "")
        if binary:
            problem = f"ConfigMap '{name}' has '{binary}' under `binaryData`, so it is not UTF-8 text: save it as UTF-8."
            return observed.Files(problem=problem)
    if not checksums:
        listed = ", ".join(f"'{name}'" for name in maps)
        return observed.Files(problem=f"No key of ConfigMap {listed} ends with '.sql': its keys are the files' names.")
    return observed.Files(pin=files.pin(checksums))
