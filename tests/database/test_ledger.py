"""The ledger in SQL: its writes keep the table's laws, also when two sessions race."""

from __future__ import annotations

import pathlib
import threading
from collections.abc import Callable

import psycopg
import pytest

from schemahold.api import pod
from schemahold.api.pod import Reason
from schemahold.core import ledger as core
from schemahold.core.ledger import RowState
from schemahold.database import faults, ledger, session, urls

ASK = {"ledger_name": "ns/shop", "phase": "expand", "version": "1", "inputs": "i", "attempt": 1, "job": "shop-1"}


def ask(**more) -> pod.Ask:
    return pod.Ask(**{**ASK, **more})


@pytest.fixture
def sessions(database, tmp_path):
    made: list[session.Session] = []

    def connect(url: str | None = None) -> session.Session:
        target = urls.parse(url or database.url(), origin="x")
        made.append(session.connect(target, application_name="schemahold lock t", keys=pathlib.Path(tmp_path)))
        return made[-1]

    yield connect
    for each in made:
        each.close()


@pytest.fixture
def on(sessions):
    made = sessions()
    ledger.ensure(made)
    return made


def start(on: session.Session, uid: str, supersede: int | None = None, key: int = 7, **more) -> int | None:
    return ledger.start(
        on, ask(**more), pod_uid=uid, pod_name=uid, lock_key=key, supersede=supersede, server=on.facts.server
    )


def record(on, row, uid, state, code):
    return ledger.record(on, row=row, pod_uid=uid, state=state, exit_code=code, note="")


def look(on, uid="x", key=7, **more):
    return ledger.look(on, ask(**more), pod_uid=uid, lock_key=key)


def race(*calls: Callable[[], object]) -> list[object]:
    """All at once, each in a thread; their results."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int) -> None:
        barrier.wait()
        results[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


# --- making it --------------------------------------------------------------------------------------------------------


def test_made_once_by_many_at_once(sessions, database) -> None:
    several = [sessions() for _ in range(4)]
    for _ in range(3):
        found = race(*[lambda each=each: ledger.ensure(each) for each in several])
        assert found[0]
        assert len(set(found)) == 1
        database.execute("DROP SCHEMA schemahold CASCADE")


def test_expected_ledger(on, database) -> None:
    uuid = ledger.ensure(on)
    assert ledger.ensure(on, expected=uuid) == uuid
    for spoil in ("UPDATE schemahold.meta SET ledger = gen_random_uuid()", "DROP SCHEMA schemahold CASCADE"):
        database.execute(spoil)
        with pytest.raises(faults.Refused) as caught:
            ledger.ensure(on, expected=uuid)
        assert caught.value.reason is Reason.LEDGER_LOST
        assert uuid in caught.value.message


def test_newer_format_is_left_alone(on, database) -> None:
    database.execute("UPDATE schemahold.meta SET format = 99")
    with pytest.raises(faults.Refused, match="format 99"):
        ledger.ensure(on)


def test_every_column_is_documented(on, database) -> None:
    undocumented = database.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'schemahold.ledger'::regclass AND attnum > 1"
        " AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL"
    )
    assert undocumented == []


def test_create_schema_is_not_needed_when_it_exists(sessions, database) -> None:
    # [T] CREATE SCHEMA IF NOT EXISTS fails without CREATE on the database even if the schema exists.
    database.execute(f"CREATE SCHEMA schemahold AUTHORIZATION {database.role}")
    database.execute(f"ALTER DATABASE {database.name} OWNER TO postgres")
    assert ledger.ensure(sessions())


@pytest.mark.parametrize(
    "missing", ["USAGE ON SCHEMA schemahold", "UPDATE ON schemahold.ledger", "SELECT ON schemahold.meta"]
)
def test_missing_rights_are_named_with_the_sql(on, sessions, database, missing) -> None:
    role = f"narrow_{database.name}"
    with database.admin() as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
        admin.execute(f"GRANT USAGE ON SCHEMA schemahold TO {role}")
        admin.execute(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA schemahold TO {role}")
        admin.execute(f"REVOKE {missing} FROM {role}")
        try:
            narrow = sessions(database.url().replace(f"{database.role}:{database.password}", f"{role}:p"))
            with pytest.raises(faults.Refused) as caught:
                ledger.ensure(narrow)
            assert caught.value.reason is Reason.LEDGER_FORBIDDEN
            admin.execute(caught.value.message.partition("with: ")[2])
            assert ledger.ensure(narrow)
            assert start(narrow, "pod-n")  # INSERT into an identity column needs no right on its sequence
        finally:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


# --- starting ---------------------------------------------------------------------------------------------------------


def test_start_and_look(on) -> None:
    row_id = start(on, "pod-a", token="t")
    seen = look(on)
    [row] = seen.rows
    assert (row.id, row.state, row.version, row.token, row.pod_uid) == (row_id, RowState.RUNNING, "1", "t", "pod-a")
    assert row.server == on.facts.server
    assert core.beat_age(row, seen.now) < 5
    assert seen.server_started < seen.now
    assert seen.of_pod("pod-a") == row


@pytest.mark.parametrize(
    "second",
    [
        {"uid": "b"},
        {"uid": "b", "version": "2"},
        {"uid": "b", "ledger_name": "ns/other"},
        {"uid": "b", "key": 8},
        {"uid": "b", "key": 8, "phase": "contract"},
        {"uid": "a", "ledger_name": "ns/other", "key": 8},
    ],
    ids=["same", "version", "lock key", "name", "name in another phase", "pod"],
)
def test_a_second_start_is_refused_by_the_rows(on, second) -> None:
    assert start(on, "a")
    assert start(on, **second) is None


@pytest.mark.parametrize("state", ["succeeded", "unknown", "adopted"])
def test_no_start_over(on, database, state) -> None:
    start(on, "a")
    database.execute(f"UPDATE schemahold.ledger SET state = '{state}'")
    assert start(on, "b") is None


def test_a_failed_row_must_be_superseded(on, database) -> None:
    first = start(on, "a")
    record(on, first, "a", RowState.FAILED, 1)
    assert start(on, "b") is None
    second = start(on, "b", supersede=first)
    assert second
    assert database.rows("state") == [("superseded",), ("running",)]


def test_a_refused_start_supersedes_nothing(on, database) -> None:
    first = start(on, "a")
    record(on, first, "a", RowState.FAILED, 1)
    assert start(on, "other", ledger_name="ns/other")
    assert start(on, "b", supersede=first) is None  # the key's running row refuses it
    assert database.rows("state") == [("failed",), ("running",)]


@pytest.mark.parametrize(
    "differs",
    [{}, {"version": "2"}, {"ledger_name": "ns/other"}, {"key": 8}],
    ids=["same", "version", "name", "lock key"],
)
def test_of_two_starts_at_once_one_wins(sessions, on, database, differs) -> None:
    one, two = sessions(), sessions()
    for number in range(15):
        won = race(lambda n=number: start(one, f"a{n}"), lambda n=number: start(two, f"b{n}", **differs))
        assert [bool(each) for each in won].count(True) == 1
        database.execute("UPDATE schemahold.ledger SET state = 'superseded'")


def test_two_starts_that_supersede_the_same_row(sessions, on, database) -> None:
    one, two = sessions(), sessions()
    for number in range(10):
        first = start(on, f"f{number}")
        record(on, first, f"f{number}", RowState.FAILED, 1)
        won = race(
            lambda n=number, f=first: start(one, f"a{n}", supersede=f),
            lambda n=number, f=first: start(two, f"b{n}", supersede=f, key=8),
        )
        assert [bool(each) for each in won].count(True) == 1
        database.execute("UPDATE schemahold.ledger SET state = 'superseded'")


def test_no_start_after_a_success_that_was_quick(sessions, on, database) -> None:
    """Different lock keys, so no advisory lock parts them: one starts and succeeds while the other starts."""
    one, two = sessions(), sessions()

    def quick(number: int) -> None:
        row = start(one, f"a{number}")
        if row:
            record(one, row, f"a{number}", RowState.SUCCEEDED, 0)

    for number in range(30):
        race(lambda n=number: quick(n), lambda n=number: start(two, f"b{n}", key=8))
        rows = database.rows("state, pod_uid")
        assert len(rows) == 1, rows
        database.execute("DELETE FROM schemahold.ledger")


def test_the_check_is_made_after_the_other_start_is_over(sessions, on, database) -> None:
    """The interleaving itself: our start waits for another's transaction, which ends in a success."""
    import time

    waiting = sessions()
    with database.connect(autocommit=False) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (ledger._key("start/ns/shop"),))
        other.execute(
            "INSERT INTO schemahold.ledger (name, phase, version, state) VALUES ('ns/shop', 'expand', '1', 'succeeded')"
        )
        result: list[int | None] = []
        thread = threading.Thread(target=lambda: result.append(start(waiting, "b")))
        thread.start()
        deadline = time.monotonic() + 10
        while not database.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            assert time.monotonic() < deadline
        other.commit()
        thread.join(10)
    assert result == [None]


# --- running and ending -----------------------------------------------------------------------------------------------


def test_beat(on, database) -> None:
    row = start(on, "a")
    before = look(on).rows[0].beat_at
    assert ledger.beat(on, row=row, pod_uid="a") is RowState.RUNNING
    assert look(on).rows[0].beat_at > before
    assert ledger.beat(on, row=row, pod_uid="someone else") is None
    database.execute("UPDATE schemahold.ledger SET state = 'unknown'")
    assert ledger.beat(on, row=row, pod_uid="a") is RowState.UNKNOWN
    database.execute("DELETE FROM schemahold.ledger")
    assert ledger.beat(on, row=row, pod_uid="a") is None


def test_sessions_are_matched_whatever_the_time_zone(on, database, sessions) -> None:
    row = start(on, "a")
    database.execute(f"ALTER DATABASE {database.name} SET timezone = 'Asia/Kathmandu'")
    with database.connect(application_name="m") as migration:
        ledger.beat(sessions(), row=row, pod_uid="a")
        database.execute("UPDATE schemahold.ledger SET state = 'unknown'")
        assert [entry["pid"] for entry in ledger.sessions_of(on, row)] == [migration.info.backend_pid]
        assert look(on).rows[0].backends == 1
        assert ledger.end_backends(on, row) == 1


def test_sessions_of_other_roles_are_neither_noted_nor_ended(on, database) -> None:
    row = start(on, "a")
    with database.admin() as admin:
        ledger.beat(on, row=row, pod_uid="a")
        assert ledger.sessions_of(on, row) == []
        database.execute(
            "UPDATE schemahold.ledger SET sessions = (SELECT jsonb_agg(jsonb_build_object('pid', pid, 'client_addr',"
            " host(client_addr), 'client_port', client_port, 'backend_start', "
            + session.utc("backend_start")
            + f")) FROM pg_stat_activity WHERE pid = {admin.info.backend_pid})"
        )
        assert ledger.end_backends(on, row) == 0
        admin.execute("SELECT 1")


def test_record_is_safe_to_repeat(on, database) -> None:
    row = start(on, "a")
    assert record(on, row, "a", RowState.SUCCEEDED, 0) is RowState.SUCCEEDED
    assert record(on, row, "a", RowState.SUCCEEDED, 0) is RowState.SUCCEEDED
    assert record(on, row, "a", RowState.FAILED, 1) is RowState.SUCCEEDED
    assert database.rows("state, exit_code, finished_at IS NOT NULL") == [("succeeded", 0, True)]


def test_a_row_that_was_given_up_stays_unknown_and_learns_the_code(on, database) -> None:
    row = start(on, "a")
    assert ledger.turn_unknown(on, look(on).rows[0], "no beat")
    assert record(on, row, "a", RowState.SUCCEEDED, 0) is RowState.UNKNOWN
    assert database.rows("state, exit_code, note") == [("unknown", 0, "no beat")]


def test_turn_unknown_loses_against_a_beat(on) -> None:
    row = start(on, "a")
    seen = look(on).rows[0]
    ledger.beat(on, row=row, pod_uid="a")
    assert not ledger.turn_unknown(on, seen, "no beat")
    assert look(on).rows[0].state is RowState.RUNNING


def test_success_of_a_version_that_was_marked_by_hand_meanwhile(on, database) -> None:
    row = start(on, "a")
    database.execute(
        "INSERT INTO schemahold.ledger (name, phase, version, state) VALUES ('ns/shop', 'expand', '1', 'adopted')"
    )
    assert record(on, row, "a", RowState.SUCCEEDED, 0) is RowState.UNKNOWN


def test_withdraw(on) -> None:
    row = start(on, "a")
    ledger.withdraw(on, row=row, pod_uid="other")
    assert look(on).rows[0].state is RowState.RUNNING
    ledger.withdraw(on, row=row, pod_uid="a")
    assert start(on, "b")


def test_adopt_once(on, database) -> None:
    for _ in range(2):
        ledger.adopt(on, name="ns/shop", phase="expand", version="1")
    assert database.rows("version, state") == [("1", "adopted")]
    assert [row.state for row in look(on).rows] == [RowState.ADOPTED]
    assert [row.version for row in look(on, version="2").rows] == ["1"]  # the one applied last


def test_settle_only_what_is_unknown(on, database) -> None:
    row = start(on, "a")
    seen = look(on).rows[0]
    verdict = core.Settle(seen, RowState.SUCCEEDED, core.Answer(row=row, word="applied", reason="r"), False)
    assert ledger.settle(on, verdict, answered_by="x") == 0
    assert database.rows("state, answer") == [("running", "")]


def test_look_finds_what_judge_needs(on, database) -> None:
    database.execute(
        "INSERT INTO schemahold.ledger (name, phase, version, state, lock_key, pod_uid) VALUES"
        " ('ns/shop', 'expand', '0', 'failed', 7, 'f'),"
        " ('ns/shop', 'contract', '0', 'unknown', 7, 'u'),"
        " ('ns/shop', 'contract', '0', 'succeeded', 7, 's0'),"
        " ('ns/shop', 'expand', '1', 'succeeded', 7, 's1'),"
        " ('ns/shop', 'expand', '1b', 'succeeded', 7, 'not 1'),"
        " ('ns/shop', 'expand', '2', 'succeeded', 7, 'applied last'),"
        " ('ns/shop', 'contract', '1', 'succeeded', 7, 'floor'),"
        " ('ns/other', 'contract', '2', 'succeeded', 7, 'not 2'),"
        " ('ns/other', 'expand', '1', 'running', 7, 'r'),"
        " ('ns/other', 'contract', '1', 'running', 8, 'not 3'),"
        " ('ns/third', 'expand', '1', 'unknown', 7, 'not 4'),"
        " ('ns/third', 'contract', '1', 'superseded', 7, 'mine')"
    )
    assert {row.pod_uid for row in look(on, uid="mine").rows} == {
        "f", "u", "s0", "s1", "r", "mine", "applied last", "floor",
    }  # fmt: skip


def test_a_contract_of_which_nothing_ran_is_no_floor(on, database) -> None:
    database.execute(
        "INSERT INTO schemahold.ledger (name, phase, version, state, pod_uid, note) VALUES"
        " ('ns/shop', 'contract', '1', 'succeeded', 'a', ''),"
        " ('ns/shop', 'contract', '2', 'superseded', 'b', 'told to stop before it had started; nothing ran')"
    )
    assert [row.version for row in look(on).rows] == ["1"]


def test_ledger_survives_logical_replication(on, database) -> None:
    # UPDATE on a published table needs a replica identity: the primary key.
    database.execute("CREATE PUBLICATION p FOR TABLE schemahold.ledger, schemahold.meta")
    row = start(on, "a")
    assert record(on, row, "a", RowState.FAILED, 1) is RowState.FAILED


def test_constraint_names_no_unknown_state(on, database) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute("INSERT INTO schemahold.ledger (name, phase, version, state) VALUES ('a', 'b', 'c', 'nonsense')")
