"""The ledger's table: every state of a row against what the next attempt is; and what an exit code is worth."""

from __future__ import annotations

import dataclasses
import datetime
import itertools

import pytest

from schemahold.api import pod
from schemahold.api.pod import Reason
from schemahold.core import ledger
from schemahold.core.ledger import RowState

NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
ASK = pod.Ask(ledger_name="ns/shop", phase="expand", version="2", inputs="i2", attempt=3, job="shop-3", token="t2")
KEY, POD = 7, "this-pod"


def seconds(ago: float) -> datetime.datetime:
    return NOW - datetime.timedelta(seconds=ago)


def row(state: RowState, **more: object) -> ledger.Row:
    """A row of the same name, phase, version, inputs and token as the ask, of another pod; beats stopped long ago."""
    given = {
        "id": 11, "name": "ns/shop", "phase": "expand", "version": "2", "state": state, "inputs": "i2", "lock_key": KEY,
        "pod_uid": "other-pod", "pod_name": "shop-2-x", "token": "t2", "beat_at": seconds(600), "exit_code": None,
    }  # fmt: skip
    return ledger.Row(**{**given, **more})  # type: ignore[arg-type]


def judge(*rows: ledger.Row, ask: pod.Ask = ASK, **more: object) -> ledger.Verdict:
    return ledger.judge(rows, ask, pod_uid=POD, lock_key=KEY, now=NOW, **more)  # type: ignore[arg-type]


def reason(verdict: ledger.Verdict) -> Reason | str:
    return verdict.report.reason if isinstance(verdict, ledger.Stop) else type(verdict).__name__


RUNNING, SUCCEEDED, FAILED, UNKNOWN, ADOPTED, SUPERSEDED = RowState

SAME: dict[str, object] = {}
OTHER_VERSION = {"version": "1"}
OTHER_INPUTS = {"inputs": "i1"}
OTHER_TOKEN = {"token": "t1"}
OTHER_PHASE = {"phase": "contract"}
OTHER_NAME = {"name": "ns/other"}
ALIVE = {"beat_at": seconds(5)}
OWN = {"pod_uid": POD}

CELLS = [
    # running
    (RUNNING, ALIVE, "Wait"),
    (RUNNING, ALIVE | OTHER_VERSION, "Wait"),
    (RUNNING, ALIVE | OTHER_PHASE, "Wait"),
    (RUNNING, ALIVE | OTHER_NAME, "Wait"),
    (RUNNING, ALIVE | {"lock_key": 8}, "Wait"),
    (RUNNING, SAME, "TurnUnknown"),
    (RUNNING, OTHER_VERSION, "TurnUnknown"),
    (RUNNING, OTHER_PHASE, "TurnUnknown"),
    (RUNNING, OTHER_NAME, "TurnUnknown"),
    (RUNNING, OTHER_NAME | {"lock_key": 8}, "Start"),
    (RUNNING, OWN | ALIVE, Reason.ALREADY_STARTED),
    (RUNNING, OWN, Reason.ALREADY_STARTED),
    # succeeded, adopted
    (SUCCEEDED, SAME, Reason.ALREADY_APPLIED),
    (SUCCEEDED, OTHER_INPUTS | OTHER_TOKEN, Reason.ALREADY_APPLIED),
    (SUCCEEDED, OWN, Reason.ALREADY_APPLIED),
    (SUCCEEDED, OTHER_VERSION, "Start"),
    (SUCCEEDED, OTHER_PHASE, "Start"),
    (SUCCEEDED, OTHER_NAME, "Start"),
    (ADOPTED, SAME, Reason.ALREADY_APPLIED),
    (ADOPTED, OTHER_VERSION, "Start"),
    # failed
    (FAILED, SAME, Reason.ALREADY_FAILED),
    (FAILED, OTHER_VERSION, "Start 11"),
    (FAILED, OTHER_INPUTS, "Start 11"),
    (FAILED, OTHER_TOKEN, "Start 11"),
    (FAILED, {"token": ""}, "Start 11"),
    (FAILED, OTHER_PHASE, "Start"),
    (FAILED, OTHER_NAME, "Start"),
    (FAILED, OWN, Reason.ALREADY_STARTED),
    # unknown
    (UNKNOWN, SAME, Reason.OUTCOME_UNKNOWN),
    (UNKNOWN, OTHER_VERSION, Reason.OUTCOME_UNKNOWN),
    (UNKNOWN, OTHER_INPUTS | OTHER_TOKEN, Reason.OUTCOME_UNKNOWN),
    (UNKNOWN, OTHER_PHASE, Reason.OUTCOME_UNKNOWN),
    (UNKNOWN, OWN, Reason.OUTCOME_UNKNOWN),
    (UNKNOWN, OTHER_NAME, "Start"),
    # superseded
    (SUPERSEDED, SAME, "Start"),
    (SUPERSEDED, OTHER_VERSION, "Start"),
    (SUPERSEDED, OWN, Reason.ALREADY_STARTED),
]


@pytest.mark.parametrize(("state", "more", "expected"), CELLS)
def test_cell(state: RowState, more: dict[str, object], expected: str) -> None:
    verdict = judge(row(state, **more))
    got = reason(verdict)
    if isinstance(verdict, ledger.Start) and verdict.supersede:
        got = f"Start {verdict.supersede.id}"
    assert got == expected


def test_every_state_has_cells() -> None:
    assert {cell[0] for cell in CELLS} == set(RowState)


def test_empty_ledger_starts() -> None:
    assert judge() == ledger.Start()


# --- retry tokens -----------------------------------------------------------------------------------------------------


def test_an_empty_token_retries_nothing() -> None:
    ask = dataclasses.replace(ASK, token="")
    assert reason(judge(row(FAILED, token="t1"), ask=ask)) == Reason.ALREADY_FAILED


def test_already_failed_tells_the_code_and_what_to_do() -> None:
    verdict = judge(row(FAILED, exit_code=3))
    assert isinstance(verdict, ledger.Stop)
    assert verdict.report.exit_code == 3
    for words in ("version '2'", "exit code 3", "row 11", "schemahold.dev/retry-at"):
        assert words in verdict.report.message


# --- signs of life ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ago", "expected"), [(59.9, "Wait"), (60.0, "TurnUnknown")])
def test_the_edge_of_staleness(ago: float, expected: str) -> None:
    assert reason(judge(row(RUNNING, beat_at=seconds(ago)))) == expected


def test_stale_after_comes_with_the_ask() -> None:
    assert reason(judge(row(RUNNING, beat_at=seconds(11)), ask=dataclasses.replace(ASK, stale_after=10))) == "TurnUnknown"


def test_a_row_without_any_beat_counts_from_its_start() -> None:
    assert reason(judge(row(RUNNING, beat_at=None, started_at=seconds(3)))) == "Wait"
    assert reason(judge(row(RUNNING, beat_at=None))) == "TurnUnknown"


def test_an_outage_of_the_database_does_not_make_live_runs_look_dead() -> None:
    # The server was down for two minutes and is up for five seconds: the run's lock is just reconnecting.
    old = row(RUNNING, beat_at=seconds(125))
    assert reason(judge(old, server_started=seconds(5))) == "Wait"
    assert reason(judge(old, server_started=seconds(61))) == "TurnUnknown"


def test_wait_names_the_run() -> None:
    verdict = judge(row(RUNNING, beat_at=seconds(5)))
    assert isinstance(verdict, ledger.Wait)
    assert verdict.holder == "the run of 'ns/shop' to version '2' (row 11, pod shop-2-x, last beat 5 s ago)"


# --- this pod's own row -----------------------------------------------------------------------------------------------


def test_own_running_row_is_resumed_once_the_pod_has_asked() -> None:
    own = row(RUNNING, pod_uid=POD)
    assert judge(own, asked=True) == ledger.Resume(own)


@pytest.mark.parametrize("state", [FAILED, SUPERSEDED])
def test_own_ended_row_is_never_resumed(state: RowState) -> None:
    assert reason(judge(row(state, pod_uid=POD), asked=True)) == Reason.ALREADY_STARTED


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("11 retry I looked", ledger.Answer(row=11, word="retry", reason="I looked")),
        ("  11   applied  the table  is there ", ledger.Answer(row=11, word="applied", reason="the table  is there")),
        ("11 retry", ledger.Answer(row=11, word="retry", reason="")),
        ("retry", None),
        ("11 Retry", None),
        ("eleven retry", None),
        ("-11 retry", None),
        ("²1 retry", None),
        ("", None),
    ],
)
def test_parse_answer(text: str, parsed: ledger.Answer | None) -> None:
    assert ledger.parse_answer(text) == parsed


def test_answer_retry() -> None:
    verdict = judge(row(UNKNOWN), ask=dataclasses.replace(ASK, answer="11 retry looked"))
    assert isinstance(verdict, ledger.Settle)
    assert (verdict.state, verdict.end_backends, verdict.answer.reason) == (SUPERSEDED, True, "looked")


def test_answer_applied() -> None:
    verdict = judge(row(UNKNOWN), ask=dataclasses.replace(ASK, answer="11 applied looked"))
    assert isinstance(verdict, ledger.Settle)
    assert (verdict.state, verdict.end_backends) == (SUCCEEDED, False)


@pytest.mark.parametrize("word", ["retry", "applied"])
def test_a_success_in_the_ledger_comes_before_any_answer(word: str) -> None:
    ask = dataclasses.replace(ASK, answer=f"11 {word} looked")
    verdict = judge(row(SUCCEEDED, id=5), row(UNKNOWN), ask=ask)
    assert isinstance(verdict, ledger.Settle)
    assert (verdict.state, verdict.end_backends) == (SUPERSEDED, False)


@pytest.mark.parametrize(
    ("answer", "says"),
    [("12 retry x", "the answer given is for row 12"), ("yes", "cannot be read"), ("", '"11 retry <reason>"')],
)
def test_an_answer_for_another_row_is_none(answer: str, says: str) -> None:
    ask = dataclasses.replace(ASK, answer=answer)
    verdict = judge(row(UNKNOWN, note="no word", backends=2, exit_code=4), ask=ask)
    assert isinstance(verdict, ledger.Stop)
    assert verdict.report.reason is Reason.OUTCOME_UNKNOWN
    assert verdict.report.backends == 2
    for words in (says, "row 11", "no word", "exit code 4", "2026-11-22T11:50:00Z"):
        assert words in verdict.report.message


def test_an_applied_that_cannot_be_recorded_starts_nothing() -> None:
    """The database was restored to before the row: a start would be against the person's word."""
    lost = judge(ask=dataclasses.replace(ASK, answer="11 applied looked"))
    assert isinstance(lost, ledger.Stop)
    assert lost.report.reason is Reason.OUTCOME_UNKNOWN
    for words in ("no such row", '"11 retry <reason>"'):
        assert words in lost.report.message
    assert judge(ask=dataclasses.replace(ASK, answer="11 retry looked")) == ledger.Start()
    settled = row(SUCCEEDED, version="another")
    assert judge(settled, ask=dataclasses.replace(ASK, answer="11 applied looked")) == ledger.Start()


def test_an_answer_does_not_touch_another_name() -> None:
    ask = dataclasses.replace(ASK, answer="11 retry x")
    assert judge(row(UNKNOWN, name="ns/other"), ask=ask) == ledger.Start()


# --- several rows: the order -------------------------------------------------------------------------------------------


def test_unknown_comes_before_applied_before_running_before_failed() -> None:
    unknown, applied = row(UNKNOWN, id=4, version="1"), row(SUCCEEDED, id=3)
    running = row(RUNNING, id=2, name="ns/other", beat_at=seconds(1))
    failed = row(FAILED, id=1, version="0")
    for rows in itertools.permutations([unknown, applied, running, failed]):
        assert reason(judge(*rows)) == Reason.OUTCOME_UNKNOWN
    for rows in itertools.permutations([applied, running, failed]):
        assert reason(judge(*rows)) == Reason.ALREADY_APPLIED
    for rows in itertools.permutations([running, failed]):
        assert reason(judge(*rows)) == "Wait"
    assert judge(failed) == ledger.Start(supersede=failed)


def test_law_start_only_when_nothing_stands_against_it() -> None:
    """Over all pairs of rows of small alphabets: a start means no unknown or live run of the name, no run under the key,
    no success of the version."""
    alphabet = [
        row(state, id=number, version=version, name=name, beat_at=beat, phase=phase)
        for number, (state, version, name, beat, phase) in enumerate(
            itertools.product(
                RowState, ["1", "2"], ["ns/shop", "ns/other"], [seconds(1), seconds(99)], ["expand", "contract"]
            )
        )
    ]
    for pair in itertools.combinations(alphabet, 2):
        if not isinstance(judge(*pair), ledger.Start):
            continue
        for each in pair:
            ours = each.name == "ns/shop"
            assert each.state is not RUNNING
            assert not (each.state is UNKNOWN and ours)
            assert not (each.state in ledger.APPLIED and ours and (each.phase, each.version) == ("expand", "2"))


# --- what an exit code is worth ---------------------------------------------------------------------------------------

HERE = ledger.Server(system_id="s1", timeline="00000001", postmaster_started="p1")
RESTARTED = dataclasses.replace(HERE, postmaster_started="p2")
PROMOTED = dataclasses.replace(HERE, timeline="00000002")
RESTORED = dataclasses.replace(HERE, system_id="s2")


@pytest.mark.parametrize(
    ("code", "server", "lost", "state"),
    [
        (0, HERE, False, SUCCEEDED),
        (0, RESTARTED, False, UNKNOWN),
        (0, PROMOTED, False, UNKNOWN),
        (0, RESTORED, False, UNKNOWN),
        (0, HERE, True, UNKNOWN),
        (1, HERE, False, FAILED),
        (1, RESTARTED, False, FAILED),
        (1, PROMOTED, False, UNKNOWN),
        (1, RESTORED, False, UNKNOWN),
        (1, HERE, True, UNKNOWN),
        (137, HERE, False, FAILED),
    ],
)
def test_outcome(code: int, server: ledger.Server, lost: bool, state: RowState) -> None:
    got, note = ledger.outcome(code, HERE, server, row_was_lost=lost)
    assert got is state
    assert bool(note) == (state is UNKNOWN)


# The floor, and contracts ---------------------------------------------------------------------------------------------

CONTRACT = dataclasses.replace(ASK, phase="contract")
OF_3 = {"phase": "contract", "version": "3", "id": 20}

BELOW = [
    # the row of version 2, the contract of another one, what version 2 hears
    (SUCCEEDED, {"id": 10}, SUCCEEDED, OF_3, Reason.INCOMPATIBLE),
    (SUCCEEDED, {"id": 10}, RUNNING, OF_3 | ALIVE, Reason.INCOMPATIBLE),
    (SUCCEEDED, {"id": 10}, FAILED, OF_3, Reason.INCOMPATIBLE),  # how far it came, nobody knows
    (SUCCEEDED, {"id": 10}, SUPERSEDED, OF_3, Reason.INCOMPATIBLE),
    (SUCCEEDED, {"id": 10}, SUPERSEDED, OF_3 | {"note": "told to stop; nothing ran"}, Reason.ALREADY_APPLIED),
    (SUCCEEDED, {"id": 21}, SUCCEEDED, OF_3, Reason.ALREADY_APPLIED),  # applied after it
    (SUCCEEDED, {"id": 10}, SUCCEEDED, OF_3 | {"version": "2"}, Reason.ALREADY_APPLIED),  # its own
    (ADOPTED, {"id": 30}, SUCCEEDED, OF_3, Reason.INCOMPATIBLE),  # noted late, and yet it ran before us
    (SUCCEEDED, {"id": 10}, SUCCEEDED, OF_3 | OTHER_NAME, Reason.ALREADY_APPLIED),
]


@pytest.mark.parametrize(("state", "more", "contract", "of", "hears"), BELOW)
def test_what_was_applied_before_a_contract(
    state: RowState, more: dict[str, object], contract: RowState, of: dict[str, object], hears: Reason
) -> None:
    verdict = judge(row(state, **more), row(contract, **of, pod_uid="x"))
    assert reason(verdict) == hears
    if hears is Reason.INCOMPATIBLE:
        assert isinstance(verdict, ledger.Stop)
        for word in ("'2'", "the oldest version to go to is '3'", "break-glass"):
            assert word in verdict.report.message


def test_a_version_never_applied_is_above_every_floor() -> None:
    assert reason(judge(row(SUCCEEDED, **OF_3))) == "Start"


CONTRACTS = [
    ((SUCCEEDED, SAME), None, "Start"),
    ((ADOPTED, SAME), None, Reason.NOT_APPLIED),
    ((SUCCEEDED, OTHER_VERSION), None, Reason.NOT_APPLIED),
    (None, None, Reason.NOT_APPLIED),
    ((SUCCEEDED, SAME), (SUCCEEDED, {"version": "3", "id": 12}), Reason.NOT_APPLIED),  # passed over
    ((SUCCEEDED, SAME), (SUCCEEDED, {"version": "1", "id": 5}), "Start"),
    ((SUCCEEDED, SAME), (SUCCEEDED, {"phase": "contract", "id": 12}), Reason.ALREADY_APPLIED),
    ((SUCCEEDED, SAME), (FAILED, {"phase": "contract", "id": 12}), Reason.ALREADY_FAILED),
    ((SUCCEEDED, SAME), (FAILED, {"phase": "contract", "id": 12, "inputs": "i1"}), "Start"),
]


@pytest.mark.parametrize(("applied", "other", "hears"), CONTRACTS)
def test_only_the_version_applied_last_is_contracted(applied: object, other: object, hears: object) -> None:
    rows = [row(state, **more) for state, more in (one for one in (applied, other) if one)]  # type: ignore[misc]
    assert reason(judge(*rows, ask=CONTRACT)) == hears


@pytest.mark.parametrize("answer", ["", "20 applied looked", "20 retry looked"])
def test_an_answer_for_a_statement_of_the_other_phase_counts_for_nothing_else(answer: str) -> None:
    """Once a command's gate took "applied" for the whole contract, whose other files had not run."""
    unknown = row(UNKNOWN, id=20, phase="contract", mode="sql")
    assert reason(judge(unknown, ask=dataclasses.replace(ASK, answer=answer))) == "Prove"
