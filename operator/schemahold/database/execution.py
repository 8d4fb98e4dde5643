"""One file: in one transaction, or statement by statement where something in it cannot run in one.

::

    in one       BEGIN ── statements, pipelined ── deferred constraints ── row in schemahold.files ── COMMIT
    one by one   ordinary    BEGIN ── statement ── row `done` ── COMMIT
                 alone       row `running`, committed ── statement ── catalog ── row `done`, committed

Whatever happens between two of these, the rows and the catalog say afterwards how far it came, so that the next try goes on
from there.  Losing the session raises :class:`faults.Lost`; what was sent last may have happened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from schemahold.core import redact
from schemahold.core.sql import model
from schemahold.core.sql.model import Name, Statement
from schemahold.core.sql.shape import Shape
from schemahold.database import catalog, faults, files, pipeline, session

EXCERPT = 200  # characters of a statement in a message


class Source(Protocol):
    """Where the files are.  Both raise what they like when a file is no longer what was judged."""

    def statements(self, file: Name) -> Iterator[Statement]: ...

    def check(self, file: Name) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """A file that was judged."""

    file: Name
    checksum: str
    shape: Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds.  ``lock``: that one statement waits for a lock while others queue behind it; ``patience``: where nobody
    does.  ``statement``: for one statement of a transactional file, 0 for none."""

    lock: float
    patience: float
    statement: float = 0.0


class _Unclear(Exception):
    pass


class Execution:
    """The files of one run on one session."""

    def __init__(
        self,
        on: session.Session,
        run: files.Run,
        *,
        source: Source,
        stop: pipeline.Stop,
        watch: pipeline.Watch,
        say: Callable[[str], None],
    ) -> None:
        self._on = on
        self._run = run
        self._source = source
        self._stop = stop
        self._watch = watch
        self._say = say
        self._pipeline = pipeline.Pipeline(on, stop=stop, watch=watch)
        self._at: Statement | None = None  # for errors that do not name their statement
        self._done = 0  # statements that are done for good

    def apply(self, work: Work, limits: Limits) -> model.Outcome:
        """Run ``work``, or what is left of it."""
        began, self._at, self._done = time.monotonic(), None, 0
        self._watch.expect(limits.lock)
        try:
            rows = files.begun(self._on, self._run.name).get(work.file.name, {})
            if work.shape.transactional and not rows:
                count = self._in_one(work, limits, began)
            else:
                count = self._one_by_one(work, rows, limits, began)
        except files.LostRow:
            return model.Fenced()
        except pipeline.StatementError as error:
            return self._refused(work.file, error)
        except _Unclear as unclear:
            return model.Disagrees(message=self._message(work.file, self._at, str(unclear)))
        return model.Applied(seconds=time.monotonic() - began, statements=count)

    def _wanted(self, work: Work) -> Iterator[Statement]:
        return (one for one in self._source.statements(work.file) if one.number not in work.shape.skipped)

    # -- in one transaction

    def _in_one(self, work: Work, limits: Limits, began: float) -> int:
        with self._transaction(limits.lock, limits.statement):
            count = self._pipeline.stream(itertools.chain(self._wanted(work), [_AT_ITS_END])) - 1
            self._note(work, began)
        self._on.renew()
        return count

    def _note(self, work: Work, began: float) -> None:
        statements = work.shape.statements - len(work.shape.skipped)
        seconds = round(time.monotonic() - began, 3)
        files.note_applied(self._on, self._run, work.file, checksum=work.checksum, statements=statements, seconds=seconds)

    @contextlib.contextmanager
    def _transaction(self, lock: float, statement: float) -> Iterator[None]:
        self._on.fetch(f"BEGIN; {_timeouts(lock, statement, local=True)}; SET LOCAL search_path TO DEFAULT")
        try:
            yield
            if self._pipeline.run("COMMIT") != "COMMIT":
                raise pipeline.StatementError("25P02", "the transaction was aborted")
        except faults.Lost:
            raise
        except BaseException:
            self._on.fetch("ROLLBACK")
            self._on.renew()
            raise

    # -- statement by statement

    def _one_by_one(self, work: Work, rows: dict[int, files.Begun], limits: Limits, began: float) -> int:
        self._source.check(work.file)
        for statement in self._wanted(work):
            row = rows.get(statement.number)
            if row is not None and row.state is files.State.DONE:
                continue
            self._at = statement
            if self._stop.asked:
                raise pipeline.StatementError(pipeline.CANCELLED, "the pod was told to stop")
            if statement.number in work.shape.alone:
                self._alone(work.file, statement, row, limits)
            else:
                self._ordinary(work.file, statement, limits)
            self._done += 1
        self._at = None
        self._note(work, began)
        self._on.renew()
        return self._done

    def _ordinary(self, file: Name, statement: Statement, limits: Limits) -> None:
        with self._transaction(limits.lock, 0):
            self._pipeline.run(statement.text)
            self._pipeline.run(_AT_ITS_END.text)
            self._write(file, statement, files.State.DONE)

    def _alone(self, file: Name, statement: Statement, row: files.Begun | None, limits: Limits) -> None:
        effect = catalog.effect(statement, file=file.name)
        begun = row is not None and row.state is files.State.RUNNING
        before = row.before if row is not None and begun else effect.before(self._on)
        if not begun:
            self._write(file, statement, files.State.RUNNING, before)
        fate = effect.examine(self._on, before, begun=begun)
        if isinstance(fate, catalog.Unclear):
            raise _Unclear(fate.why)
        if isinstance(fate, catalog.Go):
            self._go(file, statement, effect, fate, limits, before)
        self._write(file, statement, files.State.DONE, before)

    def _go(
        self, file: Name, statement: Statement, effect: catalog.Effect, fate: catalog.Go, limits: Limits, before: str
    ) -> None:
        try:
            self._drop(file, fate.leftovers, limits.lock)
            self._run_alone(fate.instead or statement.text, limits.patience if effect.patient else limits.lock)
        except pipeline.StatementError as error:
            if not self._stop.asked and self._tidy(file, effect, before) and not error.is_blocked:
                # It has left nothing behind: what is there before the next try was there before it.
                self._write(file, statement, files.State.FAILED, before)
            raise
        if missing := effect.missing(self._on):
            raise _Unclear(missing)

    def _run_alone(self, text: str, lock: float) -> None:
        self._on.fetch(f"{_timeouts(lock, 0, local=False)}; SET search_path TO DEFAULT")
        self._watch.expect(lock)
        try:
            self._pipeline.run(text)
        finally:
            if not self._on.connection.closed:
                self._on.fetch("SET lock_timeout = 0; SET statement_timeout = 0; SET search_path = pg_catalog")

    def _drop(self, file: Name, leftovers: tuple[tuple[int, str], ...], lock: float) -> None:
        for table, name in leftovers:
            # Interleaving: somebody is building it at this moment. Who builds holds this very lock on the table.
            self._pipeline.run(
                f"{_timeouts(lock, 0, local=True)}; LOCK TABLE {catalog.full_name(self._on, table)}"
                " IN SHARE UPDATE EXCLUSIVE MODE"
            )
            if catalog.is_invalid(self._on, name):
                self._say(f"{file.name}: drops the invalid index {name}, which an interrupted statement has left")
                self._run_alone(f"DROP INDEX CONCURRENTLY {name}", lock)

    def _tidy(self, file: Name, effect: catalog.Effect, before: str) -> bool:
        """Take away what a failed statement has left; False when that was not to be had now."""
        try:
            fate = effect.examine(self._on, before, begun=True)
            if isinstance(fate, catalog.Go):
                self._drop(file, fate.leftovers, _TIDY_WITHIN)
        except pipeline.StatementError:
            return False
        return isinstance(fate, catalog.Go) and not fate.instead

    def _write(self, file: Name, statement: Statement, state: files.State, before: str = "") -> None:
        row = files.Begun(number=statement.number, checksum=checksum(statement), state=state, before=before)
        files.note_statement(self._on, self._run, file, row)

    # -- what the server refuses

    def _refused(self, file: Name, error: pipeline.StatementError) -> model.Outcome:
        statement = error.statement or self._at
        number = statement.number if statement else 0
        if error.sqlstate == pipeline.CANCELLED and self._stop.asked:
            return model.Interrupted(statement=number)
        message = self._message(file, statement, f"{error.message} (SQLSTATE {error.sqlstate})", error)
        if error.is_blocked:
            return model.Blocked(message=message, statement=number, done=self._done, blockers=self._watch.blockers)
        for line in (error.detail, error.context):
            if line:  # for the log alone: it may quote rows
                self._say(f"{file.name}: {line}")
        return model.Failed(message=message)

    def _message(
        self, file: Name, statement: Statement | None, what: str, error: pipeline.StatementError | None = None
    ) -> str:
        """``file:line: what``, the statement's beginning, and the server's hint."""
        if statement is None or statement is _AT_ITS_END:
            where, quoted = f"{file.name}, at its end", ""
        else:
            above = statement.text.count("\n", 0, max(0, error.position - 1)) if error else 0
            where, quoted = (
                f"{file.name}:{statement.line + above}",
                f", in statement {statement.number}: {excerpt(statement)}",
            )
        hint = f" Hint: {error.hint}" if error and error.hint else ""
        return redact.redact(f"{where}: {what}{quoted}{hint}")


_AT_ITS_END = Statement(number=0, line=0, text="SET CONSTRAINTS ALL IMMEDIATE")  # what is deferred fails here, not in COMMIT
_TIDY_WITHIN = 1.0  # seconds for a lock, when a statement has failed


def checksum(statement: Statement) -> str:
    """As in ``schemahold.statements``."""
    return hashlib.sha256(statement.text.encode()).hexdigest()


def excerpt(statement: Statement) -> str:
    """Its beginning, in one line and without secrets."""
    text = " ".join(redact.redact(statement.text[: 10 * EXCERPT]).split())
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"


def _timeouts(lock: float, statement: float, *, local: bool) -> str:
    """Both in whole milliseconds; 0 would mean none, which only the statement's may be."""
    word = "SET LOCAL" if local else "SET"
    return f"{word} lock_timeout = {max(1, round(1000 * lock))}; {word} statement_timeout = {round(1000 * statement)}"
