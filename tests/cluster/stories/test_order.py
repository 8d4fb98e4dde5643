"""Whatever comes first, the Deployment is held, one Job runs, and then it is released."""

from __future__ import annotations

import pytest

from tests.cluster.stories.stage import Stage, deployment, migration


def _ends_well(here: Stage, version: str) -> None:
    here.await_reason("Applied")
    here.await_rollout(version)
    assert [row["state"] for row in here.ledger()] == ["succeeded"]
    assert len(here.jobs()) == 1


def test_resource_before_deployment(here: Stage) -> None:
    here.apply(migration("v1"))
    here.await_reason("WaitingForDeployment")
    here.apply(deployment("v1"))
    _ends_well(here, "v1")


def test_deployment_before_resource(here: Stage) -> None:
    here.apply(deployment("v1"))
    assert here.is_held()
    here.steadily("no pod without a migration", lambda: here.pod_versions() == set())
    here.apply(migration("v1"))
    _ends_well(here, "v1")


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
def test_both_in_one_apply(here: Stage, server_side: bool) -> None:
    here.apply(deployment("v1"), migration("v1"), server_side=server_side)
    _ends_well(here, "v1")
    for which in ("shop-api", "shop"):
        for reason in ("Held", "MigrationStarted", "MigrationSucceeded", "Released"):
            assert here.events(reason, which), f"no Event {reason} about {which}"
