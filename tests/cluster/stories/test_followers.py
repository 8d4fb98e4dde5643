"""Several Deployments under one SchemaMigration: one is copied, all are held, each goes when its version is applied."""

from __future__ import annotations

import pytest

from tests.cluster.stories.stage import Stage, deployment, migration

SOURCE = {"deployment": "shop-api"}
# Only the source has ROLE: a Job that copied the other one ends with 1.
COMMAND = ("/no-shell", "env", "ROLE")


def _api(version: str) -> dict[str, object]:
    return deployment(version, env={"ROLE": "the-source"})


def _worker(version: str, **more: object) -> dict[str, object]:
    return deployment(version, name="shop-worker", **more)


def test_one_job_releases_every_deployment_of_the_version(here: Stage) -> None:
    here.apply(_api("v1"), _worker("v1"), migration("v1", COMMAND, run=SOURCE))
    here.await_reason("Applied")
    here.await_rollout("v1")
    here.await_rollout("v1", "shop-worker")
    [row] = here.ledger()
    assert row["state"] == "succeeded"
    assert here.log(row["pod_name"], "migrate").strip() == "the-source"
    for which in ("shop-api", "shop-worker"):
        here.until(f"an Event about {which}", lambda which=which: here.events("Released", which))


def test_a_follower_with_another_version_waits_and_is_told_the_way_out(here: Stage) -> None:
    here.apply(_api("v1"), _worker("v0"), migration("v1", COMMAND, run=SOURCE))
    here.await_rollout("v1")
    here.await_reason("WaitingForVersion")
    assert here.condition("Ready")["status"] == "False"
    assert not here.condition("Stalled")
    message = here.message()
    for words in ("'shop-worker'", "'v0'", "`spec.version`", "'v1'"):
        assert words in message
    assert here.is_held("shop-worker")
    assert here.status()["held"] == [{"deployment": "shop-worker", "version": "v0"}]

    here.apply(_worker("v1"))
    here.await_reason("Applied")
    here.await_rollout("v1", "shop-worker")
    assert here.pod_versions("shop-worker") == {"v1"}
    assert [row["state"] for row in here.ledger()] == ["succeeded"]


def test_a_follower_whose_version_is_its_image_is_told_of_the_annotation(here: Stage) -> None:
    here.apply(_api("v1"), _worker("", image="shop:v2", command=("sleep", "infinity")), migration("v1", COMMAND, run=SOURCE))
    here.await_rollout("v1")
    here.await_reason("WaitingForVersion")
    for words in ("'shop-worker'", "'shop:v2'", "schemahold.dev/version"):
        assert words in here.message()
    assert here.is_held("shop-worker")


@pytest.mark.parametrize("version", ["v1", None], ids=["fixed", "follow"])
def test_several_without_a_source_are_ambiguous(here: Stage, version: str | None) -> None:
    here.apply(_api(version or ""), _worker(version or ""), migration(version, COMMAND))
    here.await_reason("AmbiguousSource")
    assert here.condition("Stalled")["reason"] == "AmbiguousSource"
    for words in ("'shop-api'", "'shop-worker'", "`spec.run.deployment`"):
        assert words in here.message()
    assert here.is_held("shop-api")
    assert here.is_held("shop-worker")
    assert here.jobs() == []

    here.apply(migration(version, COMMAND, run=SOURCE))
    here.await_reason("Applied")
    for which in ("shop-api", "shop-worker"):
        here.until(f"{which} is released", lambda which=which: not here.is_held(which))
    assert [row["state"] for row in here.ledger()] == ["succeeded"]
