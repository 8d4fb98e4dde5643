"""Files of sql mode, on a real Postgres: what is applied, what is refused, and what the rows say."""

from __future__ import annotations

import hashlib

import pytest

from schemahold.api.pod import Reason
from schemahold.core.sql import names
from tests.database.sql_support import Attempts

TABLE = "CREATE TABLE t (a int);"
COLUMN = "ALTER TABLE t ADD COLUMN b text;"


@pytest.fixture
def attempts(tmp_path, database):
    made = Attempts(tmp_path, database)
    yield made
    made.close()


def applied(database) -> list[tuple[str, str]]:
    return database.execute("SELECT file, phase FROM schemahold.files ORDER BY applied_at, file")


def exists(database, name: str = "t") -> bool:
    return database.execute(f"SELECT to_regclass('{name}') IS NOT NULL")[0][0]


# --- what is applied --------------------------------------------------------------------------------------------------


def test_files_are_applied_in_order_with_their_rows(attempts, database) -> None:
    attempts.mount({"0010_c.sql": "CREATE VIEW v AS SELECT a FROM t;", "0002_b.sql": COLUMN, "0001_a.sql": TABLE})
    ended = attempts().run()
    assert (ended.code, ended.reason, ended.report.exit_code) == (0, Reason.SUCCEEDED, 0), ended.log
    assert [file for file, _ in applied(database)] == ["0001_a.sql", "0002_b.sql", "0010_c.sql"]
    found = database.execute(
        "SELECT name, file, checksum, version, run, statements FROM schemahold.files WHERE file < '0002'"
    )
    assert found == [("ns/shop", "0001_a.sql", hashlib.sha256(TABLE.encode()).hexdigest(), "1", 1, 1)]
    assert database.rows("state, mode, exit_code") == [("succeeded", "sql", 0)]
    lines = ended.log.splitlines()
    assert lines[0].startswith("0001_a.sql: applied in 0.") and lines[0].endswith(" s (1 statement)")
    assert ended.report.files_pin == names.pin(
        {
            "0001_a.sql": found[0][2],
            "0002_b.sql": hashlib.sha256(COLUMN.encode()).hexdigest(),
            "0010_c.sql": hashlib.sha256(b"CREATE VIEW v AS SELECT a FROM t;").hexdigest(),
        }
    )


def test_the_next_version_runs_what_is_new(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    assert attempts().run().code == 0
    attempts.mount({"0001_a.sql": TABLE, "0002_b.sql": COLUMN})
    ended = attempts(version="2").run()
    assert ended.code == 0
    assert "0001_a.sql" not in ended.log
    assert database.rows("version, state") == [("1", "succeeded"), ("2", "succeeded")]


def test_a_version_without_new_files_is_applied_as_well(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    assert [attempts(version=version).run().code for version in ("1", "2")] == [0, 0]
    assert database.rows("version, state") == [("1", "succeeded"), ("2", "succeeded")]


def test_an_applied_version_needs_no_files(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE, "0001_a.contract.sql": "DROP TABLE t;"})
    assert attempts().run().report.contract_files == 1
    again = attempts().run()
    assert (again.code, again.reason, again.report.contract_files) == (0, Reason.ALREADY_APPLIED, 1)
    gone = attempts(sql={"directory": "/nowhere"}).run()
    assert (gone.code, gone.reason, gone.report.contract_files) == (0, Reason.ALREADY_APPLIED, None)
    changed = attempts(sql={"pin": "0" * 64}).run()
    assert (changed.reason, changed.report.files_pin) == (Reason.ALREADY_APPLIED, "")


def test_config_maps_side_by_side(attempts, database) -> None:
    attempts.mount({"0002_b.sql": COLUMN}, under="one")
    attempts.mount({"0001_a.sql": TABLE, "readme.md": "not SQL"}, under="two")
    assert attempts().run().code == 0
    assert [file for file, _ in applied(database)] == ["0001_a.sql", "0002_b.sql"]


def test_begin_and_commit_of_the_file_itself(attempts, database) -> None:
    attempts.mount({"0001_a.sql": f"BEGIN;\n{TABLE}\nCOMMIT;"})
    ended = attempts().run()
    assert ended.code == 0
    assert "(1 statement)" in ended.log


def test_names_are_found_by_the_roles_own_search_path(attempts, database) -> None:
    database.execute(f"CREATE SCHEMA app AUTHORIZATION {database.role}")
    database.execute(f"ALTER ROLE {database.role} SET search_path = app, public")
    attempts.mount(
        {
            "0001_a.sql": f"{TABLE}\nSET LOCAL search_path = public;\nCREATE TABLE p (a int);",
            "0002_b.sql": "ALTER TABLE t ADD COLUMN c int;\nCREATE INDEX CONCURRENTLY t_a ON t (a);",
        }
    )
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert (exists(database, "app.t"), exists(database, "app.t_a"), exists(database, "public.p")) == (True, True, True)


def test_what_a_file_leaves_in_the_session_is_gone_in_the_next(attempts, database) -> None:
    attempts.mount(
        {
            "0001_a.sql": "CREATE TEMP TABLE tmp (a int);\nPREPARE p AS SELECT 1;",
            "0002_b.sql": "CREATE TEMP TABLE tmp (a int);\nPREPARE p AS SELECT 2;",
        }
    )
    ended = attempts().run()
    assert ended.code == 0, ended.log


def test_a_role_that_is_set_at_connect_owns_what_is_made(attempts, database) -> None:
    database.execute(f"CREATE ROLE owner_{database.name}; GRANT owner_{database.name} TO {database.role}")
    try:
        attempts.mount({"0001_a.sql": TABLE, "0002_b.sql": "CREATE INDEX CONCURRENTLY t_a ON t (a);"})
        url = database.url(query=f"?options=-c%20role%3Downer_{database.name}")
        database.execute(f"GRANT CREATE ON DATABASE {database.name} TO owner_{database.name}")
        database.execute(f"GRANT CREATE ON SCHEMA public TO owner_{database.name}")
        ended = attempts(url).run()
        assert ended.code == 0, ended.log
        owner = database.execute("SELECT relowner::regrole::text FROM pg_class WHERE oid = 't'::regclass")
        assert owner == [(f"owner_{database.name}",)]
    finally:
        database.execute(f"DROP OWNED BY owner_{database.name}; DROP ROLE owner_{database.name}")


def test_notices_are_in_the_log(attempts, database) -> None:
    text = (
        "-- schemahold:allow unknown-code: tested\nDO $$BEGIN FOR n IN 1..99 LOOP RAISE NOTICE 'at %', n; END LOOP; END$$;"
    )
    attempts.mount({"0001_a.sql": text})
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert "NOTICE: at 50 (more of them are not shown)" in ended.log
    assert "at 51" not in ended.log


# --- the contract -----------------------------------------------------------------------------------------------------


def contract(attempts, **more):
    return attempts(phase="contract", **more)


def test_contract_files_wait_for_the_contract(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE, "0002_b.sql": COLUMN, "0002_b.contract.sql": "ALTER TABLE t DROP COLUMN a;"})
    ended = attempts().run()
    assert (ended.code, ended.report.contract_files, ended.report.floor) == (0, 1, "")
    ended = contract(attempts).run()
    assert (ended.code, ended.report.floor, ended.report.contract_files) == (0, "1", None), ended.log
    assert applied(database)[-1] == ("0002_b.contract.sql", "contract")
    assert contract(attempts).run().reason is Reason.ALREADY_APPLIED


def test_a_contract_without_files_runs_nothing(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    assert attempts().run().report.contract_files == 0
    ended = contract(attempts).run()
    assert (ended.code, ended.reason, ended.report.floor) == (0, Reason.NOTHING_TO_RUN, "")
    assert database.rows("phase") == [("expand",)]


def test_a_contract_with_files_of_its_own(attempts, database, tmp_path) -> None:
    attempts.mount({"0001_a.sql": TABLE, "0002_b.sql": COLUMN})
    assert attempts(sql={"contract_elsewhere": True}).run().report.contract_files is None
    own = str(tmp_path / "own")
    attempts.files = tmp_path / "own"
    attempts.mount({"0001_b.contract.sql": "ALTER TABLE t DROP COLUMN a;"})
    assert contract(attempts, sql={"directory": own}).run().code == 0
    attempts.files = tmp_path / "files"
    attempts.mount({"0001_a.sql": TABLE, "0002_b.sql": COLUMN, "0003_c.sql": "ALTER TABLE t ADD COLUMN c int;"})
    ended = attempts(version="2", sql={"contract_elsewhere": True}).run()
    assert ended.code == 0, ended.log


def test_a_contract_file_here_when_the_contract_has_its_own(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE, "0002_b.contract.sql": "DROP TABLE t;"})
    ended = attempts(sql={"contract_elsewhere": True}).run()
    assert ended.reason is Reason.SOURCE_INVALID
    assert ended.message.startswith("0002_b.contract.sql: spec.contract has files of its own")


def test_a_contract_with_files_that_are_not_named_as_such(attempts, database, tmp_path) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    assert attempts().run().code == 0
    attempts.files = tmp_path / "own"
    attempts.mount({"0002_drop.sql": "DROP TABLE t;"})
    ended = contract(attempts, sql={"directory": str(tmp_path / "own")}).run()
    assert (ended.code, ended.reason) == (1, Reason.SOURCE_INVALID), ended.log
    assert exists(database)


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(attempts, database, reason: Reason, *words: str, **more) -> None:
    before = database.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    ended = attempts(**more).run()
    assert (ended.code, ended.reason, ended.report.row) == (1, reason, None), ended.log
    for word in words:
        assert word in ended.message
    assert database.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == before


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({}, "there is no .sql file in"),
        ({"1.sql": TABLE}, "this is not how a migration file is named"),
        ({"0001_a.sql": TABLE, "0001_b.sql": COLUMN}, "has the number of"),
        ({"0001_a.sql": TABLE.encode() + b"\n-- caf\xe9"}, "0001_a.sql:2: byte 0xe9 is no UTF-8"),
        ({"0001_a.sql": f"{TABLE}\n\nSELECT 'a\0b';"}, "0001_a.sql:3: a NUL character"),
        ({"0001_a.sql": f"{TABLE}\nSELECT 'never closed"}, "0001_a.sql:2"),
        ({"0001_a.sql": f"{TABLE}\nCOPY t FROM STDIN;"}, "0001_a.sql:2: COPY"),
        ({"0001_a.sql": f"{TABLE}\nALTER TABEL t;"}, "0001_a.sql:2: syntax error"),
    ],
)
def test_files_that_cannot_be_used(attempts, database, files, word) -> None:
    attempts.mount(files)
    refused(attempts, database, Reason.SOURCE_INVALID, word)


def test_a_directory_that_is_not_there(attempts, database) -> None:
    refused(attempts, database, Reason.SOURCE_INVALID, "/nowhere cannot be read", sql={"directory": "/nowhere"})


def test_one_name_twice(attempts, database) -> None:
    for under in ("one", "two"):
        attempts.mount({"0001_a.sql": TABLE}, under=under)
    refused(attempts, database, Reason.SOURCE_INVALID, "0001_a.sql: is in one and in two")


def test_files_other_than_those_that_were_pinned(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    refused(attempts, database, Reason.SOURCE_CHANGED, "pinned 000000000000, mounted", sql={"pin": "0" * 64})
    pin = names.pin({"0001_a.sql": hashlib.sha256(TABLE.encode()).hexdigest()})
    assert attempts(sql={"pin": pin}).run().code == 0


def test_an_applied_file_that_has_changed(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    assert attempts().run().code == 0
    attempts.mount({"0001_a.sql": TABLE + " ", "0002_b.sql": COLUMN})
    refused(attempts, database, Reason.CHECKSUM_MISMATCH, "0001_a.sql: has changed", version="2")
    attempts.mount({"0002_b.sql": COLUMN})
    refused(attempts, database, Reason.SOURCE_INVALID, "0001_a.sql: has been applied, and is no longer there", version="2")


def test_statements_that_break_what_runs(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    assert attempts().run().code == 0
    drops = "\n".join(f"ALTER TABLE t DROP COLUMN c{number};" for number in range(40))
    attempts.mount({"0001_a.sql": TABLE, "0002_b.sql": COLUMN, "0003_c.sql": drops})
    ended = attempts(version="2").run()
    assert ended.reason is Reason.STATEMENTS_REFUSED
    assert ended.message.startswith("0003_c.sql:1: ")
    assert "more: see the log" in ended.message and len(ended.message) < 1000
    assert ended.log.count("error: 0003_c.sql:") == 40
    assert applied(database) == [("0001_a.sql", "expand")]


def test_only_size_makes_it_dangerous(attempts, database) -> None:
    attempts.mount({"0001_a.sql": f"{TABLE}\nINSERT INTO t SELECT generate_series(1, 2000);"})
    assert attempts().run().code == 0
    attempts.mount(
        {
            "0001_a.sql": f"{TABLE}\nINSERT INTO t SELECT generate_series(1, 2000);",
            "0002_b.sql": "CREATE INDEX t_a ON t (a);",
        }
    )
    ended = attempts(version="2", sql={"large_table": 1000}).run()
    assert ended.reason is Reason.STATEMENTS_REFUSED
    assert "It has about 1,001 rows." in ended.message, "counted no further than it matters"
    assert attempts(version="2", sql={"large_table": 5000}).run().code == 0


# --- what fails -------------------------------------------------------------------------------------------------------


def test_a_failure_names_file_line_and_statement(attempts, database) -> None:
    attempts.mount(
        {
            "0001_a.sql": TABLE,
            "0002_b.sql": (
                "INSERT INTO t VALUES (1);\n\n-- the mistake\n"
                "ALTER TABLE t\n  ADD COLUMN b int,\n  ADD COLUMN c nosuchtype;\n"
            ),
        }
    )
    ended = attempts().run()
    assert (ended.code, ended.reason, ended.report.exit_code) == (1, Reason.FAILED, 1)
    assert ended.message == (
        '0002_b.sql:6: type "nosuchtype" does not exist (SQLSTATE 42704), in statement 2: '
        "ALTER TABLE t ADD COLUMN b int, ADD COLUMN c nosuchtype"
    )
    assert applied(database) == [("0001_a.sql", "expand")], "what was applied before it stays"
    assert database.execute("SELECT count(*) FROM t") == [(0,)]
    assert database.rows("state, exit_code, note") == [("failed", 1, ended.message)]
    again = attempts().run()
    assert again.reason is Reason.ALREADY_FAILED and "nosuchtype" in again.message
    attempts.mount({"0001_a.sql": TABLE, "0002_b.sql": COLUMN})
    assert attempts(inputs="mended").run().code == 0
    assert [state for (state,) in database.rows("state")] == ["superseded", "succeeded"]


def test_a_failure_among_many_statements_names_its_own(attempts, database) -> None:
    lines = [f"INSERT INTO t VALUES ({number});" for number in range(1, 3001)]
    lines[1776] = "INSERT INTO t VALUES ('no number');"
    attempts.mount({"0001_a.sql": TABLE, "0002_b.sql": "\n".join(lines)})
    ended = attempts().run()
    assert ended.message.startswith('0002_b.sql:1777: invalid input syntax for type integer: "no number" (SQLSTATE 22P02)')
    assert "in statement 1777: INSERT INTO t VALUES ('no number')" in ended.message
    assert database.execute("SELECT count(*) FROM t") == [(0,)]


def test_what_is_deferred_fails_at_the_end_of_its_file(attempts, database) -> None:
    attempts.mount(
        {
            "0001_a.sql": "CREATE TABLE a (id int PRIMARY KEY, other int REFERENCES a DEFERRABLE INITIALLY DEFERRED);",
            "0002_b.sql": "INSERT INTO a VALUES (1, 2);\nINSERT INTO a VALUES (3, 1);",
        }
    )
    ended = attempts().run()
    assert ended.message.startswith("0002_b.sql, at its end: ") and "SQLSTATE 23503" in ended.message
    assert "(2)" not in ended.message and "Key (other)=(2)" in ended.log, "rows are quoted in the log alone"


def test_no_secrets_come_out(attempts, database) -> None:
    attempts.mount({"0001_a.sql": "-- schemahold:allow role: x\nALTER ROLE nobody_here PASSWORD 'geheim';"})
    ended = attempts().run()
    assert ended.reason in (Reason.FAILED, Reason.STATEMENTS_REFUSED)
    stored = str(database.rows("note"))
    assert "geheim" not in ended.log + ended.message + stored and database.password not in ended.log
    assert ended.reason is Reason.STATEMENTS_REFUSED or "PASSWORD '***'" in ended.message


def test_a_file_that_changes_under_the_run_is_rolled_back(attempts, database) -> None:
    filler = "\n".join(f"INSERT INTO t VALUES ({number}); -- {'x' * 500}" for number in range(4000))
    attempts.mount({"0001_a.sql": "CREATE TABLE u (a int);", "0002_b.sql": f"{TABLE}\n{filler}"})
    with database.connect(autocommit=False) as blocker:
        blocker.execute("CREATE TABLE u (a int)")
        attempt = attempts(sql={"lock_timeout": 20.0, "statement_timeout": 0.0}).start()
        attempt.wait_log("try 2")
        attempts.mount({"0001_a.sql": "CREATE TABLE u (a int);", "0002_b.sql": f"{TABLE}\n"})
        blocker.rollback()
    ended = attempt.end()
    assert (ended.code, ended.reason, ended.report.exit_code) == (1, Reason.SOURCE_CHANGED, None), ended.log
    assert "0002_b.sql was changed in the pod" in ended.message
    assert (exists(database, "u"), exists(database, "t")) == (True, False)
    assert database.rows("state") == [("superseded",)]
    assert attempts().run().code == 0


def test_a_file_statement_by_statement_that_changes_under_the_run_is_not_begun(attempts, database) -> None:
    files = {"0001_a.sql": "CREATE TABLE u (a int);", "0002_b.sql": f"{TABLE}\nVACUUM u;"}
    attempts.mount(files)
    with database.connect(autocommit=False) as blocker:
        blocker.execute("CREATE TABLE u (a int)")
        attempt = attempts(sql={"lock_timeout": 20.0}).start()
        attempt.wait_log("try 2")
        attempts.mount({**files, "0002_b.sql": f"{TABLE}\nVACUUM u; -- really"})
        blocker.rollback()
    assert attempt.end().reason is Reason.SOURCE_CHANGED
    assert (exists(database, "u"), exists(database, "t")) == (True, False)


def test_what_is_deferred_runs_as_the_files_own_statements_do(attempts, database) -> None:
    with database.connect() as owner:
        owner.execute(
            "CREATE TABLE a (id int); CREATE TABLE log (id int); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN INSERT INTO log VALUES (NEW.id); RETURN NEW; END$$; CREATE CONSTRAINT TRIGGER note AFTER INSERT ON a"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()"
        )
    attempts.mount({"0001_a.sql": "INSERT INTO a VALUES (1);", "0002_b.sql": "INSERT INTO a VALUES (2);\nVACUUM a;"})
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert database.execute("SELECT count(*) FROM log") == [(2,)]


# --- baseline ---------------------------------------------------------------------------------------------------------


def test_baseline_counts_what_was_there_before_us(attempts, database) -> None:
    with database.connect() as owner:
        owner.execute(TABLE)
    files = {"0001_a.sql": TABLE, "0002_b.contract.sql": "DROP TABLE t;", "0003_b.sql": COLUMN}
    attempts.mount(files)
    ended = attempts(sql={"baseline": "0002"}).run()
    assert ended.code == 0, ended.log
    assert "2 files up to 0002_b.contract.sql count as applied (spec.sql.baseline)" in ended.log
    rows = database.execute("SELECT file, phase, checksum = '' FROM schemahold.files ORDER BY file")
    assert rows == [
        ("0001_a.sql", "expand", True),
        ("0002_b.contract.sql", "contract", True),
        ("0003_b.sql", "expand", False),
    ]
    assert ended.report.contract_files == 0


# --- rights -----------------------------------------------------------------------------------------------------------


def test_tables_that_may_not_be_made_or_used(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    database.execute("CREATE SCHEMA schemahold")
    database.execute(f"GRANT USAGE, CREATE ON SCHEMA schemahold TO {database.role}")
    # The ledger is there, made by a version that knew no sql mode.
    assert attempts(ledger_name="x", sql={"directory": "/nowhere"}).run().reason is Reason.SOURCE_INVALID
    database.execute(f"REVOKE CREATE ON SCHEMA schemahold FROM {database.role}")
    ended = attempts().run()
    assert (ended.code, ended.reason) == (1, Reason.LEDGER_FORBIDDEN)
    grant = f'GRANT CREATE ON SCHEMA schemahold TO "{database.role}";'
    assert grant in ended.message
    database.execute(grant)
    assert attempts().run().code == 0
    database.execute(f"REVOKE UPDATE ON schemahold.statements FROM {database.role}")
    ended = attempts(version="2").run()
    assert ended.reason is Reason.LEDGER_FORBIDDEN
    grant = f'GRANT SELECT, INSERT, UPDATE ON schemahold.files, schemahold.statements TO "{database.role}";'
    assert grant in ended.message
    database.execute(grant)
    assert attempts(version="2").run().code == 0


def test_every_column_is_documented(attempts, database) -> None:
    attempts.mount({"0001_a.sql": TABLE})
    assert attempts().run().code == 0
    undocumented = database.execute(
        "SELECT attrelid::regclass, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid AND c.relkind = 'r'"
        " WHERE c.relnamespace = 'schemahold'::regnamespace AND attnum > 0 AND NOT attisdropped"
        " AND col_description(attrelid, attnum) IS NULL AND (relname, attname) NOT IN (('meta', 'one'),"
        " ('meta', 'created_at'), ('ledger', 'id'))"
    )
    assert undocumented == []
