"""Performs the requests to the database, one at a time, for ``lock`` and for ``sql``: each is answered with one event."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from schemahold.api import pod
from schemahold.core import ledger as core
from schemahold.core import redact
from schemahold.database import faults, ledger, lock, session, urls
from schemahold.runner import environment, files, messages, protocol

T = TypeVar("T")

LEFT_BEHIND = 10.0  # seconds in which the sessions of a command that failed must have ended
SESSION = "session"  # in the shared directory: the server process of our last session


@dataclasses.dataclass(frozen=True)
class _Failed:
    """Why something was not done.  ``lost``: the session is gone, and it may have been done."""

    reason: pod.Reason
    message: str
    retry: bool = False
    lost: bool = False


class Worker:
    """One request, one event."""

    def __init__(self, env: environment.Environment) -> None:
        self._env = env
        self._key = lock.key(env.ask.lock_name)
        self._session: session.Session | None = None
        self._keys = tempfile.TemporaryDirectory(prefix="schemahold-")
        self._noted = False

    def answer(self, request: messages.Request) -> messages.Event:
        if isinstance(request, messages.Disconnect):
            self.close()
            return messages.Done()
        if isinstance(request, messages.Connect):
            failed = self._tried(lambda: self._connect(request))
            return (
                messages.ConnectFailed(failed.reason, failed.message, failed.retry)
                if isinstance(failed, _Failed)
                else failed
            )
        return self.performed(lambda on: self._perform(request, on))

    def performed(self, perform: Callable[[session.Session], T]) -> T | messages.Lost | messages.Refused:
        """What ``perform`` does on the session, or why it did not."""
        on = self._session
        if on is None:
            return messages.Lost("there is no session")
        done = self._tried(lambda: perform(on))
        if not isinstance(done, _Failed):
            return done
        return messages.Lost(done.message) if done.lost else messages.Refused(done.reason, done.message)

    def _tried(self, act: Callable[[], T]) -> T | _Failed:
        try:
            return act()
        except faults.Lost as lost:
            self._session = None
            return _Failed(pod.Reason.DATABASE_UNREACHABLE, str(lost), retry=True, lost=True)
        except faults.Refused as refused:
            return _Failed(refused.reason, refused.message, retry=refused.retry)
        except psycopg.Error as error:
            return self._sql_error(error)
        except Exception as error:
            return _Failed(pod.Reason.RUNNER_ERROR, f"{type(error).__name__}: {redact.redact(str(error))}")

    def _sql_error(self, error: psycopg.Error) -> _Failed:
        text = redact.redact(" ".join(str(error).split()))
        match error:
            case psycopg.errors.ReadOnlySqlTransaction():  # the server has become a standby under us
                self.close()
                return _Failed(pod.Reason.DATABASE_STANDBY, text, retry=True, lost=True)
            case psycopg.errors.UndefinedTable() | psycopg.errors.InvalidSchemaName():
                return _Failed(pod.Reason.LEDGER_LOST, f"the ledger is gone: {text}")
            case psycopg.errors.InsufficientPrivilege():
                return _Failed(pod.Reason.LEDGER_FORBIDDEN, text)
        return _Failed(pod.Reason.RUNNER_ERROR, f"{type(error).__name__}: {text}")

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    # -- requests

    def _perform(self, request: messages.Request, on: session.Session) -> messages.Event:
        ask, uid = self._env.ask, self._env.pod_uid
        match request:
            case messages.TryLock():
                return self._try_lock(on)
            case messages.Unlock():
                lock.unlock(on, self._key)
            case messages.Ping():
                on.fetch("SELECT 1")
            case messages.Look():
                seen = ledger.look(on, ask, pod_uid=uid, lock_key=self._key)
                return messages.Looked(rows=seen.rows, now=seen.now, server_started=seen.server_started)
            case messages.Adopt(version):
                ledger.adopt(on, name=ask.ledger_name, phase=ask.phase, version=version)
            case messages.TurnUnknown(verdict):
                ledger.turn_unknown(on, verdict.row, verdict.note)
            case messages.Prove(verdict):
                return messages.Done() if ledger.prove(on, verdict) else self._busy(on, verdict.row.lock_key)
            case messages.Settle(verdict):
                alive = ledger.settle(on, verdict, answered_by=ask.answered_by)
                return messages.BackendsAlive(alive) if alive else messages.Done()
            case messages.WriteRunning(server, supersede, note):
                return messages.Started(self._write_running(on, server, supersede, note))
            case messages.Beat(row):
                return messages.StateSeen(ledger.beat(on, row=row, pod_uid=uid))
            case messages.Record(row, state, code, note):
                return self._record(on, row, state, code, note)
            case messages.Withdraw(row):
                ledger.withdraw(on, row=row, pod_uid=uid)
        return messages.Done()

    def _record(
        self, on: session.Session, row: int, state: core.RowState, code: int | None, note: str
    ) -> messages.StateSeen:
        """A failure counts only when nothing of it goes on.

        Interleaving: the command was killed, and its server process runs on with the statement that it was given: it would
        be committed after "failed" had let another run start.
        """
        uid, said = self._env.pod_uid, ""
        is_command = self._env.ask.sql is None  # in sql mode the session is ours
        if is_command and state is core.RowState.FAILED and (alive := self._left_behind(on, row)):
            said = f"{alive} of the command's database sessions still ran {LEFT_BEHIND:g} s after its end"
            state, note = core.RowState.UNKNOWN, said
            ledger.beat(on, row=row, pod_uid=uid)  # so that whoever answers sees them, and `retry` ends them
        written = ledger.record(on, row=row, pod_uid=uid, state=state, exit_code=code, note=note)
        return messages.StateSeen(written, said)

    def _left_behind(self, on: session.Session, row: int) -> int:
        deadline = time.monotonic() + LEFT_BEHIND
        name = self._env.ask.ledger_name
        while (alive := ledger.left_behind(on, row=row, name=name)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return alive

    def _write_running(self, on: session.Session, server: Any, supersede: int | None, note: str) -> int | None:
        return ledger.start(
            on,
            self._env.ask,
            pod_uid=self._env.pod_uid,
            pod_name=self._env.pod_name,
            lock_key=self._key,
            supersede=supersede,
            server=server,
            note=note,
        )

    def _try_lock(self, on: session.Session) -> messages.Event:
        if lock.try_lock(on, self._key):
            return messages.LockTaken()
        return self._busy(on, self._key)

    def _busy(self, on: session.Session, key: int) -> messages.LockBusy:
        holder = lock.holder(on, key)
        if holder is None:
            return messages.LockBusy("a session that has just let go", False)
        live = ledger.live_run(on, lock_key=key, stale_after=self._env.ask.stale_after)
        return messages.LockBusy(str(holder), holder.is_ours and live is not None)

    def second(self) -> session.Session:
        """Another session beside the one there is."""
        if self._session is None:
            raise faults.Lost("there is no session")
        return session.beside(
            self._session,
            self._read_target(),
            application_name=lock.application_name(self._env.ask.ledger_name),
            keys=pathlib.Path(self._keys.name),
            password_file=self._env.ask.password_file,
        )

    def _connect(self, request: messages.Connect) -> messages.Connected:
        self.close()
        ask = self._env.ask
        target = self._read_target()
        name = lock.application_name(ask.ledger_name)
        keys = pathlib.Path(self._keys.name)
        opened = session.connect(target, application_name=name, keys=keys, password_file=ask.password_file)
        try:
            pooler = opened.facts.pooler
            if pooler and not ask.allow_pooler:
                opened.close()
                return messages.Connected(server=opened.facts.server, ledger=request.expected, pooler=pooler)
            if not pooler:
                self._end_previous(opened)
            identity = ledger.ensure(opened, expected=request.expected)
            refused = ""
            if request.options:
                refused = session.takes_options(
                    target,
                    protocol.options_text(ask.session_options),
                    application_name=name,
                    keys=keys,
                    password_file=ask.password_file,
                )
        except BaseException:
            opened.close()
            raise
        self._session = opened
        self._note_session(opened)
        return messages.Connected(server=opened.facts.server, ledger=identity, pooler=pooler, options_refused=refused)

    def _read_target(self) -> urls.Target:
        ask = self._env.ask
        origin = ask.url_origin or f"variable {ask.url_variable}"
        text = self._env.variables.get(ask.url_variable)
        if text is None:
            raise faults.Refused(pod.Reason.DATABASE_URL_INVALID, f"{origin} is not set")
        try:
            target = urls.parse(text, origin=origin)
        except urls.UrlInvalid as error:
            raise faults.Refused(pod.Reason.DATABASE_URL_INVALID, str(error)) from None
        if not self._noted:
            self._noted = True
            for note in target.notes:
                print(redact.redact(note), flush=True)
        return target

    # -- the session before this one, of this container or of an earlier one in this pod

    def _note_session(self, opened: session.Session) -> None:
        backend = opened.facts.backend
        text = json.dumps({"pid": backend.pid, "started": backend.started})
        files.write(self._env.shared / SESSION, "" if opened.facts.pooler else text)

    def _end_previous(self, opened: session.Session) -> None:
        try:
            noted = json.loads(files.read(self._env.shared / SESSION) or "null")
        except ValueError:
            return
        if not noted:
            return
        previous = session.Backend(pid=noted["pid"], started=noted["started"])
        deadline = time.monotonic() + session.ROUND_TRIP
        while not session.end_backend(opened, previous):
            if time.monotonic() > deadline:
                raise faults.Refused(
                    pod.Reason.DATABASE_UNREACHABLE,
                    f"an earlier session of this pod (pid {previous.pid}) does not end",
                    retry=True,
                )
            time.sleep(0.05)
