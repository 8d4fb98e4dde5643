"""The sequence of sql mode, under every fault at every request.

A model of the database (the ledger with its constraints, the lock, the files' rows) answers what the sequence asks.  A clean
run is counted; then at each of its requests the session is lost (before it took effect, or after), the pod is told to stop,
the server refuses.  Then come the next attempts, without faults or with another one, until one succeeds; and the laws are
checked: each file had its effect exactly once, in order, under a running row, and no person was needed.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Callable, Iterable

import pytest

from schemahold.api import pod
from schemahold.api.pod import Reason
from schemahold.core import ledger
from schemahold.core.ledger import RowState
from schemahold.core.sql import model, names
from schemahold.core.sql.model import AppliedFile, Class, Finding, Severity
from schemahold.runner import messages as m
from schemahold.runner import sequence

EPOCH = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
KEY = 7
SERVER = ledger.Server(system_id="s", timeline="1", postmaster_started="p")
FILES = {"0001_a.sql": "a" * 64, "0002_b.sql": "b" * 64, "0003_c.contract.sql": "c" * 64}


def ask(sql: dict[str, object] | None = None, **more: object) -> pod.Ask:
    given = {"ledger_name": "ns/shop", "phase": "expand", "version": "1", "inputs": "i", "attempt": 1, "job": "shop-1"}
    return pod.Ask(**{**given, "sql": pod.SqlAsk(**(sql or {})), **more})  # type: ignore[arg-type]


class World:
    """The database, and what the files did to it."""

    def __init__(self, files: dict[str, str] | None = None) -> None:
        self.files = dict(FILES if files is None else files)
        self.rows: list[ledger.Row] = []
        self.applied: dict[str, str] = {}
        self.effects: list[str] = []  # one for each time that a file's effect was committed
        self.begun: frozenset[str] = frozenset()
        self.holder: Pod | None = None
        self.now = 0.0
        self.outcomes: dict[str, list[model.Outcome]] = {}  # of a file's tries, before it goes through
        self.findings: tuple[Finding, ...] = ()
        self.connects: list[m.Event] = []  # instead of a connection
        self.settled: list[ledger.Settle] = []
        self.forward: set[int] = set()  # rows whose run has applied something

    def replace(self, row_id: int, **changes: object) -> None:
        self.commit([dataclasses.replace(row, **changes) if row.id == row_id else row for row in self.rows])  # type: ignore[arg-type]

    def commit(self, rows: list[ledger.Row]) -> None:
        running = [row.lock_key for row in rows if row.state is RowState.RUNNING]
        opened = [(row.name, row.phase) for row in rows if row.state in ledger.OPEN]
        applied = [(row.name, row.phase, row.version) for row in rows if row.state in ledger.APPLIED]
        for keys in (running, opened, applied):
            assert len(set(keys)) == len(keys), rows
        self.rows = rows

    def row(self, row_id: int) -> ledger.Row:
        return next(row for row in self.rows if row.id == row_id)


@dataclasses.dataclass(frozen=True)
class Fault:
    """At the ``at``-th request: what happens in place of its answer."""

    at: int
    what: str

    WHATS = ("lost before", "lost after", "terminated", "refused")


class Pod:
    """The driver, as runner/sql.py does it, on the model."""

    def __init__(self, world: World, the_ask: pod.Ask, uid: str, fault: Fault | None = None) -> None:
        assert the_ask.sql
        self.world = world
        self.ask = the_ask
        self.uid = uid
        self.fault = fault
        self.connected = False
        self.requests: list[sequence.Request] = []
        self.log: list[str] = []
        self.terminated = False
        self.sequence = sequence.Sequence(the_ask, the_ask.sql, pod_uid=uid, lock_key=KEY)

    def run(self) -> pod.Report:
        steps = self.sequence.run(self.world.now)
        request = next(steps)
        while True:
            assert len(self.requests) < 2000, "it does not end"
            answer = self.answer(request)
            try:
                request = steps.send((answer, self.world.now))
            except StopIteration as end:
                self.close()
                return end.value

    def close(self) -> None:
        self.connected = False
        if self.world.holder is self:
            self.world.holder = None

    def answer(self, request: sequence.Request) -> sequence.Answer:
        if isinstance(request, m.Log):
            self.log.append(request.line)
            return m.Done()
        self.requests.append(request)
        fault = self.fault if self.fault and self.fault.at == len(self.requests) else None
        what = fault.what if fault else ""
        if what == "terminated" and not isinstance(request, m.RunFile):
            return m.Terminated()
        if isinstance(request, m.Sleep):
            self.world.now += request.seconds
            return m.Done()
        if isinstance(request, m.ReadFiles):
            return m.FilesRead(self.world.files)
        if isinstance(request, m.Connect):
            if what.startswith("lost") or what == "refused":
                return m.ConnectFailed(Reason.DATABASE_UNREACHABLE, "no", True)
            return self.connect()
        if not self.connected:
            return m.Lost("there is no session")
        if what == "refused":
            return m.Refused(Reason.LEDGER_FORBIDDEN, "permission denied")
        if what == "terminated":
            return model.Interrupted(statement=1)
        answer = m.Lost("cut") if what == "lost before" else self.perform(request)
        if what.startswith("lost"):
            self.close()
            return m.Lost("cut")
        return answer

    def connect(self) -> m.Event:
        if self.world.connects:
            return self.world.connects.pop(0)
        self.connected = True
        return m.Connected(server=SERVER, ledger="uuid")

    def perform(self, request: sequence.Request) -> sequence.Answer:
        world = self.world
        match request:
            case m.TryLock():
                if world.holder not in (None, self):
                    return m.LockBusy("pid 1", True)
                world.holder = self
                return m.LockTaken()
            case m.Unlock():
                world.holder = None
            case m.Look():
                return m.Looked(rows=tuple(world.rows), now=EPOCH + datetime.timedelta(seconds=world.now))
            case m.Prove(verdict):
                if verdict.row.lock_key != KEY and world.holder is not self:
                    return m.LockBusy("pid 2", True)
                world.replace(verdict.row.id, state=RowState.SUPERSEDED, note=verdict.note)
                forward = verdict.row.id in world.forward
                return m.Proven(sequence.in_vain(verdict.row, self.ask, brought_forward=forward))
            case m.Settle(verdict):
                world.settled.append(verdict)
                world.replace(verdict.row.id, state=verdict.state)
            case m.TurnUnknown(verdict):
                world.replace(verdict.row.id, state=RowState.UNKNOWN)
            case m.Adopt(version):
                if not any(row.version == version for row in world.rows):
                    world.commit([*world.rows, self.new_row(RowState.ADOPTED, version)])
            case m.LookFiles():
                rows = tuple(AppliedFile(name=names.read(file), checksum=check) for file, check in world.applied.items())
                return m.FilesSeen(rows, world.begun)
            case m.Judge():
                return m.Judged(world.findings)
            case m.WriteRunning(_, supersede, note):
                return m.Started(self.start(supersede, note))
            case m.Baseline(row, files):
                assert world.row(row).state is RowState.RUNNING
                world.applied |= {file.name: "" for file in files}
            case m.RunFile():
                return self.run_file(request)
            case m.Record(row, state, code, note):
                if world.row(row).state is RowState.RUNNING:
                    world.replace(row, state=state, exit_code=code, note=note)
                return m.StateSeen(world.row(row).state)
            case m.TakeBack(row, note):
                if world.row(row).state is RowState.RUNNING:
                    world.replace(row, state=RowState.SUPERSEDED, note=note)
            case _:
                raise AssertionError(request)
        return m.Done()

    def new_row(self, state: RowState, version: str = "") -> ledger.Row:
        return ledger.Row(
            id=len(self.world.rows) + 1, name=self.ask.ledger_name, phase=self.ask.phase, state=state,
            version=version or self.ask.version, inputs=self.ask.inputs, lock_key=KEY, mode="sql", token=self.ask.token,
            pod_uid="" if state is RowState.ADOPTED else self.uid,
        )  # fmt: skip

    def start(self, supersede: int | None, note: str) -> int | None:
        rows = [dataclasses.replace(r, state=RowState.SUPERSEDED) if r.id == supersede else r for r in self.world.rows]
        made = dataclasses.replace(self.new_row(RowState.RUNNING), note=note)
        self.world.commit([*rows, made])
        return made.id

    def run_file(self, request: m.RunFile) -> model.Outcome:
        world, name = self.world, request.file.name
        assert world.holder is self, "no lock"
        if world.row(request.row).state is not RowState.RUNNING:
            return model.Fenced()
        world.now += 0.1
        if world.outcomes.get(name):
            return world.outcomes[name].pop(0)
        assert name not in world.applied, "run twice"
        world.effects.append(name)
        world.forward.add(request.row)
        world.applied[name] = world.files[name]
        return model.Applied(seconds=0.1, statements=1)


def attempt(world: World, fault: Fault | None = None, uid: str = "", **more: object) -> tuple[pod.Report, Pod]:
    made = Pod(world, ask(**more), uid or f"pod{len(world.rows)}{fault}", fault)  # type: ignore[arg-type]
    report = made.run()
    # What the operator does with it: only a row without an exit code lets another attempt follow by itself.
    assert report.reason is not Reason.UNKNOWN or (report.row is not None and report.exit_code is None)
    assert report.reason is not Reason.RUNNER_ERROR, report
    return report, made


def clean_run(**more: object) -> list[sequence.Request]:
    world = World()
    report, made = attempt(world, **more)
    assert report.reason is Reason.SUCCEEDED
    return made.requests


# --- every fault at every request -------------------------------------------------------------------------------------


SCENES: dict[str, Callable[[World], dict[str, object]]] = {
    "first": lambda world: {},
    "adopts": lambda world: {"adopted": "0"},
    "baseline": lambda world: {"sql": {"baseline": "0001"}},
}


def faults(requests: Iterable[sequence.Request]) -> list[Fault]:
    return [Fault(at, what) for at, _ in enumerate(requests, start=1) for what in Fault.WHATS]


def follow(world: World, expected: list[str], **more: object) -> None:
    """The attempts that the operator would make now; in the end everything is as after a clean run."""
    for _ in range(3):
        report, _pod = attempt(world, **more)
        if report.reason in (Reason.SUCCEEDED, Reason.ALREADY_APPLIED):
            break
    assert report.reason in (Reason.SUCCEEDED, Reason.ALREADY_APPLIED), report
    assert world.effects == expected
    assert [row.version for row in world.rows if row.state is RowState.SUCCEEDED] == ["1"]
    assert not [row for row in world.rows if row.state in ledger.OPEN]


@pytest.mark.parametrize("scene", SCENES)
def test_every_fault_at_every_request(scene) -> None:
    more = SCENES[scene](World())
    expected = ["0002_b.sql"] if scene == "baseline" else ["0001_a.sql", "0002_b.sql"]
    seen: set[Reason] = set()
    for fault in faults(clean_run(**more)):
        world = World()
        report, _ = attempt(world, fault, **more)
        seen.add(report.reason)
        if fault.what == "terminated":
            assert report.reason in (Reason.WITHDRAWN, Reason.SUCCEEDED), (fault, report)
        nothing_ran = "nothing ran" in report.message or any("nothing ran" in row.note for row in world.rows)
        assert not (nothing_ran and world.effects), (fault, report)
        follow(world, expected, **more)
    assert seen == {Reason.SUCCEEDED, Reason.UNKNOWN, Reason.WITHDRAWN, Reason.LEDGER_FORBIDDEN, Reason.DATABASE_UNREACHABLE}


def test_every_pair_of_faults() -> None:
    requests = clean_run()
    for first, second in itertools.product(faults(requests), faults(requests)):
        world = World()
        attempt(world, first)
        attempt(world, second)
        follow(world, ["0001_a.sql", "0002_b.sql"])


@pytest.mark.parametrize("what", ["lost before", "lost after"])
def test_a_session_lost_before_the_row_is_no_end(what) -> None:
    requests = clean_run()
    row = next(at for at, request in enumerate(requests, start=1) if isinstance(request, m.WriteRunning))
    for at in range(2, row):
        report, made = attempt(World(), Fault(at, what))
        assert report.reason is Reason.SUCCEEDED
        assert sum(isinstance(request, m.Connect) for request in made.requests) == (1 if at_reads(requests, at) else 2)


def at_reads(requests: list[sequence.Request], at: int) -> bool:
    return isinstance(requests[at - 1], m.ReadFiles)  # which asks no server


@pytest.mark.parametrize("what", ["lost before", "lost after"])
def test_a_session_lost_after_the_row_ends_the_pod(what) -> None:
    requests = clean_run()
    row = next(at for at, request in enumerate(requests, start=1) if isinstance(request, m.WriteRunning))
    for at in range(row + 1, len(requests) + 1):
        report, made = attempt(World(), Fault(at, what))
        assert (report.reason, report.row, report.exit_code) == (Reason.UNKNOWN, 1, None)
        assert len(made.requests) == at


def test_terminated_while_the_success_is_to_be_written() -> None:
    requests = clean_run()
    world = World()
    report, _ = attempt(world, Fault(len(requests), "terminated"))
    assert isinstance(requests[-1], m.Record)
    assert (report.reason, report.exit_code) == (Reason.SUCCEEDED, 0)


# --- the order --------------------------------------------------------------------------------------------------------


def test_the_order_of_a_clean_run() -> None:
    assert [type(request).__name__ for request in clean_run(adopted="0", sql={"baseline": "0001"})] == [
        "Connect", "TryLock", "Adopt", "Look", "ReadFiles", "LookFiles", "Judge", "WriteRunning", "Baseline", "RunFile",
        "Record",
    ]  # fmt: skip


def test_an_applied_version_needs_no_files() -> None:
    world = World()
    attempt(world)
    world.files = {}
    report, made = attempt(world)
    assert (report.reason, report.contract_files, report.files_pin) == (Reason.ALREADY_APPLIED, None, "")
    assert not any(isinstance(request, m.WriteRunning | m.Judge) for request in made.requests)


def test_pin() -> None:
    pin = names.pin(FILES)
    report, _ = attempt(World(), sql={"pin": pin})
    assert (report.reason, report.files_pin, report.contract_files) == (Reason.SUCCEEDED, pin, 1)
    report, made = attempt(World(), sql={"pin": "0" * 64})
    assert (report.reason, report.row, report.files_pin) == (Reason.SOURCE_CHANGED, None, ""), "never a pin of other files"
    assert not any(isinstance(request, m.LookFiles) for request in made.requests)


def finding(**more: object) -> Finding:
    given = {
        "file": "0001_a.sql", "line": 3, "statement": 1, "rule": "drop-column", "severity": Severity.ERROR,
        "cls": Class.CONTRACT, "lock": "ACCESS EXCLUSIVE", "breaks": "old code fails.", "fix": "wait.",
    }  # fmt: skip
    return Finding(**{**given, **more})  # type: ignore[arg-type]


def test_findings_are_all_in_the_log_and_errors_stop_everything() -> None:
    world = World()
    world.findings = (finding(severity=Severity.WARNING, allowed="I know"), *(finding(line=line) for line in range(50)))
    report, made = attempt(world)
    assert (report.reason, report.row) == (Reason.STATEMENTS_REFUSED, None)
    assert report.message.startswith(
        "0001_a.sql:0: drop-column: contract (ACCESS EXCLUSIVE lock): old code fails. Instead: wait."
    )
    assert len(report.message) < 950
    assert "more: see the log" in report.message
    assert sum(line.startswith("error: ") for line in made.log) == 50
    assert sum(line.endswith("(allowed: I know)") for line in made.log) == 1
    assert world.rows == []
    assert report.files_pin == "", "they may be mended"


def test_warnings_stop_nothing() -> None:
    world = World()
    world.findings = (finding(severity=Severity.WARNING),)
    assert attempt(world)[0].reason is Reason.SUCCEEDED


def test_one_finding_that_is_longer_than_a_report() -> None:
    world = World()
    world.findings = (finding(breaks="x" * 5000),)
    assert 800 < len(attempt(world)[0].message) <= 900


# --- locks in the way -------------------------------------------------------------------------------------------------


def blocked(**more: object) -> model.Blocked:
    return model.Blocked(**{"message": "0001_a.sql:1: lock timeout", "statement": 1, "blockers": "pid 9", **more})  # type: ignore[arg-type]


def tries(made: Pod) -> list[m.RunFile]:
    return [request for request in made.requests if isinstance(request, m.RunFile)]


def test_lock_timeouts_grow_to_their_cap() -> None:
    for cap in (0.05, 0.1, 2.0, 10.0, 600.0):
        found = [sequence.lock_timeout(number, cap) for number in range(60)]
        assert found == sorted(found) and found[-1] == cap and found[0] == min(cap, 0.1)
    assert [sequence.lock_timeout(number, 2.0) for number in range(6)] == [0.1, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert [sequence.pause(number) for number in (0, 1, 2, 10, 11, 99)] == [0.05, 0.1, 0.2, 51.2, 60.0, 60.0]


def test_blocked_is_tried_again_with_random_pauses() -> None:
    world = World()
    world.outcomes["0001_a.sql"] = [blocked() for _ in range(12)]
    report, made = attempt(world, sql={"lock_timeout": 1.0})
    assert report.reason is Reason.SUCCEEDED
    assert [one.lock for one in tries(made)][:13] == [0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0]
    pauses = [request for request in made.requests if isinstance(request, m.Sleep)]
    assert [one.seconds for one in pauses] == [min(60, 0.05 * 2**number) for number in range(12)]
    assert all(one.random for one in pauses)
    assert "0001_a.sql:1: lock timeout; blocked by pid 9; try 1, it is tried again" in made.log


def test_blocked_until_retry_for_is_over_is_a_failure() -> None:
    world = World()
    world.outcomes["0002_b.sql"] = [blocked() for _ in range(1000)]
    report, made = attempt(world, sql={"retry_for": 600.0})
    assert (report.reason, report.exit_code, report.row) == (Reason.FAILED, 1, 1)
    assert "blocked by pid 9; tried" in report.message and "in 600 s (spec.sql.retryFor)" in report.message
    assert 600 <= world.now < 700
    assert world.row(1).state is RowState.FAILED
    assert all(one.patience >= one.lock for one in tries(made))
    assert tries(made)[1].patience == 600.0
    assert attempt(world)[0].reason is Reason.ALREADY_FAILED
    world.outcomes.clear()
    assert attempt(world, token="t")[0].reason is Reason.SUCCEEDED


def test_statements_that_are_done_start_the_clock_afresh() -> None:
    world = World()
    world.outcomes["0001_a.sql"] = [blocked() for _ in range(8)] + [blocked(statement=4, done=3)]
    _, made = attempt(world)
    assert [one.lock for one in tries(made)][7:10] == [0.5, 0.5, 0.1]


def test_a_lock_timeout_comes_before_a_statement_timeout() -> None:
    world = World()
    world.outcomes["0001_a.sql"] = [blocked() for _ in range(20)]
    _, made = attempt(world, sql={"statement_timeout": 0.5})
    assert max(one.lock for one in tries(made)) == pytest.approx(0.45)


def test_terminated_between_two_tries() -> None:
    world = World()
    world.outcomes["0001_a.sql"] = [blocked() for _ in range(3)]
    requests = attempt(world)[1].requests
    at = next(number for number, request in enumerate(requests, start=1) if isinstance(request, m.Sleep))
    world = World()
    world.outcomes["0001_a.sql"] = [blocked() for _ in range(3)]
    report, _ = attempt(world, Fault(at, "terminated"))
    assert (report.reason, world.row(1).state) == (Reason.WITHDRAWN, RowState.SUPERSEDED)
    assert "0 of 2 files" in report.message


# --- how a file can end -----------------------------------------------------------------------------------------------


def test_a_failure_is_for_people() -> None:
    world = World()
    world.outcomes["0002_b.sql"] = [model.Failed(message="0002_b.sql:7: no such table (SQLSTATE 42P01)")]
    report, _ = attempt(world)
    assert (report.reason, report.exit_code, report.message) == (
        Reason.FAILED, 1, "0002_b.sql:7: no such table (SQLSTATE 42P01)",
    )  # fmt: skip
    assert world.row(1).note == report.message
    again, _ = attempt(world)
    assert again.reason is Reason.ALREADY_FAILED and "no such table" in again.message
    assert attempt(world, inputs="mended")[0].reason is Reason.SUCCEEDED


def test_a_disagreement_is_asked_about_until_it_is_answered() -> None:
    world = World()
    world.outcomes["0001_a.sql"] = [model.Disagrees(message="0001_a.sql:1: t_a is another index") for _ in range(2)]
    report, _ = attempt(world)
    assert (report.reason, report.row, report.exit_code) == (Reason.OUTCOME_UNKNOWN, 1, None)
    assert '"1 applied <reason>" counts it as done' in report.message
    report, _ = attempt(world, version="2")  # not even for another version, as long as it is so
    assert (report.reason, report.row) == (Reason.OUTCOME_UNKNOWN, 2)
    assert world.row(1).state is RowState.SUPERSEDED
    report, _ = attempt(world, version="2", answer="2 applied I looked")
    assert report.reason is Reason.SUCCEEDED
    assert [(one.answer.word, one.state, one.end_backends) for one in world.settled] == [
        ("applied", RowState.SUPERSEDED, False)
    ]


def test_a_run_that_was_taken_over_commits_nothing() -> None:
    world = World()
    world.outcomes["0001_a.sql"] = [model.Fenced()]
    report, _ = attempt(world)
    assert (report.reason, report.exit_code) == (Reason.UNKNOWN, None)


def test_files_that_change_under_the_run() -> None:
    world = World()
    world.outcomes["0002_b.sql"] = [m.SourceFailed(Reason.SOURCE_CHANGED, "0002_b.sql was changed")]  # type: ignore[list-item]
    report, _ = attempt(world)
    assert (report.reason, report.exit_code, world.row(1).state) == (Reason.SOURCE_CHANGED, None, RowState.SUPERSEDED)
    follow(world, ["0001_a.sql", "0002_b.sql"])


def lost_at(world: World, kind: type, **more: object) -> None:
    """An attempt that is lost when it asks for ``kind``."""
    copy = World()
    copy.rows, copy.applied = list(world.rows), dict(world.applied)
    requests = attempt(copy, **more)[1].requests
    at = next(number for number, request in enumerate(requests, start=1) if isinstance(request, kind))
    report, _ = attempt(world, Fault(at, "lost before"), **more)
    assert report.reason is Reason.UNKNOWN


def test_a_statement_that_kills_its_session_is_not_tried_for_ever() -> None:
    world = World()
    for _ in range(sequence.IN_VAIN):
        lost_at(world, m.RunFile)
    report, made = attempt(world)
    assert (report.reason, report.exit_code) == (Reason.FAILED, 1)
    assert "lost in 3 runs one after the other" in report.message
    assert tries(made) == []
    assert attempt(world)[0].reason is Reason.ALREADY_FAILED
    lost_at(world, m.RunFile, token="again")
    assert attempt(world, token="again")[0].reason is Reason.SUCCEEDED


def test_lost_runs_that_bring_something_forward_may_be_many() -> None:
    world = World()
    for number in range(12):
        world.files[f"00{20 + number}_x.sql"] = "x" * 64
    for _ in range(10):
        row = len(world.rows) + 1
        lost_at(world, m.Record)
        assert world.row(row).state is RowState.RUNNING
        world.effects.pop()
        del world.applied[max(world.applied)]  # as if it had come no further than to the file before
    assert attempt(world)[0].reason is Reason.SUCCEEDED


# --- others' runs -----------------------------------------------------------------------------------------------------


def test_the_lock_is_waited_for_and_its_holder_named() -> None:
    world = World()
    world.holder = object()  # type: ignore[assignment]
    report, made = attempt(world, lock_timeout=5.0)
    assert (report.reason, report.holder, report.holder_is_ours) == (Reason.LOCK_TIMEOUT, "pid 1", True)
    assert 5 <= world.now < 7
    assert 5 <= sum(isinstance(request, m.TryLock) for request in made.requests) <= 7


def dead(world: World, **more: object) -> None:
    given = {"id": 1, "name": "ns/shop", "phase": "expand", "version": "0", "state": RowState.RUNNING, "lock_key": KEY,
             "pod_uid": "dead", "mode": "sql", "beat_at": EPOCH}  # fmt: skip
    world.rows = [ledger.Row(**{**given, **more})]  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [RowState.RUNNING, RowState.UNKNOWN])
@pytest.mark.parametrize("key", [KEY, 8])
def test_a_dead_run_needs_no_person(state, key) -> None:
    world = World()
    dead(world, state=state, lock_key=key)
    assert attempt(world)[0].reason is Reason.SUCCEEDED
    assert world.row(1).state is RowState.SUPERSEDED
    assert world.now < 1, "at once"


def test_a_run_under_another_lock_is_waited_for(monkeypatch) -> None:
    world = World()
    dead(world, lock_key=8)
    perform = Pod.perform

    def busy(self, request):
        return m.LockBusy("pid 2", True) if isinstance(request, m.Prove) else perform(self, request)

    monkeypatch.setattr(Pod, "perform", busy)
    report, _ = attempt(world, lock_timeout=3.0)
    assert (report.reason, report.holder) == (Reason.LOCK_TIMEOUT, "pid 2")
    assert "the lock of row 1 is held by pid 2" in report.message


def test_a_commands_run_is_judged_by_its_beats() -> None:
    world = World()
    dead(world, mode="")
    report, made = attempt(world, lock_timeout=5.0)
    assert report.reason is Reason.LOCK_TIMEOUT
    assert any(isinstance(request, m.Unlock) for request in made.requests), "it may want its lock back"
    world.now = 100
    report, _ = attempt(world)
    assert (report.reason, report.row) == (Reason.OUTCOME_UNKNOWN, 1)
    report, _ = attempt(world, answer="1 retry it did nothing")
    assert report.reason is Reason.SUCCEEDED


@pytest.mark.parametrize("more", [{}, {"lock_key": 8}, {"beat_at": None}])
def test_a_command_does_not_judge_an_sql_run_by_beats(more) -> None:
    world = World()
    dead(world, **more)
    command = dataclasses.replace(ask(), sql=None)
    judged = ledger.judge(world.rows, command, pod_uid="x", lock_key=KEY, now=EPOCH + datetime.timedelta(hours=1))
    assert isinstance(judged, ledger.Prove)


def test_a_command_leaves_an_sql_runs_question_to_a_person() -> None:
    world = World()
    dead(world, state=RowState.UNKNOWN, note="another index")
    command = dataclasses.replace(ask(), sql=None)
    judged = ledger.judge(world.rows, command, pod_uid="x", lock_key=KEY, now=EPOCH)
    assert isinstance(judged, ledger.Stop) and judged.report.reason is Reason.OUTCOME_UNKNOWN


def test_a_container_that_is_run_twice_in_one_pod() -> None:
    world = World()
    dead(world, pod_uid="me")
    assert attempt(world, uid="me")[0].reason is Reason.ALREADY_STARTED


# --- connecting -------------------------------------------------------------------------------------------------------


def failed(retry: bool) -> m.ConnectFailed:
    return m.ConnectFailed(Reason.DATABASE_UNREACHABLE, "nobody there", retry)


def test_an_unreachable_database_is_tried_for_a_while() -> None:
    for lock_timeout, patience in ((5.0, 5.0), (600.0, sequence.CONNECT_WITHIN)):
        world = World()
        world.connects = [failed(True) for _ in range(100)]
        report, _ = attempt(world, lock_timeout=lock_timeout)
        assert report.reason is Reason.DATABASE_UNREACHABLE
        assert patience <= world.now <= patience + 1


def test_what_does_not_heal_is_not_tried_again() -> None:
    world = World()
    world.connects = [failed(False)]
    report, made = attempt(world)
    assert (report.reason, len(made.requests)) == (Reason.DATABASE_UNREACHABLE, 1)


@pytest.mark.parametrize("allow", [True, False])
def test_poolers_are_refused_whatever_is_allowed(allow) -> None:
    world = World()
    world.connects = [m.Connected(server=SERVER, ledger="uuid", pooler="its key")]
    report, _ = attempt(world, allow_pooler=allow)
    assert report.reason is Reason.POOLER_REFUSED
    assert "its key" in report.message


def test_a_session_that_is_lost_again_and_again_ends_the_attempt(monkeypatch) -> None:
    monkeypatch.setattr(Pod, "perform", lambda self, request: m.Lost("cut"))
    world = World()
    report, _ = attempt(world, lock_timeout=10.0)
    assert report.reason is Reason.DATABASE_UNREACHABLE
    assert 25 <= world.now < 26


# --- the contract -----------------------------------------------------------------------------------------------------


def test_contract() -> None:
    world = World()
    assert attempt(world, phase="contract")[0].reason is Reason.NOT_APPLIED
    report, _ = attempt(world)
    assert (report.floor, report.contract_files) == ("", 1)
    world.outcomes["0003_c.contract.sql"] = [model.Failed(message="no")]
    report, _ = attempt(world, phase="contract")
    assert (report.reason, report.floor) == (Reason.FAILED, "1")
    report, _ = attempt(world, phase="contract", token="t")
    assert (report.reason, report.floor, report.contract_files) == (Reason.SUCCEEDED, "1", None)
    assert world.effects == ["0001_a.sql", "0002_b.sql", "0003_c.contract.sql"]
    world.files["0004_d.sql"] = "d" * 64
    report, _ = attempt(world, version="2")
    assert (report.reason, report.floor, report.contract_files) == (Reason.SUCCEEDED, "1", 0)
    assert attempt(world, phase="contract", version="2")[0].reason is Reason.NOTHING_TO_RUN
    # A version from before the contract cannot come back.
    world.rows = [dataclasses.replace(row, version="0") if row.id == 1 else row for row in world.rows]
    assert attempt(world, version="0")[0].reason is Reason.INCOMPATIBLE


def test_a_contract_that_was_told_to_stop_before_it_ran_leaves_no_floor() -> None:
    world = World()
    attempt(world)
    at = len(attempt(World(), Fault(99, ""))[1].requests)
    for number in range(1, at):
        world = World()
        attempt(world)
        attempt(world, Fault(number, "terminated"), phase="contract")
        began = [row for row in world.rows if row.phase == "contract"]
        assert (ledger.floor(world.rows, "ns/shop") is None) == (not began)


def test_a_file_that_was_begun_and_is_gone() -> None:
    world = World()
    world.begun = frozenset({"0009_x.sql", "0009_x.contract.sql"})
    report, _ = attempt(world)
    assert (report.reason, report.message) == (
        Reason.SOURCE_INVALID, "0009_x.sql: some of its statements have run, and it is no longer there: put it back",
    )  # fmt: skip
