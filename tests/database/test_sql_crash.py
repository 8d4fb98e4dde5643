"""A pod that dies by SIGKILL at any point, and the next one: together they do what one alone would have done.

Compared are the schema (``pg_dump``), the rows, and what the files' rows say.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from schemahold.api.pod import Reason
from tests.database import conftest
from tests.database.sql_support import Attempts

KILLER = "tests.database.sql_killer"

FILES = {
    "0001_tables.sql": (
        "CREATE TABLE t (id int PRIMARY KEY, a int, b text);\n"
        "CREATE TABLE p (id int NOT NULL) PARTITION BY RANGE (id);\n"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);\n"
        "INSERT INTO t SELECT n, n, 'x' || n FROM generate_series(1, 100) n;\n"
        "CREATE INDEX t_old ON t (b);\n"
    ),
    "0002_indexes.sql": (
        "-- schemahold:allow new-constraint: nobody writes it yet\n"
        "CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a);\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_b ON t USING btree (lower(b) DESC) WHERE a > 0;\n"
    ),
    "0003_mixed.sql": (
        "ALTER TABLE t ADD COLUMN c int;\n"
        "INSERT INTO t VALUES (101, 101, 'x101', 1);\n"
        "-- schemahold:allow detach-partition: nobody reads it\n"
        "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY;\n"
        "REINDEX INDEX CONCURRENTLY t_a;\n"
        "-- schemahold:allow drop-index: nothing uses it\n"
        "DROP INDEX CONCURRENTLY t_old;\n"
        "VACUUM t;\n"
    ),
    "0004_last.sql": "BEGIN;\nCREATE VIEW v AS SELECT id FROM t;\nCOMMENT ON VIEW v IS 'last';\nCOMMIT;\n",
}


def result(database: conftest.Database) -> tuple[object, ...]:
    """What the migration has made, whatever way it took."""
    program = str(database.server.install / "bin" / "pg_dump")
    command = [program, "--schema-only", "--no-owner", "--exclude-schema=schemahold", "-d", database.url()]
    dump = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert dump.returncode == 0, dump.stderr
    return (
        [line for line in dump.stdout.splitlines() if not line.startswith(("\\", "--"))],
        database.execute("SELECT count(*), sum(id) FROM t"),
        database.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"),
        database.execute("SELECT file, checksum, phase, statements FROM schemahold.files ORDER BY file"),
        database.execute("SELECT file, number, checksum, state FROM schemahold.statements ORDER BY file, number"),
    )


@pytest.fixture
def make(tmp_path, server):
    """Attempts on a database of its own, for each call."""
    made: list[Attempts] = []

    def new() -> Attempts:
        attempts = Attempts(tmp_path / f"d{len(made)}", conftest.new_database(server))
        attempts.mount(FILES)
        made.append(attempts)
        return attempts

    yield new
    for attempts in made:
        attempts.close()
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {attempts.database.name} WITH (FORCE)")
            admin.execute(f"DROP ROLE {attempts.database.role}")


def clean_run(make, tmp_path) -> tuple[tuple[object, ...], list[str]]:
    """Its result, and its words to the server from the row `running` on."""
    attempts = make()
    count = tmp_path / "words"
    ended = attempts().start(KILLER, KILL_COUNT=str(count)).end()
    assert (ended.code, ended.reason) == (0, Reason.SUCCEEDED), ended.log
    return result(attempts.database), count.read_text().splitlines()


# Words that change nothing which outlives the session: to die at them is to die before or after the one next to them.
IDLE = ("RESET", "SET lock_timeout", "SET client_", "SELECT pg_catalog.set_config", "SET LOCAL search_path", "SELECT s.file")


def points(words: list[str]) -> list[tuple[int, str]]:
    """Where to die: when a word that writes is on its way, and when its answer has just been heard."""
    writes = [number for number, word in enumerate(words, start=1) if not word.startswith(IDLE)]
    return [(number, "sent") for number in writes] + [(number + 1, "before") for number in writes if number < len(words)]


PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_word(make, tmp_path, part) -> None:
    expected, words = clean_run(make, tmp_path)
    assert len(points(words)) > 70
    for number, when in points(words)[part::PARTS]:
        attempts = make()
        killed = attempts().start(KILLER, KILL_AT=f"{number}:{when}").end()
        assert (killed.code, killed.report) == (-9, None), f"word {number}: {killed.log}"
        ended = attempts().run()
        what = f"killed {when} word {number} ({words[number - 1]}): {killed.log}; then: {ended.log}"
        if ended.reason is Reason.ALREADY_APPLIED:  # it died when its success was on the way
            assert (number, when) == (len(words), "sent"), what
        else:
            assert (ended.code, ended.reason) == (0, Reason.SUCCEEDED), what
        assert result(attempts.database) == expected, what


def test_killed_again_and_again(make, tmp_path) -> None:
    """Every attempt dies a little later than the one before it."""
    expected, words = clean_run(make, tmp_path)
    attempts = make()
    for number in range(4, len(words), 5):
        ended = attempts().start(KILLER, KILL_AT=f"{number}:sent").end()
        if ended.code == 0:
            break
        assert ended.code == -9, ended.log
    else:
        ended = attempts().run()
    assert ended.reason is Reason.SUCCEEDED, ended.log
    assert result(attempts.database) == expected
    states = [state for (state,) in attempts.database.rows("state")]
    assert states[-1] == "succeeded"
    assert set(states[:-1]) == {"superseded"}


def test_a_pod_that_always_dies_at_the_same_statement(make) -> None:
    """Perhaps it is the statement: after three runs that brought nothing forward a person is asked, by a failed run."""
    attempts = make()
    number = 5  # in the first file
    for _ in range(3):
        assert attempts().start(KILLER, KILL_AT=f"{number}:before").end().code == -9
    ended = attempts().run()
    assert (ended.code, ended.reason) == (1, Reason.FAILED), ended.log
    assert "the session was lost in 3 runs one after the other" in ended.message
    assert attempts(token="again").run().code == 0
