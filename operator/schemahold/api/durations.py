"""Durations as Kubernetes users write them: ``30s``, ``1m30s``, ``500ms``, ``2h``."""

from __future__ import annotations

import re

PATTERN = r"^([0-9]{1,6}(ms|s|m|h)){1,4}$"
_PART = re.compile(r"([0-9]+)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Seconds in a duration such as ``1m30s``; ``ValueError`` names the text when it is none."""
    if not re.match(PATTERN, text):
        raise ValueError(f"'{text}' is not a duration: write a number and a unit (ms, s, m, h), for example 30s or 5m")
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
