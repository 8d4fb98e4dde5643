"""What the user sees: every row of the table in docs/reference.md, with its conditions and the words of its message."""

from __future__ import annotations

import dataclasses

import pytest

from schemahold.api import models, names
from schemahold.api.pod import Reason
from schemahold.core import attempts, decision, hold, observed
from tests.unit import kstatus, make
from tests.unit.make import Json, attempt, deployment, job, look, migration

HELD = deployment("v2", "v1")
OUT = deployment("v2", "v2")
DONE = make.status(attempt("Applied", released=True, row=2), history=make.applied("v1", "v2"), released=make.out("v2"))
RUNS = make.status(attempt())
OUTCOME = make.status(attempt("OutcomeUnknown", row=7, exit_code=0), outcome={"row": 7, "version": "v2"})


def shop(version: str | None = "v2", status: models.Status | Json | None = None, **more: object) -> Json:
    return migration(version, status=status, **{"settle": "0s", **more})


def running(pod: Json) -> dict[str, list[Json]]:
    return {"jobs": [job()], "pods": [pod]}


def failed(reason: str, **more: object) -> models.Status:
    return make.status(attempt(reason, **{"tries": 9, "exit_code": 3, **more}))


# look, mood, reason, Migrated, Released, words of the message
ROWS: dict[str, tuple[object, str, str, str, str, tuple[str, ...]]] = {
    "applied and rolled out": (look(shop(status=DONE), OUT), "ready", "Applied", "True", "True", ("'v2'",)),
    "applied, in follow mode": (
        look(shop(None), deployment("shop:2", "shop:2", follow=True)), "ready", "Applied", "True", "True", ("'shop:2'",)),
    "no pods wanted": (
        look(shop(status=DONE), deployment("v2", "v2", replicas=0)), "ready", "Applied", "True", "True", ("'v2'",)),
    "no Deployment yet": (
        look(shop()), "busy", "WaitingForDeployment", "False", "True",
        ("label schemahold.dev/migration: shop (on the Deployment itself, not in its pod template)", "'v2'")),
    "only an older Deployment": (
        look(shop(), deployment("v1", "v1")), "busy", "WaitingForDeployment", "False", "True",
        ("No Deployment carries version 'v2' yet.",)),
    "the source has another version": (
        look(shop(run={"command": make.COMMAND, "deployment": "shop-api"}), deployment("v1", "v1"),
             deployment("v2", "v1", name="w")),
        "busy", "WaitingForDeployment", "False", "False", ("'shop-api'", "'v1'", "'v2'")),
    "no Deployment, follow mode": (
        look(shop(None)), "ready", "NoVersionWanted", "Unknown", "True",
        ("label schemahold.dev/migration: shop (on the Deployment itself, not in its pod template)",)),
    "settling": (
        look(shop(None, settle="10s"), deployment("shop:2", "shop:1", follow=True)),
        "busy", "Settling", "False", "False", ("'shop:2'", "10s")),
    "about to start": (look(shop(), HELD), "busy", "WaitingForLock", "False", "False", ("'shop-1'", "'v2'")),
    "waiting for the lock": (
        look(shop(status=RUNS), HELD, **running(make.pod_locking())), "busy", "WaitingForLock", "False", "False",
        ("'shop-1'", "'v2'")),
    "another resource runs": (
        look(shop(), HELD, busy=["other-1"]), "busy", "WaitingForLock", "False", "False", ("'other-1'", "same database")),
    "the image is not there": (
        look(shop(status=RUNS), HELD, **running(make.pod(gate=make.waiting("ErrImagePull", "no shop:1")))),
        "busy", "PodNotStarted", "False", "False", ("'shop-1'", "container 'gate'", "no shop:1")),
    "no node": (
        look(shop(status=RUNS), HELD, **running(make.pod(unscheduled="0/3 nodes"))),
        "busy", "PodNotStarted", "False", "False", ("cannot be scheduled", "0/3 nodes")),
    "running": (
        look(shop(status=RUNS), HELD, **running(make.pod_running())), "busy", "Running", "False", "False",
        ("'shop-1'", "'v2'")),
    "just succeeded": (
        look(shop(status=RUNS), HELD, **running(make.pod_succeeded())), "busy", "RollingOut", "True", "True",
        ("'shop-api'", "'v2'")),
    "rolling out": (
        look(shop(status=DONE), deployment("v2", "v2", rolled_out=False)), "busy", "RollingOut", "True", "True",
        ("'shop-api'", "'v2'")),
    "paused by its user": (
        look(shop(status=DONE), deployment("v2", "v2", paused=True)), "busy", "RollingOut", "True", "True",
        ("'shop-api'", "`spec.paused: true`", "remove it")),
    "past its deadline": (
        look(shop(status=DONE), deployment("v2", "v2", rolled_out=False, stuck=True)), "stalled", "RolloutStuck", "True",
        "True", ("'shop-api'", "'v2'", "`spec.progressDeadlineSeconds`")),
    "a follower waits": (
        look(shop(status=DONE, run={"command": make.COMMAND, "deployment": "shop-api"}), OUT,
             deployment("v3", "v1", name="w")),
        "busy", "WaitingForVersion", "True", "False", ("'w'", "'v3'", "'v2'", "`spec.version`")),
    "suspended": (look(shop(suspend=True), HELD), "busy", "Suspended", "False", "False", ("`spec.suspend`", "'shop-api'")),
    "suspended, nothing waits": (
        look(shop(suspend=True, status=DONE), OUT), "busy", "Suspended", "True", "True", ("`spec.suspend`",)),
    "deleting": (look(shop(deleting=True), HELD), "busy", "Deleting", "False", "False", ("deleted",)),
    "failed": (
        look(shop(status=failed("MigrationFailed")), HELD), "stalled", "MigrationFailed", "False", "False",
        ("'v2'", "exit code 3", "MigrationFailed it was.", names.RETRY_AT, "`spec.version`")),
    "failed before": (
        look(shop(status=failed("AlreadyFailed")), HELD), "stalled", "AlreadyFailed", "False", "False", (names.RETRY_AT,)),
    "unknown": (
        look(shop(status=OUTCOME), HELD), "stalled", "OutcomeUnknown", "Unknown", "False",
        (names.ANSWER, '"7 retry <reason>"', '"7 applied <reason>"')),
    "another ledger": (
        look(shop(status=failed("LedgerLost")), HELD), "stalled", "LedgerLost", "Unknown", "False", (names.RETRY_AT,)),
    "other inputs": (
        look(shop(status=failed("InputsChanged")), HELD), "stalled", "InputsChanged", "False", "False",
        ("`spec.run`", "`spec.version`", names.RETRY_AT)),
    "ambiguous": (
        look(shop(), HELD, deployment("v2", "v1", name="w")), "stalled", "AmbiguousSource", "False", "False",
        ("'shop-api', 'w'", "`spec.run.deployment`")),
    "no pod": (
        look(shop(status=RUNS), HELD, jobs=[job(age=61)], job_events="exceeded quota"), "stalled", "PodNotCreated", "False",
        "False", ("'shop-1'", "60 s", "exceeded quota")),
    "adopted": (
        look(shop("v1"), deployment("v1", "v1", adopted="v1")), "ready", "Adopted", "Unknown", "True", ("'v1'",)),
    "adopted, and applied since": (
        look(shop("v1", status=make.status(history=make.applied("v1"))), deployment("v1", "v1", adopted="v1")),
        "ready", "Applied", "True", "True", ("'v1'",)),
    "released by hand": (
        look(shop(), deployment("v2", "v2", by="ann v2")), "stalled", "ReleasedByHand", "False", "True",
        ("'shop-api'", "'v2'", "break-glass", names.RETRY_AT)),
    "no such variable": (
        look(shop(database={"env": "DATABASE_URL"}), HELD), "stalled", "DatabaseVariableNotFound", "False", "False",
        ("`database.env`", "'DATABASE_URL'", "'api'")),
    "no such sidecar": (
        look(shop(run={"command": make.COMMAND, "sidecars": ["proxy"]}), HELD), "stalled", "SidecarNotFound", "False",
        "False", ("`run.sidecars`", "'proxy'")),
    "a version without end": (
        look(shop(None), deployment("v" * 3000, "v1")), "stalled", "InvalidVersion", "False", "False",
        ("'shop-api'", "3000", names.VERSION_ANNOTATION, "512")),
    "a spec from another age": (
        look(shop(retries="many"), HELD), "stalled", "InvalidSpec", "Unknown", "False", ("`spec.retries`", "mended")),
}  # fmt: skip
# fmt: off
REFUSALS = [one.value for one in Reason if one.value not in {
    "AlreadyApplied", "AlreadyFailed", "AlreadyStarted", "OutcomeUnknown", "LedgerLost", "Succeeded", "Failed", "Unknown",
    "Withdrawn"} | attempts.REFUSALS]
ROWS |= {
    f"for a person: {reason}": (look(shop(status=failed(reason)), HELD), "stalled", reason, "False", "False",
                                (f"{reason} it was.", "" if reason == "Incompatible" else names.RETRY_AT))
    for reason in sorted(attempts.REFUSALS)
}
ROWS |= {
    f"refused: {reason}": (look(shop(status=failed(reason)), HELD), "stalled", reason, "False", "False",
                           (f"{reason} it was.", "Tried 9 times", "`spec.retries`: 3", names.RETRY_AT))
    for reason in (*REFUSALS, "JobRefused")
}
ROWS |= {
    f"again soon: {reason}": (look(shop(status=failed(reason, tries=1)), HELD), "busy", reason, "False", "False",
                              (f"{reason} it was.", "next attempt follows within 10 s"))
    for reason in (*REFUSALS, "JobRefused", "NoVerdict", "Withdrawn")
}
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.replace(" ", "-"))
def test_the_table(row: str) -> None:
    found, mood, reason, migrated, released, words = ROWS[row]
    assert isinstance(found, make.Observed)
    assert make.state(found) == (mood, reason)
    after = make.status_of(make.decided(found), found)
    assert make.condition(after, "Migrated").status == migrated
    assert make.condition(after, "Released").status == released
    for word in words:
        assert word in make.condition(after).message


CHANGES_THE_WORLD = {"about to start", "just succeeded"}  # their rows: test_decide_convergence.py


@pytest.mark.parametrize("row", sorted(ROWS.keys() - CHANGES_THE_WORLD), ids=lambda row: row.replace(" ", "-"))
def test_a_second_decision_has_nothing_to_write(row: str) -> None:
    """On the status that the first one wrote, and the same world, unless the first one started or deleted something."""
    found = ROWS[row][0]
    assert isinstance(found, make.Observed)
    first = make.decided(found)
    assert all(isinstance(one, decision.WriteStatus | decision.MarkFailed) for one in first.writes)
    again = make.decided(_after(found, first), make.in_(1))
    assert [one for one in again.writes if not isinstance(one, decision.MarkFailed)] == []
    assert again.events == ()


def _after(found: make.Observed, made: decision.Decision) -> make.Observed:
    dumped = models.dump_status(make.status_of(made, found))
    raw = {**found.migration.raw, "status": dumped}
    return look(raw, *(one.raw for one in found.deployments), **_rest(found))


def _rest(found: make.Observed) -> dict[str, object]:
    """Jobs and pods as they were: only rows without them, or with one attempt, get here."""
    with_jobs: dict[str, object] = {"busy": found.busy, "job_events": found.job_events}
    if found.jobs:
        with_jobs["jobs"] = [job(age=20 if found.pods else 61)]
        with_jobs["pods"] = [RAW_PODS[(one.migrate.running, one.gate.running, one.problem)] for one in found.pods]
    return with_jobs


RAW_PODS = {
    (True, False, ""): make.pod_running(),
    (False, True, ""): make.pod_locking(),
    (False, False, "container 'gate' cannot start: ErrImagePull: no shop:1"): make.pod(
        gate=make.waiting("ErrImagePull", "no shop:1")
    ),
    (False, False, ""): make.pod(unscheduled="0/3 nodes"),
}


def test_the_linter_lints() -> None:
    for status, word in kstatus.examples():
        faults = kstatus.faults(status, 3)
        assert (word in " ".join(faults)) if word else not faults, (word, faults)


@pytest.mark.parametrize(
    "impossible",
    [
        lambda: look(None, {**deployment("v2", "v1"), "spec": {**deployment("v2", "v1")["spec"], "paused": False}}),
        lambda: look(None, HELD, HELD),
        lambda: look(None, HELD, jobs=[job(finished=True)], pods=[make.pod_running()]),
        lambda: look(None, HELD, jobs=[job()], pods=[make.pod(gate=make.RUNNING, migrate=make.RUNNING)]),
    ],
)
def test_the_builders_refuse_what_cannot_be(impossible: object) -> None:
    with pytest.raises(make.Impossible):
        impossible()  # type: ignore[operator]


# Conditions and status in time ----------------------------------------------------------------------------------------


def test_the_transition_time_stays_while_the_status_does() -> None:
    first = make.status_of(make.decided(look(shop(), HELD)), look(shop(), HELD))
    later = look(shop(status=first), HELD, **running(make.pod_running()))
    after = make.status_of(make.decided(later, make.in_(60)), later)
    assert make.condition(after).reason != make.condition(first).reason
    assert make.condition(after).last_transition_time == make.condition(first).last_transition_time
    gone = look(shop(status=after), OUT)
    assert make.condition(make.status_of(make.decided(gone, make.in_(90)), gone)).last_transition_time == make.ago(-90)


def test_the_generation_is_the_one_that_was_read() -> None:
    found = look(shop(status=DONE, generation=8), OUT)
    after = make.status_of(make.decided(found), found)
    assert {after.observed_generation, *(one.observed_generation for one in after.conditions)} == {8}


@pytest.mark.parametrize("many", [0, 1, 64, 65, 70])
def test_every_hold_is_counted_and_the_first_are_listed(many: int) -> None:
    run = {"command": make.COMMAND, "deployment": "shop-0"}
    found = look(shop(run=run, suspend=True), *(deployment("v2", "v1", name=f"shop-{number}") for number in range(many)))
    after = make.status_of(make.decided(found), found)
    assert (after.held_count, len(after.held)) == (many, min(many, 64))
    assert models.dump_status(after)["heldCount"] == many, "the column shows 0 too"


def test_messages_of_any_length_fit() -> None:
    long = "x" * 5000
    for found in (
        look(shop(run={"command": make.COMMAND, "deployment": "shop-api"}), HELD, deployment("v3" + long, "", name="w")),
        look(shop(status=RUNS), HELD, jobs=[job(age=99)], job_events=long),
        look(shop(status=RUNS), HELD, **running(make.pod_ended(1, make.report(Reason.FAILED), migrate=long))),
        look(shop(suspend=True), *(deployment("v" * 60, "", name=f"a-{number}") for number in range(80))),
    ):
        assert len(make.message(found)) <= 1024


GARBAGE: list[Json] = [
    {"conditions": [{"type": "Ready", "status": "Maybe"}]},
    {"attempt": {"number": -1, "job": "x", "version": "v"}},
    {"attempt": {"number": 1, "job": "shop-1", "version": "v2", "finishedAt": "long ago", "reason": "LockTimeout"}},
    {"settling": {"key": "k", "since": "12:00"}},
    {"conditions": [{"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": "now"}]},
    {"history": [{"version": "v1", "outcome": "Perhaps"}]},
    {"held": "shop-api", "heldCount": "many"},
]


@pytest.mark.parametrize("status", GARBAGE)
def test_a_status_that_cannot_be_read_is_written_anew(status: Json) -> None:
    """With everything that the cluster itself can tell."""
    found = look(shop(status=status), HELD)
    after = make.status_of(make.decided(found), found)
    assert (after.held_count, after.version) == (1, "v2")
    assert [(one.deployment, one.version) for one in after.held] == [("shop-api", "v2")]
    assert after.released is not None and after.released.version == "v1"
    assert after.attempt is not None and after.attempt.number == 1


def test_a_partial_status_keeps_what_it_has() -> None:
    found = look(shop(status={"history": [{"version": "v1", "outcome": "Applied", "row": 1}], "somethingNew": True}), HELD)
    after = make.status_of(make.decided(found), found)
    assert [one.version for one in after.history] == ["v1"]


@pytest.mark.parametrize(
    ("status", "one", "wanted"),
    [
        (None, deployment("v2", "v2"), "v2"),
        (None, deployment("v2", "v1"), "v1"),
        (None, deployment("v2", ""), None),
        (make.status(released=make.out("v1")), deployment("v2", "v2"), "v2"),
        (make.status(released=make.out("v9")), deployment("v2", ""), "v9"),
        (None, deployment("v2", "v2", by="ann v2"), "v2"),
    ],
    ids=["status lost", "status lost while held", "new", "cut off after the release", "made again", "by hand"],
)
def test_released_is_what_the_source_may_run(status: models.Status | None, one: Json, wanted: str | None) -> None:
    found = look(shop(status=status, suspend=True), one)
    after = make.status_of(make.decided(found), found)
    assert (after.released.version if after.released else None) == wanted


# Events and marks -----------------------------------------------------------------------------------------------------


def told(found: make.Observed) -> list[tuple[str, str, str]]:
    return [(one.type, one.reason, one.deployment) for one in make.decided(found).events]


def test_events_of_an_upgrade() -> None:
    both = [("Normal", "Held", ""), ("Normal", "Held", "shop-api")]
    started = [("Normal", "MigrationStarted", ""), ("Normal", "MigrationStarted", "shop-api")]
    assert told(look(shop(), HELD)) == both + started
    knows = RUNS.model_copy(update={"held": [models.Held(deployment="shop-api", version="v2")], "held_count": 1})
    assert told(look(shop(status=knows), HELD, **running(make.pod_locking()))) == []
    assert told(look(shop(status=knows), HELD, **running(make.pod_succeeded()))) == [
        ("Normal", "MigrationSucceeded", ""), ("Normal", "MigrationSucceeded", "shop-api"),
        ("Normal", "Released", ""), ("Normal", "Released", "shop-api"),
    ]  # fmt: skip
    assert told(look(shop(status=knows), HELD, **running(make.pod_failed()))) == [
        ("Warning", "MigrationFailed", ""), ("Warning", "MigrationFailed", "shop-api")
    ]  # fmt: skip
    # Evicted before the start: nothing failed, and the next attempt comes by itself.
    assert told(look(shop(status=knows), HELD, **running(make.pod_refused(Reason.WITHDRAWN)))) == [
        ("Normal", "AttemptGone", ""), ("Normal", "AttemptGone", "shop-api")
    ]  # fmt: skip


def test_a_literal_url_is_warned_of() -> None:
    one = deployment("v2", "v1")
    one["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "URL", "value": "postgres://app:secret@db/shop"}]
    events = make.decided(look(shop(database={"env": "URL"}), one)).events
    [warning] = [event for event in events if event.reason == "LiteralDatabaseUrl"]
    assert "'URL'" in warning.message and "secret@" not in warning.message


def test_a_failure_is_marked_on_what_is_held_for_it() -> None:
    failing = failed("MigrationFailed")
    [mark] = make.writes(make.decided(look(shop(status=failing), HELD)), decision.MarkFailed)
    assert (mark.deployment, mark.version) == ("shop-api", "v2")
    marked = deployment("v2", "v1", failed="v2")
    assert make.writes(make.decided(look(shop(status=failing), marked)), decision.MarkFailed) == []
    mine = deployment("v2", "v1", paused=True)
    assert make.writes(make.decided(look(shop(status=failing), mine)), decision.MarkFailed) == []


def test_what_was_resumed_while_we_were_uninstalled_is_adopted() -> None:
    """The mark goes, and with that write admission drops the rest of the hold: `MigrationFailed` would stay for ever."""
    failing, resumed = shop(status=failed("MigrationFailed")), deployment("v2", "v1", failed="v2", rolled_out=True)
    held = look(failing, resumed)
    del resumed["spec"]["paused"]  # which admission lets nobody do while it is there
    found = dataclasses.replace(held, deployments=(observed.Deployment.of(resumed),))
    assert make.state(found) == ("stalled", "MigrationFailed")
    [mark] = make.writes(make.decided(found), decision.MarkFailed)
    assert (mark.deployment, mark.version) == ("shop-api", "")
    before = hold.state_of(resumed)
    write = hold.Write(hold.Operation.UPDATE, before, dataclasses.replace(before, failed=""), user_is_operator=True)
    adopted = look(failing, hold.apply_state(resumed, hold.admit(write).state))
    assert names.HELD not in adopted.deployments[0].raw["metadata"]["annotations"]
    assert make.state(adopted) == ("ready", "Adopted")
    assert make.writes(make.decided(adopted), decision.MarkFailed) == []


def test_old_jobs_go_and_finished_ones_get_an_owner() -> None:
    jobs = [job(number, finished=True, owned=number < 4) for number in (1, 2, 3, 4)]
    made = make.decided(look(shop(status=DONE), OUT, jobs=jobs))
    assert [one.name for one in make.writes(made, decision.OwnJob)] == ["shop-4"]
    assert [(one.name, one.uid) for one in make.writes(made, decision.DeleteJob)] == [("shop-1", "uid-job-1")]
    unfinished = make.decided(look(shop(status=RUNS), HELD, jobs=[job()], pods=[make.pod_running()]))
    assert make.writes(unfinished, decision.OwnJob) == []
    another = make.decided(look(shop(status=DONE), OUT, jobs=[job(finished=True, uid="another")]))
    assert make.writes(another, decision.OwnJob) == []
