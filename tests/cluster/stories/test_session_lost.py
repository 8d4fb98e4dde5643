"""The lock's session dies while migrate runs: migrate goes on, and what it did is recorded once."""

from __future__ import annotations

import pytest

from tests.cluster.stories import runs
from tests.cluster.stories.stage import Stage, journal, migration, shop

OF_LOCK = "datname = current_database() and application_name like 'schemahold lock %'"


def _lock_session(here: Stage) -> str:
    """pid of the lock session that holds the advisory lock, "" for none."""
    return here.sql(
        f"select a.pid from pg_stat_activity a join pg_locks l using (pid) where {OF_LOCK} and l.locktype = 'advisory'"
        " and l.granted limit 1"
    )


def _terminate(here: Stage) -> str:
    """Ends it; the pid that it had."""
    pid = here.until("lock has a session", lambda: _lock_session(here))
    assert here.sql(f"select pg_terminate_backend({pid})") == "t"
    return str(pid)


def _await_next_session(here: Stage, old: str) -> None:
    here.until("lock has a new session and the lock", lambda: _lock_session(here) not in ("", old))
    [row] = [one for one in here.ledger() if one["state"] == "running"]
    here.until(
        "it beats",
        lambda: here.sql(f"select beat_at > '{row['beat_at']}' from schemahold.ledger where id = {row['id']}") == "t",
    )


@pytest.mark.parametrize("code", [0, 3], ids=["succeeds", "fails"])
def test_lock_session_terminated(here: Stage, code: int) -> None:
    here.apply(shop("v1"), migration("v1", runs.waiting(code=code)))
    pod = runs.begun(here, 1)
    for _ in range(2):
        _await_next_session(here, _terminate(here))
    assert runs.said(here) == ["start"], "migrate was not left alone"
    runs.let_go(here)
    here.await_reason("MigrationFailed" if code else "Applied")
    assert runs.said(here) == ["start", "end"]
    [row] = here.ledger()
    assert (row["state"], row["exit_code"], row["pod_uid"]) == (
        "failed" if code else "succeeded",
        code,
        pod["metadata"]["uid"],
    )
    assert len(here.jobs()) == 1
    if code:
        assert here.is_held()
    else:
        here.await_rollout("v1")


def test_lock_session_terminated_at_the_end(here: Stage) -> None:
    """The session is gone just when the outcome is to be recorded."""
    runs.begin(here)
    runs.let_go(here)
    for _ in range(3):  # lock polls for the exit code ten times a second
        here.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {OF_LOCK}")
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "end"]
    assert runs.states(here) == ["succeeded"]
    assert len(here.jobs()) == 1


def test_another_waits_and_gets_the_lock_first(here: Stage) -> None:
    """A second migration of the same database gets the lock when the session dies: the row keeps it out."""
    runs.begin(here)
    other = {"urlFrom": {"secretKeyRef": {"name": "mate-db", "key": "url"}}}
    here.apply(
        here.secret("mate-db"),
        shop("v1", name="mate-api", migration="mate"),
        migration("v1", journal(), name="mate", database=other, lock={"timeout": "120s"}),
    )
    here.until("its lock waits", lambda: here.sql(f"select count(*) from pg_stat_activity where {OF_LOCK}") == "2")
    for _ in range(4):
        old = _terminate(here)
        here.until("someone has the lock again", lambda gone=old: _lock_session(here) not in ("", gone))
    here.steadily("only the first runs", lambda: len(here.starts()) == 1)
    runs.let_go(here)
    here.await_reason("Applied")
    here.await_reason("Applied", name="mate")
    assert runs.said(here) == ["start", "end", "start", "end"], "they ran at once"
    assert runs.states(here) == ["succeeded", "succeeded"]
    assert [len(here.jobs(name)) for name in ("shop", "mate")] == [1, 1]
