"""Migration files' names: how they are read, in which order they come, and which of them are pending."""

from __future__ import annotations

import hashlib
import random

import pytest

from schemahold.core.sql import names
from schemahold.core.sql.model import AppliedFile, Name, Phase, SourceError

EXPAND, CONTRACT = Phase.EXPAND, Phase.CONTRACT


# --- one name ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key", "phase"),
    [
        ("0001_x.sql", (1,), EXPAND),
        ("1_x.sql", (1,), EXPAND),
        ("0000_init.sql", (0,), EXPAND),
        ("0010_x.sql", (10,), EXPAND),
        ("20261122093000_add_users.sql", (20261122093000,), EXPAND),
        ("0001_x.contract.sql", (1,), CONTRACT),
        ("0001_x.Contract.sql", (1,), CONTRACT),
        ("0001_contract.sql", (1,), EXPAND),
        ("0001_x.contract.y.sql", (1,), EXPAND),
        ("0001_x.up.sql", (1,), EXPAND),
        ("0001_2_x.sql", (1,), EXPAND),
        ("0001_café x.sql", (1,), EXPAND),
        ("V1__x.sql", (1,), EXPAND),
        ("V1.2__x.sql", (1, 2), EXPAND),
        ("V1_2__x.sql", (1, 2), EXPAND),
        ("V1.0__x.sql", (1,), EXPAND),
        ("V1.0.0__x.sql", (1,), EXPAND),
        ("V0.0__x.sql", (0,), EXPAND),
        ("V1.10__x.sql", (1, 10), EXPAND),
        ("V001.002__x.sql", (1, 2), EXPAND),
        ("V1__2__x.sql", (1,), EXPAND),
        ("V2026.11.22.093000__x.contract.sql", (2026, 11, 22, 93000), CONTRACT),
        (f"{'9' * 200}_x.sql", (int("9" * 200),), EXPAND),
    ],
)
def test_names(name: str, key: tuple[int, ...], phase: Phase) -> None:
    assert names.read(name) == Name(key=key, phase=phase, name=name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("R__views.sql", ["R__views.sql", "repeatable", "numbered file"]),
        ("U1.2__x.sql", ["U1.2__x.sql", "undo", "leave it out"]),
        ("B3__x.sql", ["B3__x.sql", "baseline", "sql.baseline"]),
        ("0001_x.down.sql", ["0001_x.down.sql", "down migrations", "leave it out"]),
        ("x.sql", ["x.sql", "0001_what.sql", "V1.2__what.sql", ".contract.sql"]),
        ("0001.sql", ["0001_what.sql"]),
        ("0001_.sql", ["0001_what.sql"]),
        ("0001-x.sql", ["0001_what.sql"]),
        ("0001_x.SQL", ["0001_what.sql"]),
        ("0001_x.sql.bak", ["0001_what.sql"]),
        ("1.2_x.sql", ["0001_what.sql"]),
        ("a/0001_x.sql", ["0001_what.sql"]),
        ("0001_a/x.sql", ["0001_what.sql"]),
        ("V1_x.sql", ["V1.2__what.sql"]),
        ("V1.__x.sql", ["V1.2__what.sql"]),
        ("V__x.sql", ["V1.2__what.sql"]),
        ("v1__x.sql", ["V1.2__what.sql"]),
        ("afterMigrate.sql", ["0001_what.sql"]),
        ("٣_x.sql", ["0001_what.sql"]),
        (f"{'9' * 5000}_x.sql", ["0001_what.sql"]),
        ("", ["0001_what.sql"]),
    ],
)
def test_names_that_cannot_be_read(name: str, words: list[str]) -> None:
    with pytest.raises(SourceError) as caught:
        names.read(name)
    assert caught.value.file == name
    for word in words:
        assert word in caught.value.message


# --- order ------------------------------------------------------------------------------------------------------------


def test_they_are_arranged_by_number_not_by_letter() -> None:
    ordered = [
        "0_z.sql", "V0.9__a.sql", "1_x.sql", "V1.0.1__x.sql", "V1.2__x.sql", "V1_10__b.sql", "2_a.sql", "0010_a.sql",
        "20261122093000_a.sql",
    ]  # fmt: skip
    shuffled = ordered.copy()
    random.Random(7).shuffle(shuffled)
    assert [name.name for name in names.arrange(shuffled)] == ordered


def test_other_files_are_somebody_elses() -> None:
    arranged = names.arrange(["README.md", "..data", "0001_x.sql", "V1__x.sql.conf", "sql", "x.sqlite"])
    assert [name.name for name in arranged] == ["0001_x.sql"]


@pytest.mark.parametrize("name", ["notes.sql", "0002_x.SQL", "R__x.sql"])
def test_no_sql_file_is_passed_over(name: str) -> None:
    with pytest.raises(SourceError, match=name):
        names.arrange(["0001_x.sql", name])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0001_a.sql", "0001_b.sql"),
        ("0001_a.sql", "1_b.sql"),
        ("0001_a.sql", "V1__b.sql"),
        ("V1.0__a.sql", "V1__b.sql"),
        ("V1.2__a.sql", "V1_2__b.sql"),
        ("0001_a.contract.sql", "0001_b.contract.sql"),
    ],
)
def test_two_files_with_one_number(one: str, other: str) -> None:
    with pytest.raises(SourceError) as caught:
        names.arrange([one, "0005_x.sql", other])
    for words in (one, other, "rename"):
        assert words in caught.value.message


def test_one_number_in_both_phases_is_two_files() -> None:
    assert {name.phase for name in names.arrange(["0001_a.sql", "0001_a.contract.sql"])} == {EXPAND, CONTRACT}


# --- hashes -----------------------------------------------------------------------------------------------------------


def test_a_checksum_is_sha256() -> None:
    assert names.checksum(b"SELECT 1;\r\n") == hashlib.sha256(b"SELECT 1;\r\n").hexdigest()


def test_the_pin_is_of_names_and_contents_and_nothing_else() -> None:
    pin = names.pin({"0001_a.sql": "aa", "0002_b.sql": "bb"})
    assert len(pin) == 64
    assert pin == names.pin({"0002_b.sql": "bb", "README.md": "cc", "0001_a.sql": "aa"})
    others = [
        {"0001_a.sql": "aa"},
        {"0001_a.sql": "aa", "0002_b.sql": "bc"},
        {"0001_a.sql": "aa", "0002_c.sql": "bb"},
        {"0001_a.sql": "bb", "0002_b.sql": "aa"},
        {"0001_a.sql": "aa", "0002_b.sql": "bb", "0003_c.sql": "cc"},
        {"0001_a.sql": "aa", "0002_b.sql": "bb", "0003_c.SQL": "cc"},
    ]
    assert len({pin, *map(names.pin, others)}) == 1 + len(others)


# --- plans ------------------------------------------------------------------------------------------------------------


def hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def files(*given: str) -> dict[Name, str]:
    return {names.read(name): hashed(name) for name in given}


def applied(*given: str, checksum: str | None = None) -> list[AppliedFile]:
    return [AppliedFile(name=names.read(name), checksum=hashed(name) if checksum is None else checksum) for name in given]


def listed(plan: names.Plan) -> dict[str, list[str]]:
    return {field: [name.name for name in getattr(plan, field)] for field in ("pending", "baselined", "later")}


A, B, C, D = "0001_a.sql", "0002_b.sql", "0010_c.sql", "0011_d.sql"
BC, CC = "0002_b.contract.sql", "0010_c.contract.sql"


@pytest.mark.parametrize(
    ("there", "done", "given", "pending", "baselined", "later"),
    [
        ([], [], {}, [], [], []),
        ([C, A, B], [], {}, [A, B, C], [], []),
        ([A, B, C], [A], {}, [B, C], [], []),
        ([A, B, C], [A, B, C], {}, [], [], []),
        ([A, CC, B, BC], [A], {}, [B], [], [BC, CC]),
        ([A, CC, B, BC], [A, BC], {}, [B], [], [CC]),
        ([A, CC, B, BC], [A, B], {"phase": CONTRACT}, [BC, CC], [], []),
        ([A, B, BC], [BC], {"phase": CONTRACT}, [], [], [A, B]),
        # A phase has an order of its own.
        ([A, B, CC], [A, CC], {}, [B], [], []),
        ([BC, A, C], [A, C], {"phase": CONTRACT}, [BC], [], []),
        # Out of order, when that is allowed.
        ([A, B, C], [A, C], {"out_of_order": True}, [B], [], []),
        # The baseline counts when nothing at all is applied, for both phases.
        ([A, B, C], [], {"baseline": "0002"}, [C], [A, B], []),
        ([A, B, C], [], {"baseline": "2"}, [C], [A, B], []),
        ([A, B, C], [], {"baseline": "V2.0"}, [C], [A, B], []),
        ([A, B, C], [], {"baseline": "5"}, [C], [A, B], []),
        ([A, B, C], [], {"baseline": "0010"}, [], [A, B, C], []),
        ([A, B, BC, C, CC], [], {"baseline": "0002"}, [C], [A, BC, B], [CC]),
        ([A, B, BC, C, CC], [], {"baseline": "0002", "phase": CONTRACT}, [CC], [A, BC, B], [C]),
        (["V1.2__a.sql", "V1.10__b.sql"], [], {"baseline": "1.2"}, ["V1.10__b.sql"], ["V1.2__a.sql"], []),
        (["V1.2__a.sql", "V1.10__b.sql"], [], {"baseline": "1_2"}, ["V1.10__b.sql"], ["V1.2__a.sql"], []),
        ([A, B, C], [], {"baseline": "0"}, [A, B, C], [], []),
        ([A, B, C], [A], {"baseline": "0002"}, [B, C], [], []),
        ([A, B, BC], [BC], {"baseline": "0002"}, [A, B], [], []),
    ],
)
def test_plans(
    there: list[str], done: list[str], given: dict[str, object], pending: list[str], baselined: list[str], later: list[str]
) -> None:
    plan = names.plan(files(*there), applied(*done), **{"phase": EXPAND, **given})  # type: ignore[arg-type]
    assert listed(plan) == {"pending": pending, "baselined": baselined, "later": later}


def test_an_adopted_file_may_have_any_content() -> None:
    plan = names.plan(files(A, B), applied(A, checksum=""), phase=EXPAND)
    assert listed(plan)["pending"] == [B]


@pytest.mark.parametrize("name", [A, BC])
@pytest.mark.parametrize("phase", Phase)
def test_a_changed_file_is_shown_with_both_hashes(name: str, phase: Phase) -> None:
    with pytest.raises(SourceError) as caught:
        names.plan(files(A, BC), applied(name, checksum="c0ffee" * 10), phase=phase)
    assert caught.value.changed
    assert caught.value.file == name
    for words in (name, "c0ffeec0ffee,", f"now {hashed(name)[:12]};", "restore it", "new file"):
        assert words in caught.value.message


RENAMED = "0001_renamed.sql"


@pytest.mark.parametrize(
    ("there", "done", "words"),
    [
        # Gone, of either phase.
        ([B], applied(A, B), [A, "no longer there", "put it back"]),
        ([B], applied(BC, B), [BC, "no longer there"]),
        ([B], applied(A, B, checksum=""), [A, "no longer there"]),
        # Renamed: by its number, or by its contents.
        ([RENAMED], applied(A), [A, RENAMED, "old name back"]),
        ([RENAMED], applied(A, checksum=""), [A, RENAMED]),
        (["0007_a.sql"], applied(A, checksum=hashed("0007_a.sql")), [A, "0007_a.sql", "old name back"]),
        (["0001_a.contract.sql"], applied(A, checksum=hashed("0001_a.contract.sql")), [A, "0001_a.contract.sql"]),
        # What is applied under its own name is not the new name of another.
        ([B], [*applied(A, checksum=hashed(B)), *applied(B)], [A, "no longer there"]),
        # Order.
        ([A, B, C], applied(A, C), [B, C, "higher number", "sql.outOfOrder: allow"]),
        ([A, B, C, D], applied(C), [A, C]),
    ],
)
def test_files_that_are_not_as_they_were(there: list[str], done: list[AppliedFile], words: list[str]) -> None:
    with pytest.raises(SourceError) as caught:
        names.plan(files(*there), done, phase=EXPAND)
    assert not caught.value.changed
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize("baseline", ["x", "0003_c", "1.", ".1", "1..2", "-1", "1 ", "³", "9" * 5000])
def test_a_baseline_that_is_no_number(baseline: str) -> None:
    with pytest.raises(SourceError, match=r"sql\.baseline.*number of a file"):
        names.plan(files(A), [], phase=EXPAND, baseline=baseline)


@pytest.mark.parametrize("done", [[], [A]])
def test_a_baseline_above_every_file(done: list[str]) -> None:
    with pytest.raises(SourceError, match=r"'0012'.*above every file.*0011_d\.sql"):
        names.plan(files(A, D), applied(*done), phase=EXPAND, baseline="0012")


def test_a_baseline_without_files() -> None:
    with pytest.raises(SourceError, match="there is none"):
        names.plan({}, [], phase=EXPAND, baseline="1")
