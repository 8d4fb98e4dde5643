"""The ``migrate`` container of sql mode: lock, ledger and files on one session; drives :mod:`schemahold.runner.sequence`.

One thread.  SIGTERM wakes it wherever it waits: a statement that is running is cancelled, what was not committed is rolled
back, and the next attempt goes on from there.

Exit codes: 0 when nothing is missing: `succeeded` is in the ledger, now or already, or there was nothing to run; 79 when
nobody can say yet, and the next attempt will; 1 for all else.  The report is the termination message.
"""

from __future__ import annotations

import dataclasses
import pathlib
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import psycopg

from schemahold.api import pod
from schemahold.core import ledger as states
from schemahold.core import redact
from schemahold.core.sql import judge, shape
from schemahold.core.sql.model import (
    Fenced,
    Interrupted,
    Name,
    Outcome,
    Phase,
    SourceError,
    Statement,
    Surroundings,
    refusal,
)
from schemahold.database import catalog, execution, ledger, lock, pipeline, session
from schemahold.database import files as tables
from schemahold.runner import environment, files, messages, sequence, source, worker

T = TypeVar("T")
R = pod.Reason
NOTICES = 50  # of one file, in the log


def run(env: environment.Environment) -> int:
    """The whole attempt; the exit code."""
    if env.ask.sql is None:
        raise environment.EnvironmentInvalid(f"variable {pod.ENV_ASK} asks for no sql")
    driver = _Driver(env, env.ask.sql)
    signal.signal(signal.SIGTERM, driver.on_signal)
    signal.signal(signal.SIGINT, driver.on_signal)
    return driver.run()


class _Driver:
    """Time, signals, and what comes out."""

    def __init__(self, env: environment.Environment, sql: pod.SqlAsk) -> None:
        self._env = env
        self._stop = pipeline.Stop()
        self._told = False
        self._performer = _Performer(env, sql, self._stop)
        self._sequence = sequence.Sequence(env.ask, sql, pod_uid=env.pod_uid, lock_key=lock.key(env.ask.lock_name))

    def on_signal(self, _number: int, _frame: object) -> None:
        self._stop.ask()

    def run(self) -> int:
        report = self._report()
        self._performer.close()
        report = dataclasses.replace(report, message=redact.redact(report.message), holder=redact.redact(report.holder))
        files.termination_message(self._env.termination, report.to_json(self._env.ask.message_bytes))
        if report.reason in (R.SUCCEEDED, R.ALREADY_APPLIED, R.NOTHING_TO_RUN):
            return 0  # nothing is missing, so no Job has failed
        return pod.EXIT_NOT_RECORDED if report.reason is R.UNKNOWN else 1

    def _report(self) -> pod.Report:
        steps = self._sequence.run(time.monotonic())
        request = next(steps)
        while True:
            answer = self._answer(request)
            try:
                request = steps.send((answer, time.monotonic()))
            except StopIteration as end:
                report: pod.Report = end.value
                return report

    def _answer(self, request: sequence.Request) -> sequence.Answer:
        if isinstance(request, messages.Log):
            say(request.line)
            return messages.Done()
        if self._stop.asked and not self._told:
            self._told = True
            return messages.Terminated()
        if isinstance(request, messages.Sleep):
            self._stop_or_sleep(request)
            return messages.Done()
        answer = self._performer.answer(request)
        self._told = self._told or isinstance(answer, (messages.Terminated, Interrupted))
        return answer

    def _stop_or_sleep(self, request: messages.Sleep) -> None:
        if self._told:
            return
        self._stop.wait(random.uniform(0, request.seconds) if request.random else request.seconds)


class _Stopped(Exception):
    """The word to stop came while files were being judged."""


class _Performer:
    """Performs what the sequence asks for: the ledger's part by the worker, the files' part here."""

    def __init__(self, env: environment.Environment, sql: pod.SqlAsk, stop: pipeline.Stop) -> None:
        self._env = env
        self._sql = sql
        self._stop = stop
        self._worker = worker.Worker(env)
        self._source = source.Mounted(pathlib.Path(sql.directory))
        self._shapes: dict[Name, shape.Shape] = {}
        self._execution: execution.Execution | None = None
        self._watch: pipeline.Watch | None = None
        self._notices = 0

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._worker.close()

    def answer(self, request: sequence.Request) -> sequence.Answer:
        match request:
            case messages.ReadFiles():
                return self._guarded(lambda: messages.FilesRead(self._source.read()))
            case messages.LookFiles():
                return self._worker.performed(self._look)
            case messages.Judge(pending):
                return self._worker.performed(lambda on: self._guarded(lambda: self._judge(on, pending)))
            case messages.Prove(verdict):
                return self._worker.performed(lambda on: self._prove(on, request, verdict.row))
            case messages.Settle(verdict) if verdict.row.mode == states.SQL:
                return self._worker.performed(lambda on: self._settle(on, verdict))
            case messages.Baseline(row, names):
                return self._worker.performed(lambda on: self._baseline(on, row, names))
            case messages.RunFile():
                return self._worker.performed(lambda on: self._guarded(lambda: self._run(on, request)))
            case messages.TakeBack(row, note):
                return self._worker.performed(lambda on: self._take_back(on, row, note))
            case messages.Log() | messages.Sleep():
                raise ValueError(request)
        return self._worker.answer(request)

    @staticmethod
    def _guarded(act: Callable[[], T]) -> T | messages.SourceFailed | messages.Terminated:
        """What ``act`` does with the files, or what is wrong with them."""
        try:
            return act()
        except SourceError as error:
            return messages.SourceFailed(R.CHECKSUM_MISMATCH if error.changed else R.SOURCE_INVALID, error.message)
        except source.Changed as changed:
            return messages.SourceFailed(R.SOURCE_CHANGED, str(changed))
        except _Stopped:
            return messages.Terminated()

    # -- before the row

    def _look(self, on: session.Session) -> messages.FilesSeen:
        name = self._env.ask.ledger_name
        tables.ensure(on)
        return messages.FilesSeen(applied=tables.applied(on, name), begun=frozenset(tables.begun(on, name)))

    def _prove(self, on: session.Session, request: messages.Prove, row: states.Row) -> messages.Proven | sequence.Answer:
        tables.ensure(on)
        forward = tables.brought_forward(on, row.id)
        answer = self._worker.answer(request)
        if not isinstance(answer, messages.Done):
            return answer
        return messages.Proven(sequence.in_vain(row, self._env.ask, brought_forward=forward))

    def _settle(self, on: session.Session, verdict: states.Settle) -> messages.Event:
        tables.ensure(on)
        tables.answer(on, self._env.ask.ledger_name, verdict.answer.word)
        ledger.settle(on, verdict, answered_by=self._env.ask.answered_by)
        return messages.Done()

    def _judge(self, on: session.Session, pending: tuple[Name, ...]) -> messages.Judged:
        """Two looks at every statement: whether the files can be run, then what that does to whatever else runs."""
        version = on.facts.version
        begun = tables.begun(on, self._env.ask.ledger_name)
        for name in pending:
            statements = _checked(self._statements(name), name, begun.get(name.name, {}))
            self._shapes[name] = shape.shape(statements, file=name.name, server_version=version)
        found = judge.judge(
            [(name, self._statements(name)) for name in pending],
            phase=Phase(self._env.ask.phase),
            surroundings=Surroundings(
                server_version=version,
                rows=catalog.Rows(on, enough=self._sql.large_table),
                large_table=self._sql.large_table,
            ),
        )
        return messages.Judged(found)

    def _statements(self, name: Name) -> Iterator[Statement]:
        for statement in self._source.statements(name):
            if self._stop.asked:
                raise _Stopped
            yield statement

    # -- the run

    def _owner(self, row: int) -> tables.Run:
        ask = self._env.ask
        return tables.Run(name=ask.ledger_name, version=ask.version, row=row, pod_uid=self._env.pod_uid)

    def _baseline(self, on: session.Session, row: int, names: tuple[Name, ...]) -> messages.Done | Fenced:
        try:
            tables.note_baseline(on, self._owner(row), names)
        except tables.LostRow:
            return Fenced()
        return messages.Done()

    def _run(self, on: session.Session, request: messages.RunFile) -> Outcome:
        if self._execution is None:
            on.connection.add_notice_handler(self._notice)
            self._watch = pipeline.Watch(on.facts.backend, self._worker.second, say)
            self._execution = execution.Execution(
                on, self._owner(request.row), source=self._source, stop=self._stop, watch=self._watch, say=say
            )
        self._notices = NOTICES
        checksum = self._source.checksum(request.file)
        work = execution.Work(file=request.file, checksum=checksum, shape=self._shapes[request.file])
        limits = execution.Limits(lock=request.lock, patience=request.patience, statement=request.statement)
        return self._execution.apply(work, limits)

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if self._notices > 0:
            self._notices -= 1
            more = "" if self._notices else " (more of them are not shown)"
            say(f"{diagnostic.severity}: {diagnostic.message_primary}{more}")

    def _take_back(self, on: session.Session, row: int, note: str) -> messages.Done:
        ledger.withdraw(on, row=row, pod_uid=self._env.pod_uid, note=note)
        return messages.Done()


def _checked(statements: Iterator[Statement], file: Name, begun: Mapping[int, tables.Begun]) -> Iterator[Statement]:
    """``statements``, compared with those of the file that have been begun."""
    left = {number for number, row in begun.items() if row.state is not tables.State.FAILED}
    for statement in statements:
        row = begun.get(statement.number)
        if statement.number in left and row is not None and row.checksum != execution.checksum(statement):
            raise _other_text(file, statement.line)
        left.discard(statement.number)
        yield statement
    if left:
        raise _other_text(file, 0)


def _other_text(file: Name, line: int) -> SourceError:
    text = "statements that have run are no longer as they were then: restore them, only what comes after them may change"
    return refusal(text, file=file.name, line=line, changed=True)


def say(line: str) -> None:
    print(redact.redact(" ".join(line.split())), flush=True)
