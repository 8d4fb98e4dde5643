"""What holds for every write, by enumeration of all small states, reachable or not.

Two versions, two migrations and no label, every mark present, absent or stale; every pair of an old and a new
object, written by everyone. A law that fails prints the write.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from schemahold.core import hold
from schemahold.core.hold import Operation, Outcome, State, Write

LABELS = (None, "shop", "other")
VERSIONS = ("1", "2")
MARKS = ("", "1", "2")
USERS: dict[str, dict[str, Any]] = {
    "editor": {"username": "editor"},
    "approver": {"username": "approver", "user_may_approve": True},
    "operator": {"username": "operator", "user_is_operator": True},
}
RECORDS = ("adopted", "break_glass_by", "failed")


def states() -> list[State]:
    """Everything that decides about the hold; the records, which decide nothing, stay empty."""
    fields = itertools.product(LABELS, VERSIONS, (False, True), MARKS, MARKS, ("", "reason"))
    return [
        State(migration=label, version=version, paused=paused, approved=approved, held=held, break_glass=reason)
        for label, version, paused, approved, held, reason in fields
    ]


def recorded_states(mark: str) -> list[State]:
    """Few holds, all records: what is carried over, dropped or forged."""
    fields = itertools.product(LABELS, VERSIONS, ("", "1"), ("", mark), ("", mark), ("", mark), ("", mark))
    return [
        State(
            migration=label, version=version, paused=held != "", approved="1", held=held,
            adopted=adopted, break_glass_by=by, failed=failed, break_glass=reason,
        )
        for label, version, held, adopted, by, failed, reason in fields
    ]  # fmt: skip


def writes() -> Iterator[Write]:
    for old, new in itertools.chain(
        itertools.product(states(), states()), itertools.product(recorded_states("a"), recorded_states("b"))
    ):
        if old.migration is not None or new.migration is not None:
            for user in USERS.values():
                yield Write(Operation.UPDATE, old, new, **user)
    for new in (*states(), *recorded_states("b")):
        if new.migration is not None:
            for user in USERS.values():
                yield Write(Operation.CREATE, None, new, **user)


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[Write, Outcome]]:
    return [(write, hold.admit(write)) for write in writes()]


Outcomes = list[tuple[Write, Outcome]]


def old_of(write: Write) -> State:
    return write.old or State()


def same_migration(write: Write) -> bool:
    old = old_of(write)
    return old.migration is not None and old.migration == write.new.migration


def is_held(state: State) -> bool:
    return state.paused and state.held != ""


def breaks_glass(write: Write) -> bool:
    """Told anew, on purpose: the law must not ask the code under test."""
    old, new = old_of(write), write.new
    changes = new.break_glass != "" and new.break_glass != old.break_glass and new.version == old.version
    return same_migration(write) and is_held(old) and changes and write.user_may_approve


def test_there_are_many(outcomes: Outcomes) -> None:
    assert len(outcomes) > 100_000
    assert sum(outcome.denied is not None for _, outcome in outcomes) > 1_000
    assert sum(breaks_glass(write) for write, _ in outcomes) > 100


def test_an_opted_in_deployment_is_paused_or_approved(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        state = outcome.state
        if state.migration is not None:
            assert state.paused or state.approved == state.version != "", (write, state)


def test_idempotent_under_reinvocation(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        again = hold.mutated(replace(write, new=outcome.state))
        assert again == outcome.state, (write, outcome.state, again)


@pytest.mark.exhaustive
def test_the_write_of_what_is_stored_changes_nothing(outcomes: Outcomes) -> None:
    """By whomever: else Flux and Argo CD would see a drift."""
    for write, outcome in outcomes:
        if outcome.denied is None:
            for user in USERS.values():
                again = Write(Operation.UPDATE, outcome.state, outcome.state, **user)
                assert hold.admit(again).state == outcome.state, (write, again)
                assert hold.admit(again).denied is None, (write, again)


def test_the_net_refuses_only_two_things(outcomes: Outcomes) -> None:
    """The label removed while held, without the verb; the operator approving something else."""
    for write, outcome in outcomes:
        old, new = old_of(write), write.new
        leaves = is_held(old) and new.migration is None and new.version != old.approved
        forbidden = leaves and not write.user_may_approve
        approves = write.user_is_operator and write.operation == Operation.UPDATE and new.approved != old.approved
        runs = old.version if not old.paused else None
        mistaken = new.migration is not None and approves and new.approved not in ("", new.version, runs)
        if outcome.denied:
            assert forbidden or mistaken, (write, outcome)
        assert not forbidden or outcome.denied, (write, outcome)


def test_the_net_alone_keeps_the_invariant(outcomes: Outcomes) -> None:
    """As if the mutating policy were not there: what the net lets through unchanged."""
    for write, _ in outcomes:
        new = write.new
        if new.migration is not None and hold.net_denies(write, new) is None:
            assert new.paused or new.approved == new.version, write
            allowed = {"", old_of(write).version if not old_of(write).paused else ""}
            allowed |= {old_of(write).approved} if same_migration(write) else set()
            allowed |= {new.version} if breaks_glass(write) else set()
            allowed |= {new.version} if write.user_is_operator and write.operation == Operation.UPDATE else set()
            assert new.approved in allowed, write


def test_the_net_alone_lets_no_mark_be_forged(outcomes: Outcomes) -> None:
    for write, _ in outcomes:
        old, new = old_of(write), write.new
        if new.migration is None or hold.net_denies(write, new) is not None:
            continue
        carried = old if same_migration(write) else State()
        by = f"{write.username} {new.version}" if breaks_glass(write) else carried.break_glass_by
        operators = write.user_is_operator and write.operation == Operation.UPDATE
        assert new.held == "" or (new.paused and new.held == new.version), write
        assert new.adopted in ("", carried.adopted) or (not old.paused and new.adopted == old.version), write
        assert new.break_glass_by in ("", by), write
        assert operators or new.failed in ("", carried.failed), write


def test_nobody_else_approves(outcomes: Outcomes) -> None:
    """A version is approved by the operator, by a break-glass that counts, or because it ran or was approved."""
    for write, outcome in outcomes:
        old, state = old_of(write), outcome.state
        if state.migration is None or state.approved == "":
            continue
        by_operator = write.user_is_operator and write.operation == Operation.UPDATE and state.approved == write.new.approved
        ran = not old.paused and state.approved == old.version
        kept = old.paused and same_migration(write) and state.approved == old.approved
        assert by_operator or breaks_glass(write) or ran or kept, (write, state)


def test_nobody_else_starts_a_held_version(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        old, state = old_of(write), outcome.state
        if outcome.denied or not is_held(old) or state.paused or state.version == old.approved:
            continue
        approved = write.user_is_operator and write.new.approved == state.version
        assert approved or breaks_glass(write), (write, state)


def test_a_version_never_starts_in_the_write_that_brings_it(outcomes: Outcomes) -> None:
    """Not even with the verb: break-glass takes a write of its own."""
    for write, outcome in outcomes:
        old, state = old_of(write), outcome.state
        if state.migration is None or state.version in (old.version, old.approved) or write.user_is_operator:
            continue
        assert state.paused, (write, state)


def test_a_write_that_changes_no_version_never_pauses_what_runs(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        old, new = old_of(write), write.new
        if old.version == new.version and not old.paused and not new.paused and not outcome.denied:
            assert not outcome.state.paused, (write, outcome)


def test_a_rollback_to_what_runs_needs_no_operator(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        old, new = old_of(write), write.new
        if is_held(old) and same_migration(write) and new.version == old.approved and not write.user_is_operator:
            assert not outcome.state.paused and outcome.state.held == "" and not outcome.denied, (write, outcome)


def test_a_rollback_together_with_the_label_s_removal_is_free(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        old, new = old_of(write), write.new
        if is_held(old) and new.migration is None and new.version == old.approved:
            assert not outcome.state.paused and not outcome.denied, (write, outcome)


def test_the_user_s_own_pause_is_left_alone(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        if write.new.paused and not write.new.held and not is_held(old_of(write)):
            assert outcome.state.paused and outcome.state.held == "", (write, outcome)


def test_held_marks_our_pause_and_the_version(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        state = outcome.state
        if state.held:
            assert state.paused and state.held == state.version, (write, state)
            assert state.approved != state.version, (write, state)
        if state.migration is not None and state.paused and not write.new.paused:
            assert state.held == state.version, (write, state)


def test_what_we_hold_never_becomes_the_user_s_own_pause(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        if is_held(old_of(write)) and outcome.state.migration is not None and outcome.state.paused:
            assert outcome.state.held == outcome.state.version, (write, outcome)


def test_a_create_carries_nothing_over(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        if write.operation == Operation.CREATE:
            state = outcome.state
            assert state.paused and state.approved == "", (write, state)
            assert (state.adopted, state.break_glass_by, state.failed) == ("", "", ""), (write, state)
            assert state.held == state.version or (write.new.paused and not write.new.held), (write, state)


def test_records_come_from_nobody_s_manifest(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        old, new, state = old_of(write), write.new, outcome.state
        if state.migration is None:
            continue
        carried = old if same_migration(write) else State()
        operators = write.user_is_operator and write.operation == Operation.UPDATE
        assert state.adopted in (carried.adopted, old.version if not old.paused else carried.adopted), (write, state)
        assert state.failed == (new.failed if operators else carried.failed), (write, state)
        by = f"{write.username} {new.version}" if breaks_glass(write) else carried.break_glass_by
        assert state.break_glass_by == by, (write, state)
        assert state.break_glass == new.break_glass, "a person's, and left alone"


def test_adoption_is_of_what_ran_unapproved(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        old, state = old_of(write), outcome.state
        if state.migration is None or old.version == "":
            continue
        ours = same_migration(write) and old.approved == old.version
        if not old.paused and not ours:
            assert state.adopted == old.version, (write, state)
        else:
            assert state.adopted == (old.adopted if same_migration(write) else ""), (write, state)


def test_an_approval_belongs_to_its_migration(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        old, state = old_of(write), outcome.state
        if state.migration is not None and not same_migration(write) and old.paused and not write.user_is_operator:
            assert state.paused and state.approved == "", (write, state)


def test_without_the_label_nothing_of_ours_is_left(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        state = outcome.state
        if state.migration is None and not outcome.denied:
            assert {getattr(state, field) for field in hold.OWNED} == {""}, (write, state)
            started = old_of(write).paused and not state.paused and state.version != old_of(write).approved
            assert not (started and is_held(old_of(write))), (write, state)


def test_only_paused_and_the_annotations_are_touched(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        state = outcome.state
        assert (state.migration, state.version) == (write.new.migration, write.new.version), (write, state)


def test_whoever_is_held_or_denied_is_told_why(outcomes: Outcomes) -> None:
    for write, outcome in outcomes:
        waits = outcome.state.migration is not None and outcome.state.approved != outcome.state.version
        if outcome.denied or write.user_is_operator:
            assert outcome.warnings == (), (write, outcome)
        elif waits:
            assert outcome.warnings, (write, outcome)


def test_a_status_write_moves_nothing_of_ours() -> None:
    for old, new in itertools.product(recorded_states("a"), recorded_states("b")):
        state = hold.restored_on_status(old, new)
        kept = old if old.migration is not None else new
        assert {f: getattr(state, f) for f in hold.ANNOTATIONS} == {f: getattr(kept, f) for f in hold.ANNOTATIONS}
        assert hold.restored_on_status(old, state) == state
