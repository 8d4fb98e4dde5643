"""The operator's settings, from the environment that the chart writes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from schemahold.api import durations

BEATS = 3  # that may be missed in a row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Times are seconds.

    ``image``: our own image, for ``lock`` and ``gate``.  ``namespace``: where the operator runs.  ``backoff_initial`` and
    ``backoff_max``: wait before an attempt that failed before its start is repeated.  ``pod_timeout``: without a pod for so
    long after its Job, an attempt is PodNotCreated.  ``resync``: every resource is looked at again that often, whatever
    events came.  ``beat`` and ``stale_after``: lock's sign of life, and when a silent run counts as lost.
    ``image_volumes``: how files come out of the source's image: ``auto`` (an image volume if the API server knows them),
    ``always``, or ``never`` (copied by an init container).
    """

    image: str
    image_pull_policy: str = "IfNotPresent"
    namespace: str = "schemahold"
    backoff_initial: float = 10.0
    backoff_max: float = 300.0
    pod_timeout: float = 60.0
    resync: float = 300.0
    beat: float = 5.0
    stale_after: float = 60.0
    probe_interval: float = 10.0
    health_port: int = 8080
    metrics_port: int = 9090
    log_format: str = "json"
    workers: int = 8
    image_volumes: str = "auto"


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from ``SCHEMAHOLD_<FIELD>`` variables; durations as ``10s``. ``ValueError`` names the variable."""
    given: dict[str, object] = {}
    for field in dataclasses.fields(Settings):
        variable = f"SCHEMAHOLD_{field.name.upper()}"
        text = environ.get(variable, "")
        if not text:
            if field.default is dataclasses.MISSING:
                raise ValueError(f"{variable} is not set: the chart sets it")
            continue
        given[field.name] = _read(variable, text, field.default)
    settings = Settings(**given)  # type: ignore[arg-type]
    _refuse_few_beats(settings)
    return settings


def _refuse_few_beats(given: Settings) -> None:
    """One late beat, or two, must not make a live run look lost: its outcome would be asked of a person."""
    least = round(BEATS * given.beat, 3)  # durations are whole milliseconds, floats are not
    if round(given.stale_after, 3) < least:
        raise ValueError(
            f"SCHEMAHOLD_STALE_AFTER is {given.stale_after:g}s and SCHEMAHOLD_BEAT is {given.beat:g}s: the first must be at "
            f"least {BEATS} times the second, so at least {least:g}s (the chart's `staleAfter` and `beat`)"
        )


def _read(variable: str, text: str, default: object) -> object:
    try:
        if isinstance(default, float):
            return durations.seconds(text)
        return int(text) if isinstance(default, int) else text
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None
