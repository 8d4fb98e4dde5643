"""May this run start?  How did it end?  Both are pure functions of ledger rows.

The row is the fence; the advisory lock only makes waiting polite.  :func:`judge` is the table of the ledger's states
(docs/architecture.md#the-ledger); :func:`outcome` says what an exit code is worth, given the server it was earned on.
Times are the database's: rows carry its clock, and ``now`` is read from it in the same statement.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Sequence

from schemahold.api import names, pod


class RowState(enum.StrEnum):
    """What a ledger row says about one run."""

    RUNNING = "running"  #: migrate asked to start and was allowed to
    SUCCEEDED = "succeeded"  #: exit code 0 on an unchanged server
    FAILED = "failed"  #: another exit code on an unchanged server
    UNKNOWN = "unknown"  #: nobody can know; a person answers
    ADOPTED = "adopted"  #: ran before us
    SUPERSEDED = "superseded"  #: a later start or an answer replaced a failed or unknown row, or nothing ever ran


EXPAND, CONTRACT = "expand", "contract"
SQL = "sql"  # mode of a row: the session that held the lock ran the statements itself
NOTHING_RAN = "nothing ran"  # stands in the note of a row whose run began nothing
APPLIED = frozenset({RowState.SUCCEEDED, RowState.ADOPTED})
OPEN = frozenset({RowState.RUNNING, RowState.UNKNOWN, RowState.FAILED})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """Which server, and which life of it.  An empty field is one that the server does not tell (Aurora, narrow roles).

    ``system_id``: from initdb.  ``timeline``: grows with every promotion and point-in-time restore.
    ``postmaster_started``: RFC 3339, changes with every restart.
    """

    system_id: str = ""
    timeline: str = ""
    postmaster_started: str = ""

    def same_history(self, other: Server) -> bool:
        """Nothing that was committed can have been lost by failing over or restoring."""
        return (self.system_id, self.timeline) == (other.system_id, other.timeline)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of ``schemahold.ledger``.

    ``mode``: ``sql``, or "" for a command.  ``backends``: how many of its recorded sessions are alive now.
    """

    id: int
    name: str
    phase: str
    version: str
    state: RowState
    inputs: str = ""
    lock_key: int = 0
    attempt: int = 0
    job: str = ""
    pod_uid: str = ""
    pod_name: str = ""
    token: str = ""
    server: Server = Server()
    started_at: datetime.datetime | None = None
    beat_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None
    exit_code: int | None = None
    note: str = ""
    mode: str = ""
    backends: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A person's word on one unknown row.  ``word`` is ``retry`` or ``applied``."""

    row: int
    word: str
    reason: str


# --- verdicts ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Start:
    """May start, replacing ``supersede`` (a failed row) if there is one."""

    supersede: Row | None = None


@dataclasses.dataclass(frozen=True)
class Stop:
    """May not start, and waiting does not help."""

    report: pod.Report


@dataclasses.dataclass(frozen=True)
class Wait:
    """``row`` is running and alive: let go of the lock, and ask again.  ``holder`` describes it."""

    row: Row
    holder: str


@dataclasses.dataclass(frozen=True)
class TurnUnknown:
    """``row`` says running but has had no beat for too long: write unknown, and judge again."""

    row: Row
    note: str


@dataclasses.dataclass(frozen=True)
class Prove:
    """``row`` is of a run whose lock was on the very session that ran its statements: with that lock in hand nobody runs.

    So it is superseded without a person, and without waiting for beats; its files have rows of their own, which say how far
    it came.  While somebody has the lock: wait.
    """

    row: Row
    note: str


@dataclasses.dataclass(frozen=True)
class Settle:
    """A person has answered for ``row``: write ``state``, and judge again.

    ``end_backends``: end what is left of its recorded sessions first, since the run is going to be repeated.
    """

    row: Row
    state: RowState
    answer: Answer
    end_backends: bool


@dataclasses.dataclass(frozen=True)
class Resume:
    """``row`` is this pod's own run, whose lock container was restarted: go on with it."""

    row: Row


Verdict = Start | Stop | Wait | TurnUnknown | Prove | Settle | Resume


def parse_answer(text: str) -> Answer | None:
    """The answer in ``"<row id> retry|applied <reason>"``, or None when it is not one."""
    row, _, rest = text.strip().partition(" ")
    word, _, reason = rest.strip().partition(" ")
    if not (row.isascii() and row.isdigit()) or word not in ("retry", "applied"):
        return None
    return Answer(row=int(row), word=word, reason=reason.strip())


def judge(
    rows: Sequence[Row],
    ask: pod.Ask,
    *,
    pod_uid: str,
    lock_key: int,
    now: datetime.datetime,
    server_started: datetime.datetime | None = None,
    asked: bool = False,
) -> Verdict:
    """What this pod may do now, from the rows that :func:`schemahold.database.ledger.look` finds.

    ``rows``: all open rows of ``ask.ledger_name``, all running ones of ``lock_key``, the applied ones of (name, phase,
    version), the one applied last, the last contract that began, the one that a person has answered for, and this pod's
    own.  ``asked``: this pod has already asked for its start, so a running row of its own is that start and not another
    container's.  ``server_started``: no beat can be older than the server that stores it, so an outage of the database does
    not make live runs look dead when it ends.
    """
    for row in _of(rows, ask, RowState.UNKNOWN):
        return _unknown(row, rows, ask)
    for row in rows:
        if row.state in APPLIED and (row.name, row.phase, row.version) == _key(ask):
            below = _below(row, floor(rows, ask.ledger_name))
            return Stop(below or _already_applied(row))
    if ask.phase == CONTRACT:
        last = _applied_last(rows, ask.ledger_name)
        if last is None or last.version != ask.version or last.state is not RowState.SUCCEEDED:
            return Stop(_not_applied(last, ask))
    answer = parse_answer(ask.answer)
    if answer is not None and answer.word == "applied" and all(row.id != answer.row for row in rows):
        # The database went back in time after the question: to start would be against the person's word.
        return Stop(_answered_row_lost(answer))
    for row in rows:
        if row.pod_uid == pod_uid and pod_uid:
            resumable = asked and row.state is RowState.RUNNING
            return Resume(row) if resumable else Stop(_already_started(row))
    for row in rows:
        if row.state is RowState.RUNNING and (row.name == ask.ledger_name or row.lock_key == lock_key):
            return _running(row, ask, now, server_started)
    for row in _of(rows, ask, RowState.FAILED):
        if row.phase == ask.phase:
            return _failed(row, ask)
    return Start()


def floor(rows: Sequence[Row], name: str) -> Row | None:
    """The newest contract that ran or may have: what was applied before it may miss what that contract removed.

    Only a contract of which nothing ran leaves no floor.
    """
    began = [row for row in rows if row.name == name and row.phase == CONTRACT and NOTHING_RAN not in row.note]
    return max(began, key=lambda row: row.id, default=None)


def _below(row: Row, lowest: Row | None) -> pod.Report | None:
    """Why the applied version of ``row`` cannot run any more, None if it can.  What ran before us is below every floor."""
    if lowest is None or row.phase == CONTRACT or row.version == lowest.version:
        return None
    return _incompatible(row, lowest) if row.state is RowState.ADOPTED or row.id < lowest.id else None


def _applied_last(rows: Sequence[Row], name: str) -> Row | None:
    applied = [row for row in rows if row.name == name and row.phase == EXPAND and row.state in APPLIED]
    return max(applied, key=lambda row: row.id, default=None)


def _key(ask: pod.Ask) -> tuple[str, str, str]:
    return (ask.ledger_name, ask.phase, ask.version)


def _of(rows: Sequence[Row], ask: pod.Ask, state: RowState) -> list[Row]:
    found = (row for row in rows if row.state is state and row.name == ask.ledger_name)
    return sorted(found, key=lambda row: row.id)


def _unknown(row: Row, rows: Sequence[Row], ask: pod.Ask) -> Verdict:
    answer = parse_answer(ask.answer)
    both_sql = row.mode == SQL and ask.sql is not None
    if row.mode == SQL and ask.sql is None and row.phase != ask.phase:
        # The question is about one statement of the other phase, and stays with it: its next run asks again.  What a person
        # has answered must not count for all of that run's files.
        return Prove(row, f"{row.note}; its next run looks again")
    if answer is None or answer.row != row.id:
        if both_sql:  # the run looks again at what the question was about, and asks again if there is still no telling
            return Prove(row, f"{row.note}; looked at again by the next run")
        return Stop(_outcome_unknown(row, ask, answer))
    if both_sql:  # the answer is about one statement: the run goes on behind it, or with it
        return Settle(row, RowState.SUPERSEDED, answer, end_backends=False)
    # An answer is a guess; a success in the ledger is not.  It makes the row moot whatever the person says.
    succeeded = any(
        other.state in APPLIED and (other.name, other.phase, other.version) == (row.name, row.phase, row.version)
        for other in rows
    )
    if succeeded:
        return Settle(row, RowState.SUPERSEDED, answer, end_backends=False)
    if answer.word == "applied":
        return Settle(row, RowState.SUCCEEDED, answer, end_backends=False)
    return Settle(row, RowState.SUPERSEDED, answer, end_backends=True)


def _running(row: Row, ask: pod.Ask, now: datetime.datetime, server_started: datetime.datetime | None) -> Verdict:
    if row.mode == SQL:
        return Prove(row, "the run's session ended before the run did; its files say how far it came")
    age = beat_age(row, now, server_started)
    if age < ask.stale_after:
        return Wait(row, describe_run(row, now))
    return TurnUnknown(row, f"no beat for {age:.0f} s; the pod gave no word")


def _failed(row: Row, ask: pod.Ask) -> Verdict:
    changed = row.version != ask.version or row.inputs != ask.inputs
    if changed or (ask.token and ask.token != row.token):
        return Start(supersede=row)
    return Stop(_already_failed(row))


def beat_age(row: Row, now: datetime.datetime, server_started: datetime.datetime | None = None) -> float:
    """Seconds since ``row`` could last have shown a sign of life."""
    signs = [time for time in (row.beat_at, row.started_at, server_started) if time is not None]
    return (now - max(signs)).total_seconds() if signs else float("inf")


def describe_run(row: Row, now: datetime.datetime) -> str:
    """One phrase for messages: which run holds us up."""
    pod_name = f", pod {row.pod_name}" if row.pod_name else ""
    return (
        f"the run of '{row.name}' to version '{row.version}' (row {row.id}{pod_name}, "
        f"last beat {max(0.0, beat_age(row, now)):.0f} s ago)"
    )


# --- how a run ended --------------------------------------------------------------------------------------------------


def outcome(exit_code: int, started: Server, now: Server, *, row_was_lost: bool = False) -> tuple[RowState, str]:
    """What an exit code is worth: the state to record, and a note for people.

    A failure counts on the same history; a success only on the same life of the server as well, since a crash may have
    dropped what the command took for committed (``synchronous_commit = off``).  ``row_was_lost``: the running row was
    gone in between, so the database went back in time.
    """
    if row_was_lost:
        return RowState.UNKNOWN, "the ledger lost this run's row in between: the database went back in time"
    if not started.same_history(now):
        return RowState.UNKNOWN, "the database failed over or was restored during the run"
    if exit_code != 0:
        return RowState.FAILED, ""
    if started != now:
        return RowState.UNKNOWN, "the database server was restarted during the run"
    return RowState.SUCCEEDED, ""


# --- reports ----------------------------------------------------------------------------------------------------------


def _report(row: Row, reason: pod.Reason, message: str) -> pod.Report:
    return pod.Report(
        reason=reason,
        message=message,
        row=row.id,
        row_version=row.version,
        row_inputs=row.inputs,
        exit_code=row.exit_code,
        last_beat=rfc3339(row.beat_at),
    )


def _already_applied(row: Row) -> pod.Report:
    how = "ran before schemahold was asked" if row.state is RowState.ADOPTED else "succeeded"
    when = f" at {rfc3339(row.finished_at)}" if row.finished_at else ""
    message = f"version '{row.version}' is in the ledger: it {how}{when} (row {row.id}); nothing to run"
    return _report(row, pod.Reason.ALREADY_APPLIED, message)


def _incompatible(row: Row, lowest: Row) -> pod.Report:
    how = {RowState.SUCCEEDED: "has run", RowState.RUNNING: "is running"}.get(lowest.state, "has begun")
    message = (
        f"version '{row.version}' was applied before the contract of '{lowest.version}', which {how} (row {lowest.id}) and "
        f"may have removed what it needs; the oldest version to go to is '{lowest.version}'. Break-glass is the way past: "
        f"the annotation {names.BREAK_GLASS}: <reason> on the Deployment"
    )
    return _report(row, pod.Reason.INCOMPATIBLE, message)


def _not_applied(last: Row | None, ask: pod.Ask) -> pod.Report:
    what = "nothing" if last is None else f"'{last.version}'" + (" (adopted)" if last.state is RowState.ADOPTED else "")
    message = f"the contract of '{ask.version}' may run only after that version was applied last; the ledger has {what}"
    return pod.Report(reason=pod.Reason.NOT_APPLIED, message=message)


def _already_started(row: Row) -> pod.Report:
    message = (
        f"this pod's run has started before (row {row.id}, {row.state}); a container was run twice, "
        "and the second one does nothing"
    )
    return _report(row, pod.Reason.ALREADY_STARTED, message)


def _already_failed(row: Row) -> pod.Report:
    how = f": {row.note}" if row.mode == SQL else f" with exit code {row.exit_code}"
    message = (
        f"version '{row.version}' failed{how} (row {row.id}) and nothing has changed since; "
        f"change spec.version or what runs, or set the annotation {names.RETRY_AT} of the SchemaMigration to a new value"
    )
    return _report(row, pod.Reason.ALREADY_FAILED, message)


def _outcome_unknown(row: Row, ask: pod.Ask, answer: Answer | None) -> pod.Report:
    facts = [row.note] if row.note else []
    if row.exit_code is not None:
        facts.append(f"exit code {row.exit_code}")
    if row.beat_at:
        facts.append(f"last beat {rfc3339(row.beat_at)}")
    facts.append(f"{row.backends} of its database sessions still alive")
    message = (
        f"nobody can know how row {row.id} (version '{row.version}') ended: {'; '.join(facts)}. Look at the database, "
        f'then set the annotation {names.ANSWER} of the SchemaMigration to "{row.id} retry <reason>" or '
        f'"{row.id} applied <reason>"'
    )
    if answer is not None:
        message += f"; the answer given is for row {answer.row}"
    elif ask.answer:
        message += "; the answer given cannot be read"
    return dataclasses.replace(_report(row, pod.Reason.OUTCOME_UNKNOWN, message), backends=row.backends)


def _answered_row_lost(answer: Answer) -> pod.Report:
    message = (
        f"the answer is for row {answer.row}, and the ledger has no such row any more: the database was restored or failed "
        f"over. Look whether the change is there, then set the annotation {names.ANSWER} of the SchemaMigration to "
        f'"{answer.row} retry <reason>", which runs the migration'
    )
    return pod.Report(reason=pod.Reason.OUTCOME_UNKNOWN, message=message)


def rfc3339(time: datetime.datetime | None) -> str:
    """``2026-11-22T12:00:00Z``, or "" for None."""
    if time is None:
        return ""
    return time.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
