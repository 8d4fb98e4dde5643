"""Prometheus metrics.  No label carries a version, a name or a uid: their number must not grow with use."""

from __future__ import annotations

import datetime

import prometheus_client as prometheus

from schemahold.api import models
from schemahold.controller.queue import Key
from schemahold.core import decision, observed

_DURATIONS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
_RELEASES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The operator's metrics in one registry."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._held: dict[Key, tuple[int, datetime.datetime | None]] = {}
        self._make_runs()
        self._make_holds()
        prometheus.ProcessCollector(registry=self.registry)

    def _make_runs(self) -> None:
        registry = self.registry
        self.run_duration = prometheus.Histogram(
            "schemahold_run_duration_seconds", "How long migrate ran.", buckets=_DURATIONS, registry=registry
        )
        self.lock_wait = prometheus.Histogram(
            "schemahold_lock_wait_seconds", "How long lock waited for the lock.", buckets=_DURATIONS, registry=registry
        )
        self.runs = prometheus.Counter("schemahold_runs_total", "Attempts that ended.", ["outcome"], registry=registry)
        self.decision_time = prometheus.Histogram(
            "schemahold_decision_seconds", "From taking a key to its last write.", buckets=_RELEASES, registry=registry
        )
        self.release_time = prometheus.Histogram(
            "schemahold_release_seconds",
            "From the event that showed a success to the release, inside the operator.",
            buckets=_RELEASES,
            registry=registry,
        )
        self.errors = prometheus.Counter("schemahold_errors_total", "Decisions that failed.", ["kind"], registry=registry)
        self.writes = prometheus.Counter("schemahold_api_writes_total", "Writes by kind.", ["kind"], registry=registry)

    def _make_holds(self) -> None:
        registry = self.registry
        held = prometheus.Gauge("schemahold_held_deployments", "Deployments held now.", registry=registry)
        held.set_function(lambda: sum(count for count, _ in self._held.values()))
        oldest = prometheus.Gauge("schemahold_oldest_hold_seconds", "Age of the oldest hold.", registry=registry)
        oldest.set_function(self._oldest)
        self.hold_active = prometheus.Gauge(
            "schemahold_hold_active", "1 if a dry-run shows that admission holds, else 0.", registry=registry
        )
        self.last_event = prometheus.Gauge(
            "schemahold_last_event_timestamp_seconds", "When the last watch event came.", registry=registry
        )

    def _oldest(self) -> float:
        since = [moment for count, moment in self._held.values() if count and moment]
        return (datetime.datetime.now(datetime.UTC) - min(since)).total_seconds() if since else 0.0

    def saw(self, key: Key, status: models.Status) -> None:
        """What one resource holds, and since when."""
        released = next((one for one in status.conditions if one.type == "Released"), None)
        since = observed.parse_time(released.last_transition_time) if released and status.held_count else None
        self._held[key] = (status.held_count, since)

    def forgot(self, key: Key) -> None:
        self._held.pop(key, None)

    def ended(self, run: decision.Finished) -> None:
        self.runs.labels(outcome=run.outcome).inc()
        if run.duration is not None:
            self.run_duration.observe(run.duration)
        if run.lock_wait is not None:
            self.lock_wait.observe(run.lock_wait)
