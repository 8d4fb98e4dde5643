"""The ten rules of docs/architecture.md, each by its number: a look, and what it calls for."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from schemahold.api import models, names
from schemahold.api.pod import Reason
from schemahold.core import decision
from tests.unit import make
from tests.unit.make import attempt, deployment, job, look, migration

HELD = deployment("v2", "v1")
NEXT = deployment("v3", "v1")
WORKER = "shop-worker"


def follow(image: str = "shop:2", approved: str = "shop:1", **more: Any) -> make.Json:
    return deployment(image, approved, follow=True, **more)


# Rule 1: an attempt may always be created; gate alone decides ---------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    [
        None,
        {},
        {"observedGeneration": 3, "attempt": {"number": "seven"}},
        {"conditions": "nonsense", "history": [1, 2, 3]},
        {"observedGeneration": 3, "attempt": {"number": 4, "job": "shop-4", "version": "v2", "finishedAt": "yesterday"}},
        {"observedGeneration": 3, "settling": {"key": "k", "since": "2026-11-22T12:00:00"}},
    ],
    ids=["never written", "wiped", "garbage", "other types", "no time", "a time without a zone"],
)
def test_1_status_may_be_lost(status: make.Json | None) -> None:
    found = look(migration(status=status), HELD)
    ask = make.starts(found)
    assert ask is not None and ask.attempt == 1
    assert make.status_of(make.decided(found), found).attempt is not None


def test_1_the_number_is_above_status_and_every_job() -> None:
    jobs = [job(3, finished=True), job(6, finished=True, uid="someone-before-us"), job(2, finished=True)]
    for number, wanted in ((4, 7), (9, 10)):
        last = attempt("Replaced", number=number)
        ask = make.starts(look(migration(status=make.status(last), settle="0s"), HELD, jobs=jobs))
        assert ask is not None and (ask.attempt, ask.job) == (wanted, f"shop-{wanted}")


def test_1_a_job_that_status_forgot_still_gives_its_verdict() -> None:
    """Status was wiped while attempt 4 ran: nothing starts beside it, and its success counts."""
    running = look(migration(), HELD, jobs=[job(4)], pods=[make.pod_running(4)])
    assert make.starts(running) is None
    assert make.state(running) == ("busy", "Running")
    after = make.status_of(make.decided(running), running)
    assert after.attempt is not None and (after.attempt.number, after.attempt.finished_at) == (4, None)
    assert make.released(look(migration(), HELD, jobs=[job(4)], pods=[make.pod_succeeded(4)])) == ["shop-api"]


def test_1_a_finished_job_gives_no_verdict_any_more() -> None:
    """Whatever its pod says: the database may have been restored since."""
    found = look(migration(), HELD, jobs=[job(4, finished=True)], pods=[make.pod_succeeded(4, phase="Succeeded")])
    assert make.released(found) == []
    now = make.in_(60)
    settling = make.status_of(make.decided(found), found).settling
    assert settling is not None
    settled = make.status(settling=models.Settling(key=settling.key, since=make.ago(60)))
    ask = make.starts(look(migration(status=settled), HELD, jobs=[job(4, finished=True)]), now)
    assert ask is not None and ask.attempt == 5


@pytest.mark.parametrize("last", [None, attempt()], ids=["status empty", "status from a backup"])
def test_1_a_job_of_a_deleted_resource_gives_no_verdict(last: models.Attempt | None) -> None:
    """The same name, another uid: it is waited for, and what it says is not about ours."""
    shop = migration(status=make.status(last))
    found = look(shop, HELD, jobs=[job(1, uid="before")], pods=[make.pod_succeeded(1, uid="before")])
    assert make.released(found) == []
    assert make.starts(found) is None
    if last is None:
        assert make.state(found) == ("busy", "Running")
        assert "deleted SchemaMigration" in make.message(found)
    else:
        ended = make.status_of(make.decided(found), found).attempt
        assert ended is not None and ended.reason == "NoVerdict"


ORPHANS = {
    "another version": {"version": "v1"},
    "another Job": {"job_uid": "uid-of-a-job-that-is-gone"},
    "another resource": {"uid": "before"},
    "other inputs": {"inputs": "older"},
}


@pytest.mark.parametrize("case", ORPHANS, ids=lambda case: case.replace(" ", "-"))
def test_1_a_pod_that_outlived_its_job_is_not_the_next_ones(case: str) -> None:
    """Status was lost and the Jobs deleted with ``--cascade=orphan``: the names begin anew, and the old pods stand by."""
    old = make.pod_succeeded(phase="Succeeded", **ORPHANS[case])
    fresh = look(migration("v2"), HELD, pods=[old])
    ask = make.starts(fresh)
    assert ask is not None and ask.attempt == 2
    named = look(migration("v2", status=make.status(attempt())), HELD, jobs=[job()], pods=[old])
    assert make.released(named) == []
    assert make.state(named) == ("busy", "WaitingForLock")


def test_1_a_pod_that_outlived_its_job_still_gives_its_verdict() -> None:
    done = make.pod_succeeded(phase="Succeeded")
    assert make.released(look(migration("v2", status=make.status(attempt())), HELD, pods=[done])) == ["shop-api"]


# Rule 2: which version, and settling ----------------------------------------------------------------------------------


def test_2_only_spec_version_runs() -> None:
    found = look(migration("v2"), NEXT)
    assert make.starts(found) is None
    assert make.state(found) == ("busy", "WaitingForVersion")


def test_2_the_message_names_both_versions_and_the_fix() -> None:
    for before in (None, make.status(attempt("Applied", version="v2", released=True))):
        text = make.message(look(migration("v2", status=before), NEXT))
        for word in ("'shop-api'", "'v3'", "'v2'", "Set `spec.version` to 'v3'", "template version 'v2'"):
            assert word in text, text


def test_2_a_version_without_a_try_starts_at_once() -> None:
    assert make.starts(look(migration("v2", status=make.status(attempt("Applied", version="v1"))), HELD)) is not None


SETTLING = {
    "follow mode": (None, follow(), None),
    "the version was tried": ("v2", HELD, attempt("Replaced")),
    "the version was tried, and status lost": ("v2", HELD, None),
}


@pytest.mark.parametrize("case", SETTLING, ids=lambda case: case.replace(" ", "-"))
def test_2_settles_first(case: str) -> None:
    version, one, last = SETTLING[case]
    jobs = [job(1, finished=True)] if "lost" in case else []
    first = look(migration(version, status=make.status(last)), one, jobs=jobs)
    assert make.starts(first) is None
    assert make.state(first) == ("busy", "Settling")
    assert make.decided(first).requeue == 10
    after = make.status_of(make.decided(first), first)
    again = look(migration(version, status=after), one, jobs=jobs)
    assert make.starts(again, make.in_(9)) is None
    assert make.starts(again, make.in_(10)) is not None
    assert make.starts(again, make.in_(-3600)) is None
    assert make.decided(again, make.in_(-3600)).requeue == 10, "a clock set back does not make it wait for an hour"


@pytest.mark.parametrize(
    ("shop", "one"),
    [
        ({"run": {"command": ["npm", "run", "other"]}}, follow()),
        ({}, follow("shop:3")),
        ({"database": make.OTHER_URL}, follow()),
    ],
    ids=["command", "image", "database"],
)
def test_2_every_change_of_version_or_inputs_starts_the_wait_anew(shop: make.Json, one: make.Json) -> None:
    first = look(migration(None), follow())
    after = make.status_of(make.decided(first), first)
    changed = look(migration(None, status=after, **shop), one)
    assert make.starts(changed, make.in_(10)) is None
    assert make.decided(changed, make.in_(10)).requeue == 10


def test_2_settling_is_forgotten_when_it_is_about_something_else() -> None:
    """Else the way back to an old pair of version and inputs would find that it had stood still for ever."""
    first = look(migration(None), follow("shop:2"))
    settled = make.status_of(make.decided(first), first)
    between = look(migration("v9", status=settled), deployment("v9", "v9"))
    assert make.status_of(make.decided(between), between).settling is None


def test_2_settle_zero() -> None:
    assert make.starts(look(migration(None, settle="0s"), follow())) is not None


# Rule 3: the verdict --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job_says", "phase"),
    [(False, "Running"), *itertools.product([False, "failed", "complete"], ["Failed", "Succeeded"])],
)
def test_3_neither_the_jobs_conditions_nor_the_pods_phase_count(job_says: Any, phase: str) -> None:
    shop = migration(status=make.status(attempt()))
    good = look(shop, HELD, jobs=[job(finished=job_says)], pods=[make.pod_succeeded(phase=phase)])
    assert make.released(good) == ["shop-api"]
    bad = look(shop, HELD, jobs=[job(finished=job_says)], pods=[make.pod_failed(phase=phase)])
    assert make.released(bad) == []
    assert make.state(bad) == ("stalled", "MigrationFailed")


def test_3_already_applied_is_success() -> None:
    pods = [make.pod_refused(Reason.ALREADY_APPLIED, row=3, row_inputs=make.INPUTS)]
    found = look(migration(status=make.status(attempt())), HELD, jobs=[job()], pods=pods)
    assert make.released(found) == ["shop-api"]
    assert make.status_of(make.decided(found), found).history[-1].row == 3


OTHER_COMMAND = {"run": {"command": ["npm", "run", "other"]}}


def test_3_the_inputs_changed_while_it_ran() -> None:
    shop = migration(status=make.status(attempt()), **OTHER_COMMAND)
    found = look(shop, HELD, jobs=[job()], pods=[make.pod_succeeded()])
    assert make.released(found) == []
    assert make.state(found) == ("stalled", "InputsChanged")
    for word in ("'v2'", "`spec.run`", "`spec.version`", names.RETRY_AT):
        assert word in make.message(found)


def test_3_recorded_with_other_inputs() -> None:
    """Status was lost, and the next gate finds the success of another command."""
    pods = [make.pod_refused(Reason.ALREADY_APPLIED, row=3, row_inputs="older")]
    found = look(migration(status=make.status(attempt())), HELD, jobs=[job()], pods=pods)
    assert make.released(found) == []
    assert make.state(found) == ("stalled", "InputsChanged")
    for word in ("'v2'", "`spec.run`", "`spec.version`", names.RETRY_AT):
        assert word in make.message(found)


def test_3_retry_at_accepts_the_recorded_success() -> None:
    last = attempt("InputsChanged")
    standing = models.Settling(key="k", since=make.ago(99))
    shop = migration(status=make.status(last, settling=standing), settle="0s", annotations=make.token())
    ask = make.starts(look(shop, HELD))
    assert ask is not None and ask.token == "again"
    asked = make.status_of(make.decided(look(shop, HELD)), look(shop, HELD))
    assert asked.attempt is not None and asked.attempt.accepts
    pods = [make.pod_refused(Reason.ALREADY_APPLIED, 2, row=3, row_inputs="older")]
    shop = migration(status=asked, annotations=make.token())
    assert make.released(look(shop, HELD, jobs=[job(2)], pods=pods)) == ["shop-api"]


def test_3_inputs_that_came_back_are_the_same() -> None:
    found = look(migration(status=make.status(attempt("Applied"))), HELD)
    assert make.released(found) == ["shop-api"]


# Rule 4: forward only through a gate (steps back: test_releases.py) ---------------------------------------------------


def test_4_a_remembered_version_goes_forward_through_a_gate() -> None:
    before = make.status(
        attempt("Applied", version="v1", released=True), history=make.applied("v1", "v2"), released=make.out("v1")
    )
    found = look(migration("v2", status=before), HELD)
    assert make.released(found) == []
    assert make.starts(found) is not None


def test_4_a_success_is_used_once() -> None:
    used = make.status(attempt("Applied", released=True), history=make.applied("v1", "v2"), released=make.out("v2"))
    found = look(migration("v2", status=used, settle="0s"), deployment("v2", ""))
    assert make.released(found) == [], "it was deleted and made again"
    assert make.starts(found) is not None


# Rule 5: several Deployments ------------------------------------------------------------------------------------------


def test_5_an_ambiguous_source_is_refused() -> None:
    found = look(migration("v2"), HELD, deployment("v2", "v1", name=WORKER))
    assert make.starts(found) is None
    assert make.state(found) == ("stalled", "AmbiguousSource")
    for word in ("'shop-api'", "'shop-worker'", "`spec.run.deployment`", names.MIGRATION):
        assert word in make.message(found)


def test_5_an_ambiguous_source_matters_only_while_something_waits() -> None:
    everyone = deployment("v2", "v2"), deployment("v2", "v2", name=WORKER)
    assert make.state(look(migration("v2"), *everyone)) == ("ready", "Applied")
    assert make.state(look(migration(None), *everyone)) == ("ready", "Applied")


RUN = {"command": make.COMMAND, "deployment": "shop-api"}


def test_5_followers_of_the_same_version_go_with_the_source() -> None:
    shop = migration("v2", run=RUN, status=make.status(attempt()))
    found = look(
        shop, HELD, deployment("v2", "v1", name=WORKER, image="worker:2"), jobs=[job()], pods=[make.pod_succeeded()]
    )
    assert make.released(found) == ["shop-api", WORKER]


def test_5_a_late_follower_asks_the_ledger() -> None:
    used = make.status(attempt("Applied", released=True), history=make.applied("v1", "v2"), released=make.out("v2"))
    shop = migration("v2", run=RUN, status=used, settle="0s")
    found = look(shop, deployment("v2", "v2"), deployment("v2", "v1", name=WORKER))
    assert make.released(found) == []
    assert make.starts(found) is not None


@pytest.mark.parametrize(
    ("follower", "words"),
    [
        (deployment("worker:2", "", name=WORKER, follow=True), (names.VERSION_ANNOTATION, "'worker:2'", "its image")),
        (deployment("v3", "", name=WORKER), (names.VERSION_ANNOTATION, "'v3'", "'shop:1'")),
    ],
    ids=["another image", "another annotation"],
)
def test_5_a_follower_with_another_version_is_told_what_to_do(follower: make.Json, words: tuple[str, ...]) -> None:
    found = look(migration(None, run=RUN), follow("shop:1", "shop:1"), follower)
    assert make.state(found) == ("busy", "WaitingForVersion")
    for word in ("'shop-worker'", *words):
        assert word in make.message(found)


@pytest.mark.parametrize("version", ["v2", "v9", None])
def test_5_a_source_that_is_not_there(version: str | None) -> None:
    run = {"command": make.COMMAND, "deployment": "shop-apii"}
    found = look(migration(version, run=run), HELD)
    assert make.starts(found) is None
    assert make.state(found) == ("busy", "WaitingForDeployment")
    for word in ("`spec.run.deployment`", "'shop-apii'"):
        assert word in make.message(found)


def test_5_a_source_of_another_version_than_its_follower() -> None:
    found = look(migration("v2", run=RUN), deployment("v1", "v1"), deployment("v2", "v1", name=WORKER))
    assert make.state(found) == ("busy", "WaitingForDeployment")
    for word in ("'shop-api'", "'v1'", "'v2'"):
        assert word in make.message(found)


# Rule 6: retries (all of them: test_attempts.py) ----------------------------------------------------------------------


def test_6_what_failed_before_the_start_goes_on_by_itself() -> None:
    last = attempt("LockTimeout", tries=1)
    shop = migration(status=make.status(last), settle="0s")
    assert make.state(look(shop, HELD)) == ("busy", "LockTimeout")
    assert make.decided(look(shop, HELD)).requeue == pytest.approx(9, abs=1)
    assert make.starts(look(shop, HELD), make.in_(10)) is not None


def test_6_what_failed_after_the_start_does_not() -> None:
    shop = migration(status=make.status(attempt("MigrationFailed", exit_code=3)), settle="0s")
    assert make.state(look(shop, HELD), make.in_(1e6)) == ("stalled", "MigrationFailed")
    assert make.decided(look(shop, HELD), make.in_(1e6)).requeue is None


@pytest.mark.parametrize(
    "shop",
    [
        migration(status=make.status(attempt("MigrationFailed")), settle="0s", annotations=make.token()),
        migration(status=make.status(attempt("MigrationFailed")), settle="0s", **OTHER_COMMAND),
        migration(status=make.status(attempt("MigrationFailed", version="v1")), settle="0s"),
    ],
    ids=["retry-at", "other inputs", "new version"],
)
def test_6_the_ways_out_of_a_failure(shop: make.Json) -> None:
    assert make.starts(look(shop, HELD)) is not None


def test_6_no_retries_at_all() -> None:
    """``spec.retries: 0``: the first failure before the start is the last."""
    pods = [make.pod_refused(Reason.DATABASE_UNREACHABLE)]
    shop = migration(status=make.status(attempt()), retries=0, settle="0s")
    found = look(shop, HELD, jobs=[job()], pods=pods)
    assert make.state(found) == ("stalled", "DatabaseUnreachable")
    for word in ("Tried once", "`spec.retries`: 0", names.RETRY_AT):
        assert word in make.message(found)
    assert make.decided(found).requeue is None


def test_6_a_lock_held_by_ours_does_not_count_and_still_waits() -> None:
    pods = [make.pod_refused(Reason.LOCK_TIMEOUT, holder="row 5", holder_is_ours=True)]
    shop = migration(status=make.status(attempt()), retries=0, settle="0s")
    found = look(shop, HELD, jobs=[job()], pods=pods)
    after = make.status_of(make.decided(found), found)
    assert after.attempt is not None and after.attempt.tries == 0
    assert make.state(found) == ("busy", "LockTimeout")
    assert make.decided(found).requeue == 10
    ended = look(migration(status=after, retries=0, settle="0s"), HELD)
    assert make.starts(ended, make.in_(9)) is None
    assert make.starts(ended, make.in_(10)) is not None


# Rule 7: one at a time ------------------------------------------------------------------------------------------------


def test_7_another_resource_on_the_same_database() -> None:
    found = look(migration("v2"), HELD, busy=["other-3"])
    assert make.starts(found) is None
    assert make.state(found) == ("busy", "WaitingForLock")
    assert "'other-3'" in make.message(found)
    assert make.decided(found).requeue is not None, "its end wakes nobody here"


@pytest.mark.parametrize("pod", [make.pod_running(), make.pod_ended(1)], ids=["running", "report to come"])
def test_7_a_newer_version_waits_for_a_started_one(pod: make.Json) -> None:
    found = look(migration("v3", status=make.status(attempt())), NEXT, jobs=[job()], pods=[pod])
    made = make.decided(found)
    assert make.state(found) == ("busy", "Running")
    assert not make.writes(made, decision.DeletePod) and not make.writes(made, decision.DeleteJob)
    assert make.starts(found) is None


def test_7_the_next_starts_when_the_job_is_over_too() -> None:
    shop = migration("v3", status=make.status(attempt()))
    ending = look(shop, NEXT, jobs=[job()], pods=[make.pod_failed()])
    assert make.starts(ending) is None
    assert "still ending" in make.message(ending)
    over = look(shop, NEXT, jobs=[job(finished="failed")], pods=[make.pod_failed(phase="Failed")])
    ask = make.starts(over)
    assert ask is not None and ask.version == "v3"


@pytest.mark.parametrize(
    ("shop", "one"),
    [
        (migration("v3", status=make.status(attempt())), NEXT),
        (migration("v2", status=make.status(attempt()), **OTHER_COMMAND), HELD),
        (migration("v2", status=make.status(attempt()), database=make.OTHER_URL), HELD),
        (migration("v2", status=make.status(attempt())), deployment("v1", "v1")),
        (migration("v2", status=make.status(attempt()), suspend=True), deployment("v1", "v1")),
    ],
    ids=["newer version", "other inputs", "other database", "rolled back", "rolled back while suspended"],
)
@pytest.mark.parametrize("pod", [None, make.pod(), make.pod_locking()], ids=["no pod", "pending", "locking"])
def test_7_what_has_not_started_and_is_useless_is_deleted(shop: make.Json, one: make.Json, pod: make.Json | None) -> None:
    found = look(shop, one, jobs=[job()], pods=[pod] if pod else [])
    made = make.decided(found)
    kind = decision.DeletePod if pod else decision.DeleteJob
    [write] = make.writes(made, kind)
    assert write.uid == ("uid-pod-1" if pod else "uid-job-1")
    kinds = [type(one) for one in made.writes]
    assert kinds.index(decision.WriteStatus) < kinds.index(kind), "why it is deleted is in status first"
    after = make.status_of(made, found)
    assert after.attempt is not None and (after.attempt.reason, after.attempt.finished_at) == ("Replaced", None)


def test_7_useless_without_a_pod_for_long_is_deleted_too() -> None:
    """A quota that lets no pod in must not keep the next version out."""
    found = look(migration("v3", status=make.status(attempt())), NEXT, jobs=[job(age=600)])
    assert len(make.writes(make.decided(found), decision.DeleteJob)) == 1


# Rule 8: suspend, delete ----------------------------------------------------------------------------------------------


def test_8_suspended_starts_nothing() -> None:
    found = look(migration("v2", suspend=True), HELD)
    assert make.starts(found) is None
    assert make.state(found) == ("busy", "Suspended")
    assert "`spec.suspend`" in make.message(found) and "'shop-api'" in make.message(found)


def test_8_suspended_releases_nothing_not_even_a_step_back() -> None:
    before = make.status(history=make.applied("v1", "v2"), released=make.out("v2"))
    back = deployment("v1", "v2")
    assert make.released(look(migration("v1", status=before), back)) == ["shop-api"]
    assert make.released(look(migration("v1", status=before, suspend=True), back)) == []


def test_8_what_runs_finishes_is_recorded_and_released_later_without_a_second_run() -> None:
    shop = migration("v2", suspend=True, status=make.status(attempt()))
    running = look(shop, HELD, jobs=[job()], pods=[make.pod_running()])
    assert make.state(running) == ("busy", "Running")
    done = look(shop, HELD, jobs=[job()], pods=[make.pod_succeeded(row=4)])
    assert make.released(done) == []
    assert make.state(done) == ("busy", "Suspended")
    after = make.status_of(make.decided(done), done)
    assert make.condition(after, "Migrated").status == "True"
    assert after.attempt is not None and (after.attempt.reason, after.attempt.released) == ("Applied", False)
    assert [one.version for one in after.history] == ["v2"]

    over = {"jobs": [job(finished=True)], "pods": [make.pod_succeeded(row=4, phase="Succeeded")]}
    still = look(migration("v2", suspend=True, status=after), HELD, **over)
    assert make.writes(make.decided(still), decision.WriteStatus) == []
    again = look(migration("v2", status=after), HELD, **over)
    assert make.starts(again) is None
    assert make.released(again) == ["shop-api"]


@pytest.mark.parametrize("asked", [{"suspend": True}, {"deleting": True, "finalizer": True}])
def test_8_what_has_not_started_does_not_start_any_more(asked: Any) -> None:
    shop = migration("v2", status=make.status(attempt()), **asked)
    found = look(shop, HELD, jobs=[job()], pods=[make.pod_locking()])
    assert make.writes(make.decided(found), decision.DeletePod)
    started = look(shop, HELD, jobs=[job()], pods=[make.pod_running()])
    assert not make.writes(make.decided(started), decision.DeletePod)


@pytest.mark.parametrize("readable", [True, False])
def test_8_deleting_waits_for_the_attempt_and_then_lets_go(readable: bool) -> None:
    spec = {} if readable else {"retries": "many"}
    shop = migration("v2", deleting=True, finalizer=True, status=make.status(attempt()), **spec)
    running = look(shop, HELD, jobs=[job()], pods=[make.pod_running()])
    assert not make.writes(make.decided(running), decision.SetFinalizer)
    over = look(shop, HELD, jobs=[job(finished=True)], pods=[make.pod_succeeded(phase="Succeeded")])
    [lets_go] = make.writes(make.decided(over), decision.SetFinalizer)
    assert not lets_go.present
    assert make.released(over) == []
    assert make.starts(over) is None


def test_8_deleting_starts_nothing() -> None:
    found = look(migration("v2", deleting=True), HELD)
    assert make.decided(found).writes and make.starts(found) is None
    assert make.state(found) == ("busy", "Deleting")


def test_8_the_finalizer_is_there_only_while_an_attempt_runs() -> None:
    first = make.decided(look(migration("v2"), HELD))
    kinds = [type(one) for one in first.writes]
    assert kinds.index(decision.SetFinalizer) < kinds.index(decision.WriteStatus) < kinds.index(decision.CreateJob)
    done = make.status(attempt("Applied", released=True, row=1))
    ending = look(migration("v2", finalizer=True, status=done), deployment("v2", "v2"), jobs=[job()])
    assert not make.writes(make.decided(ending), decision.SetFinalizer)
    over = look(migration("v2", finalizer=True, status=done), deployment("v2", "v2"), jobs=[job(finished=True)])
    assert [one.present for one in make.writes(make.decided(over), decision.SetFinalizer)] == [False]


# Rule 9: no pod -------------------------------------------------------------------------------------------------------


def test_9_no_pod_after_a_minute() -> None:
    shop = migration("v2", status=make.status(attempt()))
    early = look(shop, HELD, jobs=[job(age=59)])
    assert make.state(early) == ("busy", "WaitingForLock")
    assert make.decided(early).requeue == 1
    late = look(shop, HELD, jobs=[job(age=60)], job_events="exceeded quota: pods=10")
    assert make.state(late) == ("stalled", "PodNotCreated")
    assert "exceeded quota: pods=10" in make.message(late) and "'shop-1'" in make.message(late)
    assert make.decided(late).requeue is not None
    cleared = look(shop, HELD, jobs=[job(age=90)], pods=[make.pod_locking()])
    assert make.state(cleared) == ("busy", "WaitingForLock")


def test_9_a_pod_that_is_gone_again_was_created() -> None:
    """The Job controller has counted it and has not written its end yet: no alarm for that second."""
    raw = job(age=600)
    raw["status"] = {"conditions": [{"type": "FailureTarget", "status": "True"}]}
    found = look(migration("v2", status=make.status(attempt())), HELD, jobs=[raw])
    assert make.state(found) == ("busy", "WaitingForLock")


# Rule 10: break-glass -------------------------------------------------------------------------------------------------


BY_HAND = deployment("v2", "v2", by="John Doe v2", adopted="v1")


def test_10_nothing_starts_by_itself() -> None:
    found = look(migration("v2"), BY_HAND)
    assert make.starts(found) is None
    assert make.state(found) == ("stalled", "ReleasedByHand")
    for word in ("'shop-api'", "'v2'", names.RETRY_AT):
        assert word in make.message(found)
    told = {(one.reason, one.deployment) for one in make.decided(found).events}
    assert told == {("ReleasedByHand", ""), ("ReleasedByHand", "shop-api")}
    after = make.status_of(make.decided(found), found)
    again = make.decided(look(migration("v2", status=after), BY_HAND))
    assert (again.writes, again.events) == ((), ())


def test_10_a_token_asks_for_it_once() -> None:
    shop = migration("v2", annotations=make.token(), settle="0s")
    found = look(shop, BY_HAND)
    assert make.starts(found) is not None
    asked = make.status_of(make.decided(found), found)
    busy = migration("v2", annotations=make.token(), status=asked)
    locking = look(busy, BY_HAND, jobs=[job()], pods=[make.pod_locking()])
    assert not make.writes(make.decided(locking), decision.DeletePod)
    failed = look(busy, BY_HAND, jobs=[job()], pods=[make.pod_failed()])
    assert make.state(failed) == ("stalled", "ReleasedByHand")
    assert make.starts(failed) is None


@pytest.mark.parametrize("asked", [{}, make.token()], ids=["was running", "asked for"])
def test_10_a_success_makes_it_applied(asked: make.Json) -> None:
    last = attempt(token=asked.get(names.RETRY_AT, ""))
    shop = migration("v2", annotations=asked, status=make.status(last))
    done = look(shop, BY_HAND, jobs=[job()], pods=[make.pod_succeeded()])
    assert make.state(done) == ("ready", "Applied")


def test_10_a_rolled_back_break_glass_is_history() -> None:
    found = look(migration("v1"), deployment("v1", "v1", by="ann v2"))
    assert make.state(found) == ("ready", "Applied")
