"""A Deployment's selector as the text that a list request takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text(selector: Mapping[str, Any]) -> str:
    """``matchLabels`` and ``matchExpressions``, all of which a pod has to meet."""
    labels = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    return ",".join([*labels, *map(_requirement, selector.get("matchExpressions") or [])])


def _requirement(one: Mapping[str, Any]) -> str:
    key, operator, values = one["key"], one["operator"], ",".join(one.get("values") or [])
    match operator:
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "DoesNotExist":
            return f"!{key}"
    return str(key)
