"""Statements that cannot run in a transaction: what an interrupted one has left, the catalog tells."""

from __future__ import annotations

import threading

import pytest

from schemahold.api.pod import Reason
from schemahold.core.sql.model import Statement
from schemahold.database import catalog
from tests.database.conftest import eventually
from tests.database.sql_support import Attempts

SETUP = "CREATE TABLE t (a int, b text); INSERT INTO t SELECT n, 'x' || n FROM generate_series(1, 50) n"
INDEX = "CREATE INDEX CONCURRENTLY t_a ON t (a);"


@pytest.fixture
def attempts(tmp_path, database):
    made = Attempts(tmp_path, database)
    with database.connect() as owner:
        owner.execute(SETUP)
    yield made
    made.close()


@pytest.fixture
def writer(database):
    """Somebody who opens a transaction, writes to t and takes his time: CREATE INDEX CONCURRENTLY waits for him."""
    with database.connect(application_name="slow writer", autocommit=False) as connection:
        yield connection
        connection.rollback()


WRITE = "UPDATE t SET b = b WHERE a = 1"


def indexes(database) -> list[tuple[str, bool]]:
    return database.execute(
        "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1"
    )


def statements(database) -> list[tuple[int, str]]:
    return database.execute("SELECT number, state FROM schemahold.statements ORDER BY file, number")


def end_backends(database, like: str) -> None:
    """As when the pod's node vanishes and the server has noticed."""
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'schemahold lock%'"
        f" AND datname = current_database() AND query LIKE '%{like}%'"
    )


def interrupted(attempts, database, text: str, like: str, invalid: bool = True) -> None:
    """An attempt that is killed while its statement waits for somebody."""
    attempts.mount({"0001_x.sql": text})
    attempt = attempts().start()

    def waits() -> bool:
        return bool(
            database.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'schemahold lock%'"
                f" AND datname = current_database() AND query LIKE '%{like}%'"
            )
        )

    eventually(waits, what="the statement waits")
    attempt.kill()
    end_backends(database, like)
    eventually(lambda: not waits())


# --- CREATE INDEX CONCURRENTLY ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "IF NOT EXISTS "])
def test_index_whose_building_was_interrupted_is_built_again(attempts, database, writer, more) -> None:
    writer.execute(WRITE)
    text = f"CREATE INDEX CONCURRENTLY {more}t_a ON t (a);"
    interrupted(attempts, database, text, "CREATE INDEX")
    assert indexes(database) == [("t_a", False)]
    assert statements(database) == [(1, "running")]
    writer.rollback()
    ended = attempts().run()
    assert (ended.code, ended.reason) == (0, Reason.SUCCEEDED), ended.log
    assert "drops the invalid index public.t_a" in ended.log
    assert indexes(database) == [("t_a", True)]
    assert statements(database) == [(1, "done")]


def begun(database, text: str, before: str = "", number: int = 1) -> None:
    """What a pod leaves that died between its statement's row and the statement's answer."""
    with database.connect() as owner:
        owner.execute(
            "INSERT INTO schemahold.statements (name, file, number, checksum, state, before, run)"
            " VALUES ('ns/shop', '0001_x.sql', %s, encode(sha256(%s), 'hex'), 'running', %s, 1)",
            (number, text.rstrip(";").encode(), before),
        )
        owner.execute(
            "INSERT INTO schemahold.ledger (name, phase, version, state, mode, lock_key) VALUES"
            " ('ns/shop', 'expand', '1', 'running', 'sql', 5)"
        )


def tables(attempts, database) -> None:
    """schemahold's tables, by a run of another name."""
    attempts.mount({"0001_nothing.sql": "SELECT 1;"})
    assert attempts(ledger_name="ns/other").run().code == 0


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ("CREATE INDEX t_a ON t (a)", "CREATE INDEX CONCURRENTLY t_a ON t (a);"),
        (
            "CREATE INDEX t_a ON t (lower(b) DESC) WHERE a > 1",
            'CREATE INDEX CONCURRENTLY t_a ON public /* x */ . "t" USING btree (lower(b) DESC) WHERE (a > 1);',
        ),
        (
            "CREATE INDEX t_a ON t (a) INCLUDE (b) WITH (fillfactor = 70)",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_a ON t(a) INCLUDE (b) WITH (fillfactor=70);",
        ),
    ],
)
def test_index_that_was_built_and_nobody_heard_of(attempts, database, made, text) -> None:
    tables(attempts, database)
    begun(database, text)
    with database.connect() as owner:
        owner.execute(made)
    [(oid,)] = database.execute("SELECT 't_a'::regclass::oid")
    attempts.mount({"0001_x.sql": text})
    ended = attempts().run()
    assert (ended.code, ended.reason) == (0, Reason.SUCCEEDED), ended.log
    assert database.execute("SELECT 't_a'::regclass::oid") == [(oid,)], "built again"
    assert statements(database) == [(1, "done")]


@pytest.mark.parametrize(
    "made",
    ["CREATE INDEX t_a ON t (b)", "CREATE UNIQUE INDEX t_a ON t (a)", "CREATE INDEX t_a ON t (a) WHERE a > 1",
     "CREATE TABLE t_a (a int)", "CREATE TABLE u (a int); CREATE INDEX t_a ON u (a)"],
)  # fmt: skip
def test_something_else_of_that_name_is_for_a_person(attempts, database, made) -> None:
    tables(attempts, database)
    begun(database, INDEX)
    with database.connect() as owner:
        owner.execute(made)
    attempts.mount({"0001_x.sql": INDEX})
    ended = attempts().run()
    assert (ended.code, ended.reason) == (1, Reason.OUTCOME_UNKNOWN), ended.log
    assert "0001_x.sql:1: public.t_a is not what this statement makes" in ended.message
    row = ended.report.row
    assert f'"{row} retry <reason>"' in ended.message
    assert ended.report.exit_code is None
    assert database.rows("state")[-1] == ("unknown",)
    # Without an answer the next run looks again, and asks again.
    again = attempts().run()
    assert (again.reason, again.report.row) == (Reason.OUTCOME_UNKNOWN, row + 1)
    # "applied": the statement counts as done.
    applied = attempts(answer=f"{row + 1} applied I looked", answered_by="eve").run()
    assert (applied.code, applied.reason) == (0, Reason.SUCCEEDED), applied.log
    assert statements(database) == [(1, "done")]
    assert database.rows("state, answer, answered_by")[-2:] == [("superseded", "applied", "eve"), ("succeeded", "", "")]


def test_answer_retry_runs_the_statement_as_if_for_the_first_time(attempts, database) -> None:
    tables(attempts, database)
    begun(database, INDEX)
    with database.connect() as owner:
        owner.execute("CREATE INDEX t_a ON t (b)")
    attempts.mount({"0001_x.sql": INDEX})
    asked = attempts().run()
    row = asked.report.row
    still = attempts(answer=f"{row} retry mistaken").run()
    assert still.reason is Reason.FAILED
    assert 'relation "t_a" already exists (SQLSTATE 42P07)' in still.message
    with database.connect() as owner:
        owner.execute("DROP INDEX t_a")
    ended = attempts(token="now").run()
    assert (ended.code, ended.reason) == (0, Reason.SUCCEEDED), ended.log


def test_index_that_exists_already_fails_as_in_postgres(attempts, database) -> None:
    with database.connect() as owner:
        owner.execute("CREATE INDEX t_a ON t (a)")
    attempts.mount({"0001_x.sql": INDEX})
    ended = attempts().run()
    assert (ended.code, ended.reason, ended.report.exit_code) == (1, Reason.FAILED, 1)
    assert 'relation "t_a" already exists' in ended.message
    assert statements(database) == [(1, "failed")]
    # It was there before, so the next try is no surprise either.
    assert attempts(token="again").run().reason is Reason.FAILED


def test_if_not_exists_skips_a_valid_index_and_says_so(attempts, database) -> None:
    with database.connect() as owner:
        owner.execute("CREATE INDEX t_a ON t (a)")
    attempts.mount({"0001_x.sql": "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_a ON t (a);"})
    ended = attempts().run()
    assert ended.code == 0
    assert 'NOTICE: relation "t_a" already exists, skipping' in ended.log


def test_unique_index_that_cannot_be_built_leaves_nothing_behind(attempts, database) -> None:
    with database.connect() as owner:
        owner.execute("INSERT INTO t VALUES (1, 'twice')")
    text = "-- schemahold:allow new-constraint: tested\nCREATE UNIQUE INDEX CONCURRENTLY t_u ON t (a);"
    attempts.mount({"0001_x.sql": text})
    ended = attempts().run()
    assert ended.reason is Reason.FAILED
    assert "SQLSTATE 23505" in ended.message
    assert "(1)" not in ended.message and "Key (a)=(1) is duplicated." in ended.log
    assert indexes(database) == []
    assert statements(database) == [(1, "failed")]
    with database.connect() as owner:
        owner.execute("DELETE FROM t WHERE b = 'twice'")
    assert attempts(token="again").run().code == 0
    assert indexes(database) == [("t_u", True)]


def test_an_index_that_somebody_else_is_building_is_not_dropped(attempts, database, writer) -> None:
    writer.execute(WRITE)
    building = threading.Thread(target=build, args=(database, INDEX))
    building.start()
    eventually(lambda: indexes(database) == [("t_a", False)])
    attempts.mount({"0001_x.sql": INDEX})
    attempt = attempts().start()
    attempt.wait_log("lock timeout")
    writer.rollback()
    building.join(20)
    ended = attempt.end()
    assert ended.reason is Reason.FAILED, ended.log
    assert "already exists" in ended.message
    assert indexes(database) == [("t_a", True)]


def build(database, text: str) -> None:
    with database.connect() as other:
        other.execute(text)


# --- the others -------------------------------------------------------------------------------------------------------


def test_reindex_that_was_interrupted_leaves_no_indexes_behind(attempts, database, writer) -> None:
    with database.connect() as owner:
        owner.execute("CREATE INDEX t_b ON t (b)")
    writer.execute(WRITE)
    interrupted(attempts, database, "REINDEX TABLE CONCURRENTLY t;", "REINDEX")
    assert ("t_b_ccnew", False) in indexes(database)
    writer.rollback()
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert indexes(database) == [("t_b", True)]


@pytest.mark.parametrize("what", ["INDEX CONCURRENTLY t_b", "SCHEMA CONCURRENTLY public", "SCHEMA public"])
def test_reindex_again_from_every_kind(attempts, database, what) -> None:
    tables(attempts, database)
    text = f"-- schemahold:allow reindex: tested\nREINDEX {what};" if "CONC" not in what else f"REINDEX {what};"
    begun(database, f"REINDEX {what};")
    with database.connect() as owner:
        owner.execute("CREATE INDEX t_b ON t (b); CREATE INDEX t_b_ccnew1 ON t (b); CREATE INDEX t_x_ccnew ON t (b)")
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_b_ccnew1'::regclass")
    attempts.mount({"0001_x.sql": text})
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert indexes(database) == [("t_b", True), ("t_x_ccnew", True)]


def test_drop_index_that_was_interrupted_is_dropped(attempts, database, writer) -> None:
    with database.connect() as owner:
        owner.execute("CREATE INDEX t_b ON t (b)")
    writer.execute(WRITE)
    interrupted(attempts, database, "-- schemahold:allow drop-index: x\nDROP INDEX CONCURRENTLY t_b;", "DROP INDEX")
    assert indexes(database) == [("t_b", False)]
    writer.rollback()
    assert attempts().run().code == 0
    assert indexes(database) == []


def test_drop_index_that_nobody_heard_of_is_done(attempts, database) -> None:
    tables(attempts, database)
    with database.connect() as owner:
        owner.execute("CREATE INDEX t_b ON t (b)")
    [(oid,)] = database.execute("SELECT 't_b'::regclass::oid")
    begun(database, "DROP INDEX CONCURRENTLY t_b;", before=str(oid))
    # Another of that name, further down the search path, is none of its business.
    database.execute("DROP INDEX t_b")
    with database.connect() as owner:
        owner.execute(
            f"CREATE SCHEMA other; CREATE TABLE other.o (b text); CREATE INDEX t_b ON other.o (b);"
            f" ALTER ROLE {database.role} SET search_path = public, other"
        )
    attempts.mount({"0001_x.sql": "-- schemahold:allow drop-index: x\nDROP INDEX CONCURRENTLY t_b;"})
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert database.execute("SELECT to_regclass('other.t_b') IS NOT NULL") == [(True,)]


def test_drop_index_that_is_not_there_fails_as_in_postgres(attempts, database) -> None:
    attempts.mount({"0001_x.sql": "-- schemahold:allow drop-index: x\nDROP INDEX CONCURRENTLY t_b;"})
    for token in ("", "again"):
        ended = attempts(token=token).run()
        assert 'index "t_b" does not exist (SQLSTATE 42704)' in ended.message
    assert statements(database) == [(1, "failed")]


DETACH = "-- schemahold:allow detach-partition: x\nALTER TABLE p DETACH PARTITION p1 CONCURRENTLY;"
PARTITIONS = (
    "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);"
    "INSERT INTO p VALUES (1)"
)


def attached(database) -> list[tuple[str]]:
    return database.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'p'::regclass")


def test_detach_that_was_interrupted_is_finalized(attempts, database) -> None:
    with database.connect() as owner:
        owner.execute(PARTITIONS)
    with database.connect(autocommit=False) as reader:
        reader.execute("SELECT * FROM p")
        interrupted(attempts, database, DETACH, "DETACH")
    assert attached(database) == [("p1",)]
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert attached(database) == []


def test_detach_that_meets_readers_is_finalized_by_the_next_try(attempts, database) -> None:
    with database.connect() as owner:
        owner.execute(PARTITIONS)
    attempts.mount({"0001_x.sql": DETACH})
    with database.connect(autocommit=False, application_name="reader") as reader:
        reader.execute("SELECT * FROM p")
        attempt = attempts().start()
        attempt.wait_log("lock timeout")
    ended = attempt.end()
    assert ended.code == 0, ended.log
    assert attached(database) == []


def test_detach_that_nobody_heard_of_is_done(attempts, database) -> None:
    tables(attempts, database)
    with database.connect() as owner:
        owner.execute(PARTITIONS)
    [(oids,)] = database.execute("SELECT 'p'::regclass::oid || ' ' || 'p1'::regclass::oid")
    begun(database, DETACH.splitlines()[1], before=oids)
    with database.connect() as owner:
        owner.execute("ALTER TABLE p DETACH PARTITION p1")
    attempts.mount({"0001_x.sql": DETACH})
    assert attempts().run().code == 0


def test_vacuum_is_run_again(attempts, database) -> None:
    tables(attempts, database)
    begun(database, "VACUUM t;")
    attempts.mount({"0001_x.sql": "VACUUM t;"})
    assert attempts().run().code == 0
    assert statements(database) == [(1, "done")]


@pytest.mark.parametrize(
    ("text", "patient"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", True),
        ("DROP INDEX CONCURRENTLY i", True),
        ("REINDEX TABLE CONCURRENTLY t", True),
        ("REINDEX (VERBOSE, CONCURRENTLY) TABLE t", True),
        ("REINDEX SCHEMA public", False),
        ("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY", False),
        ("VACUUM FULL t", False),
    ],
)
def test_only_what_holds_nobody_up_waits_long(text, patient) -> None:
    assert catalog.effect(Statement(number=1, line=1, text=text), file="f").patient is patient


def test_a_long_wait_says_for_whom(attempts, database, writer) -> None:
    writer.execute(WRITE)
    attempts.mount({"0001_x.sql": INDEX})
    attempt = attempts().start()
    attempt.wait_log(f"waiting for a lock, blocked by pid {writer.info.backend_pid} (application_name 'slow writer')")
    writer.rollback()
    ended = attempt.end()
    assert ended.code == 0
    assert ended.log.count("waiting for a lock") == 1


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_file_may_be_mended_behind_what_has_run(attempts, database) -> None:
    first = "ALTER TABLE t ADD COLUMN c int;\n"
    attempts.mount({"0001_x.sql": f"{first}{INDEX}\nALTER TABLE t ADD COLUMN c text;"})
    ended = attempts().run()
    assert 'column "c" of relation "t" already exists' in ended.message
    assert statements(database) == [(1, "done"), (2, "done")]
    attempts.mount({"0001_x.sql": f"{first}{INDEX}\nALTER TABLE t ADD COLUMN d text;"})
    ended = attempts(inputs="mended").run()
    assert ended.code == 0, ended.log
    assert "applied in" in ended.log and "(1 statement)" in ended.log


@pytest.mark.parametrize("text", [f"SELECT 1;\n{INDEX}", INDEX, "ALTER TABLE t ADD COLUMN c int;", ""])
def test_what_has_run_must_stay_as_it_was(attempts, database, text) -> None:
    attempts.mount({"0001_x.sql": f"ALTER TABLE t ADD COLUMN c int;\n{INDEX}\nSELECT wrong;"})
    assert attempts().run().reason is Reason.FAILED
    attempts.mount({"0001_x.sql": text} if text else {"0002_y.sql": "SELECT 1;"})
    ended = attempts(inputs="changed").run()
    assert ended.reason is (Reason.CHECKSUM_MISMATCH if text else Reason.SOURCE_INVALID)
    assert ended.message.startswith("0001_x.sql"), ended.message


def test_ordinary_statements_beside_them_are_transactions_of_their_own(attempts, database) -> None:
    attempts.mount({"0001_x.sql": f"INSERT INTO t VALUES (99, 'one');\n{INDEX}\nINSERT INTO t SELECT 1/0;"})
    ended = attempts().run()
    assert ended.reason is Reason.FAILED
    assert ended.message.startswith(
        "0001_x.sql:3: division by zero (SQLSTATE 22012), in statement 3: INSERT INTO t SELECT 1/0"
    )
    assert database.execute("SELECT count(*) FROM t WHERE a = 99") == [(1,)]
    assert database.execute("SELECT count(*) FROM schemahold.files") == [(0,)]
