"""Once an attempt without a Job was given up, the Job came all the same, and nobody looked at it for ever."""

from schemahold.core import decision
from tests.unit import make
from tests.unit.make import attempt, deployment, in_, job, look, migration

GIVEN_UP = attempt("NoVerdict")


def test_its_job_counts() -> None:
    """Another operator looked between the number and the Job, or the answer to the create came late."""
    found = look(migration(status=make.status(GIVEN_UP)), deployment(), jobs=[job()], pods=[make.pod_locking()])
    assert make.state(found) == ("busy", "WaitingForLock")
    done = look(migration(status=make.status(GIVEN_UP)), deployment(), jobs=[job()], pods=[make.pod_succeeded()])
    assert make.released(done) == ["shop-api"]


def test_its_start_timeout_counts() -> None:
    pod = make.pod(age=400, gate=make.waiting("ErrImagePull", "no such image"))
    found = look(migration(status=make.status(GIVEN_UP)), deployment(), jobs=[job(age=400)], pods=[pod])
    assert make.writes(make.decided(found), decision.DeletePod)


def test_without_one_the_next_attempt_follows() -> None:
    found = look(migration(status=make.status(GIVEN_UP), settle="0s"), deployment())
    asked = make.starts(found, in_(60))
    assert asked is not None and asked.attempt == 2
