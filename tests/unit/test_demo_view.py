"""The demo's picture, from snapshots alone: what it says, and that it fits."""

from __future__ import annotations

import dataclasses
import io

import pytest
from examples.demo import checks, view
from examples.demo.acts import ACTS
from examples.demo.checks import Check, Looks
from examples.demo.snapshot import (
    Attempt,
    Container,
    Contract,
    Deployment,
    Lock,
    Pods,
    ReplicaSet,
    Row,
    Snapshot,
    Status,
    Traffic,
)
from examples.demo.view import Scene
from rich.console import Console, RenderableType

APPLIED = Snapshot(
    seconds=20.0,
    deployment=Deployment("v1", 2, approved="v1"),
    replica_sets=(ReplicaSet("shop-7f4b6d7b5b", "v1", 2, 2),),
    pods={"v1": Pods(2, 2, 2)},
    attempts=1,
    attempt=Attempt(1, "shop-1", "v1", tuple(Container(name, "done", "exit 0") for name in ("lock", "gate", "migrate"))),
    status=Status("v1", ready=True, reason="Applied", message="Version 'v1' is applied and rolled out.", current=True),
    rows=(Row(1, "v1", "succeeded", 0, "shop-1-aaaaa"),),
    traffic=Traffic(120, 0, {"v1": 120}),
)
HELD = dataclasses.replace(
    APPLIED,
    seconds=83.4,
    deployment=Deployment("v2", 2, paused=True, held="v2", approved="v1"),
    attempts=2,
    attempt=Attempt(
        2,
        "shop-2",
        "v2",
        (Container("lock", "running", "4 s"), Container("gate", "done", "exit 0"), Container("migrate", "running", "2 s")),
    ),
    status=Status("v2", reason="Running", message="Job 'shop-2' runs the migration to version 'v2'.", current=True),
    lock=Lock(31891, "schemahold lock demo/shop", "shop-2-bfml8"),
    rows=(*APPLIED.rows, Row(2, "v2", "running", None, "shop-2-bfml8")),
    traffic=Traffic(300, 0, {"v1": 300}),
)
FAILED = dataclasses.replace(
    HELD,
    deployment=Deployment("v3", 2, paused=True, held="v3", approved="v2"),
    status=Status(
        "v3",
        stalled=True,
        reason="MigrationFailed",
        message="Context impl PostgresqlImpl.\nthe migration to v3 failed: could not create unique index "
        '"orders_reference_key" DETAIL: Key (reference)=(ORD-20261122) is duplicated.\n',
        current=True,
    ),
    lock=None,
    rows=tuple(Row(n, f"v{n}", "failed" if n == 3 else "succeeded", int(n == 3), "") for n in (1, 2, 3)),
)
WAITS_FOR = "Pods of other versions than 'v2' are still there: 'customers-6d4-x2x' (version 'v1', terminating)."
EXPANDED = dataclasses.replace(
    APPLIED,
    app="customers",
    deployment=Deployment("v2", 2, approved="v2"),
    replica_sets=(ReplicaSet("customers-6d4f8b", "v2", 2, 2),),
    pods={"v1": Pods(1, 0, 0), "v2": Pods(2, 2, 2)},
    attempts=3,
    attempt=Attempt(3, "customers-3", "v2", (Container("migrate", "done", "exit 0"),)),
    status=Status(
        "v2",
        ready=True,
        reason="Applied",
        message="Version 'v2' is applied and rolled out.",
        current=True,
        contract=Contract(reason="WaitingForPods", message=WAITS_FOR),
    ),
    rows=(Row(1, "v1", "succeeded", 0, ""), Row(2, "v2", "succeeded", 0, "")),
    has_legacy_name=True,
)
CONTRACTED = dataclasses.replace(
    EXPANDED,
    pods={"v2": Pods(2, 2, 2)},
    attempts=4,
    attempt=Attempt(4, "customers-4", "v2", (Container("migrate", "done", "exit 0"),), phase="contract"),
    status=dataclasses.replace(EXPANDED.status, contract=Contract(True, "Contracted", "The contract of 'v2' is done.")),
    rows=(*EXPANDED.rows, Row(3, "v2", "succeeded", 0, "", phase="contract")),
    has_legacy_name=False,
)
EMPTY = Snapshot()
SIX = [Check(2, f"check {n}", "0", "0", n % 2 == 0) for n in range(6)]


def text(shown: RenderableType, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, color_system=None, legacy_windows=False)
    console.print(shown)
    return console.export_text().splitlines()


def scene(number: int = 2, found: list[Check] | None = None, doing: str = "") -> Scene:
    act = ACTS[number - 1]
    return Scene(act.number, len(ACTS), act.title, act.text, doing, found or [])


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (200, 60)])
@pytest.mark.parametrize("number", range(1, len(ACTS) + 1))
@pytest.mark.parametrize(
    "now",
    [EMPTY, APPLIED, HELD, FAILED, EXPANDED, CONTRACTED],
    ids=["empty", "applied", "held", "failed", "expanded", "contracted"],
)
def test_the_picture_fits_with_every_check_in_it(now: Snapshot, number: int, width: int, height: int) -> None:
    lines = text(view.frame(now, scene(number, SIX, doing="next: kubectl apply, v2"), width, height), width)
    assert len(lines) < height
    assert max(len(line) for line in lines) <= width
    assert all(any(f"check {n}" in line for line in lines) for n in range(6))


def test_a_small_terminal_gets_fewer_checks_and_no_broken_boxes() -> None:
    lines = text(view.frame(HELD, scene(found=SIX), 60, 20), 60)
    assert max(len(line) for line in lines) <= 60
    assert sum("╰" in line for line in lines) == 2


def test_a_hold_under_way() -> None:
    shown = "\n".join(text(view.frame(HELD, scene(), 80, 24)))
    assert "Act 2 of 11  v2 adds a column" in shown
    assert "1:23" in shown
    assert "wants v2  held for v2" in shown
    assert "●● v1  2/2 ready  shop-7f4b6d7b5b" in shown
    assert "○○ v2  no ReplicaSet yet" in shown
    assert "▸ migrate running  2 s" in shown
    assert "lock   held: shop-2-bfml8, pid 31891" in shown
    assert "2 v2 running" in shown
    assert "300 answered (v1 300)  0 failed" in shown


def test_a_rollout_after_its_release() -> None:
    now = dataclasses.replace(
        HELD,
        deployment=Deployment("v2", 2, approved="v2"),
        replica_sets=(
            ReplicaSet("shop-old", "v1", 1, 1),
            ReplicaSet("shop-new", "v2", 2, 1),
            ReplicaSet("shop-x", "v0", 0, 0),
        ),
    )
    shown = "\n".join(text(view.frame(now, scene(), 80, 24)))
    assert "released for v2" in shown
    assert "●○ v2  1/2 ready" in shown
    assert "v0" not in shown


def test_a_failure_shows_the_databases_own_words() -> None:
    shown = "\n".join(text(view.frame(FAILED, scene(3), 120, 40), 120))
    assert "Stalled  MigrationFailed" in shown
    assert "orders_reference_key" in shown
    assert "PostgresqlImpl" not in shown


def test_a_contract_that_waits_says_for_whom() -> None:
    shown = "\n".join(text(view.frame(EXPANDED, scene(7), 120, 40), 120))
    assert "SchemaMigration customers" in shown
    assert "Contracted=False  WaitingForPods" in shown
    assert "'customers-6d4-x2x'" in shown
    assert "done  exit 0" in shown and "gate" not in shown, "a pod of SQL files has one container of ours"


def test_a_contract_that_is_done() -> None:
    shown = "\n".join(text(view.frame(CONTRACTED, scene(9), 80, 24)))
    assert "Contracted=True" in shown
    assert "Job customers-4 contract of v2" in shown
    assert "3 v2 contract succeeded" in shown
    assert view.changes(EXPANDED, CONTRACTED) == [
        " 0:20  job         customers-4 contract of v2",
        " 0:20  job         customers-4 migrate done (exit 0)",
        " 0:20  ledger      row 3: v2 contract succeeded",
        " 0:20  column      legacy_name is gone",
        " 0:20  contract    Contracted: The contract of 'v2' is done.",
    ]


def test_the_totals_are_of_both_applications() -> None:
    [line] = text(view.totals([HELD, CONTRACTED]))
    assert line == "420 requests served, 0 failed; 6 attempts; 5 ledger rows; 1:23 min"


@pytest.mark.parametrize("room", [40, 108, 2000])
def test_a_clipped_message_keeps_its_start_and_its_end(room: int) -> None:
    clipped = view.clip(FAILED.status.message, room, 36)
    assert len(clipped) <= room
    assert clipped.startswith("the mig")
    assert clipped.endswith("duplicated.")


def test_without_a_terminal_a_line_per_change() -> None:
    assert view.changes(HELD, dataclasses.replace(HELD, seconds=99)) == []
    assert view.changes(APPLIED, HELD) == [
        " 1:23  deployment  held for v2",
        " 1:23  job         shop-2 to v2",
        " 1:23  job         shop-2 lock running",
        " 1:23  job         shop-2 gate done (exit 0)",
        " 1:23  job         shop-2 migrate running",
        " 1:23  lock        held by shop-2-bfml8 (pid 31891)",
        " 1:23  ledger      row 2: v2 running",
        " 1:23  status      not ready, Running: Job 'shop-2' runs the migration to version 'v2'.",
    ]


def test_a_failed_request_is_told_with_its_reason() -> None:
    now = dataclasses.replace(HELD, traffic=Traffic(300, 1, {"v1": 300}, "12:00:00 after 10.0 s: timed out"))
    assert view.changes(HELD, now) == [" 1:23  requests    1 failed: 12:00:00 after 10.0 s: timed out"]
    assert "the last failure: 12:00:00 after 10.0 s: timed out" in "\n".join(text(view.totals([now])))


def test_the_table_names_what_failed() -> None:
    found = [
        Check(1, "held by the apply", "held for v1", "held for v1", True),
        Check(0, "requests failed", "0", "3 of 9", False),
    ]
    lines = text(view.table(found))
    assert max(len(line) for line in lines) <= 80
    assert any("requests failed" in line and "3 of 9" in line and "✗" in line for line in lines)
    assert text(view.closing(found)) == ["1 of 2 checks failed"]
    assert text(view.closing(found[:1])) == ["all 1 checks passed"]


def test_every_check_takes_one_line_in_80_columns() -> None:
    looks = Looks(2, "v2", APPLIED, [HELD, dataclasses.replace(HELD, traffic=Traffic(4321, 0, {"v1": 4321}))])
    found = [question(looks) for one in ACTS for question in one.questions]
    assert len([line for line in text(view.table(found)) if line.strip()]) == len(found) + 2


# What the checks make of looks


def seen(question: checks.Question, *since: Snapshot, version: str = "v2", before: Snapshot = APPLIED) -> Check:
    return question(Looks(2, version, before, list(since)))


def test_a_pod_that_starts_before_success_is_caught() -> None:
    early = dataclasses.replace(HELD, pods={**HELD.pods, "v2": Pods(1, 1, 0)})
    assert seen(checks.none_before_success, HELD, HELD).ok
    assert not seen(checks.none_before_success, HELD, early).ok
    assert not seen(checks.never_started, HELD, early).ok
    done = dataclasses.replace(early, rows=(*APPLIED.rows, Row(2, "v2", "succeeded", 0, "")))
    assert seen(checks.none_before_success, HELD, done).ok


def test_the_lock_must_be_held_by_the_pod_that_runs() -> None:
    other = dataclasses.replace(HELD, lock=Lock(1, "schemahold lock demo/other", "other-1-zzzzz"))
    assert seen(checks.lock_held, HELD, HELD).ok
    assert not seen(checks.lock_held, other, HELD).ok
    assert not seen(checks.lock_held, dataclasses.replace(HELD, lock=None), HELD).ok
    assert not seen(checks.lock_held, HELD).ok, "a single look proves nothing"


def test_the_old_version_must_be_whole_and_alone() -> None:
    more = dataclasses.replace(HELD, traffic=Traffic(400, 0, {"v1": 400}))
    assert seen(checks.old_serves, more).ok
    for wrong in (
        dataclasses.replace(more, pods={"v1": Pods(2, 1, 1)}),
        dataclasses.replace(more, traffic=Traffic(400, 1, {"v1": 400})),
        dataclasses.replace(more, traffic=Traffic(400, 0, {"v1": 399, "v2": 1})),
        dataclasses.replace(more, traffic=APPLIED.traffic),
    ):
        assert not seen(checks.old_serves, wrong).ok


def test_a_hold_counts_from_the_first_look() -> None:
    free = dataclasses.replace(HELD, deployment=Deployment("v2", 2, approved="v2"))
    assert seen(checks.held_at_once, HELD, free).ok
    assert not seen(checks.held_at_once, free, HELD).ok


def test_a_release_says_how_long_it_took() -> None:
    free = dataclasses.replace(HELD, seconds=APPLIED.seconds + 0.6, deployment=Deployment("v2", 2, approved="v2"))
    assert seen(checks.released_at_once, free).seen == "0.6 s"
    assert seen(checks.released_at_once, free).ok
    assert not seen(checks.released_at_once, HELD).ok


def test_a_look_while_held_counts_for_a_version_that_was_applied_before() -> None:
    """Act 10: v1 is in the ledger as succeeded, and held all the same."""
    held = dataclasses.replace(
        CONTRACTED,
        deployment=Deployment("v1", 2, paused=True, held="v1", approved="v2"),
        traffic=Traffic(400, 0, {"v1": 120, "v2": 280}),
    )
    before = dataclasses.replace(CONTRACTED, traffic=Traffic(300, 0, {"v1": 120, "v2": 180}))
    assert seen(checks.old_serves, held, held, version="v1", before=before).ok
    early = dataclasses.replace(held, traffic=Traffic(401, 0, {"v1": 121, "v2": 280}))
    assert not seen(checks.old_serves, held, early, version="v1", before=before).ok


def test_the_status_must_name_the_floor() -> None:
    says = "version 'v1' was applied before the contract of 'v2'; the oldest version to go to is 'v2'."
    status = Status("v1", stalled=True, reason="Incompatible", message=says, current=True)
    before = dataclasses.replace(CONTRACTED, deployment=Deployment("v2", 2, approved="v2"))
    assert seen(checks.status_says_floor, dataclasses.replace(CONTRACTED, status=status), version="v1", before=before).ok
    vague = dataclasses.replace(status, message="no")
    assert not seen(checks.status_says_floor, dataclasses.replace(CONTRACTED, status=vague), before=before).ok


def test_a_drop_before_the_last_pod_is_gone_is_caught() -> None:
    left = dataclasses.replace(CONTRACTED, pods=EXPANDED.pods)
    assert seen(checks.dropped_after_last_pod, EXPANDED, CONTRACTED, CONTRACTED).ok
    assert not seen(checks.dropped_after_last_pod, EXPANDED, CONTRACTED, left).ok
    assert seen(checks.dropped_after_last_pod, EXPANDED, left, CONTRACTED).ok, "its pods were read before its column"
    assert not seen(checks.dropped_after_last_pod, EXPANDED, EXPANDED).ok, "nothing was dropped"


def test_a_contract_waits_for_a_pod_that_it_names() -> None:
    assert seen(checks.contract_waits, EXPANDED).ok
    soaks = dataclasses.replace(EXPANDED.status, contract=Contract(reason="Soaking", message="Only version 'v2' runs."))
    assert not seen(checks.contract_waits, dataclasses.replace(EXPANDED, status=soaks)).ok
    assert seen(checks.column_is_there, EXPANDED).ok and not seen(checks.column_is_there, CONTRACTED).ok


def test_a_contract_is_done_when_status_and_ledger_say_so() -> None:
    assert seen(checks.contracted, CONTRACTED).ok
    assert not seen(checks.contracted, EXPANDED).ok
    assert not seen(checks.contracted, dataclasses.replace(CONTRACTED, rows=EXPANDED.rows)).ok


def test_what_was_applied_before_runs_no_second_time() -> None:
    assert seen(checks.no_second_run, CONTRACTED).ok, "the contract's row is another run"
    twice = dataclasses.replace(CONTRACTED, rows=(*CONTRACTED.rows, Row(4, "v2", "succeeded", 0, "")))
    assert not seen(checks.no_second_run, twice).ok


def test_of_the_whole_demo() -> None:
    assert checks.requests(HELD).ok
    assert not checks.requests(EMPTY).ok, "nobody asked"
    assert not checks.requests(dataclasses.replace(HELD, traffic=Traffic(300, 1, {"v1": 300}))).ok
    assert checks.starts({"v1": 1, "v2": 1}, ("v1", "v2")).ok
    assert not checks.starts({"v1": 1, "v2": 2}, ("v1", "v2")).ok
