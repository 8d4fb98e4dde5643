"""What keeps an attempt from starting is said within seconds, and its fix is not in its own way."""

from __future__ import annotations

import time

from tests.cluster.stories.stage import UNTIL_TOLD, Json, Stage, deployment, migration, shop

NOWHERE = {"nodeSelector": {"example.com/nowhere": "yes"}}


def _seconds(since: float) -> float:
    return time.monotonic() - since


def _quota(pods: int) -> Json:
    spec = {"hard": {"pods": str(pods)}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": spec}


def _gate_has_passed(here: Stage) -> bool:
    """The first attempt's pod holds the lock, and only its migrate is missing."""
    for pod in here.attempt_pods():
        for one in pod["status"].get("initContainerStatuses", []):
            if one["name"] == "gate" and one["state"].get("terminated", {}).get("exitCode") == 0:
                return True
    return False


def test_a_mistyped_tag_is_named_and_its_fix_goes_past_the_old_pod(here: Stage) -> None:
    started = time.monotonic()
    wrong = deployment("v1", image="no-shell:v1-mistyped", command=("/no-shell", "serve"))
    # Nothing is tried twice: a fix that met the old pod's lock would be stalled.
    here.apply(wrong, migration("v1", lock={"timeout": "10s"}, retries=0))
    here.await_reason("PodNotStarted")
    assert _seconds(started) < 30
    message = here.message()
    assert "'migrate'" in message
    assert "no-shell:v1-mistyped" in message
    here.until("the first pod holds the lock", lambda: _gate_has_passed(here))
    assert here.is_held()

    here.apply(deployment("v1"))
    fixed = time.monotonic()
    here.await_reason("Applied")
    assert _seconds(fixed) < 30
    here.await_rollout("v1")
    assert [(row["state"], row["attempt"]) for row in here.ledger()] == [("succeeded", 2)]


def test_a_quota_that_forbids_the_pod_is_quoted_and_raising_it_is_enough(here: Stage) -> None:
    here.apply(_quota(0))
    here.until("the quota is in force", lambda: (here.get("resourcequota", "few") or {}).get("status", {}).get("hard"))
    here.apply(deployment("v1"), migration("v1"))
    here.await_reason("PodNotCreated", seconds=30)
    assert here.condition("Stalled")["reason"] == "PodNotCreated"
    for words in ("'shop-1'", "exceeded quota", "few", "pods=0"):
        assert words in here.message()
    assert here.is_held()
    assert here.attempt_pods() == []

    here.apply(_quota(10))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert [row["state"] for row in here.ledger()] == ["succeeded"]


def test_suspended_nothing_starts(here: Stage) -> None:
    here.apply(deployment("v1"), migration("v1", suspend=True))
    here.await_reason("Suspended")
    assert "'shop-api' waits" in here.message()
    here.steadily("nothing starts", lambda: here.is_held() and not here.jobs())

    here.apply(migration("v1", suspend=False))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert [row["state"] for row in here.ledger()] == ["succeeded"]


def test_suspended_meanwhile_what_runs_is_recorded_and_nothing_is_released(here: Stage) -> None:
    here.apply(shop("v1"), migration("v1", UNTIL_TOLD))
    here.until("migrate runs", here.starts)
    here.apply(migration("v1", UNTIL_TOLD, suspend=True))
    here.tell()
    here.until("the run is recorded", lambda: [row["state"] for row in here.ledger()] == ["succeeded"])
    here.await_reason("Suspended")
    here.steadily("nothing is released", here.is_held)
    assert here.pod_versions() == set()
    attempts = len(here.jobs())

    here.apply(migration("v1", UNTIL_TOLD, suspend=False))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert len(here.starts()) == 1
    assert len(here.jobs()) == attempts


def test_a_pod_that_finds_no_node_is_given_up_repeated_and_then_stalled(here: Stage) -> None:
    here.apply(deployment("v1", **NOWHERE), migration("v1", run={"startTimeout": "4s"}, retries=1))
    here.until("it is stalled", lambda: here.condition("Stalled").get("reason") == "StartTimeout")
    message = here.message()
    for words in (
        "`spec.run.startTimeout` (4s)",
        "cannot be scheduled",
        "node affinity/selector",
        "Tried 2 times",
        "`spec.retries`: 1",
    ):
        assert words in message
    assert len(here.jobs()) == 2
    here.until("the pods are gone", lambda: here.attempt_pods() == [])
    assert here.is_held()
    assert here.ledger() == []

    here.apply(deployment("v1"), migration("v1", run={"startTimeout": "5m"}, retries=1))
    here.steadily("where a pod runs is no input: it waits for a person", lambda: len(here.jobs()) == 2)
    here.retry("node-found")
    here.await_reason("Applied")
    here.await_rollout("v1")
