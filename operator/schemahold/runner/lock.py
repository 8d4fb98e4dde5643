"""The ``lock`` container: a native sidecar with the only database session; drives :mod:`schemahold.runner.protocol`.

Two threads.  The main one looks after files, signals and time; the other performs one database request at a time, so that a
stalled round trip never keeps the main one from answering the script or a SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import queue
import random
import signal
import tempfile
import threading
import time
from typing import Any

import psycopg

from schemahold.api import pod
from schemahold.core import redact
from schemahold.database import faults, ledger, lock, session, urls
from schemahold.runner import environment, files, messages, protocol

SESSION = "session"  # in the shared directory: the server process of our last session


def run(env: environment.Environment) -> int:
    """Until SIGTERM; the exit code."""
    driver = _Driver(env)
    signal.signal(signal.SIGTERM, driver.on_signal)
    signal.signal(signal.SIGINT, driver.on_signal)
    return driver.run()


class _Driver:
    """Files, signals and time."""

    def __init__(self, env: environment.Environment) -> None:
        self._env = env
        self._inbox: queue.SimpleQueue[messages.Event] = queue.SimpleQueue()
        self._worker = _Worker(env, self._inbox)
        self._protocol = protocol.Protocol(
            env.ask,
            pod_uid=env.pod_uid,
            lock_key=lock.key(env.ask.lock_name),
            jitter=lambda: random.uniform(0.8, 1.2),
        )
        self._terminated = False
        self._exit = False
        self._seen: set[str] = set()

    def on_signal(self, _number: int, _frame: object) -> None:
        self._terminated = True

    def run(self) -> int:
        self._worker.start()
        found = self._files()
        self._seen = {name for name in (messages.EXIT,) if name in found}
        self._perform(self._protocol.begin(found, time.monotonic(), held_for=self._held_for()))
        while not self._exit:
            for event in self._events():
                self._perform(self._protocol.handle(event, time.monotonic()))
        return 0

    def _events(self) -> list[messages.Event]:
        """What has happened; waits for up to one look's time."""
        with contextlib.suppress(queue.Empty):
            return [self._inbox.get(timeout=protocol.FILE_POLL)]
        events: list[messages.Event] = []
        if self._terminated and "SIGTERM" not in self._seen:
            self._seen.add("SIGTERM")
            events.append(messages.Terminated())
        if messages.ASK not in self._seen and (self._env.shared / messages.ASK).exists():
            self._seen.add(messages.ASK)
            events.append(messages.AskSeen())
        if messages.EXIT not in self._seen:
            text = files.read(self._env.shared / messages.EXIT)
            if text is not None:
                self._seen.add(messages.EXIT)
                events.append(messages.ExitSeen(text))
        return events or [messages.Tick()]

    def _files(self) -> dict[str, str]:
        found = {}
        for path in self._env.shared.iterdir():
            if path.is_file() and not path.name.startswith(".") and path.stat().st_size < 65536:
                found[path.name] = files.read(path) or ""
        return found

    def _held_for(self) -> float:
        try:
            return max(0.0, time.time() - (self._env.shared / messages.HELD).stat().st_mtime)
        except FileNotFoundError:
            return 0.0

    def _perform(self, actions: list[messages.Action]) -> None:
        for action in actions:
            match action:
                case messages.WriteFile(name, text):
                    files.write(self._env.shared / name, redact.redact(text))
                case messages.WriteReport(report):
                    files.termination_message(self._env.termination, redact.redact(report.to_json()))
                case messages.Log(line):
                    print(redact.redact(line), flush=True)
                case messages.TakeAsk():
                    self._take_ask()
                case messages.Exit():
                    self._exit = True
                case _:
                    self._worker.requests.put(action)

    def _take_ask(self) -> None:
        try:
            (self._env.shared / messages.ASK).rename(self._env.shared / messages.ASKED)
        except FileNotFoundError:
            self._inbox.put(messages.AskGone())
        else:
            self._inbox.put(messages.AskTaken())


class _Worker(threading.Thread):
    """One request, one event.  Dies with the process."""

    def __init__(self, env: environment.Environment, events: queue.SimpleQueue[messages.Event]) -> None:
        super().__init__(daemon=True, name="database")
        self.requests: queue.SimpleQueue[messages.Request] = queue.SimpleQueue()
        self._env = env
        self._events = events
        self._key = lock.key(env.ask.lock_name)
        self._session: session.Session | None = None
        self._keys = tempfile.TemporaryDirectory(prefix="schemahold-")
        self._noted = False

    def run(self) -> None:
        while True:
            self._events.put(self._answer(self.requests.get()))

    def _answer(self, request: messages.Request) -> messages.Event:
        try:
            if isinstance(request, messages.Connect):
                return self._connect(request)
            if isinstance(request, messages.Disconnect):
                self._close()
                return messages.Done()
            if self._session is None:
                return messages.Lost("there is no session")
            return self._perform(request, self._session)
        except faults.Lost as lost:
            self._session = None
            return _failed(request, pod.Reason.DATABASE_UNREACHABLE, str(lost), lost=True)
        except faults.Refused as refused:
            return _failed(request, refused.reason, refused.message, retry=refused.retry)
        except psycopg.Error as error:
            return self._sql_error(request, error)
        except Exception as error:
            return _failed(request, pod.Reason.RUNNER_ERROR, f"{type(error).__name__}: {redact.redact(str(error))}")

    def _sql_error(self, request: messages.Request, error: psycopg.Error) -> messages.Event:
        text = redact.redact(" ".join(str(error).split()))
        match error:
            case psycopg.errors.ReadOnlySqlTransaction():  # the server has become a standby under us
                self._close()
                return _failed(request, pod.Reason.DATABASE_STANDBY, text, lost=True)
            case psycopg.errors.UndefinedTable() | psycopg.errors.InvalidSchemaName():
                return _failed(request, pod.Reason.LEDGER_LOST, f"the ledger is gone: {text}")
            case psycopg.errors.InsufficientPrivilege():
                return _failed(request, pod.Reason.LEDGER_FORBIDDEN, text)
        return _failed(request, pod.Reason.RUNNER_ERROR, f"{type(error).__name__}: {text}")

    def _close(self) -> None:
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
            case messages.Settle(verdict):
                alive = ledger.settle(on, verdict, answered_by=ask.answered_by)
                return messages.BackendsAlive(alive) if alive else messages.Done()
            case messages.WriteRunning(server, supersede, note):
                return messages.Started(self._write_running(on, server, supersede, note))
            case messages.Beat(row):
                return messages.StateSeen(ledger.beat(on, row=row, pod_uid=uid))
            case messages.Record(row, state, code, note):
                return messages.StateSeen(ledger.record(on, row=row, pod_uid=uid, state=state, exit_code=code, note=note))
            case messages.Withdraw(row):
                ledger.withdraw(on, row=row, pod_uid=uid)
        return messages.Done()

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
        holder = lock.holder(on, self._key)
        if holder is None:
            return messages.LockBusy("a session that has just let go", False)
        live = ledger.live_run(on, lock_key=self._key, stale_after=self._env.ask.stale_after)
        return messages.LockBusy(str(holder), holder.is_ours and live is not None)

    def _connect(self, request: messages.Connect) -> messages.Event:
        self._close()
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


def _failed(
    request: messages.Request, reason: pod.Reason, message: str, *, retry: bool = False, lost: bool = False
) -> messages.Event:
    if isinstance(request, messages.Connect):
        return messages.ConnectFailed(reason, message, retry or lost)
    if lost:
        return messages.Lost(message)
    return messages.Refused(reason, message)
