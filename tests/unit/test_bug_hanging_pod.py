"""Once a pod that never ended was Running for ever, without a word: a lost node, or somebody's container beside migrate."""

import dataclasses
import datetime

from schemahold.core import decision, observed, steps
from tests.unit import make
from tests.unit.make import attempt, deployment, job, look, migration

RUNNING = migration(status=make.status(attempt()), finalizer=True)


def test_a_node_that_does_not_answer_is_said() -> None:
    pod = make.pod_running(deleting=True)
    found = look(RUNNING, deployment(), jobs=[job()], pods=[pod])
    assert make.state(found) == ("busy", "Running")
    assert make.decided(found).requeue is not None  # time alone makes it worth a word
    late = dataclasses.replace(found.pods[0], ends_by=make.NOW - datetime.timedelta(seconds=steps.HANGING))
    after = dataclasses.replace(found, pods=(late,))
    assert make.state(after) == ("stalled", "PodLost")
    assert "kubectl delete pod shop-1-x --force" in make.message(after)
    assert not make.writes(make.decided(after), decision.DeletePod)  # its container may still run: only a person may know


def test_a_stranger_that_outlives_migrate_is_ended() -> None:
    """lock gets its SIGTERM when the main containers have ended; a webhook's sidecar kept it, and its report, back."""
    pod = make.pod(lock=make.RUNNING, gate=make.ended(0), migrate=make.ended(1))
    pod["status"]["containerStatuses"].append({"name": "injected", "state": make.RUNNING})
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = make.ago(steps.HANGING)
    found = look(RUNNING, deployment(), jobs=[job()], pods=[pod])
    assert found.pods[0].strangers == ("injected",)
    assert make.writes(make.decided(found), decision.DeletePod)
    assert "'injected'" in make.message(found)
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = make.ago(1)
    soon = look(RUNNING, deployment(), jobs=[job()], pods=[pod])
    assert not make.writes(make.decided(soon), decision.DeletePod)
    assert make.decided(soon).requeue is not None


def test_a_container_of_ours_is_no_stranger() -> None:
    assert observed.Pod.of(make.pod_running()).strangers == ()
