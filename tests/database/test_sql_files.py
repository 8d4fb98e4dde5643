"""Files of sql mode, on a real Postgres: what is applied, what is refused, and what the rows say."""

from __future__ import annotations

import pytest

from schemahold.api.pod import Reason
from tests.database.sql_support import Attempts


@pytest.fixture
def attempts(tmp_path, database):
    made = Attempts(tmp_path, database)
    yield made
    made.close()


def test_files_are_applied_in_order(attempts, database) -> None:
    attempts.mount({
        "0002_b.sql": "ALTER TABLE t ADD COLUMN b text;\nCREATE INDEX CONCURRENTLY t_b ON t (b);",
        "0001_a.sql": "CREATE TABLE t (a int);",
    })
    ended = attempts().run()
    assert (ended.code, ended.reason) == (0, Reason.SUCCEEDED), ended.log
    print(ended.log)
    print(ended.report)
    print(database.execute("select * from schemahold.files"), database.execute("select * from schemahold.statements"))
    again = attempts().run()
    print(again)
    again = attempts(version="2").run()
    print(again)
    assert 0
