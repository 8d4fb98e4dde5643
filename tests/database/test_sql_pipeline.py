"""Statements without a deadline: errors name their statement, a word to stop is obeyed, a silent server is looked into."""

from __future__ import annotations

import resource
import threading
import time

import pytest

from schemahold.core.sql.model import Statement
from schemahold.database import catalog, faults, pipeline, session, urls


@pytest.fixture
def opened(database, tmp_path):
    made: list[session.Session] = []

    def connect(port: int | None = None) -> session.Session:
        target = urls.parse(database.url(port=port), origin="x")
        made.append(session.connect(target, application_name="schemahold lock t", keys=tmp_path))
        return made[-1]

    yield connect
    for each in made:
        each.close()


class Setup:
    def __init__(self, on: session.Session, second) -> None:
        self.on = on
        self.stop = pipeline.Stop()
        self.said: list[str] = []
        self.watch = pipeline.Watch(on.facts.backend, second, self.said.append)
        self.pipeline = pipeline.Pipeline(on, stop=self.stop, watch=self.watch)
        self.watch.expect(1.0)


@pytest.fixture
def setup(opened):
    return Setup(opened(), opened)


def statements(*texts: str) -> list[Statement]:
    return [Statement(number=number, line=number, text=text) for number, text in enumerate(texts, start=1)]


def later(seconds: float, act) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


# --- many statements --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [1, 2, 99, 100, 101, 1999, 2000])
def test_an_error_names_its_statement(setup, wrong) -> None:
    texts = [f"SELECT {number}" for number in range(1, 2001)]
    texts[wrong - 1] = "SELECT 1/0"
    setup.on.fetch("BEGIN")
    with pytest.raises(pipeline.StatementError) as caught:
        setup.pipeline.stream(statements(*texts))
    assert (caught.value.statement.number, caught.value.sqlstate) == (wrong, "22012")
    setup.on.fetch("ROLLBACK")
    assert setup.on.fetch("SELECT 1") == [(1,)], "the session is as good as before"


def test_positions_are_characters(setup) -> None:
    setup.on.fetch("BEGIN")
    with pytest.raises(pipeline.StatementError) as caught:
        setup.pipeline.stream(statements("SELECT 1", "SELECT 'äöü€'\n, nosuch"))
    assert caught.value.position == len("SELECT 'äöü€'\n, ") + 1
    setup.on.fetch("ROLLBACK")


def test_large_statements_and_large_answers(setup) -> None:
    setup.on.fetch("BEGIN")
    big = "SELECT length('" + "x" * 5_000_000 + "')"
    assert setup.pipeline.stream(statements(big, "SELECT generate_series(1, 300000)", big, "SELECT 1")) == 4
    setup.on.fetch("ROLLBACK")


def test_rows_that_nobody_reads_need_no_memory(setup) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = "SELECT generate_series(1, 1500000)"
    setup.on.fetch("BEGIN")
    assert setup.pipeline.stream(statements("SELECT 1", many, "SELECT 2", many)) == 4
    assert setup.pipeline.run(many) == "SELECT 1500000"
    setup.on.fetch("ROLLBACK")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB; kept, they are 50 MiB


def test_what_the_reading_of_statements_raises_comes_out(setup) -> None:
    def broken():
        yield from statements(*["SELECT 1"] * 500)
        raise ValueError("cannot be read")

    setup.on.fetch("BEGIN")
    with pytest.raises(ValueError, match="cannot be read"):
        setup.pipeline.stream(broken())
    setup.on.fetch("ROLLBACK")


def test_everything_is_in_the_open_transaction(setup, database) -> None:
    setup.on.fetch("BEGIN; SET LOCAL search_path TO DEFAULT")
    setup.pipeline.stream(statements("CREATE TABLE t (a int)", *["INSERT INTO t VALUES (1)"] * 1000))
    assert database.execute("SELECT to_regclass('t') IS NULL") == [(True,)]
    assert setup.pipeline.run("COMMIT") == "COMMIT"
    assert database.execute("SELECT count(*) FROM t") == [(1000,)]


def test_copy_by_the_simple_protocol_does_not_hang(setup) -> None:
    with pytest.raises(pipeline.StatementError, match="COPY from stdin failed"):
        setup.pipeline.run("CREATE TEMP TABLE c (a int); COPY c FROM STDIN")
    assert setup.pipeline.run("COPY (SELECT generate_series(1, 50000)) TO STDOUT") == "COPY 50000"


# --- the word to stop -------------------------------------------------------------------------------------------------


def test_stop_cancels_what_runs(setup) -> None:
    later(0.3, setup.stop.ask)
    began = time.monotonic()
    with pytest.raises(pipeline.StatementError) as caught:
        setup.pipeline.run("SELECT pg_sleep(30)")
    assert (caught.value.sqlstate, time.monotonic() - began < 5) == (pipeline.CANCELLED, True)


def test_stop_ends_a_stream(setup) -> None:
    later(0.5, setup.stop.ask)
    setup.on.fetch("BEGIN")
    began = time.monotonic()

    def endless():
        while True:
            yield Statement(number=1, line=1, text="SELECT pg_sleep(0.001)")

    with pytest.raises(pipeline.StatementError) as caught:
        setup.pipeline.stream(endless())
    assert (caught.value.sqlstate, time.monotonic() - began < 5) == (pipeline.CANCELLED, True)
    setup.on.fetch("ROLLBACK")


def test_a_server_that_does_not_answer_the_cancel_is_left(opened, proxy, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "CANCEL_WITHIN", 1.0)
    setup = Setup(opened(proxy.port), lambda: opened(proxy.port))
    later(0.3, proxy.stall)
    later(0.5, setup.stop.ask)
    began = time.monotonic()
    with pytest.raises(faults.Lost, match="did not cancel"):
        setup.pipeline.run("SELECT pg_sleep(30)")
    assert time.monotonic() - began < 8


# --- a silent server --------------------------------------------------------------------------------------------------


def test_who_blocks_is_seen_before_the_timeout(setup, database) -> None:
    with database.connect() as owner:
        owner.execute("CREATE TABLE t (a int)")
    with database.connect(autocommit=False, application_name="the other") as other:
        other.execute("LOCK TABLE t")
        setup.on.fetch("SET lock_timeout = 1000; SET search_path = public")
        with pytest.raises(pipeline.StatementError) as caught:
            setup.pipeline.run("SELECT * FROM t")
        assert caught.value.is_blocked
        assert f"pid {other.info.backend_pid} (application_name 'the other'), idle in transaction" in setup.watch.blockers
        other.rollback()
    setup.pipeline.run("SELECT * FROM t")


def test_a_long_statement_is_left_in_peace(setup, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "LOOK_AFTER", 0.3)
    assert setup.pipeline.run("SELECT pg_sleep(2)") == "SELECT 1"


def test_a_connection_that_stalls_is_found_and_its_server_process_ended(opened, proxy, monkeypatch) -> None:
    """The answer never comes through; from a second session the server tells that it has long been given."""
    monkeypatch.setattr(pipeline, "LOOK_AFTER", 0.5)
    setup = Setup(opened(proxy.port), opened)
    later(0.3, proxy.stall)
    with pytest.raises(faults.Lost, match="the server waits for us"):
        setup.pipeline.run("SELECT pg_sleep(1)")
    second = opened()
    deadline = time.monotonic() + 10
    while not session.end_backend(second, setup.on.facts.backend):
        assert time.monotonic() < deadline


def test_a_server_process_that_is_gone_behind_a_silent_proxy(opened, proxy, monkeypatch, database) -> None:
    monkeypatch.setattr(pipeline, "LOOK_AFTER", 0.5)
    setup = Setup(opened(proxy.port), opened)
    later(0.3, proxy.stall)
    later(0.6, lambda: database.execute(f"SELECT pg_terminate_backend({setup.on.facts.backend.pid})"))
    with pytest.raises(faults.Lost, match="the server process is gone"):
        setup.pipeline.run("SELECT pg_sleep(30)")


def test_without_a_second_session_a_statement_still_runs(setup, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "LOOK_AFTER", 0.3)

    def refuse() -> session.Session:
        raise faults.Lost("too many connections")

    setup.watch._open = refuse
    assert setup.pipeline.run("SELECT pg_sleep(1.5)") == "SELECT 1"


def test_a_session_that_is_ended_is_lost(setup, database) -> None:
    later(0.3, lambda: database.execute(f"SELECT pg_terminate_backend({setup.on.facts.backend.pid})"))
    with pytest.raises(faults.Lost, match="terminating connection"):
        setup.pipeline.run("SELECT pg_sleep(30)")
    with pytest.raises(faults.Lost):
        setup.on.fetch("SELECT 1")


# --- the session afterwards -------------------------------------------------------------------------------------------


def test_renew_leaves_nothing_and_keeps_the_lock(setup) -> None:
    on = setup.on
    on.fetch("SELECT pg_advisory_lock(42)")
    on.fetch("CREATE TEMP TABLE x (a int); PREPARE p AS SELECT 1; SET lock_timeout = 5; SET search_path = public; LISTEN c")
    on.renew()
    assert on.fetch("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42") == [(1,)]
    assert on.fetch("SELECT current_setting('lock_timeout'), current_setting('search_path')") == [("0", "pg_catalog")]
    assert on.fetch("SELECT (SELECT count(*) FROM pg_prepared_statements), to_regclass('x') IS NULL") == [(0, True)]


def test_attempt_survives_what_the_server_refuses(setup) -> None:
    on = setup.on
    assert on.attempt("SELECT nosuch", within=1) is None
    assert on.attempt("SELECT pg_sleep(5)", within=0.2) is None
    assert on.attempt("SELECT 1", within=1) == [(1,)]
    assert on.fetch("SHOW statement_timeout") == [("0",)]


# --- how large tables are ---------------------------------------------------------------------------------------------


def test_rows(setup, database) -> None:
    with database.connect() as owner:
        owner.execute(
            "CREATE TABLE never (a int); INSERT INTO never SELECT generate_series(1, 50);"
            "CREATE TABLE large (a int); INSERT INTO large SELECT generate_series(1, 3000);"
            "CREATE TABLE analyzed (a int); INSERT INTO analyzed SELECT generate_series(1, 1000);"
            'CREATE TABLE empty (); CREATE SCHEMA "S"; CREATE TABLE "S"."T x" (a int); CREATE VIEW v AS SELECT 1;'
            "CREATE TABLE parts (a int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF parts FOR VALUES IN (1);"
            "CREATE TABLE p2 PARTITION OF parts FOR VALUES IN (2) PARTITION BY LIST (a);"
            "CREATE TABLE p3 PARTITION OF p2 DEFAULT; INSERT INTO parts SELECT 1 + n % 2 FROM generate_series(1, 30) n"
        )
        owner.execute("ANALYZE analyzed")
        owner.execute("INSERT INTO analyzed SELECT generate_series(1, 1000)")
        owner.execute('INSERT INTO "S"."T x" SELECT generate_series(1, 7)')
    found = catalog.Rows(setup.on, enough=100)
    assert {table: found[table] for table in ("never", "large", "public.never", "empty", "S.T x", "v", "parts")} == {
        "never": 50, "large": 101, "public.never": 50, "empty": 0, "S.T x": 7, "v": 0, "parts": 30,
    }  # fmt: skip
    assert 1500 < found["analyzed"] < 2500, "its density then, its pages now"
    assert "nosuch" not in found
    assert len(found) == 8


def test_rows_of_what_is_locked_or_may_not_be_read(setup, database) -> None:
    with database.admin() as admin:
        admin.execute("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 1000)")
        began = time.monotonic()
        assert catalog.Rows(setup.on, enough=100_000)["t"] >= 1000
        with admin.transaction():
            admin.execute("LOCK TABLE t")
            assert "t" in catalog.Rows(setup.on, enough=100_000)
        assert time.monotonic() - began < 6
