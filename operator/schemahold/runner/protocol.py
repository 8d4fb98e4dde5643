"""The protocol between lock, gate and script, without I/O: events in, actions out.

::

    WAITING ── held ──▶ HELD ── ask taken ──▶ ASKED ── row written, go ──▶ RUNNING ── exit seen ──▶ ENDED
       │                 │                      │                                                     │
       └─ stopped        └─ refused             └─ refused (after a SIGTERM: WITHDRAWING)              └─ recorded
                                     all of them ──▶ DONE ── SIGTERM ──▶ exit 0

The driver (:mod:`schemahold.runner.lock`) performs one database request at a time and hands its result back as an event, so
everything else can happen between a request and its result: that is what ``test_runner_protocol.py`` enumerates.  Times are
seconds on one clock that never goes back; every event comes with its time.

The files are the memory: a lock container that is restarted in its pod finds in them where it was (:meth:`Protocol.begin`),
and in the ledger what it had written without knowing.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence

from schemahold.api import pod
from schemahold.core import ledger, redact
from schemahold.runner.messages import (
    ANSWERS,
    ASKED,
    EXIT,
    GO,
    HELD,
    NOT_STARTED,
    PROGRESS,
    RECORDED,
    REFUSED,
    STOPPED,
    Action,
    Adopt,
    AskGone,
    AskSeen,
    AskTaken,
    BackendsAlive,
    Beat,
    Connect,
    Connected,
    ConnectFailed,
    Disconnect,
    Done,
    Event,
    Exit,
    ExitSeen,
    LockBusy,
    LockTaken,
    Log,
    Look,
    Looked,
    Lost,
    Ping,
    Prove,
    Record,
    Refused,
    Request,
    Settle,
    Started,
    StateSeen,
    TakeAsk,
    Terminated,
    TryLock,
    TurnUnknown,
    Unlock,
    Withdraw,
    WriteFile,
    WriteReport,
    WriteRunning,
)

# The only place for the protocol's times, in seconds; beat and stale_after come with the Ask.
POLL = 1.0  # between two tries for the lock; jittered
FILE_POLL = 0.1  # between two looks into the shared directory
CONNECT_WITHIN = 15.0  # before the start: how long an unreachable database is tried at most
RECONNECT_MAX = 5.0  # during a run: longest pause between two connects
LINGER = 1.0  # after SIGTERM, for an exit file that is just being written
WITHDRAW_WITHIN = 5.0  # after SIGTERM, for taking back a row that may have been written


class Phase(enum.Enum):
    WAITING = "waiting"
    HELD = "held"
    ASKED = "asked"
    RUNNING = "running"
    ENDED = "ended"
    WITHDRAWING = "withdrawing"
    DONE = "done"


BEFORE_START = frozenset({Phase.WAITING, Phase.HELD, Phase.ASKED})
AFTER_START = frozenset({Phase.RUNNING, Phase.ENDED})


class Protocol:
    """What the lock container does next.  Feed :meth:`begin` once, then :meth:`handle` every event."""

    def __init__(
        self,
        ask: pod.Ask,
        *,
        pod_uid: str,
        lock_key: int,
        jitter: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._ask = ask
        self._pod_uid = pod_uid
        self._lock_key = lock_key
        self._jitter = jitter

        self.phase = Phase.WAITING
        self.row: int | None = None
        self.report: pod.Report | None = None
        self._out: list[Action] = []
        self._request: Request | None = None  # under way

        self._connected = False
        self._locked = False
        self._row_checked = False  # on this session
        self._server = ledger.Server()
        self._ledger = ask.expected_ledger
        self._floor = ""
        self._degraded = False
        self._options_refused = ""

        self._began = 0.0
        self._try_at = 0.0  # no connect, no try for the lock before
        self._beat_at = 0.0
        self._pause = POLL
        self._lock_since: float | None = None
        self._lock_wait: float | None = None
        self._held_at = 0.0
        self._terminated_at: float | None = None
        self._gate_passed = False

        self._ask_seen = False
        self._may_have_started = False  # a running row was sent, and no answer came
        self._adopted = not ask.adopted or ask.phase != "expand"
        self._started_on: ledger.Server | None = None
        self._row_was_lost = False
        self._row_is_gone = False
        self._exit = ""
        self._holder = ""
        self._holder_is_ours = False
        self._fault: tuple[pod.Reason, str] | None = None
        self._said = ""

    # -- entry points

    def begin(self, files: Mapping[str, str], now: float, *, held_for: float = 0.0) -> list[Action]:
        """Start, or go on where the files say that an earlier container of this pod was.

        ``files``: name → text.  ``held_for``: age of the file ``held``.
        """
        self._began = self._try_at = now
        self._held_at = now - held_for
        self._gate_passed = HELD in files
        for name in (RECORDED, REFUSED, STOPPED):
            if name in files:
                self._resume_done(files[name])
                return self._take(now)
        if GO in files:
            self.row = int(files[GO].split()[0])
            self.phase = Phase.RUNNING
        elif ASKED in files:
            # The earlier container may have died between its commit and `go`: its row is then found as our own.
            self.phase = Phase.ASKED
            self._may_have_started = True
        elif HELD in files:
            self.phase = Phase.HELD
        if self.phase is not Phase.WAITING:
            self._log(f"the lock container was restarted; going on as '{self.phase.value}'")
        if EXIT in files:
            self._exit_seen(files[EXIT])
        return self._take(now)

    def handle(self, event: Event, now: float) -> list[Action]:
        """What to do about ``event``."""
        request = self._request
        if isinstance(event, ANSWERS):
            self._request = None
        match event:
            case Terminated():
                self._terminated_at = now if self._terminated_at is None else self._terminated_at
            case AskSeen():
                self._ask_seen = True
            case AskTaken():
                self.phase = Phase.ASKED
            case AskGone():
                self._ask_seen = False
                self._refuse(pod.Reason.WITHDRAWN, "the pod was told to stop before the command had started; nothing ran")
            case ExitSeen(text):
                self._exit_seen(text)
            case Connected():
                self._on_connected(event, now)
            case ConnectFailed(reason, message, retry):
                self._on_connect_failed(reason, message, retry, now)
            case Lost(message):
                self._on_lost(request, message, now)
            case Refused(reason, message):
                self._on_refused(request, reason, message, now)
            case LockTaken():
                self._on_lock_taken(now)
            case LockBusy(holder, ours):
                self._on_lock_busy(holder, ours, now)
            case Looked():
                self._on_looked(event, now)
            case BackendsAlive(count):
                self._on_backends_alive(count, now)
            case Started(row):
                self._on_started(request, row, now)
            case StateSeen(state, note):
                self._on_state(request, state, note, now)
            case Done():
                self._on_done(request, now)
        return self._take(now)

    def _take(self, now: float) -> list[Action]:
        if self._terminated_at is not None:
            self._step_terminated(now, self._terminated_at)
        if self._request is None:
            self._step(now)
        if self.phase is Phase.DONE:
            self._step_done()
        out, self._out = self._out, []
        return out

    # -- after SIGTERM: what does not wait for a request that is under way

    def _step_terminated(self, now: float, since: float) -> None:
        if self.phase in (Phase.WAITING, Phase.HELD):
            self._refuse(pod.Reason.WITHDRAWN, "the pod was told to stop before the command had started; nothing ran")
        elif self.phase is Phase.ASKED:
            self._withdraw(now)
        elif self.phase is Phase.WITHDRAWING and now - since >= WITHDRAW_WITHIN:
            self.phase = Phase.DONE
        elif self.phase is Phase.RUNNING and now - since >= LINGER:
            # No exit file, and lock is the last to get SIGTERM: migrate was killed, or lock alone is being restarted.
            # The row stays running: in the first case its beats end and the next gate turns it into unknown, in the
            # second we go on with it.  Writing unknown here would spoil a good run.
            message = (
                "there is no word from the command; its row stays running and becomes unknown "
                f"{self._ask.stale_after:g} s after its last beat"
            )
            self._finish(self._outcome_report(pod.Reason.UNKNOWN, message), None)

    # -- what to do next, when no request is under way

    def _step(self, now: float) -> None:
        match self.phase:
            case Phase.WAITING:
                self._step_waiting(now)
            case Phase.HELD:
                self._step_held(now)
            case Phase.ASKED:
                self._step_asked(now)
            case Phase.RUNNING:
                self._step_running(now)
            case Phase.ENDED:
                self._step_ended(now)
            case Phase.WITHDRAWING:
                self._step_withdrawing(now)
            case Phase.DONE:
                pass

    def _step_waiting(self, now: float) -> None:
        if self._reach_lock(now):
            self._send(Look() if self._adopted else Adopt(self._ask.adopted))

    def _step_held(self, now: float) -> None:
        if now - self._held_at >= self._ask.start_timeout:
            self._refuse_late()
        elif self._reach_lock(now):
            if self._ask_seen:
                # The file is taken only with the lock in hand: until then the script may withdraw it.
                self._ask_seen = False
                self._out.append(TakeAsk())
            elif now >= self._beat_at:
                self._send(Ping(), beat_at=now)

    def _step_asked(self, now: float) -> None:
        if now - self._held_at >= self._ask.start_timeout and not self._may_have_started:
            self._refuse_late()
        elif self._reach_lock(now):
            self._send(Look())

    def _step_running(self, now: float) -> None:
        if not self._reach_row(now):
            return
        if now >= self._beat_at and self.row is not None:
            self._send(Beat(self.row), beat_at=now)
        elif not self._locked and now >= self._try_at:
            self._send(TryLock())

    def _step_ended(self, now: float) -> None:
        if not self._reach_row(now):
            return
        if self.row is None or self._row_is_gone:
            self._recorded(None)
        elif self._exit == NOT_STARTED:
            self._send(Withdraw(self.row))
        else:
            state, note = ledger.outcome(
                int(self._exit), self._started_on or ledger.Server(), self._server, row_was_lost=self._row_was_lost
            )
            self._send(Record(self.row, state, int(self._exit), note))

    def _step_withdrawing(self, now: float) -> None:
        if self._reach_session(now):
            self._send(Look() if self.row is None else Withdraw(self.row))

    def _step_done(self) -> None:
        if self._terminated_at is not None:
            self._out.append(Exit())
        elif self._connected and self._request is None:
            self._send(Disconnect())

    def _reach_session(self, now: float) -> bool:
        if not self._connected and now >= self._try_at:
            options = self.phase is Phase.WAITING and bool(self._ask.session_options)
            self._send(Connect(self._ledger, options))
        return self._connected

    def _reach_lock(self, now: float) -> bool:
        """Session, then lock; True when both are in hand and it is time to go on."""
        if not self._reach_session(now) or now < self._try_at:
            return False
        self._lock_since = now if self._lock_since is None else self._lock_since
        if not self._locked:
            self._send(TryLock())
        return self._locked

    def _reach_row(self, now: float) -> bool:
        """Session, then our own row as this server has it."""
        if not self._reach_session(now):
            return False
        if not self._row_checked:
            self._send(Look())
        return self._row_checked

    def _send(self, request: Request, *, beat_at: float | None = None) -> None:
        assert self._request is None, "one request at a time"
        self._request = request
        self._out.append(request)
        if beat_at is not None:
            self._beat_at = beat_at + self._ask.beat

    # -- the session

    def _on_connected(self, event: Connected, now: float) -> None:
        self._connected = True
        self._row_checked = False
        self._server = event.server
        self._ledger = event.ledger
        self._fault = None
        self._pause = POLL
        self._try_at = now
        self._beat_at = now
        self._locked = False
        self._options_refused = event.options_refused or self._options_refused
        if event.pooler and not self._ask.allow_pooler:
            self._disconnect()
            self._on_connect_failed(
                pod.Reason.POOLER_REFUSED,
                f"a connection pooler stands between this pod and the server ({event.pooler}); give a URL that leads "
                "straight to the server, or set spec.lock.allowPooler: true, which gives up polite waiting",
                False,
                now,
            )
            return
        # Through a pooler a session lock would stay with a server process that others use: the row alone fences.
        self._degraded = bool(event.pooler)
        self._locked = self._degraded
        self._log("connected" + (" through a pooler: the ledger's row alone keeps runs apart" if self._degraded else ""))

    def _on_connect_failed(self, reason: pod.Reason, message: str, retry: bool, now: float) -> None:
        self._fault = (reason, message)
        self._pause = min(RECONNECT_MAX, self._pause * 2)
        self._try_at = now + self._pause / 2
        self._progress(message)
        if self.phase is Phase.WAITING:
            patience = min(self._ask.lock_timeout, CONNECT_WITHIN)
            if not retry or now - self._began >= patience:
                self._refuse(reason, message)
            self._try_at = min(self._try_at, max(now, self._began + patience))
        elif self.phase in (Phase.HELD, Phase.ASKED):
            if not retry and not self._may_have_started:
                self._refuse(reason, message)
        elif self.phase is Phase.ENDED and reason is pod.Reason.LEDGER_LOST:
            self._recorded(None)

    def _on_lost(self, request: Request | None, message: str, now: float) -> None:
        if isinstance(request, WriteRunning):
            self._may_have_started = True  # it may be committed, or still under way in the old server process
        self._connected = self._locked = self._row_checked = False
        self._fault = (pod.Reason.DATABASE_UNREACHABLE, message)
        self._try_at = now + POLL / 5
        if self.phase is not Phase.DONE:
            self._progress(f"the session was lost: {message}; connecting again")
        if self.phase is Phase.WAITING and now - self._began >= self._ask.lock_timeout + CONNECT_WITHIN:
            self._refuse(*self._fault)

    def _on_refused(self, request: Request | None, reason: pod.Reason, message: str, now: float) -> None:
        if self.phase in BEFORE_START:
            self._refuse(reason, message)
            return
        self._fault = (reason, message)
        self._progress(message)
        self._try_at = now + RECONNECT_MAX
        self._disconnect()
        if self.phase is Phase.ENDED and reason is pod.Reason.LEDGER_LOST:
            self._recorded(None)

    def _disconnect(self) -> None:
        self._connected = self._locked = self._row_checked = False
        self._send(Disconnect())

    def _on_done(self, request: Request | None, now: float) -> None:
        match request:
            case Disconnect():
                self._connected = self._locked = False
            case Unlock():
                self._locked = False
            case Adopt():
                self._adopted = True
            case Withdraw():
                self._withdrawn()

    # -- the lock

    def _on_lock_taken(self, now: float) -> None:
        self._locked = True
        self._holder, self._holder_is_ours = "", False

    def _on_lock_busy(self, holder: str, ours: bool, now: float) -> None:
        if self.phase in AFTER_START:
            # Another session got the key while ours was lost.  Our running row keeps it from starting anything; it will
            # see that, let go and wait.  We only ask again from time to time.
            self._try_at = now + self._ask.beat
            return
        self._holder, self._holder_is_ours = holder, ours
        self._wait(f"the lock is held by {holder}", now)

    def _wait(self, why: str, now: float) -> None:
        """Try again in about a second, or give up at the end of lock.timeout (while the gate still waits)."""
        since = self._lock_since if self._lock_since is not None else now
        if self.phase is Phase.WAITING:
            if now - since >= self._ask.lock_timeout:
                self._lock_wait = round(now - since, 3)
                message = f"{why}; gave up after {self._ask.lock_timeout:g} s (spec.lock.timeout)"
                self._refuse(pod.Reason.LOCK_TIMEOUT, message)
                return
            self._try_at = min(now + POLL * self._jitter(), since + self._ask.lock_timeout)
        else:
            self._try_at = now + POLL * self._jitter()
        self._progress(f"{why}; waiting")

    # -- the verdict

    def _on_looked(self, event: Looked, now: float) -> None:
        mine = next((row for row in event.rows if row.pod_uid == self._pod_uid and self._pod_uid), None)
        if self.phase in AFTER_START:
            self._check_row(mine, event.rows)
        elif self.phase is Phase.WITHDRAWING:
            if mine is None or mine.state is not ledger.RowState.RUNNING:
                self._withdrawn()
            else:
                self.row = mine.id
        elif self.phase in BEFORE_START and self._terminated_at is None:
            lowest = ledger.floor(event.rows, self._ask.ledger_name)
            self._floor = lowest.version if lowest else ""
            verdict = ledger.judge(
                event.rows,
                self._ask,
                pod_uid=self._pod_uid,
                lock_key=self._lock_key,
                now=event.now,
                server_started=event.server_started,
                asked=self.phase is Phase.ASKED,
            )
            self._obey(verdict, now)

    def _obey(self, verdict: ledger.Verdict, now: float) -> None:
        match verdict:
            case ledger.Start(supersede):
                if self.phase is Phase.WAITING:
                    self._hold(now)
                elif self.phase is Phase.ASKED:
                    self._start(supersede, now)
            case ledger.Stop(report):
                self._stop(report)
            case ledger.Wait(_, holder):
                self._holder, self._holder_is_ours = holder, True
                self._wait(f"waiting for {holder}", now)
                if self.phase in BEFORE_START and self._locked and not self._degraded:
                    # The run whose row this is has lost its session and wants its lock back.
                    self._send(Unlock())
            case ledger.TurnUnknown(row, note):
                self._log(f"row {row.id} of '{row.name}' is given up: {note}")
                self._send(TurnUnknown(verdict))
            case ledger.Prove(row, note):
                self._log(f"row {row.id} of '{row.name}': {note}")
                self._send(Prove(verdict))
            case ledger.Settle(row, state, answer, _):
                self._log(f"row {row.id} was answered '{answer.word}': it becomes {state}")
                self._send(Settle(verdict))
            case ledger.Resume(row):
                self._started_on = row.server
                self._go(row.id, now)

    def _hold(self, now: float) -> None:
        self.phase = Phase.HELD
        self._held_at = now
        self._lock_wait = round(now - (self._lock_since or now), 3)
        self._gate_passed = True
        lines = [f"PGAPPNAME={pod.MIGRATE_APPLICATION}{self._ask.ledger_name}"]
        if self._ask.session_options and not self._options_refused:
            lines.append("PGOPTIONS=" + options_text(self._ask.session_options))
        elif self._ask.session_options:
            self._log(f"run.sessionOptions are left out, the server does not take them: {self._options_refused}")
        self._out.append(WriteFile(HELD, "".join(line.replace("\n", " ") + "\n" for line in lines)))
        self._log("the lock is held and the ledger says go; waiting for the command to ask for its start")

    def _start(self, supersede: ledger.Row | None, now: float) -> None:
        if now - self._held_at >= self._ask.start_timeout:
            self._refuse_late()
            return
        self._started_on = self._server
        self._send(WriteRunning(self._server, supersede.id if supersede else None))

    def _on_backends_alive(self, count: int, now: float) -> None:
        sessions = f"{count} database sessions of the answered run are still ending"
        since = self._lock_since if self._lock_since is not None else now
        if self.phase is Phase.WAITING and now - since >= self._ask.lock_timeout:
            message = f"{sessions}; the answer is written when they are gone"
            self._stop(pod.Report(reason=pod.Reason.OUTCOME_UNKNOWN, message=message, backends=count))
            return
        self._try_at = now + POLL / 5
        self._progress(sessions)

    def _on_started(self, request: Request | None, row: int | None, now: float) -> None:
        if isinstance(request, WriteRunning) and request.note:  # our lost row, written again
            self._row_checked = True
            self._row_is_gone = row is None
            self.row = row if row is not None else self.row
        elif self.phase is Phase.WITHDRAWING:
            # Interleaving: SIGTERM came while the row was being written.  No go was given, so nothing can have run.
            self.row = row
            if row is None:
                self._withdrawn()
        elif row is None:
            self._try_at = now  # the rows have changed since we looked: look again
        else:
            self._go(row, now)

    def _go(self, row: int, now: float) -> None:
        self.row = row
        if self._ask.phase == ledger.CONTRACT:
            self._floor = self._ask.version
        self.phase = Phase.RUNNING
        self._row_checked = True
        self._try_at = now
        self._beat_at = now
        self._out.append(WriteFile(GO, f"{row}\n"))
        self._log(f"row {row} says running; the command may start")

    # -- the run

    def _check_row(self, mine: ledger.Row | None, rows: Sequence[ledger.Row]) -> None:
        """Our row, as a new session finds it."""
        if mine is not None:
            self.row = mine.id
            self._started_on = mine.server
            self._row_checked, self._row_is_gone = True, False
            return
        # The database went back in time (a failover that lost commits, a restore): the row is written again, so that
        # nothing starts beside us, and whatever comes out is unknown.
        self._log("this run's row is gone from the ledger; writing it again")
        self._row_was_lost = True
        self._started_on = self._started_on or self._server
        # The failed row that this run had superseded is back with it, and there may be one open row per name and phase.
        mine_again = (self._ask.ledger_name, self._ask.phase, ledger.RowState.FAILED)
        back = next((row.id for row in rows if (row.name, row.phase, row.state) == mine_again), None)
        self._send(WriteRunning(self._started_on, back, "written again: the ledger had lost this row"))

    def _on_state(self, request: Request | None, state: ledger.RowState | None, note: str, now: float) -> None:
        if isinstance(request, Record):
            if state is None:
                self._row_checked = False  # gone since we looked: write it again, then record
            else:
                self._recorded(state, note)
        elif state is None:
            self._row_checked = False
        elif state is not ledger.RowState.RUNNING:
            self._progress(f"row {self.row} is {state}: another pod has given this run up; it goes on, and so does its lock")

    def _exit_seen(self, text: str) -> None:
        if self.phase is not Phase.RUNNING:
            return
        text = text.strip()
        self._exit = text if text == NOT_STARTED or text.isdigit() else "255"
        self.phase = Phase.ENDED
        if self._exit != NOT_STARTED:
            self._log(f"the command ended with exit code {self._exit}")
            message = f"the command ended with exit code {self._exit}, which is not recorded yet"
            # Interleaving: SIGKILL before the outcome is recorded; then this is the last word.
            self._out.append(WriteReport(self._outcome_report(pod.Reason.UNKNOWN, message)))

    def _recorded(self, state: ledger.RowState | None, why: str = "") -> None:
        """The ledger's word on the run; None: it has no row for it, and cannot take one."""
        reasons = {ledger.RowState.SUCCEEDED: pod.Reason.SUCCEEDED, ledger.RowState.FAILED: pod.Reason.FAILED}
        reason = reasons.get(state, pod.Reason.UNKNOWN) if state else pod.Reason.UNKNOWN
        _, note = ledger.outcome(
            int(self._exit) if self._exit.isdigit() else 255,
            self._started_on or ledger.Server(),
            self._server,
            row_was_lost=self._row_was_lost,
        )
        if state is None:
            message = "the ledger has lost this run's row, and the outcome could not be recorded"
        elif state in (ledger.RowState.SUCCEEDED, ledger.RowState.FAILED):
            message = f"row {self.row} is {state}, exit code {self._exit}"
        else:
            why = why or note or "another pod had given this run up"
            message = f"row {self.row} is {state} although the command ended with exit code {self._exit}: {why}"
        self._log(message)
        self._finish(self._outcome_report(reason, message), state or ledger.RowState.UNKNOWN)

    def _outcome_report(self, reason: pod.Reason, message: str) -> pod.Report:
        return self._complete(
            pod.Report(
                reason=reason,
                message=message,
                row=self.row,
                row_version=self._ask.version,
                row_inputs=self._ask.inputs,
                exit_code=int(self._exit) if self._exit.isdigit() else None,
            )
        )

    # -- the ends

    def _withdraw(self, now: float) -> None:
        """SIGTERM after the ask was taken: the script is told at once, and a row that may stand is taken back."""
        self._refuse(pod.Reason.WITHDRAWN, "the pod was told to stop before the command had started; nothing ran")
        if self._may_have_started or isinstance(self._request, WriteRunning):
            self.phase = Phase.WITHDRAWING
            self._try_at = now

    def _withdrawn(self) -> None:
        if self.phase is Phase.ENDED:  # the script had its go, and a SIGTERM before it had started anything
            message = f"row {self.row} was taken back: the pod was told to stop before the command had started; nothing ran"
            self._finish(self._outcome_report(pod.Reason.WITHDRAWN, message), ledger.RowState.SUPERSEDED)
        self.phase = Phase.DONE

    def _refuse_late(self) -> None:
        """run.startTimeout is over: what kept us from starting is the reason, else that migrate never asked."""
        if self._holder:
            self._refuse(pod.Reason.LOCK_TIMEOUT, f"the lock was lost before the start and is held by {self._holder}")
        elif self._fault is not None:
            self._refuse(*self._fault)
        else:
            message = (
                f"the command did not ask for its start within {self._ask.start_timeout:g} s (spec.run.startTimeout); "
                "look at the pod's events for what kept container migrate from starting"
            )
            self._refuse(pod.Reason.START_TIMEOUT, message)

    def _refuse(self, reason: pod.Reason, message: str) -> None:
        self._stop(pod.Report(reason=reason, message=message, holder=self._holder, holder_is_ours=self._holder_is_ours))

    def _stop(self, report: pod.Report) -> None:
        """Nothing starts: told to the gate while it waits, to the script afterwards."""
        report = self._complete(report)
        self._log(f"{report.reason}: {report.message}")
        self.report = report
        self.phase = Phase.DONE
        name, text = STOPPED, report.to_json() + "\n"
        if self._gate_passed:
            name, text = REFUSED, f"{report.reason}: {_one_line(report.message)}\n{text}"
        self._out += [WriteReport(report), WriteFile(name, text)]

    def _finish(self, report: pod.Report, state: ledger.RowState | None) -> None:
        self.report = report
        self.phase = Phase.DONE
        # The report first: when migrate has read `recorded` it exits, and SIGTERM is on its way to us.
        self._out.append(WriteReport(report))
        if state is not None:
            self._out.append(WriteFile(RECORDED, f"{state}\n{report.to_json()}\n"))

    def _resume_done(self, text: str) -> None:
        self.phase = Phase.DONE
        lines = text.strip().splitlines()
        self.report = pod.Report.from_json(lines[-1]) if lines else None
        if self.report is not None:
            self._out.append(WriteReport(self.report))

    def _complete(self, report: pod.Report) -> pod.Report:
        # Each text for itself: redacted as JSON, a quote in it would no longer be JSON.
        return dataclasses.replace(
            report,
            message=redact.redact(report.message),
            holder=redact.redact(report.holder),
            ledger=self._ledger,
            degraded=self._degraded,
            lock_wait=self._lock_wait,
            floor=self._floor,
        )

    def _log(self, line: str) -> None:
        self._out.append(Log(_one_line(line)))

    def _progress(self, line: str) -> None:
        """A line for both containers' logs, unless it was the last one."""
        if line == self._said:
            return
        self._said = line
        self._log(line)
        if not self._gate_passed:
            ours = f"{self._holder}\n" if self._holder_is_ours else ""
            self._out.append(WriteFile(PROGRESS, redact.redact(f"{_one_line(line)}\n{ours}")))


def options_text(options: Mapping[str, str]) -> str:
    """``-c name=value …`` as libpq's ``options`` wants it: backslashes and spaces escaped."""
    escaped = (f"{name}={value}".replace("\\", "\\\\").replace(" ", "\\ ") for name, value in options.items())
    return " ".join(f"-c {setting}" for setting in escaped)


def _one_line(text: str) -> str:
    return " ".join(text.split())
