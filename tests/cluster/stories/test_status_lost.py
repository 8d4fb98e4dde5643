"""Status is a convenience: lost, wrong or started over, nothing runs twice and nothing goes out that is not applied."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.stories import runs
from tests.cluster.stories.stage import Json, Stage, filmed, journal, migration, shop

# What a careless tool might leave: it claims that v2 is applied and out, and counts from somewhere else.
NONSENSE: Json = {
    "observedGeneration": 99,
    "version": "v7",
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 99,
            "lastTransitionTime": "2020-01-01T00:00:00Z",
            "reason": "Nonsense",
            "message": "all is well",
        }
    ],
    "attempt": {
        "number": 40,
        "job": "no-such-job",
        "version": "v2",
        "reason": "Applied",
        "startedAt": "2020-01-01T00:00:00Z",
        "finishedAt": "2020-01-01T00:00:01Z",
    },
    "history": [{"version": "v2", "outcome": "Applied", "row": 4711}, {"version": "v3", "outcome": "Applied", "row": 4712}],
    "released": {"version": "v3"},
    "held": [{"deployment": "ghost", "version": "v7"}],
    "heldCount": 1,
    "outcome": {"row": 4713, "version": "v9"},
}


def _losses(here: Stage, older: Json) -> Iterator[str]:
    """Status wiped, replaced by nonsense, and put back to what a backup of the time before had."""
    for what, status in {"wiped": None, "nonsense": NONSENSE, "older": older}.items():
        runs.replace_status(here, status)
        yield what


def _after_v1(here: Stage) -> Json:
    """v1 is applied and out; the status of then."""
    runs.applied(here, "v1")
    return here.status()


def test_while_applied(here: Stage) -> None:
    older = _after_v1(here)
    runs.applied(here, "v2")
    for what in _losses(here, older):
        here.await_reason("Applied")
        assert (here.status()["version"], here.status().get("heldCount", 0)) == ("v2", 0), what
        assert here.condition("Migrated")["status"] == "True"
    runs.replace_status(here, None)
    here.await_reason("Applied")
    # Nothing remembers v1 any more, so the way back to it asks the ledger.
    here.apply(shop("v1"), migration("v1", journal()))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "end", "start", "end"]
    assert runs.states(here) == ["succeeded", "succeeded"]


def test_while_failed(here: Stage) -> None:
    older = _after_v1(here)
    with filmed(here) as film:
        here.apply(shop("v2"), migration("v2", journal(0, 3)))
        here.await_reason("MigrationFailed")
        for what in _losses(here, older):
            # From a gate; or from the Job itself, if its end has not been counted yet.
            here.await_reason("AlreadyFailed", "MigrationFailed")
            assert here.status()["attempt"]["exitCode"] == 3, what
            assert here.condition("Stalled")["status"] == "True"
            assert here.status()["held"] == [{"deployment": "shop-api", "version": "v2"}]
        runs.nothing_starts(here, "v2")
        assert runs.said(here) == ["start", "end", "start", "end"]
        assert runs.states(here) == ["succeeded", "failed"]
        assert "v2" not in film.versions()


def test_while_unknown(here: Stage) -> None:
    older = _after_v1(here)
    with filmed(here) as film:
        row = runs.lose(here, "v2")
        known = here.status()["outcome"]
        for what in _losses(here, older):
            here.await_reason("OutcomeUnknown")
            assert here.status()["outcome"] == known, what
            assert here.condition("Stalled")["status"] == "True"
            assert f"{row['id']} retry <reason>" in here.message()
        runs.nothing_starts(here, "v2")
        assert runs.said(here) == ["start", "end", "start"]
        assert runs.states(here) == ["succeeded", "unknown"]
        assert "v2" not in film.versions()


def test_while_running(here: Stage) -> None:
    older = _after_v1(here)
    with filmed(here) as film:
        runs.begin(here, "v2")
        job = here.jobs()[-1]["metadata"]["name"]
        for what in _losses(here, older):
            here.await_reason("Running")
            here.until(f"status names the Job again ({what})", lambda: here.status().get("attempt", {}).get("job") == job)
        assert runs.said(here) == ["start", "end", "start"]
        assert "v2" not in film.versions()
    runs.let_go(here)
    here.await_reason("Applied")
    here.await_rollout("v2")
    assert runs.said(here) == ["start", "end", "start", "end"]
    assert runs.states(here) == ["succeeded", "succeeded"]
    assert len(here.jobs()) == 2, "another attempt was made beside the one that ran"


def test_created_again_after_success(here: Stage) -> None:
    runs.applied(here)
    here.run("delete", "schemamigration", "shop")
    here.apply(migration("v1", journal()))
    here.await_reason("Applied")
    assert len(here.starts()) == 1
    # With the Deployment as well, which is held like any new one: the ledger lets it out, and nothing runs.
    here.run("delete", "schemamigration/shop", "deployment/shop-api")
    here.apply(shop("v1"), migration("v1", journal()))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "end"]
    assert runs.states(here) == ["succeeded"]
    assert here.status()["attempt"]["reason"] == "AlreadyApplied"


def test_created_again_after_failure(here: Stage) -> None:
    here.apply(shop("v1"), migration("v1", journal(0, 3)))
    here.await_reason("MigrationFailed")
    here.run("delete", "schemamigration", "shop")
    here.apply(migration("v1", journal(0, 3)))
    here.await_reason("AlreadyFailed")
    assert here.status()["attempt"]["exitCode"] == 3
    runs.nothing_starts(here)
    assert runs.said(here) == ["start", "end"]
    assert runs.states(here) == ["failed"]


@pytest.mark.parametrize("way", ["waits", "finalizer"])
def test_created_again_while_it_runs(here: Stage, way: str) -> None:
    """Our finalizer keeps the old one until its run is over; a person who takes it away leaves the Job to the new one."""
    command = runs.waiting()
    runs.begin(here)
    again = migration("v1", command)
    if way == "waits":
        here.run("delete", "schemamigration", "shop", "--wait=false")
        code, words = here.kubectl("create", "-f", "-", stdin=again)
        assert code != 0, words  # the name is taken until the run is over
        assert "already exists" in words
        runs.let_go(here)
        here.run("wait", "--for=delete", "schemamigration/shop", "--timeout=60s")
        here.run("create", "-f", "-", stdin=again)
    else:
        here.run("delete", "schemamigration", "shop", "--wait=false")
        code, words = here.change("schemamigration/shop", {"metadata": {"finalizers": None}})
        assert code == 0, words
        here.until("the SchemaMigration is gone", lambda: here.get("schemamigration", "shop") is None)
        here.run("create", "-f", "-", stdin=again)
        here.until("status names the old Job", lambda: "of a deleted SchemaMigration" in here.message())
        runs.nothing_starts(here)
        runs.let_go(here)
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "end"]
    assert runs.states(here) == ["succeeded"]
