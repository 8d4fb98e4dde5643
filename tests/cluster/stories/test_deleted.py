"""Something is deleted while migrate runs: status and ledger say what is true, and nothing runs again by itself."""

from __future__ import annotations

import datetime

import pytest

from tests.cluster.stories import runs
from tests.cluster.stories.stage import Json, Stage, deployment, migration, shop

STALE_AFTER = 8  # seconds, as tests.cluster.prepare installs it


def _says_how_it_failed(here: Stage) -> None:
    """Status and ledger agree that the run was stopped by SIGTERM."""
    here.await_reason("MigrationFailed", "AlreadyFailed")
    [row] = here.ledger()
    assert (row["state"], row["exit_code"]) == ("failed", 143)
    attempt = here.status()["attempt"]
    assert (attempt["exitCode"], attempt["row"], attempt["version"]) == (143, row["id"], "v1")
    assert here.condition("Stalled")["status"] == "True"
    assert "143" in here.message() or attempt["reason"] == "MigrationFailed"


@pytest.mark.parametrize("kind", ["pod", "job"])
def test_stopped_while_it_runs(here: Stage, kind: str) -> None:
    """SIGTERM reaches migrate first, and lock lives to record how that ended; the Job's deletion deletes its pod."""
    mate = _idle_mate(here)
    pod = runs.begin(here)
    name = pod["metadata"]["name"] if kind == "pod" else here.jobs()[0]["metadata"]["name"]
    here.run("delete", kind, name, "--cascade=background", "--wait=false")
    _says_how_it_failed(here)
    assert runs.said(here) == ["start", "terminated"]
    runs.nothing_starts(here)
    assert _idle_mate(here) == mate, "another pod of the namespace was touched"


def test_job_deleted_and_its_pod_left(here: Stage) -> None:
    """`--cascade=orphan`: the pod goes on, and it has the verdict."""
    runs.begin(here)
    job = here.jobs()[0]["metadata"]["name"]
    here.run("delete", "job", job, "--cascade=orphan")
    here.until("the Job is gone", lambda: here.get("job", job) is None)
    assert here.reason() == "Running"
    runs.let_go(here)
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "end"]
    assert runs.states(here) == ["succeeded"]


def test_pod_deleted_by_force(here: Stage) -> None:
    """No word comes: nobody can know what it did, and that is said once its beats have stopped for long enough."""
    mate = _idle_mate(here)
    row = runs.lose(here)
    assert (row["state"], row["exit_code"]) == ("unknown", None)
    assert _seconds(row, "beat_at", "finished_at") >= STALE_AFTER, "it was given up too soon"
    assert runs.said(here) == ["start"]
    assert here.status()["outcome"]["row"] == row["id"]
    runs.nothing_starts(here)
    assert runs.states(here) == ["unknown"]
    assert _idle_mate(here) == mate


def test_pod_deleted_by_force_while_it_listens(here: Stage) -> None:
    """The kubelet gives such a pod a second: whichever comes of it, status says what the ledger says."""
    runs.kill(here, runs.begin(here))
    reason = here.await_reason("MigrationFailed", "AlreadyFailed", "OutcomeUnknown")
    [row] = here.ledger()
    assert row["state"] == ("unknown" if reason == "OutcomeUnknown" else "failed")
    assert here.status()["attempt"].get("exitCode") == row["exit_code"]
    assert here.status()["attempt"]["row"] == row["id"]
    runs.nothing_starts(here)
    assert runs.said(here)[0] == "start"
    assert runs.said(here).count("start") == 1


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_migration_deleted(here: Stage, cascade: str) -> None:
    """It waits for its run; another one beside it runs on; created again it finds what was done."""
    runs.begin(here)
    other = {"urlFrom": {"secretKeyRef": {"name": "mate-db", "key": "url"}}}
    here.apply(
        here.secret("mate-db"),
        shop("v1", name="mate-api", migration="mate"),
        migration("v1", runs.waiting(), name="mate", database=other, lock={"timeout": "20s", "name": "mate"}),
    )
    runs.begun(here, 2, name="mate")
    job = here.jobs()[0]
    here.run("delete", "schemamigration", "shop", f"--cascade={cascade}", "--wait=false")

    def waits() -> bool:
        found = here.get("schemamigration", "shop")
        alive = here.get("job", job["metadata"]["name"])
        return bool(found and alive and "deletionTimestamp" not in alive["metadata"])

    here.steadily("the SchemaMigration waits, and its Job lives", waits)
    meta = (here.get("schemamigration", "shop") or {})["metadata"]
    assert "deletionTimestamp" in meta
    assert "schemahold.dev/running" in meta["finalizers"]
    assert runs.said(here) == ["start", "start"]

    runs.let_go(here)
    here.until("the SchemaMigration is gone", lambda: here.get("schemamigration", "shop") is None)
    here.until("and its Job with it", lambda: here.get("job", job["metadata"]["name"]) is None)
    here.await_reason("Applied", name="mate")
    here.await_rollout("v1", "mate-api")
    assert runs.said(here) == ["start", "start", "end", "end"]
    assert runs.states(here) == ["succeeded", "succeeded"]
    assert here.is_held(), "what is deleted releases nothing"
    assert here.pod_versions() == set()

    here.apply(migration("v1", runs.waiting()))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert len(here.starts()) == 2
    assert len(here.jobs("mate")) == 1


def _idle_mate(here: Stage) -> list[tuple[str, int]]:
    """A Deployment that has nothing to do with us: its pods' uids and restarts."""
    if here.get("deployment", "mate") is None:
        here.apply(deployment("v1", name="mate", migration=None))
        here.run("rollout", "status", "deployment/mate", "--timeout=60s")
    pods: list[Json] = here.items("pods", "app=mate")
    return [(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in pods]


def _seconds(row: Json, begin: str, end: str) -> float:
    times = [datetime.datetime.fromisoformat(row[key]) for key in (begin, end)]
    return (times[1] - times[0]).total_seconds()
