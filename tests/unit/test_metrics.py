"""Metrics: what is counted, and that their number does not grow with use."""

from __future__ import annotations

import prometheus_client
import pytest

from schemahold.api import models
from schemahold.api.pod import Reason
from schemahold.controller.metrics import Metrics
from schemahold.controller.queue import Key
from schemahold.core import decision
from tests.unit import make

SHOP, OTHER = Key("ns", "shop"), Key("ns", "other")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"schemahold_{name}", labels)


def holding(count: int, since: float) -> models.Status:
    """A status that has held so many Deployments for so many seconds."""
    found = make.look(make.migration(suspend=True), *(make.deployment(name=f"d-{number}") for number in range(count)))
    made = make.decided(found, make.in_(0))
    status = make.status_of(made, found)
    moment = make.observed.format_time(
        make.datetime.datetime.now(make.datetime.UTC) - make.datetime.timedelta(seconds=since)
    )
    return status.model_copy(
        update={"conditions": [one.model_copy(update={"last_transition_time": moment}) for one in status.conditions]}
    )


def test_holds() -> None:
    metrics = Metrics()
    assert value(metrics, "held_deployments") == value(metrics, "oldest_hold_seconds") == 0
    metrics.saw(SHOP, holding(2, 100))
    metrics.saw(OTHER, holding(70, 50))
    assert value(metrics, "held_deployments") == 72, "all of them, not only the 64 that status lists"
    assert value(metrics, "oldest_hold_seconds") == pytest.approx(100, abs=5)
    metrics.saw(SHOP, holding(0, 100))
    assert value(metrics, "held_deployments") == 70
    assert value(metrics, "oldest_hold_seconds") == pytest.approx(50, abs=5)
    metrics.forgot(OTHER)
    metrics.forgot(OTHER)
    assert value(metrics, "held_deployments") == value(metrics, "oldest_hold_seconds") == 0


def test_runs() -> None:
    metrics = Metrics()
    metrics.ended(decision.Finished(outcome="Applied", duration=3.0, lock_wait=0.0))
    metrics.ended(decision.Finished(outcome="LockTimeout", lock_wait=30.0))
    assert value(metrics, "runs_total", outcome="Applied") == value(metrics, "runs_total", outcome="LockTimeout") == 1
    assert (value(metrics, "run_duration_seconds_count"), value(metrics, "run_duration_seconds_sum")) == (1, 3)
    assert (value(metrics, "lock_wait_seconds_count"), value(metrics, "lock_wait_seconds_sum")) == (2, 30)


def test_labels_are_few() -> None:
    """No version, no name, no uid: every label's values come from a short list of ours."""
    metrics = Metrics()
    labels = {name for family in metrics.registry.collect() for sample in family.samples for name in sample.labels}
    metrics.ended(decision.Finished(outcome="Applied", duration=1.0, lock_wait=1.0))
    metrics.errors.labels(kind="api").inc()
    metrics.writes.labels(kind="Release").inc()
    metrics.saw(SHOP, holding(1, 1))
    after = {name for family in metrics.registry.collect() for sample in family.samples for name in sample.labels}
    assert after - labels <= {"outcome", "kind", "le"}
    assert b"shop" not in prometheus_client.generate_latest(metrics.registry)


def test_names_are_those_of_the_design() -> None:
    exported = prometheus_client.generate_latest(Metrics().registry).decode()
    for name in ("run_duration_seconds", "lock_wait_seconds", "runs_total", "held_deployments", "oldest_hold_seconds",
                 "hold_active", "last_event_timestamp_seconds"):  # fmt: skip
        assert f"# HELP schemahold_{name}" in exported, name


def test_every_outcome_is_a_reason() -> None:
    """So the label's values are bounded by the reasons that there are."""
    for reason in Reason:
        assert reason.value.isalnum()
