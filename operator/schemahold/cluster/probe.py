"""What the cluster can do, asked by dry runs: nothing is stored.

Whether the hold acts: a dry-run CREATE of a labelled Deployment must come back paused.
"""

from __future__ import annotations

from typing import Any

from schemahold.api import names
from schemahold.cluster import api, paths

_PROBE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "schemahold-probe", "labels": {names.MIGRATION: "schemahold-probe"}},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "schemahold-probe"}},
        "template": {
            "metadata": {"labels": {"app": "schemahold-probe"}, "annotations": {names.VERSION_ANNOTATION: "probe"}},
            "spec": {"containers": [{"name": "probe", "image": "schemahold/probe:1"}]},
        },
    },
}


async def is_hold_active(client: api.Api, namespace: str) -> bool:
    """Asks admission; nothing is stored. ApiError and Unavailable pass through."""
    answer = await client.create(paths.deployments(namespace), _PROBE, dryRun="All")
    annotations = answer["metadata"].get("annotations") or {}
    return bool(answer["spec"].get("paused")) and annotations.get(names.HELD) == "probe"


async def has_image_volumes(client: api.Api, namespace: str) -> bool:
    """Whether the API server knows image volumes (a feature gate before 1.36): without it the field is dropped."""
    spec = {
        **_PROBE["spec"]["template"]["spec"],
        "volumes": [{"name": "probe", "image": {"reference": "schemahold/probe:1"}}],
    }
    template = {**_PROBE["spec"]["template"], "spec": spec}
    asked = {**_PROBE, "metadata": {"name": "schemahold-probe"}, "spec": {**_PROBE["spec"], "template": template}}
    try:
        answer = await client.create(paths.deployments(namespace), asked, dryRun="All")
    except (api.ApiError, api.Unavailable):
        return False  # copying works everywhere
    volumes = answer["spec"]["template"]["spec"].get("volumes") or []
    return any("image" in volume for volume in volumes)
