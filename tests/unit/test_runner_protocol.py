"""The protocol between lock, gate and script, under every fault at every step.

A model of everything around the protocol (a database with the ledger's constraints, the shared files, the script, the
kubelet) runs an attempt step by step.  First every single fault, then every pair of faults, is injected at every step of a
clean run; then seeded random schedules run several pods on one database.  After each, the laws are checked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import random
from collections import deque
from collections.abc import Callable

import pytest

from schemahold.api import pod
from schemahold.api.pod import Reason
from schemahold.core import ledger
from schemahold.core.ledger import RowState
from schemahold.runner import messages as m
from schemahold.runner import protocol as p

EPOCH = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
KEY = 7


def ask(**more: object) -> pod.Ask:
    given = {"ledger_name": "ns/shop", "phase": "expand", "version": "1", "inputs": "i", "attempt": 1, "job": "shop-1"}
    return pod.Ask(**{**given, **more})  # type: ignore[arg-type]


class Unique(Exception):
    """A unique index was violated."""


class Database:
    """The ledger with its constraints, the lock, and a server that can be restarted, fail over and lose rows."""

    def __init__(self) -> None:
        self.rows: list[ledger.Row] = []
        self.server = ledger.Server(system_id="s", timeline="1", postmaster_started="p1")
        self.now = 0.0
        self.holder: object | None = None  # a session
        self.down = False
        self.ledger = "uuid"
        self.ever: dict[str, RowState] = {}  # the last state of each pod's row, even if it was lost since

    def time(self) -> datetime.datetime:
        return EPOCH + datetime.timedelta(seconds=self.now)

    def replace(self, row_id: int, **changes: object) -> None:
        rows = [dataclasses.replace(row, **changes) if row.id == row_id else row for row in self.rows]  # type: ignore[arg-type]
        self.commit(rows)

    def commit(self, rows: list[ledger.Row]) -> None:
        running = [row.lock_key for row in rows if row.state is RowState.RUNNING]
        unanswered = [(row.name, row.phase) for row in rows if row.state in ledger.OPEN]
        applied = [(row.name, row.phase, row.version) for row in rows if row.state in ledger.APPLIED]
        pods = [row.pod_uid for row in rows if row.pod_uid]
        for keys in (running, unanswered, applied, pods):
            if len(set(keys)) != len(keys):
                raise Unique
        self.rows = rows
        self.ever.update({row.pod_uid: row.state for row in rows})

    def row(self, row_id: int | None, pod_uid: str) -> ledger.Row | None:
        return next((row for row in self.rows if row.id == row_id and row.pod_uid == pod_uid), None)


class Session:
    """One lock container's session, as _Worker and database/ledger.py do it."""

    def __init__(self, database: Database, model: Pod) -> None:
        self.database = database
        self.model = model
        self.alive = True
        self.life = database.server.postmaster_started

    def perform(self, request: m.Request) -> m.Event:
        db, uid = self.database, self.model.uid
        match request:
            case m.TryLock():
                if db.holder is None or db.holder is self:
                    db.holder = self
                    return m.LockTaken()
                return m.LockBusy("pid 1", True)
            case m.Unlock():
                self.release()
            case m.Look():
                return m.Looked(rows=tuple(db.rows), now=db.time())
            case m.Adopt(version):
                number = len(db.rows) + 1
                row = ledger.Row(id=number, name="ns/shop", phase="expand", version=version, state=RowState.ADOPTED)
                with contextlib.suppress(Unique):
                    db.commit([*db.rows, row])
            case m.TurnUnknown(verdict):
                current = next(row for row in db.rows if row.id == verdict.row.id)
                if current.state is RowState.RUNNING and current.beat_at == verdict.row.beat_at:
                    db.replace(current.id, state=RowState.UNKNOWN, note=verdict.note)
            case m.Settle(verdict):
                db.replace(verdict.row.id, state=verdict.state)
            case m.WriteRunning():
                return m.Started(self.start(request))
            case m.Beat(row_id):
                row = db.row(row_id, uid)
                if row and row.state in (RowState.RUNNING, RowState.UNKNOWN):
                    db.replace(row.id, beat_at=db.time())
                return m.StateSeen(row.state if row else None)
            case m.Record(row_id, state, code, note):
                row = db.row(row_id, uid)
                if row and row.state is RowState.RUNNING:
                    db.replace(row.id, state=state, exit_code=code, note=note)
                row = db.row(row_id, uid)
                return m.StateSeen(row.state if row else None)
            case m.Withdraw(row_id):
                row = db.row(row_id, uid)
                if row and row.state is RowState.RUNNING:
                    db.replace(row.id, state=RowState.SUPERSEDED)
        return m.Done()

    def start(self, request: m.WriteRunning) -> int | None:
        db, a = self.database, self.model.ask
        rows = [
            dataclasses.replace(row, state=RowState.SUPERSEDED)
            if row.id == request.supersede and row.state is RowState.FAILED
            else row
            for row in db.rows
        ]
        for row in rows:
            if row.name == a.ledger_name and (
                row.state in (RowState.RUNNING, RowState.UNKNOWN)
                or (row.state in ledger.APPLIED and (row.phase, row.version) == (a.phase, a.version))
            ):
                return None
        made = ledger.Row(
            id=max((row.id for row in db.rows), default=0) + 1, name=a.ledger_name, phase=a.phase, version=a.version,
            inputs=a.inputs, state=RowState.RUNNING, lock_key=KEY, pod_uid=self.model.uid, token=a.token,
            server=request.server, started_at=db.time(), beat_at=db.time(), note=request.note,
        )  # fmt: skip
        try:
            db.commit([*rows, made])
        except Unique:
            return None
        return made.id

    def release(self) -> None:
        if self.database.holder is self:
            self.database.holder = None

    def end(self) -> None:
        self.alive = False
        self.release()


class Pod:
    """lock (the protocol under test), gate, script and kubelet of one attempt."""

    def __init__(self, database: Database, name: str, the_ask: pod.Ask, code: int = 0) -> None:
        self.database = database
        self.uid = name
        self.ask = the_ask
        self.code = code
        self.files: dict[str, str] = {}
        self.report: pod.Report | None = None
        self.gate: int | None = None
        self.script = "absent"  # absent, asking, running, ended; then the exit code is set
        self.exit_code: int | None = None
        self.script_terminated = False
        self.command_runs = 0
        self.lock: p.Protocol | None = None
        self.lock_exited = False
        self.lock_terminated = False
        self.session: Session | None = None
        self.inbox: deque[m.Event] = deque()
        self.request: m.Request | None = None
        self.seen: set[str] = set()
        self.boot()

    # -- lock

    def boot(self) -> None:
        """The kubelet starts the lock container, for the first time or again."""
        self.lock = p.Protocol(self.ask, pod_uid=self.uid, lock_key=KEY)
        self.inbox.clear()
        self.request = None
        self.lock_terminated = False
        self.seen = {m.EXIT} & set(self.files)
        # A killed container's session ends with it, or lingers; the next Connect ends it (_end_previous).
        self.obey(self.lock.begin(dict(self.files), self.database.now))

    def obey(self, actions: list[m.Action]) -> None:
        for action in actions:
            match action:
                case m.WriteFile(name, text):
                    self.write(name, text)
                case m.WriteReport(report):
                    self.report = report
                case m.TakeAsk():
                    if m.ASK in self.files:
                        self.files[m.ASKED] = self.files.pop(m.ASK)
                        self.inbox.append(m.AskTaken())
                    else:
                        self.inbox.append(m.AskGone())
                case m.Exit():
                    self.lock_exited = True
                    self.end_session()
                case m.Log():
                    pass
                case _:
                    assert self.request is None, "two requests at once"
                    self.request = action

    def write(self, name: str, text: str) -> None:
        if name == m.GO:
            assert self.uid in self.database.ever, "go without a row of this pod in the ledger"
            assert m.REFUSED not in self.files, "go after refused"
        self.files[name] = text

    def feed(self, event: m.Event) -> None:
        if self.lock is not None and not self.lock_exited:
            self.obey(self.lock.handle(event, self.database.now))

    def step_lock(self) -> None:
        """One turn of the driver's loop: an answer, or a look at the files, or time."""
        if self.inbox:
            self.feed(self.inbox.popleft())
        elif m.ASK in self.files and m.ASK not in self.seen:
            self.seen.add(m.ASK)
            self.feed(m.AskSeen())
        elif m.EXIT in self.files and m.EXIT not in self.seen:
            self.seen.add(m.EXIT)
            self.feed(m.ExitSeen(self.files[m.EXIT]))
        else:
            self.feed(m.Tick())

    def step_worker(self, *, lose: str = "") -> None:
        """Perform the request under way.  ``lose``: the session is lost before or after it takes effect."""
        request, self.request = self.request, None
        if request is None:
            return
        if isinstance(request, m.Connect):
            self.inbox.append(self.connect(request))
        elif isinstance(request, m.Disconnect):
            self.end_session()
            self.inbox.append(m.Done())
        elif self.session is None or not self.session.alive or self.database.down:
            self.inbox.append(m.Lost("gone"))
        elif lose == "before":
            self.inbox.append(m.Lost("lost before"))
        else:
            answer = self.session.perform(request)
            self.inbox.append(m.Lost("lost after") if lose == "after" else answer)

    def connect(self, request: m.Connect) -> m.Event:
        if self.database.down:
            return m.ConnectFailed(Reason.DATABASE_UNREACHABLE, "down", True)
        if request.expected not in ("", self.database.ledger):
            return m.ConnectFailed(Reason.LEDGER_LOST, "another", False)
        self.end_session()
        self.session = Session(self.database, self)
        return m.Connected(server=self.database.server, ledger=self.database.ledger)

    def end_session(self) -> None:
        if self.session is not None:
            self.session.end()
            self.session = None

    # -- gate, script, kubelet

    def step_rest(self) -> None:
        if self.gate is None and (m.HELD in self.files or m.STOPPED in self.files):
            self.gate = 1 if m.STOPPED in self.files else 0
            return
        if self.gate == 0 and self.script == "absent" and self.exit_code is None:
            if self.script_terminated:
                self.exit_code = 137  # never started
                return
            self.script = "asking"
            self.files[m.ASK] = ""
        elif self.script == "asking":
            self.step_asking()
        elif self.script == "running":
            self.script = "ended"
            self.files[m.EXIT] = str(143 if self.script_terminated and self.code == 0 else self.code)
        elif self.script == "ended" and self.exit_code is None and m.RECORDED in self.files:
            state = self.files[m.RECORDED].splitlines()[0]
            code = int(self.files[m.EXIT])
            self.exit_code = 79 if code == 0 and state != "succeeded" else code

    def step_asking(self) -> None:
        if m.GO in self.files:
            if self.script_terminated:
                self.files[m.EXIT] = m.NOT_STARTED
                self.script, self.exit_code = "ended", 79
                return
            self.script = "running"
            self.command_runs += 1
        elif m.REFUSED in self.files:
            self.script, self.exit_code = "ended", 79
        elif self.script_terminated and m.ASK in self.files:
            self.files["withdrawn"] = self.files.pop(m.ASK)
            self.script, self.exit_code = "ended", 79

    @property
    def main_is_over(self) -> bool:
        return self.exit_code is not None or self.gate == 1

    def step_kubelet(self) -> None:
        """lock gets SIGTERM when everything else is over."""
        if self.main_is_over and not self.lock_terminated and not self.lock_exited:
            self.lock_terminated = True
            self.feed(m.Terminated())

    def steps(self) -> list[Callable[[], None]]:
        return [self.step_lock, self.step_worker, self.step_rest]

    # -- faults

    def sigterm(self) -> None:
        """The pod is deleted: migrate hears of it at once, lock when migrate is over."""
        self.script_terminated = True
        if self.gate is None:
            self.gate = 1  # gate ends by itself

    def lock_sigterm(self) -> None:
        """lock alone gets SIGTERM, as at the end of the grace period, while migrate is being killed."""
        if self.exit_code is None:
            self.exit_code = 137
            self.gate = 1 if self.gate is None else self.gate
            if self.script != "ended":
                self.script = "killed"
        self.lock_terminated = True
        self.feed(m.Terminated())

    def lock_crash(self) -> None:
        if not self.lock_exited:
            self.boot()

    def lose_before(self) -> None:
        self.step_worker(lose="before")

    def lose_after(self) -> None:
        self.step_worker(lose="after")

    def session_dies(self) -> None:
        if self.session:
            self.session.end()

    def server_restarts(self) -> None:
        self.session_dies()
        self.database.holder = None
        life = f"p{self.database.now}"
        self.database.server = dataclasses.replace(self.database.server, postmaster_started=life)

    def fails_over(self) -> None:
        self.server_restarts()
        self.database.server = dataclasses.replace(self.database.server, timeline=f"t{self.database.now}")

    def loses_rows(self) -> None:
        self.fails_over()
        self.database.rows = []


def finish(model: Pod, *, within: int = 4000) -> None:
    for _ in range(within):
        if model.lock_exited:
            return
        model.database.now += 0.1
        for step in model.steps():
            step()
        model.step_kubelet()
    raise AssertionError(f"lock does not end; {model.lock.phase if model.lock else None}, {model.files}")


def check(model: Pod, *, killed: bool = False) -> None:
    """The laws, for one pod at its end."""
    state = model.database.ever.get(model.uid)
    assert model.command_runs <= 1
    if model.exit_code == 0:
        assert state is RowState.SUCCEEDED, "migrate exits 0 only if succeeded is in the ledger"
    if state is RowState.SUCCEEDED:
        assert model.exit_code in (0, 137), "and the other way round, unless it was killed while it heard of it"
    if model.command_runs == 0 and not killed:
        assert state in (None, RowState.SUPERSEDED), f"nothing ran, and nothing may wait for an answer: {state}"
    if model.command_runs and m.RECORDED in model.files and state:
        assert model.files[m.RECORDED].splitlines()[0] == state
    if model.report and model.report.reason is Reason.SUCCEEDED:
        assert state is RowState.SUCCEEDED
    if model.report and model.report.reason is Reason.FAILED:
        assert state is RowState.FAILED
    assert model.report is not None, "lock leaves a report whatever happens"


FAULTS: dict[str, Callable[[Pod], None]] = {
    name: getattr(Pod, name)
    for name in (
        "sigterm", "lock_sigterm", "lock_crash", "lose_before", "lose_after", "session_dies", "server_restarts",
        "fails_over", "loses_rows",
    )
}  # fmt: skip


def run_with_faults(plan: dict[int, str], code: int = 0) -> Pod:
    """A run whose step number n is preceded by the fault ``plan[n]``."""
    model = Pod(Database(), "pod-a", ask(), code)
    number = 0
    while number <= LAST and not model.lock_exited:
        for step in model.steps():
            if number in plan:
                FAULTS[plan[number]](model)
            number += 1
            step()
        model.step_kubelet()
        model.database.now += 0.1
    finish(model)
    return model


LAST = 48  # a clean run is over after so many steps


def test_clean_run() -> None:
    model = run_with_faults({})
    assert model.database.now < LAST / 3 * 0.1, "LAST is too small"
    assert (model.exit_code, model.database.rows[0].state) == (0, RowState.SUCCEEDED)
    check(model)


def test_failing_run() -> None:
    model = run_with_faults({}, code=3)
    assert (model.exit_code, model.database.rows[0].state, model.database.rows[0].exit_code) == (3, RowState.FAILED, 3)
    check(model)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_at_every_step(fault: str) -> None:
    for at in range(LAST):
        for code in (0, 3):
            model = run_with_faults({at: fault}, code)
            try:
                check(model, killed=fault == "lock_sigterm")
            except AssertionError as error:
                raise AssertionError(f"{fault} at step {at}, code {code}: {error}") from error
            if fault in ("lock_crash", "lose_before", "lose_after", "session_dies"):
                assert model.exit_code == code, f"{fault} at step {at} must not change the outcome"
                wanted = RowState.SUCCEEDED if code == 0 else RowState.FAILED
                assert [row.state for row in model.database.rows] == [wanted]


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", FAULTS)
def test_two_faults_at_every_pair_of_steps(first: str) -> None:
    for second in FAULTS:
        for one, two in itertools.combinations(range(LAST), 2):
            model = run_with_faults({one: first, two: second})
            try:
                check(model, killed="lock_sigterm" in (first, second))
            except AssertionError as error:
                raise AssertionError(f"{first} at {one}, {second} at {two}: {error}") from error


# --- single stories ---------------------------------------------------------------------------------------------------


def drive(model: Pod, until: Callable[[Pod], bool], within: int = 2000) -> None:
    for _ in range(within):
        if until(model):
            return
        model.database.now += 0.1
        for step in model.steps():
            step()
            if until(model):
                return
    raise AssertionError("never")


def test_sigterm_while_the_row_is_being_written_takes_it_back() -> None:
    model = Pod(Database(), "pod-a", ask())
    drive(model, lambda each: isinstance(each.request, m.WriteRunning))
    model.feed(m.Terminated())
    assert m.REFUSED in model.files, "the script is told at once, whatever the database does"
    finish(model)
    assert m.GO not in model.files
    assert [row.state for row in model.database.rows] == [RowState.SUPERSEDED]
    assert model.report and model.report.reason is Reason.WITHDRAWN


def test_sigterm_while_a_stalled_request_is_under_way() -> None:
    for phase in (p.Phase.WAITING, p.Phase.HELD):
        model = Pod(Database(), "pod-a", ask())
        drive(model, lambda each, phase=phase: each.lock.phase is phase and each.request is not None)
        model.feed(m.Terminated())
        assert model.lock_exited, "no answer is awaited"
        assert model.report and model.report.reason is Reason.WITHDRAWN


def test_sigterm_of_lock_during_the_run_leaves_the_row_running() -> None:
    model = Pod(Database(), "pod-a", ask())
    drive(model, lambda each: each.script == "running")
    model.lock_sigterm()
    finish(model)
    assert [row.state for row in model.database.rows] == [RowState.RUNNING]
    assert model.report and (model.report.reason, model.report.exit_code) == (Reason.UNKNOWN, None)


def test_sigterm_after_the_answer_to_the_start_was_lost_takes_the_row_back() -> None:
    model = Pod(Database(), "pod-a", ask())
    drive(model, lambda each: isinstance(each.request, m.WriteRunning))
    model.lose_after()
    model.step_lock()
    assert [row.state for row in model.database.rows] == [RowState.RUNNING]
    model.feed(m.Terminated())
    finish(model)
    assert [row.state for row in model.database.rows] == [RowState.SUPERSEDED]


def test_withdrawing_does_not_outlast_its_patience() -> None:
    model = Pod(Database(), "pod-a", ask())
    drive(model, lambda each: isinstance(each.request, m.WriteRunning))
    model.database.down = True
    model.feed(m.Terminated())
    began = model.database.now
    finish(model)
    assert model.database.now - began < p.WITHDRAW_WITHIN + 1


@pytest.mark.parametrize("code", [0, 3])
def test_a_row_that_was_lost_on_an_unchanged_server_is_written_again_and_unknown(code: int) -> None:
    model = Pod(Database(), "pod-a", ask(), code)
    drive(model, lambda each: each.script == "running" and each.request is None)
    model.database.rows = []
    model.session_dies()
    for _ in range(100):
        model.step_lock()
        model.step_worker()
        model.database.now += 0.1
    assert [row.state for row in model.database.rows] == [RowState.RUNNING], "it fences again while it runs"
    finish(model)
    assert [row.state for row in model.database.rows] == [RowState.UNKNOWN]


def test_who_waits_for_a_row_lets_go_of_the_lock() -> None:
    """The running pod lost its session; another gets the lock, sees the row, and must not keep the lock from its owner."""
    database = Database()
    one, two = Pod(database, "pod-a", ask()), Pod(database, "pod-b", ask(ledger_name="ns/other", lock_timeout=1000))
    drive(one, lambda each: each.script == "running" and each.request is None)
    one.session_dies()
    drive(two, lambda each: m.PROGRESS in each.files)
    for _ in range(200):
        database.now += 0.1
        for model in (one, two):
            model.step_lock()
            model.step_worker()
    assert database.holder is one.session
    assert m.HELD not in two.files


def test_exit_just_after_sigterm_is_still_recorded() -> None:
    model = Pod(Database(), "pod-a", ask(), code=3)
    drive(model, lambda each: each.script == "running")
    model.feed(m.Terminated())
    finish(model)
    assert [row.state for row in model.database.rows] == [RowState.FAILED]


def test_outcome_waits_for_the_database_and_the_report_does_not() -> None:
    model = Pod(Database(), "pod-a", ask(), code=3)
    drive(model, lambda each: each.script == "running")
    model.database.down = True
    model.session_dies()
    drive(model, lambda each: each.script == "ended" and each.report is not None)
    assert model.report and (model.report.reason, model.report.exit_code) == (Reason.UNKNOWN, 3)
    for _ in range(20000):
        model.database.now += 0.1
        for step in model.steps():
            step()
    assert model.exit_code is None, "half an hour without database, and it still tries"
    model.database.down = False
    finish(model)
    assert (model.exit_code, model.report.reason) == (3, Reason.FAILED)


def test_unreachable_database_stops_within_the_lock_timeout() -> None:
    for timeout, latest in ((0, 0.5), (3, 4), (600, 17)):
        database = Database()
        database.down = True
        model = Pod(database, "pod-a", ask(lock_timeout=timeout))
        drive(model, lambda each: m.STOPPED in each.files)
        assert database.now <= latest
        assert model.report and model.report.reason is Reason.DATABASE_UNREACHABLE


def test_final_refusals_are_not_retried() -> None:
    model = Pod(Database(), "pod-a", ask(expected_ledger="another"))
    drive(model, lambda each: m.STOPPED in each.files)
    assert model.database.now < 1
    assert model.report and model.report.reason is Reason.LEDGER_LOST


def test_pooler_is_refused_unless_allowed() -> None:
    for allowed in (False, True):
        lock = p.Protocol(ask(allow_pooler=allowed), pod_uid="x", lock_key=KEY)
        lock.begin({}, 0)
        seen = lock.handle(m.Connected(server=ledger.Server(), ledger="u", pooler="why"), 0)
        if allowed:
            assert m.Look() in seen, "no session lock through a pooler: it would stay with a server process"
        else:
            assert lock.report and lock.report.reason is Reason.POOLER_REFUSED


def test_degraded_run_reports_it_and_still_times_out() -> None:
    lock = p.Protocol(ask(allow_pooler=True, lock_timeout=5), pod_uid="x", lock_key=KEY)
    lock.begin({}, 0)
    other = ledger.Row(id=1, name="ns/o", phase="expand", version="1", state=RowState.RUNNING, lock_key=KEY, beat_at=EPOCH)
    lock.handle(m.Connected(server=ledger.Server(), ledger="u", pooler="why"), 0)
    for second in range(20):
        lock.handle(m.Looked(rows=(other,), now=EPOCH), second)
        if lock.report:
            break
        lock.handle(m.Tick(), second + 0.9)
    assert lock.report
    assert (lock.report.reason, lock.report.degraded, lock.report.holder_is_ours) == (Reason.LOCK_TIMEOUT, True, True)
    assert second in (5, 6)


def test_start_timeout() -> None:
    model = Pod(Database(), "pod-a", ask(start_timeout=30))
    drive(model, lambda each: m.HELD in each.files)
    held = model.database.now
    for _ in range(1000):  # the image cannot be pulled
        model.database.now += 0.1
        model.step_lock()
        model.step_worker()
    assert model.report and model.report.reason is Reason.START_TIMEOUT
    assert model.database.holder is None, "it must not keep its own fix waiting"
    assert model.database.rows == []
    assert held < 1


def test_restart_counts_the_start_timeout_from_the_file() -> None:
    lock = p.Protocol(ask(start_timeout=30), pod_uid="x", lock_key=KEY)
    lock.begin({m.HELD: ""}, 1000.0, held_for=31.0)
    assert lock.report and lock.report.reason is Reason.START_TIMEOUT


def test_held_carries_the_session_options_only_if_the_server_takes_them() -> None:
    for refused in ("", "no"):
        lock = p.Protocol(ask(session_options={"lock_timeout": "3 s"}), pod_uid="x", lock_key=KEY)
        [connect] = lock.begin({}, 0)
        assert connect == m.Connect("", options=True)
        lock.handle(m.Connected(server=ledger.Server(), ledger="u", options_refused=refused), 0)
        lock.handle(m.LockTaken(), 0)
        actions = lock.handle(m.Looked(rows=(), now=EPOCH), 0)
        [text] = [action.text for action in actions if isinstance(action, m.WriteFile)]
        assert ("PGOPTIONS=-c lock_timeout=3\\ s\n" in text) == (not refused)


@pytest.mark.parametrize("name", [m.STOPPED, m.REFUSED, m.RECORDED])
def test_restart_after_the_end_repeats_the_report(name: str) -> None:
    report = pod.Report(reason=Reason.FAILED, row=3, exit_code=4)
    lock = p.Protocol(ask(), pod_uid="x", lock_key=KEY)
    assert lock.begin({name: f"first line\n{report.to_json()}\n", m.GO: "3"}, 0) == [m.WriteReport(report)]
    assert lock.handle(m.Terminated(), 1) == [m.Exit()]


# --- several pods on one database, seeded -----------------------------------------------------------------------------


class Law:
    """What must never happen between pods."""

    def __init__(self) -> None:
        self.started: set[str] = set()

    def check_start(self, model: Pod, pods: list[Pod]) -> None:
        if model.command_runs == 0 or model.uid in self.started:
            return
        self.started.add(model.uid)
        database = model.database
        mine = next(row for row in database.rows if row.pod_uid == model.uid)
        # It was written when nothing stood against it (Database.commit); it is still open, and nobody else's succeeded.
        for row in database.rows:
            if row.name == mine.name and row.version == mine.version and row.state in ledger.APPLIED:
                assert row.id == mine.id, "started after a success"
            if row.id != mine.id and row.name == mine.name:
                assert row.state is not RowState.UNKNOWN, "started after an unknown outcome"
        beside = [
            other
            for other in pods
            if other is not model and other.script == "running" and any(
                row.pod_uid == other.uid and row.state is RowState.RUNNING for row in database.rows
            )
        ]  # fmt: skip
        assert not beside, "started beside a running one"


def schedule(seed: int) -> list[Pod]:
    """Three attempts, of two names, on one database under one key; faults and steps in random order."""
    rng = random.Random(seed)
    database, law = Database(), Law()
    pods: list[Pod] = []
    faults = [name for name in FAULTS if name != "loses_rows"]
    for number in range(600):
        if len(pods) < 3 and (not pods or rng.random() < 0.02):
            name = rng.choice(["ns/shop", "ns/shop", "ns/other"])
            the_ask = ask(ledger_name=name, version=rng.choice("12"), lock_timeout=20, stale_after=15, token=str(number))
            pods.append(Pod(database, f"pod-{len(pods)}", the_ask, rng.choice([0, 0, 3])))
        model = rng.choice(pods)
        if model.lock_exited:
            continue
        if rng.random() < 0.02:
            FAULTS[rng.choice(faults)](model)
        # A command takes its time.
        step = rng.choice(model.steps())
        if not (model.script == "running" and step == model.step_rest and rng.random() < 0.8):
            step()
        if rng.random() < 0.3:
            model.step_kubelet()
        database.now += rng.choice([0.0, 0.05, 0.3])
        law.check_start(model, pods)
    for _ in range(3000):
        for model in pods:
            for step in model.steps():
                step()
                law.check_start(model, pods)
            model.step_kubelet()
        database.now += 0.1
        if all(model.lock_exited for model in pods):
            break
    return pods


SEEDS = [range(start, start + 500) for start in range(0, 2000, 500)]


@pytest.mark.parametrize("some", SEEDS, ids=lambda some: f"{some.start}-{some.stop}")
def test_pods_on_one_database(some: range) -> None:
    outcomes: set[object] = set()
    for seed in some:
        try:
            for model in schedule(seed):
                assert model.lock_exited
                if model.exit_code == 0:
                    [mine] = [row for row in model.database.rows if row.pod_uid == model.uid]
                    assert mine.state is RowState.SUCCEEDED
                outcomes.add(model.report.reason if model.report else None)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    wanted = {Reason.SUCCEEDED, Reason.FAILED, Reason.UNKNOWN, Reason.WITHDRAWN, Reason.ALREADY_APPLIED}
    assert wanted <= outcomes, "the schedules must reach what they are about"
