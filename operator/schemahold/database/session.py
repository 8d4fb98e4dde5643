"""One direct session in autocommit, on which no round trip can last longer than its deadline.

A stalled proxy or a vanished node keeps a socket open and silent, and keepalives are answered by the proxy itself.  So the
deadline is kept here, by the client: at its end the socket is shut and :class:`faults.Lost` raised.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
import psycopg.abc
import psycopg.waiting

from schemahold.api import pod
from schemahold.core import ledger, redact
from schemahold.database import faults, urls

OLDEST_SERVER = 130000
CONNECT_TIMEOUT = 5.0
ROUND_TRIP = 5.0  # deadline of one statement, in seconds

# Our side of the connection: a dead peer is found in about 15 s even when nothing is under way.
CLIENT_SETTINGS = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
# The server's side: it finds that we are gone, and lets go of our lock, also while no statement runs.
# Timeouts that would end an idle session or our waiting are off; a commit that we saw must be durable.
SERVER_SETTINGS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "30000",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "lock_timeout": "0",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "search_path": "pg_catalog",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
}

RV = TypeVar("RV")


def utc(expression: str) -> str:
    """SQL for a time as text that compares equal whatever the session's time zone is (RFC 3339, microseconds)."""
    return f"to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


_TERMINAL = re.compile(
    r"password authentication failed|no password supplied|role \".*\" does not exist|database \".*\" does not exist"
    r"|no pg_hba\.conf entry|permission denied for database|is not permitted to log in|certificate verify failed"
    r"|does not support SSL|authentication failed|Ident authentication|Peer authentication|invalid sslmode"
    r"|certificate file|private key file|server certificate for|root certificate",
    re.IGNORECASE,
)


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """psycopg's connection, driven with a deadline (``round_trip`` seconds for each generator)."""

    round_trip = ROUND_TRIP

    def wait(self, gen: psycopg.abc.PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        deadline = time.monotonic() + (self.round_trip if timeout is None else min(timeout, self.round_trip))
        try:
            want = next(gen)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    abandon(self)
                    raise faults.Lost(f"the database did not answer within {self.round_trip:g} s")
                want = gen.send(_ready(self.pgconn.socket, want, left))
        except StopIteration as end:
            result: RV = end.value
            return result


def _ready(descriptor: int, want: psycopg.waiting.Wait, seconds: float) -> psycopg.waiting.Ready:
    poll = select.poll()
    mask = (select.POLLIN if want & psycopg.waiting.Wait.R else 0) | (select.POLLOUT if want & psycopg.waiting.Wait.W else 0)
    poll.register(descriptor, mask)
    events = dict(poll.poll(max(1, int(seconds * 1000)))).get(descriptor, 0)
    ready = 0
    if events & ~select.POLLOUT:  # data, or an error that reading will tell
        ready |= psycopg.waiting.Ready.R
    if events & ~select.POLLIN:
        ready |= psycopg.waiting.Ready.W
    return psycopg.waiting.Ready(ready & (int(want) or 0))


def abandon(connection: psycopg.Connection[Any]) -> None:
    """Shut the socket under ``connection`` without a word to the server, and close it.  Never blocks."""
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.pgconn.socket)) as shut:
        shut.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(Exception):
        connection.pgconn.finish()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backend:
    """One server process: ``started`` (RFC 3339 text from the server) tells it from a later one with the same pid."""

    pid: int
    started: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What a new session found.  ``pooler``: why we think that one stands in between, "" if not."""

    server: ledger.Server
    backend: Backend
    version: int
    database: str
    role: str
    pooler: str = ""


class Session:
    """A session on the primary, in autocommit.  Every method raises :class:`faults.Lost` when the session is gone."""

    def __init__(self, connection: _Connection, facts: Facts) -> None:
        self._connection = connection
        self.facts = facts

    def fetch(self, statement: str, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of ``statement`` (of its last result, when it is several).

        Several statements in one text are one implicit transaction and one round trip, so a transaction of ours can
        never be left open by a client that stops between two statements.
        """
        return _fetch(self._connection, statement, params)

    def attempt(
        self, statement: str, params: Mapping[str, Any] | None = None, *, within: float
    ) -> list[tuple[Any, ...]] | None:
        """The rows of ``statement``, found by the role's own search path; None when the server refuses it, or would need
        longer than ``within`` seconds, or as long for a lock."""
        limit = f"'{round(1000 * min(within, self._connection.round_trip / 2))}ms'"
        limited = (
            f"SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit};"
            f"SET LOCAL search_path TO DEFAULT; {statement}"
        )
        try:
            cursor = self._connection.execute(limited, params)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            if not self._connection.broken and error.sqlstate:
                return None
            abandon(self._connection)
            raise faults.Lost(_first_line(error)) from None

    def renew(self) -> None:
        """Leave nothing behind of what the user's statements set, and have our own settings again.

        Not ``DISCARD ALL``: it would let go of the lock.
        """
        self.fetch(
            "RESET SESSION AUTHORIZATION; RESET ALL; SET role TO DEFAULT; CLOSE ALL; UNLISTEN *; DEALLOCATE ALL;"
            "DISCARD TEMP; DISCARD SEQUENCES"
        )
        _prepare(self._connection)

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """For :mod:`schemahold.database.pipeline`, which has no deadline."""
        return self._connection

    def close(self) -> None:
        """Say goodbye if that can be done at once."""
        with contextlib.suppress(Exception):
            self._connection.close()

    def abandon(self) -> None:
        abandon(self._connection)


def _fetch(connection: _Connection, statement: str, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    try:
        cursor = connection.execute(statement, params)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        # A statement that failed on a living session (cancelled, lock timeout, out of memory) is as good as lost: we
        # begin afresh, since that path has to be right anyway.
        abandon(connection)
        raise faults.Lost(_first_line(error)) from None


def connect(
    target: urls.Target,
    *,
    application_name: str,
    keys: pathlib.Path,
    password_file: str = "",
    timeout: float = CONNECT_TIMEOUT,
    round_trip: float = ROUND_TRIP,
) -> Session:
    """A session on a primary of at least version 13.

    ``keys``: a private directory for copies of key files.  Raises :class:`faults.Refused` (unreachable, standby, too old,
    URL) and :class:`faults.Lost`.
    """
    connection = _open(target, application_name, keys, password_file, timeout, round_trip)
    try:
        facts = _examine(connection)
        if not facts.pooler:
            facts = dataclasses.replace(
                facts,
                pooler=_probe_pooler(target, application_name, keys, password_file, timeout, round_trip, facts.backend.pid),
            )
        if not facts.pooler:
            _prepare(connection)
        return Session(connection, facts)
    except psycopg.Error as error:
        abandon(connection)
        raise faults.Refused(pod.Reason.RUNNER_ERROR, f"the new session could not be used: {_first_line(error)}") from None
    except faults.Fault:
        abandon(connection)
        raise


def beside(
    first: Session,
    target: urls.Target,
    *,
    application_name: str,
    keys: pathlib.Path,
    password_file: str = "",
    timeout: float = 2.0,
) -> Session:
    """A second session on the server of ``first``, not examined, to look at what becomes of the first."""
    return Session(_open(target, application_name, keys, password_file, timeout, timeout), first.facts)


def takes_options(
    target: urls.Target,
    options: str,
    *,
    application_name: str,
    keys: pathlib.Path,
    password_file: str = "",
    timeout: float = CONNECT_TIMEOUT,
) -> str:
    """Why the server refuses ``options`` (as in PGOPTIONS) at connect, "" if it takes them.  Poolers refuse all of them."""
    params = {**target.params, "options": " ".join([target.params.get("options", ""), options])}
    try:
        probe = _open(dataclasses.replace(target, params=params), application_name, keys, password_file, timeout, ROUND_TRIP)
    except faults.Fault as fault:
        return str(fault)
    try:
        _fetch(probe, "SELECT 1")
    except (faults.Fault, psycopg.Error) as error:
        return str(error)
    finally:
        abandon(probe)
    return ""


def _open(
    target: urls.Target,
    application_name: str,
    keys: pathlib.Path,
    password_file: str,
    timeout: float,
    round_trip: float,
) -> _Connection:
    """Connect in a thread of its own, since resolving a name knows no deadline."""
    try:
        complete = urls.with_password_file(urls.with_key_files(target, keys), password_file)
    except urls.UrlInvalid as error:
        raise faults.Refused(pod.Reason.DATABASE_URL_INVALID, str(error), retry=bool(password_file)) from None
    params: dict[str, Any] = {**CLIENT_SETTINGS, **complete.params}
    params |= {"application_name": application_name, "connect_timeout": str(max(2, round(timeout)))}
    # psycopg resolves and tries each address in turn, with this timeout for each.
    attempt = _Attempt(params)
    attempt.start()
    attempt.join(timeout * 2)
    try:
        connection = attempt.take()
    except faults.Refused as refused:
        raise _with_place(refused, complete.params) from None
    connection.round_trip = round_trip
    return connection


def _with_place(refused: faults.Refused, params: Mapping[str, str]) -> faults.Refused:
    """The same, with host and port: a timeout's own words do not say where nobody answered."""
    host, port = params.get("host", ""), params.get("port", "5432")
    if refused.reason is not pod.Reason.DATABASE_UNREACHABLE or not host or host in refused.message:
        return refused
    return faults.Refused(refused.reason, f"{refused.message} (host '{host}', port '{port}')", retry=refused.retry)


class _Attempt(threading.Thread):
    """One connect that can be given up: what arrives too late is closed."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(daemon=True)
        self._params = params
        self._guard = threading.Lock()
        self._given_up = False
        self._connection: _Connection | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            connection = _Connection.connect(
                autocommit=True, prepare_threshold=None, cursor_factory=psycopg.ClientCursor, **self._params
            )
        except Exception as error:
            self._error = error
            return
        with self._guard:
            # Interleaving: the caller gave up between our success and here; nobody else would close it.
            if not self._given_up:
                self._connection = connection
                return
        abandon(connection)

    def take(self) -> _Connection:
        with self._guard:
            self._given_up = True
            if self._connection is not None:
                return self._connection
        if self._error is None:
            raise _unreachable("no answer in time", retry=True)
        if isinstance(self._error, faults.Lost):
            raise _unreachable(str(self._error), retry=True)
        if isinstance(self._error, psycopg.Error):
            text = redact.redact(str(self._error))
            raise _unreachable(_cause(text), retry=not _TERMINAL.search(text))
        raise faults.Refused(
            pod.Reason.DATABASE_URL_INVALID,
            f"the connection parameters cannot be used ({type(self._error).__name__})",
        )


def _unreachable(why: str, *, retry: bool) -> faults.Refused:
    return faults.Refused(pod.Reason.DATABASE_UNREACHABLE, f"no connection: {why}", retry=retry)


def _cause(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else "no reason given"
    return first.removeprefix("connection failed: ").removeprefix("connection is bad: ")


def _first_line(error: BaseException) -> str:
    return redact.redact(_cause(str(error)))


def _examine(connection: _Connection) -> Facts:
    [(pid, started, version, recovery, database, role, postmaster)] = _fetch(
        connection,
        f"SELECT pid, {utc('backend_start')}, current_setting('server_version_num')::int, pg_is_in_recovery(),"
        f" current_database(), current_user::text, {utc('pg_postmaster_start_time()')}"
        " FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    )
    if version < OLDEST_SERVER:
        raise faults.Refused(
            pod.Reason.DATABASE_TOO_OLD,
            f"the server is PostgreSQL {version // 10000}; version 13 or newer is needed",
        )
    if recovery:
        raise faults.Refused(
            pod.Reason.DATABASE_STANDBY,
            "the server is a standby (in recovery); the URL must lead to the primary",
        )
    key_pid = connection.pgconn.backend_pid
    pooler = "" if key_pid == pid else "the key of the connection is not that of its server process"
    return Facts(
        server=_server(connection, postmaster),
        backend=Backend(pid=pid, started=started or ""),
        version=version,
        database=database,
        role=role,
        pooler=pooler,
    )


def _server(connection: _Connection, postmaster_started: str) -> ledger.Server:
    # pg_control_checkpoint() tells the timeline of the last checkpoint, which lags behind a promotion.
    return ledger.Server(
        system_id=_optional(connection, "SELECT system_identifier::text FROM pg_control_system()"),
        timeline=_optional(connection, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"),
        postmaster_started=postmaster_started,
    )


def _optional(connection: _Connection, statement: str) -> str:
    try:
        return str(_fetch(connection, statement)[0][0])
    except psycopg.Error:
        return ""  # the server does not tell: a narrow role, or not quite PostgreSQL


def _probe_pooler(
    target: urls.Target,
    application_name: str,
    keys: pathlib.Path,
    password_file: str,
    timeout: float,
    round_trip: float,
    our_pid: int,
) -> str:
    """A pooler that lends server processes per transaction gives ours to a second connection's transaction."""
    try:
        second = _open(target, application_name, keys, password_file, timeout, round_trip)
    except faults.Refused as refused:
        if "too many" in refused.message or "remaining connection slots" in refused.message:
            return ""  # one connection left, and we have it: the key has matched
        raise
    try:
        _fetch(second, "BEGIN")
        [(pid,)] = _fetch(second, "SELECT pg_backend_pid()")
        return "two connections of ours share one server process" if pid == our_pid else ""
    finally:
        abandon(second)


def _prepare(connection: _Connection) -> None:
    values = ", ".join(f"('{name}', '{value}')" for name, value in SERVER_SETTINGS.items())
    _fetch(
        connection,
        f"SELECT pg_catalog.set_config(s.name, v.value, false) FROM (VALUES {values}) v(name, value)"
        " JOIN pg_catalog.pg_settings s ON s.name = v.name;"
        "SELECT pg_catalog.set_config('synchronous_commit', 'on', false)"
        " WHERE pg_catalog.current_setting('synchronous_commit') = 'off'",
    )
    # PG 14+, and only where the server's system can tell: it ends a statement whose client is gone.
    with contextlib.suppress(psycopg.Error):
        _fetch(connection, "SET client_connection_check_interval = '5s'")


def end_backend(session: Session, backend: Backend) -> bool:
    """End an earlier session of ours if it is still there; True when it is gone.

    Interleaving: a statement that we abandoned may still be waiting in the old server process, and would commit after we
    have looked; and that process still holds our lock.
    """
    found = session.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %(pid)s AND usename = current_user"
        f" AND {utc('backend_start')} = %(started)s",
        {"pid": backend.pid, "started": backend.started},
    )
    return not found
