"""What a pod of sql mode does, and in which order: a generator without I/O.  Requests out, answers in.

::

    connect ── lock ── ledger ── files: read, pin, plan ── every statement judged ── row `running` ── file by file ── record
       ▲                                                              │
       └──────────────── session lost ────────────────────────────────┘  later it ends the pod, and the next one goes on

The driver (:mod:`schemahold.runner.sql`) performs one request at a time and sends its answer back, with the time.  In place
of an answer it says ``Terminated`` once, after a SIGTERM; the request was not performed then.  ``test_sequence.py``
enumerates what else can come in place of each answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator
from typing import Any, TypeVar, overload

from schemahold.api import names as api_names
from schemahold.api import pod
from schemahold.core import ledger
from schemahold.core.sql import model, names
from schemahold.core.sql.model import Finding, Name, Phase, SourceError
from schemahold.runner import messages, survey
from schemahold.runner.messages import (
    Adopt,
    BackendsAlive,
    Baseline,
    Connect,
    Connected,
    ConnectFailed,
    Done,
    FilesRead,
    FilesSeen,
    Judge,
    Judged,
    Log,
    Look,
    Looked,
    LookFiles,
    Lost,
    Prove,
    Proven,
    ReadFiles,
    Record,
    Refused,
    RunFile,
    Settle,
    Sleep,
    SourceFailed,
    SqlRequest,
    Started,
    StateSeen,
    TakeBack,
    Terminated,
    TryLock,
    TurnUnknown,
    Unlock,
    WriteRunning,
)

R = pod.Reason

POLL = 1.0  # seconds between two tries for the lock
CONNECT_WITHIN = 15.0  # how long an unreachable database is tried at most
RECONNECT_MAX = 5.0  # longest pause between two connects
IN_VAIN = 3  # lost runs in a row that bring nothing forward: perhaps it is a statement of theirs that ends the session
MESSAGE = 900  # characters of findings, or of a failure, in a report; the log has all of it

# How long a statement waits for a lock, try by try: little at first, as everybody else queues behind it.
_LOCK_TIMEOUTS = (
    0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 3.0, 3.0, 5.0, 5.0, 7.0, 7.0,
)  # fmt: skip


def lock_timeout(tries: int, cap: float) -> float:
    """Of the try after ``tries`` others."""
    return min(cap, _LOCK_TIMEOUTS[tries]) if tries < len(_LOCK_TIMEOUTS) else cap


def pause(tries: int) -> float:
    """The longest time between two tries, of which a random part is waited."""
    return min(60.0, 0.05 * 2.0 ** min(tries, 20))


Request = messages.Request | SqlRequest | Log
Answer = messages.Event | FilesRead | SourceFailed | FilesSeen | Judged | Proven | model.Outcome

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
Steps = Generator[Request, tuple[Answer, float], T]


# --- what ends the normal course --------------------------------------------------------------------------------------


class _Ended(Exception):
    """There is a report."""

    def __init__(self, reason: pod.Reason, message: str, **more: Any) -> None:
        super().__init__(message)
        self.report = pod.Report(reason=reason, message=message, **more)


class _Lost(Exception):
    """The session is gone."""


class _Terminated(Exception):
    """The pod was told to stop."""


# --- the sequence -----------------------------------------------------------------------------------------------------


class Sequence:
    """One attempt.  :meth:`run` is the generator; it returns the report."""

    def __init__(self, ask: pod.Ask, sql: pod.SqlAsk, *, pod_uid: str, lock_key: int) -> None:
        self._ask = ask
        self._sql = sql
        self._phase = Phase(ask.phase)
        self._pod_uid = pod_uid
        self._lock_key = lock_key

        self._now = 0.0
        self._server = ledger.Server()
        self._ledger = ask.expected_ledger
        self._lock_since: float | None = None
        self._lock_wait: float | None = None
        self._holder, self._holder_is_ours = "", False
        self._said = ""

        self._row: int | None = None
        self._started_on = ledger.Server()
        self._floor = ""
        self._pin = ""
        self._contract_files: int | None = None
        self._mounted = ""
        self._pending: tuple[Name, ...] = ()
        self._applied = 0
        self._in_vain = 0

    def run(self, now: float) -> Steps[pod.Report]:
        self._now = now
        try:
            plan = yield from self._prepare()
            yield from self._apply(plan)
            yield from self._record(ledger.RowState.SUCCEEDED, 0)
            report = self._outcome(R.SUCCEEDED, f"row {self._row} is succeeded; {self._files(self._applied)} applied", 0)
        except _Ended as ended:
            report = ended.report
        except _Terminated:
            report = yield from self._withdraw()
        except _Lost as lost:
            report = self._outcome(
                R.UNKNOWN, f"the session was lost: {lost}; what was committed stays, and the next attempt goes on from there"
            )
        report = self._complete(report)
        yield Log(f"{report.reason}: {report.message}")
        return report

    # -- asking the driver

    @overload
    def _get(self, request: Request, kind: type[A], /) -> Steps[A]: ...
    @overload
    def _get(self, request: Request, kind: type[A], or_: type[B], /) -> Steps[A | B]: ...
    def _get(self, request: Request, *kinds: type[Any]) -> Steps[Any]:
        """The answer to ``request``, which is one of ``kinds``."""
        answer = yield from self._ask_for(request)
        if not isinstance(answer, kinds):
            raise _Ended(R.RUNNER_ERROR, f"{type(answer).__name__} is no answer to {type(request).__name__}")
        return answer

    def _ask_for(self, request: Request) -> Steps[Answer]:
        answer, self._now = yield request
        match answer:
            case Terminated():
                raise _Terminated
            case Lost(message):
                raise _Lost(message)
            case Refused(reason, message):
                raise _Ended(reason, message)
        return answer

    def _insist(self, request: Request, kind: type[A]) -> Steps[A]:
        """The answer to a request that only writes down how it ended: the word to stop is no reason not to."""
        try:
            return (yield from self._get(request, kind))
        except _Terminated:
            return (yield from self._get(request, kind))

    def _sleep(self, seconds: float, *, random: bool = False) -> Steps[None]:
        yield from self._get(Sleep(max(0.0, seconds), random), Done)

    def _say(self, line: str) -> Steps[None]:
        """A line for the log, unless it was the last one."""
        if line != self._said:
            self._said = line
            yield Log(line)

    # -- up to the row

    def _prepare(self) -> Steps[names.Plan]:
        """Session, lock, verdict, files, row; what there is to run."""
        began = self._now
        while True:
            try:
                yield from self._connect()
                yield from self._lock()
                return (yield from self._decide())
            except _Lost as lost:
                if self._now - began >= self._ask.lock_timeout + CONNECT_WITHIN:
                    raise _Ended(R.DATABASE_UNREACHABLE, str(lost)) from None
                yield from self._say(f"the session was lost: {lost}; connecting again")
                yield from self._sleep(POLL / 5)

    def _connect(self) -> Steps[None]:
        until = self._now + min(self._ask.lock_timeout, CONNECT_WITHIN)
        wait = POLL
        while True:
            answer = yield from self._get(Connect(self._ledger, options=False), Connected, ConnectFailed)
            if isinstance(answer, Connected):
                break
            if not answer.retry or self._now >= until:
                raise _Ended(answer.reason, answer.message)
            yield from self._say(answer.message)
            yield from self._sleep(min(wait, until - self._now))
            wait = min(RECONNECT_MAX, wait * 2)
        if answer.pooler:
            raise _Ended(
                R.POOLER_REFUSED,
                f"a connection pooler stands between this pod and the server ({answer.pooler}); sql mode needs a session of "
                "its own, whatever spec.lock.allowPooler says: give a URL that leads straight to the server",
            )
        self._server, self._ledger = answer.server, answer.ledger

    def _lock(self) -> Steps[None]:
        while True:
            answer = yield from self._get(TryLock(), messages.LockTaken, messages.LockBusy)
            self._lock_since = self._now if self._lock_since is None else self._lock_since
            if isinstance(answer, messages.LockTaken):
                return
            yield from self._wait(f"the lock is held by {answer.holder}", answer.holder, answer.ours)

    def _wait(self, why: str, holder: str, ours: bool) -> Steps[None]:
        """About a second; ends the attempt at the end of lock.timeout."""
        self._holder, self._holder_is_ours = holder, ours
        left = self._lock_left()
        if left <= 0:
            raise _Ended(R.LOCK_TIMEOUT, f"{why}; gave up after {self._ask.lock_timeout:g} s (spec.lock.timeout)")
        yield from self._say(f"{why}; waiting")
        yield from self._sleep(min(POLL, left))

    def _lock_left(self) -> float:
        since = self._now if self._lock_since is None else self._lock_since
        self._lock_wait = round(self._now - since, 3)
        return self._ask.lock_timeout - self._lock_wait

    def _decide(self) -> Steps[names.Plan]:
        """Obey the ledger until it says go."""
        if self._ask.adopted and self._ask.phase == ledger.EXPAND:
            yield from self._get(Adopt(self._ask.adopted), Done)
        while True:
            looked = yield from self._get(Look(), Looked)
            lowest = ledger.floor(looked.rows, self._ask.ledger_name)
            self._floor = lowest.version if lowest else ""
            verdict = ledger.judge(
                looked.rows,
                self._ask,
                pod_uid=self._pod_uid,
                lock_key=self._lock_key,
                now=looked.now,
                server_started=looked.server_started,
            )
            if isinstance(verdict, ledger.Start):
                self._lock_left()
                plan = yield from self._survey()
                if (yield from self._start(verdict.supersede)):
                    return plan
            else:
                yield from self._obey(verdict)

    def _obey(self, verdict: ledger.Verdict) -> Steps[None]:
        match verdict:
            case ledger.Stop(report):
                if report.reason is R.ALREADY_APPLIED:
                    yield from self._count()
                ended = _Ended(report.reason, report.message)
                ended.report = report
                raise ended
            case ledger.Wait(_, holder):
                # The run whose row this is has lost its session and wants its lock back.
                yield from self._get(Unlock(), Done)
                yield from self._wait(f"waiting for {holder}", holder, True)
                yield from self._lock()
            case ledger.TurnUnknown(row, note):
                yield from self._say(f"row {row.id} of '{row.name}' is given up: {note}")
                yield from self._get(TurnUnknown(verdict), Done)
            case ledger.Prove(row, note):
                answer = yield from self._get(Prove(verdict), Proven, messages.LockBusy)
                if isinstance(answer, messages.LockBusy):
                    yield from self._wait(f"the lock of row {row.id} is held by {answer.holder}", answer.holder, answer.ours)
                else:
                    self._in_vain = max(self._in_vain, answer.in_vain)
                    yield from self._say(f"row {row.id} (version '{row.version}') is over: {note}")
            case ledger.Settle(row, state, answer_, _):
                yield from self._say(f"row {row.id} was answered '{answer_.word}': it becomes {state}")
                alive = yield from self._get(Settle(verdict), Done, BackendsAlive)
                if isinstance(alive, BackendsAlive):
                    yield from self._ending(alive.count)
            case _:
                raise _Ended(R.RUNNER_ERROR, f"a run of sql mode does not know {type(verdict).__name__}")

    def _ending(self, count: int) -> Steps[None]:
        sessions = f"{count} database sessions of the answered run are still ending"
        if self._lock_left() <= 0:
            raise _Ended(R.OUTCOME_UNKNOWN, f"{sessions}; the answer is written when they are gone", backends=count)
        yield from self._say(sessions)
        yield from self._sleep(POLL / 5)

    # -- the files

    def _survey(self) -> Steps[names.Plan]:
        """What there is to run, every statement of it judged."""
        plan = yield from self._plan()
        self._pending = plan.pending
        if not plan.pending and self._phase is Phase.CONTRACT:
            raise _Ended(R.NOTHING_TO_RUN, "no file waits for the contract")
        if plan.pending:
            judged = yield from self._judge(plan.pending)
            yield from self._report_findings(judged.findings)
        return plan

    def _plan(self) -> Steps[names.Plan]:
        read = yield from self._get(ReadFiles(), FilesRead, SourceFailed)
        if isinstance(read, SourceFailed):
            raise _Ended(read.reason, read.message)
        try:
            self._mounted = names.pin(read.checksums)
            if self._sql.pin and self._mounted != self._sql.pin:
                raise _Ended(
                    R.SOURCE_CHANGED,
                    f"the files in the pod are not those of this version (pinned {self._sql.pin[:12]}, mounted "
                    f"{self._mounted[:12]}): ConfigMaps that were changed in between are taken as they are by the next "
                    "attempt; an image that was changed under its tag needs a new spec.version",
                )
            found = survey.arrange(read.checksums, self._sql)
            seen = yield from self._get(LookFiles(), FilesSeen)
            plan = survey.plan(found, seen, self._phase, self._sql)
        except SourceError as error:
            raise _Ended(R.CHECKSUM_MISMATCH if error.changed else R.SOURCE_INVALID, error.message) from None
        if self._phase is Phase.EXPAND and not self._sql.contract_elsewhere:
            self._contract_files = len(plan.later)
        return plan

    def _judge(self, pending: tuple[Name, ...]) -> Steps[Judged]:
        judged = yield from self._get(Judge(pending), Judged, SourceFailed)
        if isinstance(judged, SourceFailed):
            raise _Ended(judged.reason, judged.message)
        return judged

    def _report_findings(self, findings: tuple[Finding, ...]) -> Steps[None]:
        for finding in findings:
            lifted = f" (allowed: {finding.allowed})" if finding.allowed else ""
            yield Log(f"{finding.severity}: {finding}{lifted}")
        if refused := survey.refused(findings, room=MESSAGE):
            raise _Ended(R.STATEMENTS_REFUSED, refused)

    def _count(self) -> Steps[None]:
        """How many files wait for the contract, if that can be told: without files, applied is applied."""
        with contextlib.suppress(_Ended):
            yield from self._plan()
            self._pin = self._mounted

    # -- the run

    def _start(self, supersede: ledger.Row | None) -> Steps[bool]:
        """Write the row; False when the rows have changed since they were judged."""
        note = f"{_AFTER}{self._in_vain}" if self._in_vain else ""
        try:
            answer = yield from self._get(WriteRunning(self._server, supersede.id if supersede else None, note), Started)
        except _Lost as lost:
            # It may be committed. The next pod finds it, proves with the lock that nobody runs, and starts.
            raise _Ended(R.DATABASE_UNREACHABLE, f"the session was lost before anything ran: {lost}") from None
        if answer.row is None:
            return False
        self._row = answer.row
        self._started_on = self._server
        self._pin = self._mounted  # from now on: until something may have run, they may be mended
        if self._phase is Phase.CONTRACT:
            self._floor = self._ask.version
        return True

    def _apply(self, plan: names.Plan) -> Steps[None]:
        assert self._row is not None
        if self._in_vain >= IN_VAIN:
            raise (
                yield from self._failed(
                    f"the session was lost in {self._in_vain} runs one after the other, and none of them brought anything "
                    "forward: if no node died, it may be a statement that the server does not survive; look at its log"
                )
            )
        if plan.baselined:
            if isinstance((yield from self._get(Baseline(self._row, plan.baselined), Done, model.Fenced)), model.Fenced):
                raise self._fenced()
            yield Log(
                f"{self._files(len(plan.baselined))} up to {plan.baselined[-1].name} count as applied (spec.sql.baseline)"
            )
        if not plan.pending:
            yield Log("no file is pending")
        for file in plan.pending:
            yield from self._file(file)
            self._applied += 1

    def _file(self, file: Name) -> Steps[None]:
        """Until it is applied: tried again as long as only locks are in the way."""
        since, tries = self._now, 0
        while True:
            outcome = yield from self._try(file, tries, since + self._sql.retry_for - self._now)
            match outcome:
                case model.Applied(seconds=seconds, statements=count):
                    yield Log(f"{file.name}: applied in {seconds:.2f} s ({count} statement{'' if count == 1 else 's'})")
                    return
                case model.Blocked(done=done) if done:
                    since, tries = self._now, 0
            yield from self._blocked(file, outcome, tries, since)
            tries += 1

    def _try(self, file: Name, tries: int, left: float) -> Steps[model.Applied | model.Blocked]:
        assert self._row is not None
        lock = lock_timeout(tries, self._sql.lock_timeout)
        if self._sql.statement_timeout:  # which is no reason to try again, a lock timeout is
            lock = min(lock, 0.9 * self._sql.statement_timeout)
        request = RunFile(
            row=self._row, file=file, lock=lock, patience=max(lock, left), statement=self._sql.statement_timeout
        )
        try:
            outcome = yield from self._ask_for(request)
        except _Ended as ended:  # a fault of ours, or a right that is missing: nothing of the user's failed
            raise (yield from self._take_back(ended.report)) from None
        match outcome:
            case model.Applied() | model.Blocked():
                return outcome
            case model.Failed(message=message):
                raise (yield from self._failed(message))
            case model.Disagrees(message=message):
                raise (yield from self._disagrees(message))
            case model.Interrupted():
                raise _Terminated
            case SourceFailed(reason, message):
                raise (yield from self._take_back(pod.Report(reason=reason, message=message)))
            case model.Fenced():
                raise self._fenced()
        raise _Ended(R.RUNNER_ERROR, f"{type(outcome).__name__} is no outcome of a file")

    def _blocked(self, file: Name, outcome: model.Outcome, tries: int, since: float) -> Steps[None]:
        assert isinstance(outcome, model.Blocked)
        by = f"; blocked by {outcome.blockers}" if outcome.blockers else ""
        left = since + self._sql.retry_for - self._now
        if left <= 0:
            for_ = f"tried {tries + 1} times in {self._sql.retry_for:g} s (spec.sql.retryFor)"
            raise (yield from self._failed(f"{outcome.message}{by}; {for_}"))
        yield Log(f"{outcome.message}{by}; try {tries + 1}, it is tried again")
        yield from self._sleep(min(pause(tries), left), random=True)

    # -- the ends

    def _record(self, state: ledger.RowState, code: int | None, note: str = "") -> Steps[None]:
        """Write how the run ended; raises _Ended when the ledger says something else of it."""
        assert self._row is not None
        if code is not None and not note:
            state, note = ledger.outcome(code, self._started_on, self._server)
        answer = yield from self._insist(Record(self._row, state, code, note), StateSeen)
        if answer.state is ledger.RowState.UNKNOWN and state is not ledger.RowState.UNKNOWN:
            message = f"row {self._row} is unknown: {note or 'another run of this version was recorded in between'}"
            raise _Ended(R.OUTCOME_UNKNOWN, message, row=self._row, exit_code=code)
        if answer.state is not state:
            raise self._fenced()

    def _failed(self, message: str) -> Steps[_Ended]:
        yield from self._record(ledger.RowState.FAILED, 1, message[:MESSAGE])
        return self._end(R.FAILED, message, exit_code=1)

    def _disagrees(self, message: str) -> Steps[_Ended]:
        yield from self._record(ledger.RowState.UNKNOWN, None, message[:MESSAGE])
        ways = (
            f'Look at the database, then answer with the annotation {api_names.ANSWER}: "{self._row} retry <reason>" runs '
            f'the statement again, "{self._row} applied <reason>" counts it as done and goes on behind it'
        )
        return self._end(R.OUTCOME_UNKNOWN, f"{message[:MESSAGE]}. {ways}")

    def _take_back(self, report: pod.Report) -> Steps[_Ended]:
        assert self._row is not None
        yield from self._insist(TakeBack(self._row, report.message[:MESSAGE]), Done)
        return self._end(report.reason, report.message)

    def _fenced(self) -> _Ended:
        """Without an exit code: another attempt asks the ledger."""
        return self._end(R.UNKNOWN, f"row {self._row} no longer says running: another pod has taken this run over")

    def _withdraw(self) -> Steps[pod.Report]:
        """After SIGTERM.  Nothing failed: the next attempt goes on where this one stopped."""
        if self._row is None:
            return pod.Report(reason=R.WITHDRAWN, message=f"the pod was told to stop; {ledger.NOTHING_RAN}")
        message = f"the pod was told to stop when {self._applied} of {self._files(len(self._pending))} were applied"
        try:
            yield from self._insist(TakeBack(self._row, message), Done)
        except (_Lost, _Ended) as why:
            return self._outcome(R.UNKNOWN, f"{message}, and that could not be recorded: {why}")
        return self._outcome(R.WITHDRAWN, f"{message}; the next attempt goes on from there")

    def _end(self, reason: pod.Reason, message: str, *, exit_code: int | None = None) -> _Ended:
        ended = _Ended(reason, message)
        ended.report = self._outcome(reason, message, exit_code)
        return ended

    def _outcome(self, reason: pod.Reason, message: str, exit_code: int | None = None) -> pod.Report:
        return pod.Report(
            reason=reason,
            message=message,
            row=self._row,
            row_version=self._ask.version,
            row_inputs=self._ask.inputs,
            exit_code=exit_code,
        )

    def _complete(self, report: pod.Report) -> pod.Report:
        blocked = report.reason is R.LOCK_TIMEOUT
        return dataclasses.replace(
            report,
            ledger=self._ledger,
            lock_wait=self._lock_wait,
            holder=self._holder if blocked else "",
            holder_is_ours=self._holder_is_ours and blocked,
            floor=self._floor,
            files_pin=self._pin,
            contract_files=self._contract_files,
        )

    @staticmethod
    def _files(count: int) -> str:
        return f"{count} file{'' if count == 1 else 's'}"


_AFTER = "lost runs in vain before it: "


def in_vain(row: ledger.Row, ask: pod.Ask, *, brought_forward: bool) -> int:
    """How many runs like the one of ``ask`` were lost in a row without bringing anything forward, up to ``row``."""
    ours = (ask.ledger_name, ask.phase, ask.version, ask.inputs, ask.token)
    if brought_forward or (row.name, row.phase, row.version, row.inputs, row.token) != ours:
        return 0
    before = row.note.removeprefix(_AFTER) if row.note.startswith(_AFTER) else ""
    return 1 + (int(before) if before.isdigit() else 0)
