"""Locks in the way, two pods at once, SIGTERM, lost sessions: what is committed stays, and the rest is done again."""

from __future__ import annotations

import time

import pytest

from schemahold.api.pod import EXIT_NOT_RECORDED, Reason
from tests.database.conftest import eventually
from tests.database.sql_support import Attempts

ADD = "ALTER TABLE t ADD COLUMN c int;"


def sleep(seconds: int) -> str:
    return f"-- schemahold:allow unknown-function: it sleeps\nSELECT pg_sleep({seconds});"


@pytest.fixture
def attempts(tmp_path, database):
    made = Attempts(tmp_path, database)
    with database.connect() as owner:
        owner.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    yield made
    made.close()


@pytest.fixture
def reader(database):
    """Somebody in a transaction that has read t: nobody changes t meanwhile."""
    with database.connect(application_name="slow report", autocommit=False) as connection:
        connection.execute("SELECT * FROM t")
        yield connection
        connection.rollback()


def columns(database) -> list[str]:
    found = database.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    return [name for (name,) in found]


def holder(database) -> list[tuple[int]]:
    return database.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1")


def waiting(database, like: str = "") -> bool:
    return bool(
        database.execute(
            "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'schemahold lock%' AND state = 'active'"
            f" AND datname = current_database() AND query LIKE '%{like}%'"
        )
    )


def vanish(attempt, database) -> None:
    """The pod is gone, and its server process."""
    attempt.kill()
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'schemahold lock%'")


# --- locks in the way -------------------------------------------------------------------------------------------------


def test_a_long_select_is_waited_for_in_short_tries(attempts, database, reader) -> None:
    attempts.mount({"0001_x.sql": f"INSERT INTO t VALUES (2);\n{ADD}"})
    attempt = attempts().start()
    attempt.wait_log("try 4")
    # Between two tries nobody queues behind us.
    with database.connect() as app:
        app.execute("SET statement_timeout = '5s'")
        app.execute("SELECT * FROM t")
    reader.rollback()
    ended = attempt.end()
    assert (ended.code, ended.reason) == (0, Reason.SUCCEEDED), ended.log
    assert (
        "0001_x.sql:2: canceling statement due to lock timeout (SQLSTATE 55P03), in statement 2: ALTER TABLE t" in ended.log
    )
    assert f"blocked by pid {reader.info.backend_pid} (application_name 'slow report'), idle in transaction" in ended.log
    assert columns(database) == ["a", "c"]
    assert database.execute("SELECT count(*) FROM t") == [(2,)], "each try is rolled back as a whole"


def test_locks_that_stay_fail_the_run_with_who_holds_them(attempts, database, reader) -> None:
    attempts.mount({"0001_x.sql": ADD})
    ended = attempts(sql={"retry_for": 1.0}).run()
    assert (ended.code, ended.reason, ended.report.exit_code) == (1, Reason.FAILED, 1)
    assert "application_name 'slow report'" in ended.message
    assert "in 1 s (spec.sql.retryFor)" in ended.message
    assert database.rows("state, exit_code") == [("failed", 1)]
    # Not by itself again: a person, or other files.
    again = attempts().run()
    assert again.reason is Reason.ALREADY_FAILED
    assert "slow report" in again.message


def test_a_file_statement_by_statement_does_not_repeat_what_is_done(attempts, database, reader) -> None:
    with database.connect() as owner:
        owner.execute("CREATE TABLE u (a int)")
    attempts.mount({"0001_x.sql": f"INSERT INTO u VALUES (1);\nCREATE INDEX CONCURRENTLY u_a ON u (a);\n{ADD}"})
    attempt = attempts().start()
    attempt.wait_log("try 3")
    reader.rollback()
    assert attempt.end().code == 0
    assert database.execute("SELECT count(*) FROM u") == [(1,)]


def test_a_deadlock_is_tried_again(attempts, database) -> None:
    with database.connect() as owner:
        owner.execute(
            "CREATE SEQUENCE tries; CREATE FUNCTION deadlock() RETURNS void LANGUAGE plpgsql AS $$BEGIN"
            " IF nextval('tries') < 3 THEN RAISE 'deadlock detected' USING ERRCODE = '40P01'; END IF; END$$"
        )
    attempts.mount({"0001_x.sql": f"{ADD}\n-- schemahold:allow unknown-function: tested\nSELECT deadlock();"})
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert ended.log.count("40P01") == 2


def test_a_statement_timeout_is_no_lock_timeout(attempts, database) -> None:
    attempts.mount({"0001_x.sql": f"{ADD}\n{sleep(30)}"})
    ended = attempts(sql={"statement_timeout": 0.3}).run()
    assert ended.reason is Reason.FAILED
    assert "0001_x.sql:3: canceling statement due to statement timeout (SQLSTATE 57014)" in ended.message
    assert columns(database) == ["a"]


def test_a_file_that_takes_longer_than_a_round_trip_may(attempts, database) -> None:
    attempts.mount({"0001_x.sql": f"{sleep(6)}\n{ADD}", "0002_x.sql": f"{sleep(6)}\nVACUUM t;"})
    ended = attempts().run()
    assert ended.code == 0, ended.log


# --- two pods ---------------------------------------------------------------------------------------------------------


def test_of_two_pods_one_applies(attempts, database) -> None:
    attempts.mount({"0001_x.sql": f"{sleep(1)}\n{ADD}", "0002_y.sql": "CREATE INDEX CONCURRENTLY t_a ON t (a);"})
    both = [attempts().start(), attempts().start()]
    ended = [attempt.end() for attempt in both]
    assert {one.reason for one in ended} == {Reason.SUCCEEDED, Reason.ALREADY_APPLIED}, [one.log for one in ended]
    assert database.execute("SELECT count(*) FROM schemahold.files") == [(2,)]
    assert [state for (state,) in database.rows("state")] == ["succeeded"]


def test_a_pod_that_waits_in_vain_names_the_one_that_runs(attempts, database) -> None:
    attempts.mount({"0001_x.sql": f"{sleep(30)}"})
    first = attempts().start()
    eventually(lambda: waiting(database, "pg_sleep"))
    ended = attempts(lock_timeout=1.0, version="2").run()
    assert (ended.code, ended.reason) == (1, Reason.LOCK_TIMEOUT)
    assert ended.report.holder_is_ours
    assert f"pid {holder(database)[0][0]}, application_name 'schemahold lock ns/shop'" in ended.message
    first.kill()


def test_a_command_waits_for_a_long_statement_without_beats(attempts, pods, database) -> None:
    """A pod of a command's run, whose beats would have ended long ago, does not take the sql run for dead."""
    attempts.mount({"0001_x.sql": f"{sleep(3)}"})
    running = attempts().start()
    eventually(lambda: waiting(database, "pg_sleep"))
    other = pods(version="2", stale_after=0.1, lock_timeout=1.0, lock_name="another")
    assert other.run("/bin/true").gate_report.reason is Reason.LOCK_TIMEOUT
    assert running.end().code == 0
    assert pods(version="2").run("/bin/true").migrate == 0


def test_a_command_supersedes_a_dead_sql_run(attempts, pods, database) -> None:
    attempts.mount({"0001_x.sql": f"{sleep(30)}"})
    running = attempts().start()
    eventually(lambda: waiting(database, "pg_sleep"))
    vanish(running, database)
    assert pods(version="2", lock_name="another").run("/bin/true").migrate == 0
    assert [state for (state,) in database.rows("state")] == ["superseded", "succeeded"]


def test_a_lock_of_another_name_is_taken_as_proof(attempts, database) -> None:
    attempts.mount({"0001_x.sql": f"{ADD}\n{sleep(30)}"})
    first = attempts(lock_name="one").start()
    eventually(lambda: waiting(database, "pg_sleep"))
    ended = attempts(lock_name="two", lock_timeout=1.0).run()
    assert ended.reason is Reason.LOCK_TIMEOUT
    assert "the lock of row 1 is held by pid" in ended.message
    vanish(first, database)
    attempts.mount({"0001_x.sql": ADD})
    ended = attempts(lock_name="two").run()
    assert ended.reason is Reason.SUCCEEDED, ended.log


def test_the_row_fences_a_run_that_has_lost_its_lock(attempts, database) -> None:
    """Two truths about the lock (a failover): the row decides, in the very transaction of the file."""
    attempts.mount({"0001_x.sql": f"{sleep(2)}\n{ADD}"})
    first = attempts().start()
    eventually(lambda: waiting(database, "pg_sleep"))
    database.execute("UPDATE schemahold.ledger SET state = 'superseded'")
    ended = first.end()
    assert (ended.code, ended.reason, ended.report.exit_code) == (EXIT_NOT_RECORDED, Reason.UNKNOWN, None)
    assert columns(database) == ["a"]
    assert attempts().run().code == 0


# --- SIGTERM ----------------------------------------------------------------------------------------------------------


def test_sigterm_cancels_rolls_back_and_the_next_attempt_goes_on(attempts, database) -> None:
    attempts.mount({"0001_x.sql": ADD, "0002_y.sql": f"INSERT INTO t VALUES (2);\n{sleep(30)}\nSELECT 1;"})
    attempt = attempts().start()
    eventually(lambda: waiting(database))
    attempt.wait_log("0001_x.sql: applied")
    began = time.monotonic()
    attempt.terminate()
    ended = attempt.end()
    assert time.monotonic() - began < 5
    assert (ended.code, ended.reason, ended.report.exit_code) == (1, Reason.WITHDRAWN, None)
    assert "1 of 2 files were applied; the next attempt goes on from there" in ended.message
    assert database.rows("state, note") == [("superseded", "the pod was told to stop when 1 of 2 files were applied")]
    assert database.execute("SELECT count(*) FROM t") == [(1,)]
    attempts.mount({"0001_x.sql": ADD, "0002_y.sql": "INSERT INTO t VALUES (2);"})
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert "0001_x.sql" not in ended.log


def test_sigterm_while_an_index_is_built(attempts, database) -> None:
    attempts.mount({"0001_x.sql": "CREATE TABLE u (a int);\nCREATE INDEX CONCURRENTLY t_a ON t (a);"})
    with database.connect(autocommit=False) as writer:
        writer.execute("UPDATE t SET a = a")
        attempt = attempts().start()
        eventually(lambda: waiting(database, "CREATE INDEX"))
        attempt.terminate()
        ended = attempt.end()
    assert ended.reason is Reason.WITHDRAWN
    ended = attempts().run()
    assert ended.code == 0, ended.log
    assert database.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_a'::regclass") == [(True,)]


def test_sigterm_while_waiting_for_the_lock(attempts, database) -> None:
    attempts.mount({"0001_x.sql": f"{sleep(30)}"})
    first = attempts().start()
    eventually(lambda: waiting(database, "pg_sleep"))
    second = attempts(version="2").start()
    second.wait_log("waiting")
    second.terminate()
    ended = second.end(5)
    assert ended.reason is Reason.WITHDRAWN
    assert "nothing ran" in ended.message
    first.terminate()
    assert first.end(5).reason is Reason.WITHDRAWN
    assert [state for (state,) in database.rows("state")] == ["superseded"]


def test_sigterm_while_locks_are_in_the_way(attempts, database, reader) -> None:
    attempts.mount({"0001_x.sql": ADD})
    attempt = attempts().start()
    attempt.wait_log("try 5")
    attempt.terminate()
    assert attempt.end(5).reason is Reason.WITHDRAWN


# --- sessions that are lost -------------------------------------------------------------------------------------------


def test_session_lost_in_the_middle_of_a_file(attempts, database, proxy) -> None:
    attempts.mount({"0001_x.sql": ADD, "0002_y.sql": f"INSERT INTO t VALUES (2);\n{sleep(30)}"})
    attempt = attempts(database.url(port=proxy.port)).start()
    eventually(lambda: waiting(database))
    attempt.wait_log("0001_x.sql: applied")
    proxy.cut()
    ended = attempt.end(5)
    assert (ended.code, ended.reason, ended.report.exit_code) == (EXIT_NOT_RECORDED, Reason.UNKNOWN, None)
    assert ended.report.row == 1
    attempts.mount({"0001_x.sql": ADD, "0002_y.sql": "INSERT INTO t VALUES (2);"})
    # The server finds within seconds that nobody listens to it any more, and lets go of the lock.
    ended = attempts(lock_timeout=30.0).run()
    assert ended.code == 0, ended.log
    assert database.execute("SELECT count(*) FROM t") == [(2,)]


@pytest.fixture
def slow_commit(database):
    """COMMIT waits for a standby that never comes, where a file asks for it; it has happened all the same."""
    database.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    database.execute(f"ALTER ROLE {database.role} SET synchronous_commit = local")
    database.execute("ALTER ROLE postgres SET synchronous_commit = local")
    database.execute("SELECT pg_reload_conf()")
    yield
    database.execute("ALTER SYSTEM RESET synchronous_standby_names")
    database.execute("ALTER ROLE postgres RESET synchronous_commit")
    database.execute("SELECT pg_reload_conf()")


def test_session_lost_in_the_middle_of_commit(attempts, database, proxy, slow_commit) -> None:
    text = f"SET LOCAL synchronous_commit = on;\n{ADD}"
    attempts.mount({"0001_x.sql": text})
    attempt = attempts(database.url(port=proxy.port)).start()
    eventually(lambda: waiting(database, "COMMIT"))
    proxy.cut()
    ended = attempt.end(5)
    assert (ended.code, ended.reason, ended.report.exit_code) == (EXIT_NOT_RECORDED, Reason.UNKNOWN, None)
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'")
    ended = attempts().run()
    assert (ended.code, ended.reason) == (0, Reason.SUCCEEDED), ended.log
    assert "no file is pending" in ended.log
    assert columns(database) == ["a", "c"]


def test_the_server_restarts_while_a_file_runs(attempts, database) -> None:
    attempts.mount({"0001_x.sql": f"{ADD}\n{sleep(30)}"})
    attempt = attempts().start()
    eventually(lambda: waiting(database, "pg_sleep"))
    database.server.restart()
    ended = attempt.end(10)
    assert (ended.reason, ended.report.exit_code) == (Reason.UNKNOWN, None)
    attempts.mount({"0001_x.sql": ADD})
    assert attempts().run().code == 0


def test_session_lost_while_waiting_for_the_lock_is_no_end(attempts, database, proxy) -> None:
    attempts.mount({"0001_x.sql": f"{sleep(4)}"})
    first = attempts().start()
    eventually(lambda: waiting(database, "pg_sleep"))
    second = attempts(database.url(port=proxy.port), version="2").start()
    second.wait_log("waiting")
    proxy.cut()
    second.wait_log("the session was lost")
    proxy.restore()
    assert first.end().code == 0
    assert second.end().code == 0


def test_a_database_that_is_not_there(attempts) -> None:
    attempts.mount({"0001_x.sql": ADD})
    ended = attempts("postgresql://u:hidden@127.0.0.1:1/d", lock_timeout=1.0).run()
    assert (ended.code, ended.reason) == (1, Reason.DATABASE_UNREACHABLE)
    assert "hidden" not in ended.log
