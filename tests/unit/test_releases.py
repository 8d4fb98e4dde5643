"""What may go out without a gate (a step back), what needs one, and what is remembered for it."""

from __future__ import annotations

import itertools
import random

import pytest

from schemahold.api import models
from schemahold.api.pod import Reason
from schemahold.core import decision, releases
from tests.unit import make
from tests.unit.make import DATABASE, OTHER_DATABASE, applied, attempt, deployment, job, look, migration, out

ADOPTED = "(v0)"


def one(version: str, row: int | None = None, outcome: str = "Applied", database: str = DATABASE) -> models.Applied:
    return models.Applied(version=version, row=row, outcome=outcome, database=database)  # type: ignore[arg-type]


def names_of(history: list[models.Applied]) -> list[str]:
    return [entry.version for entry in history]


# Steps back -----------------------------------------------------------------------------------------------------------


def steps_back(wanted: str, approved: str, **status: object) -> bool:
    """Whether a Deployment that waits for ``wanted`` goes out by status alone, whatever ``spec.version`` is."""
    found = [
        look(migration(version, status=make.status(**status), settle="0s"), deployment(wanted, approved))  # type: ignore[arg-type]
        for version in (wanted, "v99")
    ]
    goes = [bool(make.released(each)) for each in found]
    assert goes[0] == goes[1]
    assert goes[0] or make.starts(found[0]) is not None, "what does not step back asks the ledger"
    return goes[0]


TABLE = [
    # wanted, released last, history, does it step back
    ("v1", "v2", ["v1", "v2"], True),
    ("v0", "v2", [ADOPTED, "v1", "v2"], True),
    ("v1", "v3", ["v1", "v2", "v3"], True),
    ("v2", "v1", ["v1", "v2"], False),  # forward again
    ("v2", "v2", ["v1", "v2"], False),  # the same: it was deleted and made again
    ("v3", "v2", ["v1", "v2", "v3"], False),  # applied, and never released
    ("v1", "v0", [ADOPTED, "v1"], False),
    ("v9", "v2", ["v1", "v2"], False),  # never applied
    ("v1", "v2", ["v1"], False),  # nothing is known of what runs
    ("v1", "v2", [], False),
    ("v1", None, ["v1", "v2"], False),
]


@pytest.mark.parametrize(("wanted", "last", "history", "yes"), TABLE)
def test_steps_back(wanted: str, last: str | None, history: list[str], yes: bool) -> None:
    released = out(last) if last else None
    approved = "" if last == wanted else last or "v5"
    assert steps_back(wanted, approved, history=applied(*history), released=released) is yes


def test_the_database_reference_must_be_the_same() -> None:
    status = {"history": applied("v1", "v2"), "released": out("v2")}
    assert steps_back("v1", "v2", **status)
    assert not steps_back("v1", "v2", **{**status, "released": out("v2", OTHER_DATABASE)})
    assert not steps_back("v1", "v2", **{**status, "history": applied("v1", "v2", database=OTHER_DATABASE)})
    shop = migration("v1", status=make.status(**status), database=make.OTHER_URL, settle="0s")  # type: ignore[arg-type]
    moved = look(shop, deployment("v1", "v2"))
    assert make.released(moved) == [] and make.starts(moved) is not None


def test_a_step_back_says_what_is_released() -> None:
    status = make.status(attempt("Applied", released=True), history=applied("v1", "v2"), released=out("v2"))
    found = look(migration("v1", status=status), deployment("v1", "v2"))
    made = make.decided(found)
    assert make.writes(made, decision.CreateJob) == []
    after = make.status_of(made, found)
    assert after.released is not None and after.released.version == "v1"
    assert after.released.at is not None
    assert names_of(after.history) == ["v1", "v2"], "and both stay applied"
    assert make.state(found) == ("busy", "RollingOut")


def test_a_step_back_to_another_version_than_the_resources_is_quiet_afterwards() -> None:
    """The Deployment was rolled back first, and the resource comes a moment later."""
    status = make.status(attempt("Applied", released=True), history=applied("v1", "v2"), released=out("v2"))
    found = look(migration("v2", status=status), deployment("v1", "v2"))
    assert make.released(found) == ["shop-api"]
    after = make.status_of(make.decided(found), found)
    again = look(migration("v2", status=after), deployment("v1", "v1", rolled_out=False))
    assert make.decided(again).writes == ()


@pytest.mark.parametrize("cut_off", [False, True], ids=["in one look", "a crash after the source's release"])
def test_a_follower_steps_back_as_soon_as_its_source_is_out(cut_off: bool) -> None:
    """It waits for v2, which is a step back from v3, and status has not heard of v3's release yet."""
    status = make.status(attempt("Applied", version="v3"), history=applied("v1", "v2", "v3"), released=out("v1"))
    shop = migration("v3", status=status, run={"command": make.COMMAND, "deployment": "shop-api"})
    source = deployment("v3", "v3" if cut_off else "v1")
    found = look(shop, source, deployment("v2", "v1", name="worker"))
    assert make.released(found) == (["worker"] if cut_off else ["shop-api", "worker"])


BY_HAND = {"by": "John Doe v3"}


def test_after_break_glass_everything_applied_is_older() -> None:
    status = make.status(history=applied("v1", "v2"), released=out("v3"))
    back = deployment("v2", "v3", **BY_HAND)
    assert make.released(look(migration("v2", status=status), back)) == ["shop-api"]
    assert make.released(look(migration("v2", status=status), deployment("v2", "v3", by="ann v2"))) == []


def test_break_glass_is_released() -> None:
    found = look(migration("v3", status=make.status(released=out("v2"))), deployment("v3", "v3", **BY_HAND))
    after = make.status_of(make.decided(found), found)
    assert after.released is not None and (after.released.version, after.released.database) == ("v3", DATABASE)


# Forward: a success lets a version go once ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "held", "goes"),
    [
        (attempt("Applied"), "v2", True),
        (attempt("AlreadyApplied"), "v2", True),
        (attempt("Applied", released=True), "v2", False),
        (attempt("Applied", version="v1"), "v2", False),
        (attempt("MigrationFailed"), "v2", False),
        (attempt("OutcomeUnknown"), "v2", False),
        (attempt("Applied", inputs="other"), "v2", False),
        (attempt("Applied", database=OTHER_DATABASE), "v2", False),
        (attempt(), "v2", False),
        (None, "v2", False),
    ],
)
def test_covered(last: models.Attempt | None, held: str, goes: bool) -> None:
    jobs, pods = ([job()], [make.pod_running()]) if last is not None and not last.finished_at else ([], [])
    found = look(migration("v2", status=make.status(last)), deployment(held, "v1"), jobs=jobs, pods=pods)
    assert bool(make.released(found)) is goes


def test_used_up_when_nothing_of_it_is_held() -> None:
    found = look(migration("v2", status=make.status(attempt("Applied"))), deployment("v2", "v1"))
    used = make.status_of(make.decided(found), found).attempt
    assert used is not None and used.released
    gone = look(migration("v3", status=make.status(attempt("Applied"))), deployment("v1", "v1"))
    used = make.status_of(make.decided(gone), gone).attempt
    assert used is not None and used.released, "nobody wanted it any more; later its ledger is asked again"


@pytest.mark.parametrize("version, used", [("v2", False), ("v1", True)], ids=["it waits", "nobody wants it any more"])
def test_while_suspended_a_success_is_kept_for_whoever_waits_for_it(version: str, used: bool) -> None:
    found = look(migration("v2", status=make.status(attempt("Applied")), suspend=True), deployment(version, "v1"))
    kept = make.status_of(make.decided(found), found).attempt
    assert kept is not None and kept.released is used


def test_a_release_names_what_it_was_decided_on() -> None:
    done = make.status(attempt("Applied"))
    [held] = make.writes(make.decided(look(migration("v2", status=done), deployment("v2", "v1"))), decision.Release)
    assert (held.version, held.held, held.resource_version) == ("v2", True, "50")
    paused = deployment("v2", "v1", paused=True)
    [mine] = make.writes(make.decided(look(migration("v2", status=done), paused)), decision.Release)
    assert (mine.version, mine.held) == ("v2", False)


# Adopted --------------------------------------------------------------------------------------------------------------


def test_what_ran_before_us_is_remembered_while_it_runs() -> None:
    first = look(migration("v2"), deployment("v2", "v0", adopted="v0"))
    after = make.status_of(make.decided(first), first)
    assert [(each.version, each.outcome, each.database) for each in after.history] == [("v0", "Adopted", DATABASE)]
    ask = make.starts(first)
    assert ask is not None and ask.adopted == "v0"


@pytest.mark.parametrize("known", [[ADOPTED, "v1"], []], ids=["remembered", "status lost"])
def test_adoption_says_nothing_about_a_later_database(known: list[str]) -> None:
    """It ran on the first one; the annotation outlives the move to another."""
    shop = migration("v2", status=make.status(history=applied(*known)), database=make.OTHER_URL)
    found = look(shop, deployment("v2", "v1", adopted="v0"))
    after = make.status_of(make.decided(found), found)
    assert {each.database for each in after.history if each.version == "v0"} <= {DATABASE}


# History --------------------------------------------------------------------------------------------------------------


def test_history_is_in_the_order_of_the_ledgers_rows() -> None:
    entries = [one(f"v{row}", row) for row in range(1, 8)]
    for seed in range(20):
        mixed = random.Random(seed).sample(entries, len(entries))
        history: list[models.Applied] = []
        for entry in mixed:
            history = releases.remember(history, entry)
        assert history == entries


def test_history_is_bounded_and_drops_the_oldest() -> None:
    history: list[models.Applied] = []
    for row in range(1, 30):
        history = releases.remember(history, one(f"v{row}", row))
    assert names_of(history) == [f"v{row}" for row in range(20, 30)]
    assert releases.remember(history, one("v0", None, "Adopted")) == history


REMEMBERED = [
    # what is there, what comes, what is there then
    ([one("v1", 1)], one("v1", None), [one("v1", 1)]),
    ([one("v1", None)], one("v1", 1), [one("v1", 1)]),
    ([one("v1", 1)], one("v1", 1), [one("v1", 1)]),
    ([one("v1", 1), one("v2", 2)], one("v1", 9), [one("v2", 2), one("v1", 9)]),  # run again after a restore
    ([one("v0", None, "Adopted")], one("v0", 3), [one("v0", 3)]),
    ([one("v0", 3)], one("v0", None, "Adopted"), [one("v0", 3)]),
    ([one("v1", 1)], one("v0", None, "Adopted"), [one("v0", None, "Adopted"), one("v1", 1)]),
    ([one("v1", 1)], one("v1", 1, database="other"), [one("v1", 1), one("v1", 1, database="other")]),
    # a row that was never learned keeps its place, so what came later stays later
    ([one("v1", 1), one("v2", None)], one("v3", 3), [one("v1", 1), one("v2", None), one("v3", 3)]),
    ([one("v1", 1), one("v2", None), one("v3", 3)], one("v2", 2), [one("v1", 1), one("v2", 2), one("v3", 3)]),
    # rows of another database say nothing about the order here
    ([one("v1", 50, database="other")], one("v2", 3), [one("v1", 50, database="other"), one("v2", 3)]),
]


@pytest.mark.parametrize(("before", "entry", "after"), REMEMBERED)
def test_remember(before: list[models.Applied], entry: models.Applied, after: list[models.Applied]) -> None:
    assert releases.remember(before, entry) == after
    assert releases.remember(after, entry) == after, "twice is once"


def test_no_order_of_events_lets_a_later_version_pass_for_an_earlier_one() -> None:
    """Rows of some successes are never learned (the pod went too early); then the gate is asked once too often at most."""
    for unknown in itertools.product([True, False], repeat=3):
        history: list[models.Applied] = []
        for row, is_unknown in enumerate(unknown, 1):
            history = releases.remember(history, one(f"v{row}", None if is_unknown else row))
        for older, newer in itertools.combinations(("v1", "v2", "v3"), 2):
            assert not releases.may_step_back(newer, out(older), history, DATABASE)
            assert releases.may_step_back(older, out(newer), history, DATABASE)


# Another ledger -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pod",
    [
        make.pod_ended(0, make.report(Reason.SUCCEEDED, row=1, ledger="ledger-2")),
        make.pod_ended(1, make.report(Reason.FAILED, row=1, exit_code=1, ledger="ledger-2")),
        make.pod_refused(Reason.LOCK_TIMEOUT, ledger="ledger-2"),
    ],
    ids=["succeeded", "failed", "lock timeout"],
)
def test_another_ledger_forgets_what_was_applied_in_the_last_one(pod: make.Json) -> None:
    """Whatever came of the attempt: nothing is known there of versions that the lost one had seen."""
    status = make.status(
        attempt(any_ledger=True), history=applied("v0", "v1"), released=out("v1"), ledger={"uuid": "ledger-1"}
    )
    found = look(migration("v2", status=status), deployment("v2", "v1"), jobs=[job()], pods=[pod])
    after = make.status_of(make.decided(found), found)
    assert after.ledger == models.Ledger(uuid="ledger-2")
    assert {"v0", "v1"}.isdisjoint(names_of(after.history))
    back = look(migration("v0", status=after), deployment("v0", "v1"))
    assert make.released(back) == []


def test_a_lost_ledger_is_not_taken_for_the_new_one() -> None:
    status = make.status(attempt(), history=applied("v0", "v1"), ledger={"uuid": "ledger-1"})
    pod = make.pod_refused(Reason.LEDGER_LOST, ledger="ledger-2")
    found = look(migration("v2", status=status), deployment("v2", "v1"), jobs=[job()], pods=[pod])
    after = make.status_of(make.decided(found), found)
    assert after.ledger == models.Ledger(uuid="ledger-1") and names_of(after.history) == ["v0", "v1"]


def test_the_next_attempt_expects_the_ledger_that_answered() -> None:
    def ask(**more: object) -> str:
        status = make.status(attempt("LockTimeout", tries=1, finished_at=make.ago(99), **more), ledger={"uuid": "ledger-1"})
        found = make.starts(look(migration("v2", status=status, settle="0s"), deployment("v2", "v1")))
        assert found is not None
        return found.expected_ledger

    assert ask() == "ledger-1"
    assert ask(any_ledger=True) == "", "a person has accepted any, and no gate has heard it yet"


def test_the_first_ledger_is_expected_even_when_its_name_comes_late() -> None:
    """lock's report is read in the same look that starts the next attempt."""
    done = make.status(attempt("Applied", released=True))
    found = look(
        migration("v3", status=done),
        deployment("v3", "v2"),
        jobs=[job(finished=True)],
        pods=[make.pod_succeeded(row=4, phase="Succeeded")],
    )
    ask = make.starts(found)
    assert ask is not None and ask.expected_ledger == "ledger-1"
    assert [(each.version, each.row) for each in make.status_of(make.decided(found), found).history] == [("v2", 4)]
