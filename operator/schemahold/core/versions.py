"""The version a pod template needs.

The policies in the chart compute the same in CEL (templates/policies.yaml, variable `versions`);
tests/cluster/test_hold_differential.py keeps the two together.
"""

from collections.abc import Mapping
from typing import Any

from schemahold.api import names

Json = Mapping[str, Any]


def version(template: Json) -> str:
    """What a pod template needs: a literal string, "" if the template names no image.

    `template` is a pod template as the API serves it (`spec.template` of a Deployment): its annotation
    `schemahold.dev/version` if that is not empty, else the image of its `container`.
    """
    return declared(template) or image(template)


def declared(template: Json) -> str:
    """The template's annotation `schemahold.dev/version`, "" if it has none: follow mode."""
    return _annotation(template, names.VERSION_ANNOTATION)


def image(template: Json) -> str:
    """The image of the template's `container`, "" if there is none."""
    return str(container(template).get("image") or "")


def container(template: Json) -> Json:
    """The container that carries the application, an empty mapping if there is none.

    It is the one that `kubectl.kubernetes.io/default-container` names, as for `kubectl logs`. A name that no
    container has is no name (a sidecar that was renamed must not take the version away): then the first.
    """
    everyone = containers(template)
    named = [one for one in everyone if one.get("name") == _annotation(template, names.DEFAULT_CONTAINER)]
    return next(iter(named + everyone), {})


def is_ambiguous(template: Json) -> bool:
    """Whether the version is the image of a container that nobody named, among several."""
    everyone = [one.get("name") for one in containers(template)]
    named = _annotation(template, names.DEFAULT_CONTAINER) in everyone
    return len(everyone) > 1 and not named and not declared(template)


def is_mutable(template: Json) -> bool:
    """Whether the version is an image whose tag is `latest` or missing: one version for many builds."""
    reference = image(template)
    if declared(template) or not reference or "@" in reference:
        return False
    tag = reference.rpartition("/")[2].partition(":")[2]  # a colon before the last slash is a port
    return tag in ("", "latest")


def containers(template: Json) -> list[Json]:
    """The template's containers, in order; init containers are not among them."""
    return list((template.get("spec") or {}).get("containers") or [])


def _annotation(template: Json, key: str) -> str:
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(key) or "")
