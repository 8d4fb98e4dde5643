"""The ``lock`` container: a native sidecar with the only database session; drives :mod:`schemahold.runner.protocol`.

Two threads.  The main one looks after files, signals and time; the other performs one database request at a time, so that a
stalled round trip never keeps the main one from answering the script or a SIGTERM.
"""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import threading
import time

from schemahold.core import redact
from schemahold.database import lock
from schemahold.runner import environment, files, messages, protocol, worker


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
        self._worker = _Thread(env, self._inbox)
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
                    files.write(self._env.shared / name, text)
                case messages.WriteReport(report):
                    files.termination_message(self._env.termination, report.to_json(self._env.ask.message_bytes))
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


class _Thread(threading.Thread):
    """One request, one event.  Dies with the process."""

    def __init__(self, env: environment.Environment, events: queue.SimpleQueue[messages.Event]) -> None:
        super().__init__(daemon=True, name="database")
        self.requests: queue.SimpleQueue[messages.Request] = queue.SimpleQueue()
        self._worker = worker.Worker(env)
        self._events = events

    def run(self) -> None:
        while True:
            self._events.put(self._worker.answer(self.requests.get()))
