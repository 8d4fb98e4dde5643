"""Whole attempts: lock, gate and script as real processes against a real Postgres."""

from __future__ import annotations

import os
import pathlib
import signal

import psycopg
import pytest

from schemahold.api.pod import Reason

STATE = "SELECT state FROM schemahold.ledger ORDER BY id DESC LIMIT 1"


def eventually(condition, within=20.0):
    import time

    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.02)
    return value


def until(path: pathlib.Path, code: int = 0) -> tuple[str, ...]:
    """A command that runs until ``path`` exists, and ends with ``code``."""
    return ("/bin/sh", "-c", f"while [ ! -e {path} ]; do sleep 0.05; done; exit {code}")


def lock_backends(database) -> list[int]:
    found = database.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'schemahold lock %' AND datname = current_database()"
    )
    return [pid for (pid,) in found]


# --- how a run ends ---------------------------------------------------------------------------------------------------


def test_success(pods, database) -> None:
    ended = pods().run("/bin/sh", "-c", "echo out; echo err >&2; exit 0")
    assert (ended.gate, ended.migrate) == (0, 0), ended
    assert (ended.out, ended.err) == ("out\n", "err\n")
    assert database.rows() == [(1, "1", "succeeded", 0)]
    report = ended.lock_report
    assert (report.reason, report.row, report.exit_code, report.row_inputs) == (Reason.SUCCEEDED, 1, 0, "i1")
    assert report.ledger == str(database.execute("SELECT ledger FROM schemahold.meta")[0][0])
    assert report.lock_wait is not None
    assert database.password not in ended.lock_log + ended.gate_log


def test_failure_keeps_the_exit_code(pods, database) -> None:
    ended = pods().run("/bin/sh", "-c", "exit 3")
    assert ended.migrate == 3
    assert database.rows() == [(1, "1", "failed", 3)]
    assert (ended.lock_report.reason, ended.lock_report.exit_code) == (Reason.FAILED, 3)


def test_success_is_in_the_ledger_before_migrate_ends(pods, database) -> None:
    # lock is stopped (SIGSTOP) when the command ends: migrate must not exit until the row says so.
    attempt = pods()
    attempt.start(*until(attempt.directory / "done"))
    os.kill(attempt.lock.pid, signal.SIGSTOP)
    (attempt.directory / "done").touch()
    attempt.wait_file("exit")
    assert attempt.migrate.poll() is None
    assert database.execute(STATE) == [("running",)]
    os.kill(attempt.lock.pid, signal.SIGCONT)
    assert attempt.end().migrate == 0
    assert database.execute(STATE) == [("succeeded",)]


def test_migrate_gets_application_name_and_session_options(pods) -> None:
    ended = pods(session_options={"lock_timeout": "3s", "search_path": "a, b"}).run("/usr/bin/env")
    assert "PGAPPNAME=schemahold migrate ns/shop\n" in ended.out
    assert "PGOPTIONS=-c lock_timeout=3s -c search_path=a,\\ b\n" in ended.out


def test_session_options_that_the_server_refuses_are_left_out(pods) -> None:
    ended = pods(session_options={"no_such_setting": "1"}).run("/usr/bin/env")
    assert ended.migrate == 0
    assert "PGOPTIONS" not in ended.out
    assert "left out" in ended.lock_log


# --- what the next gate says ------------------------------------------------------------------------------------------


def test_already_applied(pods) -> None:
    pods().run("/bin/true")
    ended = pods(inputs="i2").run("/bin/true")
    assert (ended.gate, ended.migrate) == (1, None)
    report = ended.gate_report
    assert (report.reason, report.row, report.row_inputs) == (Reason.ALREADY_APPLIED, 1, "i1")
    assert ended.lock_report == report


def test_already_failed_until_something_changes(pods, database) -> None:
    pods(token="a").run("/bin/sh", "-c", "exit 7")
    ended = pods(token="a").run("/bin/true")
    assert (ended.gate, ended.gate_report.reason, ended.gate_report.exit_code) == (1, Reason.ALREADY_FAILED, 7)
    assert pods(token="b").run("/bin/true").migrate == 0
    assert [row[2] for row in database.rows()] == ["superseded", "succeeded"]


def test_other_inputs_or_version_start_after_a_failure(pods, database) -> None:
    pods().run("/bin/false")
    assert pods(inputs="i2").run("/bin/false").migrate == 1
    assert pods(version="2").run("/bin/true").migrate == 0
    assert [row[1:3] for row in database.rows()] == [("1", "superseded"), ("1", "superseded"), ("2", "succeeded")]


def test_adopted_version_counts_as_applied(pods, database) -> None:
    assert pods(version="2", adopted="1").run("/bin/true").migrate == 0
    assert [row[1:3] for row in database.rows()] == [("1", "adopted"), ("2", "succeeded")]
    assert pods(version="1", adopted="1").run("/bin/true").gate_report.reason is Reason.ALREADY_APPLIED


def test_ledger_lost(pods, database) -> None:
    first = pods().run("/bin/true").lock_report.ledger
    database.execute("DROP SCHEMA schemahold CASCADE")
    ended = pods(version="2", expected_ledger=first).run("/bin/true")
    assert ended.gate_report.reason is Reason.LEDGER_LOST
    assert database.execute("SELECT to_regnamespace('schemahold')") == [(None,)], "nothing may be made"
    assert pods(version="2").run("/bin/true").migrate == 0


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_lock_timeout_names_a_foreign_holder(pods, database) -> None:
    from schemahold.database import lock

    with database.connect(application_name="someone else") as other:
        other.execute("SELECT pg_advisory_lock(%s)", (lock.key(""),))
        ended = pods(lock_timeout=0.5).run("/bin/true")
        report = ended.gate_report
        assert report.reason is Reason.LOCK_TIMEOUT
        assert f"pid {other.info.backend_pid}, application_name 'someone else', address 127.0.0.1" in report.holder
        assert not report.holder_is_ours
        assert report.lock_wait >= 0.5
        assert report.holder in ended.gate_log


@pytest.mark.parametrize("other", [{"ledger_name": "ns/other"}, {"version": "2"}], ids=["other name", "other version"])
def test_lock_timeout_against_a_live_run_of_ours(pods, other) -> None:
    running = pods()
    running.start(*until(running.directory / "done"))
    report = pods(lock_timeout=0.5, **other).run("/bin/true").gate_report
    assert (report.reason, report.holder_is_ours) == (Reason.LOCK_TIMEOUT, True)
    assert "schemahold lock ns/shop" in report.holder
    (running.directory / "done").touch()
    assert running.end().migrate == 0


def test_waits_for_the_lock_and_goes_on(pods) -> None:
    running = pods()
    running.start(*until(running.directory / "done"))
    waiting = pods(ledger_name="ns/other", lock_timeout=30)
    waiting.start_lock()
    gate = waiting.start_gate()
    eventually(lambda: "held by pid" in waiting.text("gate.out"))
    (running.directory / "done").touch()
    assert running.end().migrate == 0
    assert gate.wait(20) == 0


def test_two_lock_names_run_side_by_side(pods, database) -> None:
    one, two = pods(lock_name="a"), pods(ledger_name="ns/other", lock_name="b")
    one.start(*until(one.directory / "done"))
    two.start(*until(one.directory / "done"))
    assert database.execute("SELECT count(*) FROM schemahold.ledger WHERE state = 'running'") == [(2,)]
    (one.directory / "done").touch()
    assert (one.end().migrate, two.end().migrate) == (0, 0)


def test_same_name_with_two_lock_names_is_still_fenced(pods) -> None:
    one = pods(lock_name="a")
    one.start(*until(one.directory / "done"))
    report = pods(lock_name="b", version="2", lock_timeout=0.5).run("/bin/true").gate_report
    assert (report.reason, report.holder_is_ours) == (Reason.LOCK_TIMEOUT, True)
    (one.directory / "done").touch()
    one.end()


def test_the_lock_is_free_after_a_stop(pods, database) -> None:
    pods().run("/bin/false")
    stopped = pods()
    stopped.start_lock()
    assert stopped.start_gate().wait(20) == 1
    eventually(lambda: not lock_backends(database))


# --- the session is lost ----------------------------------------------------------------------------------------------


def test_backend_terminated_mid_run(pods, database) -> None:
    attempt = pods()
    attempt.start(*until(attempt.directory / "done"))
    [before] = eventually(lambda: lock_backends(database))
    database.execute(f"SELECT pg_terminate_backend({before})")
    eventually(lambda: [pid for pid in lock_backends(database) if pid != before])
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == 0
    assert database.rows() == [(1, "1", "succeeded", 0)]


def test_lock_is_taken_by_another_while_the_session_was_lost(pods, database, proxy) -> None:
    attempt = pods(database.url(port=proxy.port))
    attempt.start(*until(attempt.directory / "done"))
    proxy.cut()
    eventually(lambda: not lock_backends(database))
    other = pods(ledger_name="ns/other", lock_timeout=60)
    other.start_lock()
    gate = other.start_gate()
    eventually(lambda: "waiting for the run of 'ns/shop'" in other.text("lock.out"))  # it had the lock, and saw our row
    proxy.restore()
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == 0
    assert gate.wait(20) == 0
    assert database.rows() == [(1, "1", "succeeded", 0)]


@pytest.mark.parametrize(("code", "state", "exits"), [(0, "unknown", 79), (4, "failed", 4)])
def test_server_restarted_mid_run(pods, database, code, state, exits) -> None:
    attempt = pods()
    attempt.start(*until(attempt.directory / "done", code))
    database.server.restart()
    (attempt.directory / "done").touch()
    ended = attempt.end()
    assert ended.migrate == exits
    assert database.rows() == [(1, "1", state, code)]
    if code == 0:
        assert "the ledger says unknown" in ended.err
        assert (ended.lock_report.reason, ended.lock_report.exit_code) == (Reason.UNKNOWN, 0)


@pytest.mark.parametrize(("code", "exits"), [(0, 79), (4, 4)])
def test_failover_mid_run_is_unknown_whatever_the_exit_code(pods, database, code, exits) -> None:
    attempt = pods()
    attempt.start(*until(attempt.directory / "done", code))
    database.server.as_standby()
    database.server.promote()
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == exits
    assert database.rows() == [(1, "1", "unknown", code)]


def test_row_lost_by_a_restore_is_written_again_and_unknown(pods, database, proxy) -> None:
    attempt = pods(database.url(port=proxy.port))
    attempt.start(*until(attempt.directory / "done"))
    proxy.cut()
    database.execute("DELETE FROM schemahold.ledger")
    proxy.restore()
    eventually(lambda: database.rows("state") == [("running",)])
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == 79
    assert database.rows("version, state, exit_code") == [("1", "unknown", 0)]


def test_outcome_is_recorded_when_the_database_comes_back(pods, database, proxy) -> None:
    attempt = pods(database.url(port=proxy.port))
    attempt.start("/bin/sh", "-c", f"while [ ! -e {attempt.directory}/done ]; do sleep 0.05; done; exit 5")
    proxy.cut()
    (attempt.directory / "done").touch()
    attempt.wait_file("exit")
    report = eventually(lambda: attempt.report("lock"))  # a SIGKILL from here on leaves this
    assert (report.reason, report.exit_code, report.row) == (Reason.UNKNOWN, 5, 1)
    assert attempt.migrate.poll() is None
    proxy.restore()
    assert attempt.end().migrate == 5
    assert database.rows() == [(1, "1", "failed", 5)]


def test_stalled_proxy_does_not_block(pods, database, proxy) -> None:
    # Sockets stay open and silent.  The beat is abandoned at its deadline, and the way back is a new connection.
    attempt = pods(database.url(port=proxy.port))
    attempt.start(*until(attempt.directory / "done"))
    proxy.stall()
    eventually(lambda: "did not answer within" in attempt.text("lock.out"))
    proxy.cut()
    proxy.restore()
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == 0


def test_sigterm_is_answered_while_a_beat_is_stalled(pods, database, proxy) -> None:
    attempt = pods(database.url(port=proxy.port))
    attempt.start(*until(attempt.directory / "done"))
    proxy.stall()
    attempt.lock.send_signal(signal.SIGTERM)
    assert attempt.lock.wait(3.5) == 0
    assert attempt.report("lock").reason is Reason.UNKNOWN


def test_a_beat_notes_the_sessions_of_the_migration(pods, database) -> None:
    attempt = pods()
    attempt.start(*until(attempt.directory / "done"))
    with database.connect(application_name="the migration") as session:
        found = eventually(lambda: database.rows("sessions")[0][0])
        assert [(entry["pid"], entry["application_name"]) for entry in found] == [
            (session.info.backend_pid, "the migration")
        ]
    (attempt.directory / "done").touch()
    attempt.end()


# --- SIGTERM and SIGKILL ----------------------------------------------------------------------------------------------


def test_sigterm_while_waiting_leaves_no_row(pods, database) -> None:
    attempt = pods()
    attempt.start_lock()
    attempt.wait_file("held")
    attempt.stop_lock()
    assert attempt.report("lock").reason is Reason.WITHDRAWN
    assert database.rows() == []
    attempt.start_gate().wait(20)
    attempt.start_migrate("/bin/true")
    assert attempt.migrate.wait(20) == 79
    assert "not started: Withdrawn" in attempt.text("migrate.err")


def test_sigterm_during_the_run_is_forwarded_and_recorded(pods, database) -> None:
    attempt = pods()
    attempt.start("/bin/sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    eventually(lambda: attempt.text("migrate.out"))
    attempt.migrate.send_signal(signal.SIGTERM)
    assert attempt.end().migrate == 9
    assert database.rows() == [(1, "1", "failed", 9)]


def test_killed_migrate_leaves_the_row_running_until_it_is_stale(pods, database) -> None:
    attempt = pods(stale_after=1.5)
    attempt.start("/bin/sh", "-c", "exec sleep 60")
    attempt.migrate.kill()
    ended = attempt.end()
    assert ended.lock_report.reason is Reason.UNKNOWN
    assert database.rows() == [(1, "1", "running", None)]
    ended = pods(stale_after=1.5, version="2").run("/bin/true")
    assert ended.gate_report.reason is Reason.OUTCOME_UNKNOWN
    assert database.rows() == [(1, "1", "unknown", None)]
    assert '"1 retry <reason>"' in ended.gate_report.message


def test_lock_killed_and_restarted_mid_run(pods, database) -> None:
    attempt = pods()
    attempt.start(*until(attempt.directory / "done"))
    attempt.kill_lock()
    attempt.start_lock()
    eventually(lambda: "going on as 'running'" in attempt.text("lock.out"))
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == 0
    assert database.rows() == [(1, "1", "succeeded", 0)]


def test_lock_killed_after_the_exit_file(pods, database) -> None:
    attempt = pods()
    attempt.start(*until(attempt.directory / "done", 6))
    attempt.kill_lock()
    (attempt.directory / "done").touch()
    attempt.wait_file("exit")
    attempt.start_lock()
    assert attempt.end().migrate == 6
    assert database.rows() == [(1, "1", "failed", 6)]


def test_lock_killed_between_commit_and_go(pods, database) -> None:
    # The ask is taken and the row written, and no go: the restarted lock finds its own row and gives the go.
    attempt = pods()
    attempt.start(*until(attempt.directory / "done"))
    attempt.kill_lock()
    (attempt.shared / "go").unlink()
    attempt.start_lock()
    attempt.wait_file("go")
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == 0
    assert database.rows() == [(1, "1", "succeeded", 0)]


def test_lock_killed_after_recording(pods, database) -> None:
    attempt = pods()
    attempt.start(*until(attempt.directory / "done"))
    attempt.kill_lock()
    (attempt.directory / "done").touch()
    attempt.wait_file("exit")
    database.execute("UPDATE schemahold.ledger SET state = 'succeeded', exit_code = 0")  # committed, no file
    attempt.start_lock()
    assert attempt.end().migrate == 0
    assert database.rows() == [(1, "1", "succeeded", 0)]


def test_pod_whose_files_are_gone_does_not_start_again(pods) -> None:
    first = pods()
    first.start("/bin/sh", "-c", "exec sleep 60")
    first.kill_lock()
    second = pods()
    second.environment["SCHEMAHOLD_POD_UID"] = first.uid
    ended = second.run("/bin/true")
    assert ended.gate_report.reason is Reason.ALREADY_STARTED


# --- unknown, and a person's answer -----------------------------------------------------------------------------------


@pytest.fixture
def unknown(pods, database):
    """Row 1 of version 1 is unknown."""
    attempt = pods()
    attempt.start("/bin/sh", "-c", "exec sleep 60")
    attempt.kill_lock()
    attempt.migrate.kill()
    database.execute("UPDATE schemahold.ledger SET state = 'unknown', note = 'no word'")


@pytest.mark.parametrize("answer", ["", "2 retry wrong row", "1 perhaps", "retry"])
def test_unknown_refuses_without_an_answer(pods, unknown, database, answer) -> None:
    ended = pods(version="2", answer=answer, token="new").run("/bin/true")
    assert (ended.gate_report.reason, ended.gate_report.row) == (Reason.OUTCOME_UNKNOWN, 1)
    assert database.rows("state") == [("unknown",)]


def test_answer_retry_ends_recorded_backends_and_starts(pods, database) -> None:
    attempt = pods()
    attempt.start("/bin/sh", "-c", "exec sleep 60")
    with database.connect() as mine, database.connect() as bystander:
        eventually(lambda: len(database.rows("sessions")[0][0]) == 2)
        attempt.kill_lock()
        attempt.migrate.kill()
        eventually(lambda: not lock_backends(database))
        # The bystander is a later session with the same pid: its recorded start differs.
        database.execute(
            "UPDATE schemahold.ledger SET state = 'unknown', sessions = (SELECT jsonb_agg(CASE WHEN s->>'pid' ="
            f" '{bystander.info.backend_pid}' THEN s || '{{\"backend_start\": \"2020-01-01T00:00:00.000000Z\"}}' ELSE s END)"
            " FROM jsonb_array_elements(sessions) s)"
        )
        asked = pods(version="2").run("/bin/true")
        assert asked.gate_report.backends == 1
        ended = pods(answer="1 retry checked by hand", answered_by="alice").run("/bin/true")
        assert ended.migrate == 0
        bystander.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            mine.execute("SELECT 1")
    rows = database.rows("state, answer, answered_by, answered_reason, answered_at IS NOT NULL")
    assert rows == [("superseded", "retry", "alice", "checked by hand", True), ("succeeded", "", "", "", False)]


def test_answer_applied(pods, unknown, database) -> None:
    ended = pods(answer="1 applied the table is there", answered_by="bob").run("/bin/true")
    assert (ended.gate_report.reason, ended.gate_report.row) == (Reason.ALREADY_APPLIED, 1)
    assert database.rows("state, answer, answered_by") == [("succeeded", "applied", "bob")]
    assert pods(version="2").run("/bin/true").migrate == 0


def test_run_that_was_given_up_while_it_lived(pods, database) -> None:
    attempt = pods()
    attempt.start(*until(attempt.directory / "done"))
    database.execute("UPDATE schemahold.ledger SET state = 'unknown'")
    eventually(lambda: "given this run up" in attempt.text("lock.out"))
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == 79
    assert database.rows() == [(1, "1", "unknown", 0)]


# --- no way in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "reason", "says"),
    [
        (lambda d: d.url(password="wr0ng"), Reason.DATABASE_UNREACHABLE, "password authentication failed"),
        (lambda d: d.url().replace(d.name, "nothere"), Reason.DATABASE_UNREACHABLE, "nothere"),
        (lambda d: d.url().replace("127.0.0.1", "no-such-host.invalid"), Reason.DATABASE_UNREACHABLE, "no connection"),
        (lambda d: d.url(port=1), Reason.DATABASE_UNREACHABLE, "refused"),
        (lambda _: "mysql://u:s3cret@h/db", Reason.DATABASE_URL_INVALID, "mysql"),
        (lambda _: "", Reason.DATABASE_URL_INVALID, "empty"),
    ],
    ids=["password", "database", "host", "port", "scheme", "empty"],
)
def test_no_connection(pods, database, url, reason, says) -> None:
    ended = pods(url(database), lock_timeout=1).run("/bin/true", within=15)
    assert (ended.gate, ended.gate_report.reason) == (1, reason)
    assert says in ended.gate_report.message
    everything = ended.gate_log + ended.lock_log + ended.gate_report.to_json()
    assert "wr0ng" not in everything
    assert "s3cret" not in everything


def test_role_without_rights_gets_the_sql_for_a_dba(pods, database) -> None:
    database.execute(f"ALTER DATABASE {database.name} OWNER TO postgres")
    message = pods().run("/bin/true").gate_report.message
    assert "CREATE SCHEMA" in message
    with database.admin() as admin:
        for statement in message.partition("with: ")[2].partition("--")[0].strip().split(";"):
            if statement.strip():
                admin.execute(statement)
    assert pods().run("/bin/true").migrate == 0


def test_second_role_gets_the_grants(pods, database) -> None:
    pods().run("/bin/true")
    with database.admin() as admin:
        admin.execute(f"CREATE ROLE second_{database.name} LOGIN PASSWORD 'p'")
    url = database.url().replace(f"{database.role}:{database.password}", f"second_{database.name}:p")
    report = pods(url, version="2").run("/bin/true").gate_report
    assert report.reason is Reason.LEDGER_FORBIDDEN
    with database.admin() as admin:
        for statement in report.message.partition("with: ")[2].split(";"):
            if statement.strip():
                admin.execute(statement)
    assert pods(url, version="2").run("/bin/true").migrate == 0
    with database.admin() as admin:
        admin.execute(f"DROP OWNED BY second_{database.name}")
        admin.execute(f"DROP ROLE second_{database.name}")


def test_standby(pods, database) -> None:
    database.server.as_standby()
    try:
        assert pods().run("/bin/true").gate_report.reason is Reason.DATABASE_STANDBY
    finally:
        database.server.promote()


def test_password_file_is_read_at_every_connect(pods, database, proxy, tmp_path) -> None:
    path = tmp_path / "token"
    path.write_text("old\n")
    database.execute(f"ALTER ROLE {database.role} PASSWORD 'old'")
    url = f"postgresql://{database.role}@127.0.0.1:{proxy.port}/{database.name}"
    attempt = pods(url, password_file=str(path))
    attempt.start(*until(attempt.directory / "done"))
    proxy.cut()
    database.execute(f"ALTER ROLE {database.role} PASSWORD 'new'")
    path.write_text("new\n")
    proxy.restore()
    (attempt.directory / "done").touch()
    assert attempt.end().migrate == 0


def test_start_timeout_frees_the_lock(pods, database) -> None:
    attempt = pods(start_timeout=0.5)
    attempt.start_lock()
    attempt.wait_file("refused")
    eventually(lambda: not lock_backends(database))
    attempt.start_gate().wait(20)
    attempt.start_migrate("/bin/true")
    ended = attempt.end()
    assert (ended.migrate, ended.lock_report.reason) == (79, Reason.START_TIMEOUT)
    assert database.rows() == []
