"""The user's statements on the one session: without a deadline, watched, and cancelled when the pod is told to stop.

::

    run     one text by the simple protocol, as psql sends it: what cannot run in a transaction has no other way
    stream  many statements in libpq's pipeline mode: batches are on their way while earlier ones are executed, and an
            error still names its statement

A statement may take hours, so silence is no fault.  It is looked into instead (:class:`Watch`): from a second session the
server tells who blocks us, and whether our server process is still at work at all.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import re
import select
import time
from collections.abc import Callable, Iterable, Iterator

import psycopg
import psycopg.pq

from schemahold.core import redact
from schemahold.core.sql.model import Statement
from schemahold.database import faults, session

# What may be under way in a pipeline: enough to keep both ends busy, little to keep in memory.
BATCH_BYTES, BATCH_MANY = 1 << 16, 100  # then a sync, at which the server sends what it has
WINDOW_BYTES, WINDOW_MANY = 1 << 20, 1000

CANCEL_AGAIN = 1.0  # between two requests to cancel
CANCEL_WITHIN = 10.0  # after the first one: a session that does not answer is abandoned
LOOK_AFTER = 15.0  # of silence: is the server process still at work?

CANCELLED = "57014"

_CHUNK = 500  # rows
_AGE = re.compile(r" for \d+ s")
_Exec = psycopg.pq.ExecStatus
_Field = psycopg.pq.DiagnosticField


@dataclasses.dataclass
class StatementError(Exception):
    """The server refused a statement.  ``position``: 1-based, in characters of its text; 0 when it is not told."""

    sqlstate: str
    message: str
    detail: str = ""
    hint: str = ""
    context: str = ""
    position: int = 0
    statement: Statement | None = None

    def __str__(self) -> str:
        return self.message

    @property
    def is_blocked(self) -> bool:
        """A lock timeout or a deadlock: the same statement may go through a moment later."""
        return self.sqlstate in ("55P03", "40P01")


class Stop:
    """The word to stop, from a signal handler to whoever waits for the server: the waiting is over at once."""

    def __init__(self) -> None:
        self.asked = False
        self.descriptor, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def ask(self) -> None:
        self.asked = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")

    def wait(self, seconds: float) -> None:
        """For so long, or until it is asked."""
        if not self.asked:
            select.select([self.descriptor], [], [], max(0.0, seconds))


class Watch:
    """Looks at our own server process from a second session while ours is silent.

    ``second``: opens that session, when it is needed for the first time; while it cannot be opened nothing is known.
    """

    def __init__(self, backend: session.Backend, second: Callable[[], session.Session], say: Callable[[str], None]) -> None:
        self._backend = backend
        self._open = second
        self._say = say
        self._second: session.Session | None = None
        self._lock_timeout = 0.0
        self._next = 0.0  # so much silence, and it is time to look
        self._waits_for_us = 0
        self._said = ""
        self.blockers = ""

    def expect(self, lock_timeout: float) -> None:
        """From now on a statement waits this long for a lock at most."""
        self._lock_timeout = lock_timeout
        self._said = self.blockers = ""
        self.heard()

    def heard(self) -> None:
        self._waits_for_us = 0
        self._next = min(self._lock_timeout / 2, 1.0)  # late enough to see who blocks, before the timeout

    def pause(self, silent: float) -> float:
        return max(0.0, self._next - silent)

    def look(self, silent: float) -> None:
        """Note who blocks us; raises :class:`faults.Lost` when the server has nothing left to do for us."""
        if silent < self._next:
            return
        self._next = silent + (max(self._lock_timeout / 4, 0.05) if silent < 2 else LOOK_AFTER / 3)
        try:
            state, waits, blockers = self._state()
        except (faults.Fault, psycopg.Error):
            self.close()
            return
        self.blockers = blockers or self.blockers
        if blockers and silent >= 1 and _AGE.sub("", blockers) != self._said:
            self._said = _AGE.sub("", blockers)
            self._say(f"waiting for a lock, blocked by {blockers}")
        if silent >= LOOK_AFTER:
            self._judge(state, waits)

    def _judge(self, state: str, waits: str) -> None:
        # Twice in a row, because the server's last word may be on its way.
        idle = not state or state.startswith("idle") or waits == "Client"
        self._waits_for_us = self._waits_for_us + 1 if idle else 0
        if self._waits_for_us < 2:
            return
        with contextlib.suppress(faults.Fault, psycopg.Error):
            # It waits for words that will not come, with our lock in its hand, and the next run would wait for that.
            if self._second is not None:
                session.end_backend(self._second, self._backend)
        raise faults.Lost("the server waits for us, and we for the server" if state else "the server process is gone")

    def _state(self) -> tuple[str, str, str]:
        """State and kind of wait of our server process ("" when it is gone), and who blocks it."""
        if self._second is None:
            self._second = self._open()
        found = self._second.fetch(
            "SELECT coalesce(a.state, '?'), coalesce(a.wait_event_type, ''), (SELECT string_agg("
            "  concat('pid ', b.pid, ' (application_name ''' || nullif(x.application_name, '') || ''')', ', ' || x.state,"
            "  ', in a transaction for ' || extract(epoch FROM clock_timestamp() - x.xact_start)::int || ' s'), '; ')"
            "  FROM (SELECT DISTINCT unnest(pg_blocking_pids(a.pid)) AS pid WHERE a.wait_event_type = 'Lock') b"
            "  LEFT JOIN pg_stat_activity x ON x.pid = b.pid)"
            f" FROM pg_stat_activity a WHERE a.pid = %(pid)s AND {session.utc('a.backend_start')} = %(started)s",
            {"pid": self._backend.pid, "started": self._backend.started},
        )
        return (found[0][0], found[0][1], found[0][2] or "") if found else ("", "", "")

    def close(self) -> None:
        if self._second is not None:
            self._second.abandon()
            self._second = None


class Pipeline:
    """Statements on ``on``, one call at a time.

    Raises :class:`StatementError`, and :class:`faults.Lost` when the session is gone or did not answer a request to cancel.
    After an error in a transaction that transaction is still open: rolling it back is the caller's.
    """

    def __init__(self, on: session.Session, *, stop: Stop, watch: Watch) -> None:
        self._connection = on.connection
        self._pgconn = on.connection.pgconn
        self._stop = stop
        self._watch = watch
        self._heard = 0.0
        self._cancelled_at: float | None = None
        self._cancel_at = 0.0

    def run(self, text: str) -> str:
        """``text`` by the simple protocol; the tag of its last command."""
        with self._at_work():
            return self._run(text)

    def stream(self, statements: Iterable[Statement]) -> int:
        """All ``statements`` in pipeline mode, in an open transaction; how many.  Stops at the first error.

        What ``statements`` itself raises comes out when everything under way has been heard of.
        """
        with self._at_work():
            return self._stream(_Feed(statements, self._stop))

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        self._heard = time.monotonic()
        self._cancelled_at = None
        self._watch.heard()
        try:
            yield
        except psycopg.OperationalError as error:
            session.abandon(self._connection)
            raise faults.Lost(redact.redact(str(error).strip().partition("\n")[0])) from None

    # -- one text

    def _run(self, text: str) -> str:
        self._pgconn.send_query(text.encode())
        self._discard_rows()
        tag, error = "", None
        while (result := self._next()) is not None:
            if result.status == _Exec.FATAL_ERROR:
                error = error or _error(result)
            elif result.status == _Exec.COPY_IN:
                self._pgconn.put_copy_end(b"schemahold has no rows to send")
            elif result.status == _Exec.COPY_OUT:
                self._skip_copy()
            else:
                tag = (result.command_status or b"").decode() or tag
        if error is not None:
            raise error
        return tag

    def _next(self) -> psycopg.pq.abc.PGresult | None:
        while self._pgconn.flush() or self._pgconn.is_busy():
            self._exchange(wait=True)
        return self._pgconn.get_result()

    def _skip_copy(self) -> None:
        size = 1
        while size >= 0:
            size, _ = self._pgconn.get_copy_data(1)
            if size == 0:
                self._exchange(wait=True)

    # -- many statements

    def _stream(self, feed: _Feed) -> int:
        error: StatementError | None = None
        self._pgconn.enter_pipeline_mode()
        while feed.more or feed.under_way:
            self._send(feed)
            found = self._collect(feed)
            error = error or found  # what follows the first one is aborted, and says no more than that
            if error is not None:
                feed.more = False
        self._pgconn.exit_pipeline_mode()
        failure: Exception | None = error or feed.error
        if failure is not None:
            raise failure
        return feed.count

    def _send(self, feed: _Feed) -> None:
        """One batch, if the window has room for it."""
        batch = 0
        while feed.has_room and batch < BATCH_BYTES and (statement := feed.take()) is not None:
            data = statement.text.encode()
            self._pgconn.send_query_params(data, None)
            feed.under_way.append((statement, len(data)))
            feed.size += len(data)
            batch += len(data) + BATCH_BYTES // BATCH_MANY
        if batch:
            self._pgconn.pipeline_sync()
            feed.under_way.append((None, 0))

    def _collect(self, feed: _Feed) -> StatementError | None:
        """What has come; waits only when there is nothing to send."""
        error = None
        self._exchange(wait=not (feed.more and feed.has_room))
        while feed.under_way and not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None or result.status == _Exec.PIPELINE_SYNC:  # the end of one statement's results, or a sync
                feed.size -= feed.under_way.popleft()[1]
                self._discard_rows()
            elif result.status == _Exec.FATAL_ERROR:
                error = error or _error(result, feed.under_way[0][0])
        return error

    def _discard_rows(self) -> None:
        """Nobody reads rows: take those of the next answer in small pieces, so that they need no memory."""
        with contextlib.suppress(psycopg.Error):  # libpq has begun to read that answer already, or is too old for it
            self._pgconn.set_chunked_rows_mode(_CHUNK)

    # -- the socket

    def _exchange(self, *, wait: bool) -> None:
        """Send what is to be sent, receive what has come.  With ``wait``, until something has or it is time to look."""
        poll = select.poll()
        poll.register(self._pgconn.socket, select.POLLIN | (select.POLLOUT if self._pgconn.flush() else 0))
        if not self._stop.asked:
            poll.register(self._stop.descriptor, select.POLLIN)
        ready = dict(poll.poll(1000 * self._patience() + 1 if wait else 0))
        if ready.get(self._pgconn.socket, 0) & ~select.POLLOUT:
            self._pgconn.consume_input()
            self._heard = time.monotonic()
            self._watch.heard()
        if self._stop.asked:
            self._cancel()
        elif wait and not ready:
            self._watch.look(time.monotonic() - self._heard)

    def _patience(self) -> float:
        now = time.monotonic()
        return max(0.0, self._cancel_at - now) if self._stop.asked else self._watch.pause(now - self._heard)

    def _cancel(self) -> None:
        now = time.monotonic()
        if self._cancelled_at is None:
            self._cancelled_at = now
        elif now < self._cancel_at:
            return
        elif now - self._cancelled_at >= CANCEL_WITHIN:
            session.abandon(self._connection)
            raise faults.Lost(f"the server did not cancel the statement within {CANCEL_WITHIN:g} s")
        with contextlib.suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=CANCEL_AGAIN)
        self._cancel_at = time.monotonic() + CANCEL_AGAIN


class _Feed:
    """Statements to be sent, and those under way with their size; None stands for a sync.

    ``more``: there may be others to send.  ``error``: why there are none, other than that they are all sent.
    """

    def __init__(self, statements: Iterable[Statement], stop: Stop) -> None:
        self._statements = iter(statements)
        self._stop = stop
        self.under_way: collections.deque[tuple[Statement | None, int]] = collections.deque()
        self.size = 0
        self.count = 0
        self.more = True
        self.error: Exception | None = None

    @property
    def has_room(self) -> bool:
        return self.size < WINDOW_BYTES and len(self.under_way) < WINDOW_MANY

    def take(self) -> Statement | None:
        if not self.more:
            return None
        try:
            if self._stop.asked:
                raise StatementError(CANCELLED, "the pod was told to stop")
            statement = next(self._statements)
        except StopIteration:
            self.more = False
            return None
        except Exception as error:
            self.more, self.error = False, error
            return None
        self.count += 1
        return statement


def _error(result: psycopg.pq.abc.PGresult, statement: Statement | None = None) -> StatementError:
    """What the server says of a statement; raises Lost when it is its last word on this session."""

    def field(which: psycopg.pq.DiagnosticField) -> str:
        return (result.error_field(which) or b"").decode(errors="replace")

    message = field(_Field.MESSAGE_PRIMARY) or result.error_message.decode(errors="replace").strip()
    if field(_Field.SEVERITY_NONLOCALIZED) in ("FATAL", "PANIC") or not field(_Field.SQLSTATE):
        raise psycopg.OperationalError(message)
    return StatementError(
        sqlstate=field(_Field.SQLSTATE),
        message=message,
        detail=field(_Field.MESSAGE_DETAIL),
        hint=field(_Field.MESSAGE_HINT),
        context=field(_Field.CONTEXT),
        position=int(field(_Field.STATEMENT_POSITION) or 0),
        statement=statement,
    )
