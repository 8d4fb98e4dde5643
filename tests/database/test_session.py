"""One session: deadlines, refusals, and what it knows of its server."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import threading
import time

import pytest

from schemahold.api.pod import Reason
from schemahold.database import faults, lock, session, urls


def open_session(url: str, keys: pathlib.Path, **more) -> session.Session:
    target = urls.parse(url, origin="the URL")
    return session.connect(target, application_name="schemahold lock ns/shop", keys=keys, **more)


@pytest.fixture
def opened(database, tmp_path):
    made = open_session(database.url(), tmp_path)
    yield made
    made.close()


def test_facts_of_an_ordinary_role(opened, database) -> None:
    facts = opened.facts
    assert facts.pooler == ""
    assert (facts.database, facts.role) == (database.name, database.role)
    assert facts.server.system_id
    assert facts.server.timeline.startswith("000000")
    assert facts.server.postmaster_started.endswith("Z")


def test_a_restart_changes_the_life_and_a_promotion_the_history(opened, database, tmp_path) -> None:
    before = opened.facts.server
    database.server.restart()
    again = open_session(database.url(), tmp_path)
    assert again.facts.server != before
    assert again.facts.server.same_history(before)
    again.close()
    database.server.as_standby()
    database.server.promote()
    promoted = open_session(database.url(), tmp_path)  # at once: the last checkpoint may still be of the old timeline
    assert not promoted.facts.server.same_history(before)
    promoted.close()


def test_server_side_settings(opened) -> None:
    for name, value in {
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "statement_timeout": "0",
        "tcp_keepalives_idle": "10",
        "tcp_user_timeout": "30000",
        "search_path": "pg_catalog",
    }.items():
        rows = opened.fetch("SELECT setting FROM pg_settings WHERE name = %(name)s", {"name": name})
        assert rows == [(value,)], name


def test_a_database_whose_defaults_would_end_an_idle_session(database, tmp_path) -> None:
    database.execute(f"ALTER DATABASE {database.name} SET idle_session_timeout = '200ms'")
    database.execute(f"ALTER DATABASE {database.name} SET statement_timeout = '200ms'")
    database.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = 'off'")
    made = open_session(database.url(), tmp_path)
    assert made.fetch("SELECT pg_sleep(0.5)") and made.fetch("SHOW synchronous_commit") == [("on",)]
    made.close()


def test_a_slow_answer_is_abandoned_at_the_deadline(database, tmp_path) -> None:
    made = open_session(database.url(), tmp_path, round_trip=0.3)
    began = time.monotonic()
    with pytest.raises(faults.Lost, match="did not answer"):
        made.fetch("SELECT pg_sleep(20)")
    assert time.monotonic() - began < 2
    with pytest.raises(faults.Lost):
        made.fetch("SELECT 1")


def test_a_silent_connection_is_abandoned_at_the_deadline(database, proxy, tmp_path) -> None:
    made = open_session(database.url(port=proxy.port), tmp_path, round_trip=0.3)
    proxy.stall()
    began = time.monotonic()
    with pytest.raises(faults.Lost, match="did not answer"):
        made.fetch("SELECT 1")
    assert time.monotonic() - began < 2


def test_a_host_that_accepts_and_says_nothing(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(faults.Refused) as caught:
            open_session(f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d", tmp_path, timeout=2)
    assert (caught.value.reason, caught.value.retry) == (Reason.DATABASE_UNREACHABLE, True)
    assert time.monotonic() - began < 6


def test_a_resolver_that_hangs(tmp_path, monkeypatch) -> None:
    stop = threading.Event()

    def hang(*_args, **_more):
        stop.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    with pytest.raises(faults.Refused) as caught:
        open_session("postgresql://u:p@db.example/d", tmp_path, timeout=0.5)
    stop.set()
    assert caught.value.retry
    assert time.monotonic() - began < 4


def test_too_old(database, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(session, "OLDEST_SERVER", 990000)
    with pytest.raises(faults.Refused) as caught:
        open_session(database.url(), tmp_path)
    assert caught.value.reason is Reason.DATABASE_TOO_OLD
    assert "version 13 or newer" in caught.value.message


def test_standby(database, tmp_path) -> None:
    database.server.as_standby()
    try:
        with pytest.raises(faults.Refused) as caught:
            open_session(database.url(), tmp_path)
        assert caught.value.reason is Reason.DATABASE_STANDBY
    finally:
        database.server.promote()


@pytest.mark.parametrize("wrong", ["password", "role", "database"])
def test_final_refusals(database, tmp_path, wrong) -> None:
    url = {
        "password": database.url(password="wrong"),
        "role": database.url().replace(f"//{database.role}", "//nobody"),
        "database": database.url() + "x",
    }[wrong]
    with pytest.raises(faults.Refused) as caught:
        open_session(url, tmp_path)
    assert (caught.value.reason, caught.value.retry) == (Reason.DATABASE_UNREACHABLE, False)
    assert database.password not in caught.value.message


def test_session_options(database, tmp_path) -> None:
    target = urls.parse(database.url(), origin="x")
    for options, good in (("-c lock_timeout=3s", True), ("-c nonsense=1", False), ("-c lock_timeout=soon", False)):
        assert (session.takes_options(target, options, application_name="x", keys=tmp_path) == "") == good


def test_end_backend_ends_the_very_session_only(database, opened, tmp_path) -> None:
    old = open_session(database.url(), tmp_path)
    backend = old.facts.backend
    other_life = session.Backend(pid=backend.pid, started="2020-01-01T00:00:00.000000Z")
    assert session.end_backend(opened, other_life)
    old.fetch("SELECT 1")
    deadline = time.monotonic() + 10
    while not session.end_backend(opened, backend):
        assert time.monotonic() < deadline
    with pytest.raises(faults.Lost):
        old.fetch("SELECT 1")


# --- poolers ----------------------------------------------------------------------------------------------------------


class KeyChanging:
    """A relay that gives connections a key of its own, as poolers do."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, change: bool) -> None:
        try:
            while data := source.recv(65536):
                at = data.find(b"K\0\0\0\x0c") if change else -1
                if at >= 0:
                    data = data[: at + 5] + b"\x00\x12\x34\x56" + data[at + 9 :]
                    change = False
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def pooler(server):
    made = KeyChanging(server.port)
    yield made
    made.close()


def test_pooler_is_seen_by_its_key(database, pooler, tmp_path) -> None:
    made = open_session(database.url(port=pooler.port), tmp_path)
    assert "key" in made.facts.pooler
    made.close()


def test_pooler_is_seen_by_a_shared_server_process(database, tmp_path, monkeypatch) -> None:
    real = session._fetch
    first: list[int] = []

    def same_process(connection, statement, params=None):
        if statement == "SELECT pg_backend_pid()":
            return [(first[0],)]
        rows = real(connection, statement, params)
        if statement.startswith("SELECT pid"):
            first.append(rows[0][0])
        return rows

    monkeypatch.setattr(session, "_fetch", same_process)
    assert "share one server process" in open_session(database.url(), tmp_path).facts.pooler


def test_pooler_refused_and_allowed(pods, database, pooler) -> None:
    url = database.url(port=pooler.port)
    report = pods(url).run("/bin/true").gate_report
    assert report.reason is Reason.POOLER_REFUSED
    assert "spec.lock.allowPooler" in report.message
    attempt = pods(url, allow_pooler=True)
    attempt.start("/bin/sh", "-c", f"while [ ! -e {attempt.directory}/done ]; do sleep 0.05; done")
    assert database.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    (attempt.directory / "done").touch()
    ended = attempt.end()
    assert (ended.migrate, ended.lock_report.degraded) == (0, True)


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_lock_keys() -> None:
    assert lock.key("") != lock.key("a")
    for name in ("", "a", "b", "c", "d"):
        assert -(2**63) <= lock.key(name) < 2**63


def test_lock_and_holder(database, opened, tmp_path) -> None:
    other = open_session(database.url(), tmp_path)
    for name in ("", "a", "b", "c", "d", "e"):  # keys of both signs
        key = lock.key(name)
        assert lock.try_lock(opened, key)
        assert not lock.try_lock(other, key)
        holder = lock.holder(other, key)
        assert holder
        assert (holder.pid, holder.is_ours, holder.client_addr) == (opened.facts.backend.pid, True, "127.0.0.1")
        lock.unlock(opened, key)
        assert lock.holder(other, key) is None
        assert lock.try_lock(other, key)
    other.close()


def test_holder_that_a_narrow_role_may_not_see(database, opened) -> None:
    key = lock.key("")
    with database.admin() as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (key,))
        holder = lock.holder(opened, key)
        assert holder
        assert holder.pid == admin.info.backend_pid
        assert str(holder).startswith(f"pid {holder.pid}")


def test_locks_of_other_databases_are_not_ours(database, opened, server) -> None:
    with server.connect() as elsewhere:
        elsewhere.execute("SELECT pg_advisory_lock(%s)", (lock.key(""),))
        assert lock.holder(opened, lock.key("")) is None
        assert lock.try_lock(opened, lock.key(""))


def test_never_in_a_transaction(database, opened) -> None:
    """CREATE INDEX CONCURRENTLY waits for every transaction that is older than it."""
    from schemahold.database import ledger

    ledger.ensure(opened)
    lock.try_lock(opened, lock.key(""))
    with database.admin() as admin:
        rows = admin.execute(
            "SELECT state, backend_xmin FROM pg_stat_activity WHERE pid = %s", (opened.facts.backend.pid,)
        ).fetchall()
    assert rows == [("idle", None)]
    with database.connect() as migration:
        migration.execute("CREATE TABLE t (a int)")
        migration.execute("SET statement_timeout = '5s'")
        migration.execute("CREATE INDEX CONCURRENTLY ON t (a)")
