"""The ledger's part in sql mode: who ran a row, the proof that nobody runs any more, and ledgers from before."""

from __future__ import annotations

import pathlib

import pytest

from schemahold.api import pod
from schemahold.api.pod import Reason
from schemahold.core import ledger as core
from schemahold.database import faults, files, ledger, lock, session, urls
from tests.database.sql_support import Attempts
from tests.database.test_session import KeyChanging

KEY = 7


def ask(sql: bool = True, **more) -> pod.Ask:
    given = {"ledger_name": "ns/shop", "phase": "expand", "version": "1", "inputs": "i", "attempt": 1, "job": "shop-1"}
    return pod.Ask(**{**given, "sql": pod.SqlAsk() if sql else None, **more})


@pytest.fixture
def connect(database, tmp_path):
    made: list[session.Session] = []

    def new() -> session.Session:
        target = urls.parse(database.url(), origin="x")
        made.append(session.connect(target, application_name="schemahold lock t", keys=pathlib.Path(tmp_path)))
        ledger.ensure(made[-1])
        return made[-1]

    yield new
    for each in made:
        each.close()


def start(on: session.Session, **more) -> core.Row:
    asked = ask(**more)
    row = ledger.start(on, asked, pod_uid="p", pod_name="p", lock_key=KEY, supersede=None, server=on.facts.server)
    return next(one for one in ledger.look(on, asked, pod_uid="p", lock_key=KEY).rows if one.id == row)


def prove(on: session.Session, row: core.Row) -> bool:
    return ledger.prove(on, core.Prove(row, "proved"))


def test_rows_know_who_ran(connect) -> None:
    on = connect()
    row = start(on)
    assert row.mode == "sql"
    ledger.withdraw(on, row=row.id, pod_uid="p", note="x")
    assert ledger.start(on, ask(sql=False), pod_uid="q", pod_name="q", lock_key=KEY, supersede=None, server=on.facts.server)
    assert [one.mode for one in ledger.look(on, ask(), pod_uid="q", lock_key=KEY).rows] == [""]


def test_the_lock_is_the_proof(connect, database) -> None:
    first, second = connect(), connect()
    row = start(first)
    assert lock.try_lock(first, KEY)
    assert not prove(second, row), "somebody has the lock"
    assert database.rows("state") == [("running",)]
    assert prove(first, row), "its own lock is as good as a free one"
    assert database.rows("state, note") == [("superseded", "proved")]
    assert lock.holder(second, KEY).pid == first.facts.backend.pid, "taking it once more has not let go of it"


@pytest.mark.parametrize("state", ["running", "unknown"])
def test_a_free_lock_is_a_proof_and_stays_free(connect, database, state) -> None:
    on = connect()
    row = start(on)
    database.execute(f"UPDATE schemahold.ledger SET state = '{state}'")
    assert prove(on, row)
    assert database.rows("state") == [("superseded",)]
    assert lock.holder(on, KEY) is None


@pytest.mark.parametrize(("column", "value"), [("mode", ""), ("state", "succeeded"), ("state", "failed")])
def test_nothing_else_is_superseded(connect, database, column, value) -> None:
    on = connect()
    row = start(on)
    database.execute(f"UPDATE schemahold.ledger SET {column} = '{value}'")
    before = database.rows("state")
    assert prove(on, row)
    assert database.rows("state") == before


def test_an_sql_run_is_alive_as_long_as_its_lock_is_held(connect, database) -> None:
    on = connect()
    start(on)
    database.execute("UPDATE schemahold.ledger SET beat_at = now() - interval '1 hour'")
    assert ledger.live_run(on, lock_key=KEY, stale_after=1) is not None
    database.execute("UPDATE schemahold.ledger SET mode = ''")
    assert ledger.live_run(on, lock_key=KEY, stale_after=1) is None


# --- ledgers from before ----------------------------------------------------------------------------------------------


def as_before(database) -> None:
    """As format 1 was."""
    database.execute("ALTER TABLE schemahold.ledger DROP COLUMN mode; UPDATE schemahold.meta SET format = 1")


def test_a_ledger_without_mode_gets_it(connect, database) -> None:
    on = connect()
    uuid = ledger.ensure(on)
    on.fetch("INSERT INTO schemahold.ledger (name, phase, version, state) VALUES ('ns/shop', 'expand', '0', 'succeeded')")
    as_before(database)
    assert ledger.ensure(on, expected=uuid) == uuid
    assert database.execute("SELECT format FROM schemahold.meta") == [(ledger.FORMAT,)]
    assert database.rows("version, state, mode") == [("0", "succeeded", "")]
    assert start(on).mode == "sql"


def test_a_ledger_that_may_not_be_altered(connect, database) -> None:
    connect()
    as_before(database)
    database.execute("ALTER TABLE schemahold.ledger OWNER TO postgres; ALTER TABLE schemahold.meta OWNER TO postgres")
    database.execute(f"GRANT SELECT, INSERT, UPDATE ON schemahold.ledger, schemahold.meta TO {database.role}")
    with pytest.raises(faults.Refused) as caught:
        connect()
    assert caught.value.reason is Reason.LEDGER_FORBIDDEN
    statements = caught.value.message.partition("with: ")[2]
    assert "ALTER TABLE schemahold.ledger ADD COLUMN IF NOT EXISTS mode" in statements
    database.execute(statements)
    connect()


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "state"), [("retry", "failed"), ("applied", "done")])
def test_answers_are_about_what_was_begun(connect, database, word, state) -> None:
    on = connect()
    files.ensure(on)
    for name, number, was in (("ns/shop", 1, "done"), ("ns/shop", 2, "running"), ("ns/other", 1, "running")):
        database.execute(
            "INSERT INTO schemahold.statements (name, file, number, checksum, state, run)"
            f" VALUES ('{name}', '0001_x.sql', {number}, 'c', '{was}', 1)"
        )
    files.answer(on, "ns/shop", word)
    assert database.execute("SELECT name, number, state FROM schemahold.statements ORDER BY name DESC, number") == [
        ("ns/shop", 1, "done"), ("ns/shop", 2, state), ("ns/other", 1, "running"),
    ]  # fmt: skip


# --- poolers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allow", [True, False])
def test_poolers_are_refused(database, server, tmp_path, allow) -> None:
    pooler = KeyChanging(server.port)
    attempts = Attempts(tmp_path, database)
    attempts.mount({"0001_a.sql": "CREATE TABLE t (a int);"})
    ended = attempts(database.url(port=pooler.port), allow_pooler=allow).run()
    assert (ended.code, ended.reason) == (1, Reason.POOLER_REFUSED)
    pooler.close()
