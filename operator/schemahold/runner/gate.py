"""The ``gate`` container: gives ``migrate`` a static shell and our script, then turns lock's verdict into an exit code.

It has no database session of its own: only ``lock`` judges.  Exit code 0: the lock is held and the ledger says go.
"""

from __future__ import annotations

import importlib.resources
import pathlib
import signal
import time

from schemahold.api import pod
from schemahold.runner import environment, files, messages, protocol

# lock answers within lock.timeout and a few round trips; a pod whose lock cannot even say no must not hang for ever.
PATIENCE = 120.0


class _Signals:
    terminated = False

    def note(self, _number: int, _frame: object) -> None:
        self.terminated = True


def run(env: environment.Environment) -> int:
    """Until lock has decided, or SIGTERM; the exit code."""
    signals = _Signals()
    signal.signal(signal.SIGTERM, signals.note)
    signal.signal(signal.SIGINT, signals.note)
    provide(env.shared, env.busybox)
    return _wait(env, signals)


def provide(shared: pathlib.Path, busybox: pathlib.Path) -> None:
    """Put the shell and the script where ``migrate`` starts them; they run as whatever uid the user's image has."""
    script = importlib.resources.files("schemahold.runner").joinpath("migrate.sh").read_bytes()
    files.write_bytes(shared / pathlib.Path(pod.BUSYBOX).name, busybox.read_bytes(), mode=0o755)
    files.write_bytes(shared / pathlib.Path(pod.SCRIPT).name, script, mode=0o755)


def _wait(env: environment.Environment, signals: _Signals) -> int:
    said = ""
    deadline = time.monotonic() + env.ask.lock_timeout + PATIENCE
    while True:
        stopped = files.read(env.shared / messages.STOPPED)
        if stopped is not None:
            return _stop(env, pod.Report.from_json(stopped))
        if (env.shared / messages.HELD).exists():
            print("the lock is held and the ledger says go", flush=True)
            return 0
        progress, holder = _progress(env)
        if signals.terminated:
            message = "the pod was told to stop while it waited; nothing ran"
            report = pod.Report(reason=pod.Reason.WITHDRAWN, message=message, holder=holder, holder_is_ours=bool(holder))
            return _stop(env, report)
        if time.monotonic() > deadline:
            message = "container lock has not decided in time; see its log"
            return _stop(env, pod.Report(reason=pod.Reason.RUNNER_ERROR, message=message))
        if progress and progress != said:
            said = progress
            print(progress, flush=True)
        time.sleep(protocol.FILE_POLL)


def _progress(env: environment.Environment) -> tuple[str, str]:
    """What lock waits for, and who of ours holds it up ("" for nobody of ours)."""
    line, _, holder = (files.read(env.shared / messages.PROGRESS) or "").strip().partition("\n")
    return line, holder


def _stop(env: environment.Environment, report: pod.Report | None) -> int:
    report = report or pod.Report(reason=pod.Reason.RUNNER_ERROR, message="lock's report cannot be read")
    print(f"{report.reason}: {report.message}", flush=True)
    files.termination_message(env.termination, report.to_json(env.ask.message_bytes))
    return 1
