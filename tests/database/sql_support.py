"""A pod of sql mode without a cluster: its one container as a process, its files as the kubelet mounts them."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from typing import Any

from schemahold.api import pod
from tests.database.conftest import Database, eventually


@dataclasses.dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    code: int
    report: pod.Report | None
    log: str

    @property
    def reason(self) -> pod.Reason | None:
        return self.report.reason if self.report else None

    @property
    def message(self) -> str:
        return self.report.message if self.report else self.log


def mount(directory: pathlib.Path, files: Mapping[str, str | bytes]) -> pathlib.Path:
    """``files`` as a ConfigMap's volume: behind a link that is exchanged when they change."""
    directory.mkdir(parents=True, exist_ok=True)
    real = directory / f"..2026_{uuid.uuid4().hex}"
    real.mkdir()
    for name, text in files.items():
        (real / name).write_bytes(text.encode() if isinstance(text, str) else text)
    half = directory / "..data_tmp"
    half.symlink_to(real.name)
    half.rename(directory / "..data")
    for name in files:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    for link in directory.iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()
    for old in directory.glob("..2026*"):
        if old != real:
            shutil.rmtree(old)
    return directory


class Attempt:
    """One pod; the test is the kubelet."""

    def __init__(self, directory: pathlib.Path, url: str, ask: pod.Ask) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        (directory / "shared").mkdir()
        self.uid = str(uuid.uuid4())
        self.ask = ask
        self._environment = {
            "PATH": os.environ["PATH"],
            pod.ENV_ASK: ask.to_json(),
            pod.ENV_URL: url,
            pod.ENV_POD_UID: self.uid,
            pod.ENV_POD_NAME: f"pod-{self.uid[:4]}",
            "SCHEMAHOLD_SHARED": str(directory / "shared"),
            "SCHEMAHOLD_TERMINATION_LOG": str(directory / "termination"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, module: str = "schemahold.runner", **environment: str) -> Attempt:
        with (self.directory / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "sql"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**self._environment, **environment},
            )
        return self

    @property
    def log(self) -> str:
        return (self.directory / "out").read_text(errors="replace")

    def wait_log(self, text: str, within: float = 30) -> None:
        def seen() -> bool:
            return text in self.log or self.ended

        eventually(seen, within=within, what=f"{text!r} in the log")
        assert text in self.log, self.log

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGTERM)

    def end(self, within: float = 60) -> Ended:
        assert self.process
        code = self.process.wait(within)
        path = self.directory / "termination"
        report = pod.Report.from_json(path.read_text()) if path.exists() else None
        assert "Traceback" not in self.log, self.log
        return Ended(code, report, self.log)

    def run(self, within: float = 60) -> Ended:
        return self.start().end(within)


class Attempts:
    """Makes attempts on one database."""

    def __init__(self, directory: pathlib.Path, database: Database) -> None:
        self.directory = directory
        self.database = database
        self.files = directory / "files"
        self._numbers = itertools.count(1)
        self._made: list[Attempt] = []

    def mount(self, files: Mapping[str, str | bytes], under: str = "") -> None:
        mount(self.files / under if under else self.files, files)

    def __call__(self, url: str | None = None, sql: Mapping[str, Any] | None = None, **ask: Any) -> Attempt:
        number = next(self._numbers)
        given = {
            "ledger_name": "ns/shop", "phase": "expand", "version": "1", "inputs": "i1", "attempt": number,
            "job": f"shop-{number}", "lock_timeout": 10.0,
        }  # fmt: skip
        asked = pod.SqlAsk(**{"directory": str(self.files), "retry_for": 20.0, **(sql or {})})
        url = self.database.url() if url is None else url
        made = Attempt(self.directory / f"attempt{number}", url, pod.Ask(**{**given, **ask, "sql": asked}))
        self._made.append(made)
        return made

    def close(self) -> None:
        for made in self._made:
            if made.process is not None and made.process.poll() is None:
                made.kill()
