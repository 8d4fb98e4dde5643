"""A failing migration: nothing new starts, everyone is told why, and every way out of it leads out."""

from __future__ import annotations

import json

import pytest

from tests.cluster.stories.stage import Film, Json, Stage, deployment, filmed, migration, shop

OK = ("/no-shell", "exit", "0")
FAIL = ("/no-shell", "print", "the table is not empty", "3")
PASSWORD = "s3cret-of-the-warehouse"
# What a real tool leaves behind: much output, then the cause, with a URL that nobody should see again.
NOISY = (
    "sh",
    "-c",
    'for step in 1 2 3 4 5 6 7 8 9; do echo "step $step is done"; done; '
    'echo "cannot go on: $WAREHOUSE_URL refuses" >&2; echo "giving up"; exit 3',
)
# Fails until someone has mended the database.
IF_MENDED = (
    "python",
    "-c",
    "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL'], connect_timeout=60).execute('SELECT FROM mended')",
)


def _fail(here: Stage, version: str = "v1", **more: object) -> None:
    """Nothing runs yet, and the first migration fails."""
    here.apply(deployment(version), migration(version, FAIL, **more))
    here.await_reason("MigrationFailed")


def _run_v1(here: Stage) -> None:
    here.apply(deployment("v1"), migration("v1", OK))
    here.await_reason("Applied")
    here.await_rollout("v1")


def _states(here: Stage) -> list[tuple[str, str]]:
    return [(row["version"], row["state"]) for row in here.ledger()]


def _with_warehouse(made: Json) -> Json:
    [container] = made["spec"]["template"]["spec"]["containers"]
    reference = {"secretKeyRef": {"name": "warehouse", "key": "url"}}
    container["env"].append({"name": "WAREHOUSE_URL", "valueFrom": reference})
    return made


def _was_ready_throughout(film: Film, uid: str) -> bool:
    """From its first ready state on, at every state the watch has seen."""
    states = [pod["status"] for pod in film.states("pods") if pod["metadata"]["uid"] == uid]
    ready = [all(one["ready"] for one in state.get("containerStatuses") or [{"ready": False}]) for state in states]
    return True in ready and all(ready[ready.index(True) :])


def test_nothing_new_starts_and_everyone_is_told(here: Stage) -> None:
    with filmed(here) as film:
        here.apply(here.secret("warehouse", f"postgresql://stock:{PASSWORD}@warehouse:5432/stock?sslmode=require"))
        here.apply(_with_warehouse(shop("v1")), migration("v1", ("true",)))
        here.await_reason("Applied")
        here.await_rollout("v1")
        [old] = here.items("pods", "app=shop-api")

        here.apply(_with_warehouse(shop("v2")), migration("v2", NOISY))
        here.await_reason("MigrationFailed")

        here.steadily("it is not tried again by itself", lambda: len(here.jobs()) == 2)
        assert film.versions() == {"v1"}, here.describe("shop")
        assert _was_ready_throughout(film, old["metadata"]["uid"]), here.describe("shop")
        assert [pod["metadata"]["uid"] for pod in here.items("pods", "app=shop-api")] == [old["metadata"]["uid"]]

    _shows_the_failure(here)
    _tells_both(here)
    assert _states(here) == [("v1", "succeeded"), ("v2", "failed")]
    assert here.ledger()[-1]["exit_code"] == 3


def _shows_the_failure(here: Stage) -> None:
    conditions = {one["type"]: one for one in here.status()["conditions"]}
    assert conditions["Stalled"]["status"] == "True"
    assert conditions["Stalled"]["reason"] == "MigrationFailed"
    for part in (
        "cannot go on: postgresql://***@warehouse:5432/stock?sslmode=require refuses",
        "giving up",
        "step 9 is done",
    ):
        assert part in conditions["Stalled"]["message"], conditions["Stalled"]
    assert {kind: conditions[kind]["status"] for kind in ("Ready", "Migrated", "Released")} == dict.fromkeys(
        ("Ready", "Migrated", "Released"), "False"
    )
    assert "Reconciling" not in conditions
    attempt = here.status()["attempt"]
    assert (attempt["exitCode"], attempt["reason"], attempt["version"]) == (3, "MigrationFailed", "v2")
    assert here.status()["held"] == [{"deployment": "shop-api", "version": "v2"}]
    assert here.is_held()
    here.until("the Deployment says it too", lambda: here.annotation("failed") == here.annotation("held") == "v2")
    written = [here.items(kind) for kind in ("schemamigrations", "deployments", "jobs", "events")]
    assert PASSWORD not in json.dumps(written)


def _tells_both(here: Stage) -> None:
    for about in ("shop", "shop-api"):
        [event] = here.until(f"an Event about {about}", lambda about=about: here.events("MigrationFailed", about))
        assert event["type"] == "Warning"
        assert "'v2'" in event["message"] and "giving up" in event["message"], event["message"]


def test_out_by_a_fixed_version(here: Stage) -> None:
    with filmed(here) as film:
        _fail(here)
        here.apply(deployment("v2"), migration("v2", OK))
        here.await_reason("Applied")
        here.await_rollout("v2")
        assert film.versions() == {"v2"}
    assert _states(here) == [("v1", "superseded"), ("v2", "succeeded")]
    assert here.annotation("held") == ""
    assert not here.condition("Stalled")


def test_out_by_another_command(here: Stage) -> None:
    """The version stays, so its inputs are what changed."""
    _fail(here)
    here.apply(migration("v1", OK))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert _states(here) == [("v1", "superseded"), ("v1", "succeeded")]
    assert here.status()["attempt"]["number"] == 2


def test_out_by_another_image(here: Stage) -> None:
    """The version stays and so does the command: the source's image is mended under the same version."""
    here.apply(shop("v1"), migration("v1", ("/no-shell", "exit", "0")))
    here.await_reason("MigrationFailed")
    assert here.status()["attempt"]["exitCode"] == 127
    here.apply(deployment("v1"))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert _states(here) == [("v1", "superseded"), ("v1", "succeeded")]


def test_out_by_retry_at(here: Stage) -> None:
    """Each new value is one more attempt; a value that was there before is none."""
    here.apply(shop("v1"), migration("v1", IF_MENDED))
    here.await_reason("MigrationFailed")
    assert 'relation "mended" does not exist' in here.condition("Stalled")["message"]

    here.annotate("schemamigration/shop", retry_at="once")
    here.until("the second attempt failed as well", lambda: _ended(here, 2) and here.reason() == "MigrationFailed")
    assert 'relation "mended" does not exist' in here.condition("Stalled")["message"]

    here.sql("create table mended (); grant select on mended to public")
    here.annotate("schemamigration/shop", retry_at="once")
    here.run("annotate", "schemamigration/shop", "somebody=looks")  # so that the operator looks again
    here.steadily("the same value again does nothing", lambda: len(here.jobs()) == 2)

    here.annotate("schemamigration/shop", retry_at="twice")
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert _states(here) == [("v1", "superseded"), ("v1", "superseded"), ("v1", "succeeded")]
    assert [row["token"] for row in here.ledger()] == ["", "once", "twice"]


def _ended(here: Stage, number: int) -> bool:
    attempt: Json = here.status().get("attempt") or {}
    return bool(attempt.get("number") == number and attempt.get("finishedAt"))


def test_out_by_rollback(here: Stage) -> None:
    """Back to what runs: released in the very write, without an attempt, and the pods never notice."""
    with filmed(here) as film:
        _run_v1(here)
        [old] = here.items("pods", "app=shop-api")
        here.apply(deployment("v2"), migration("v2", FAIL))
        here.await_reason("MigrationFailed")

        here.apply(deployment("v1"))
        back = here.get("deployment", "shop-api") or {}
        assert not back["spec"].get("paused"), back
        assert "schemahold.dev/held" not in back["metadata"]["annotations"], back

        here.apply(migration("v1", OK))
        here.await_reason("Applied")
        assert here.status()["version"] == "v1"
        assert "held" not in here.status()
        assert len(here.jobs()) == 2
        assert film.versions() == {"v1"}
    assert [pod["metadata"]["uid"] for pod in here.items("pods", "app=shop-api")] == [old["metadata"]["uid"]]


def test_log_tail_off(here: Stage) -> None:
    """The output stays in the log, and nowhere else."""
    _fail(here, run={"logTail": False})
    assert here.status()["attempt"]["exitCode"] == 3
    assert "exit code 3" in here.condition("Stalled")["message"]
    told = json.dumps([here.status(), here.items("events"), [pod["status"] for pod in here.attempt_pods()]])
    assert "the table is not empty" not in told
    assert here.run("logs", "job/shop-1") == "the table is not empty\n"


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [  # Kubernetes makes $ of $$ in every command
        (("migrate-the-shop", "--now"), 127, "migrate-the-shop: not found in PATH"),
        (("sh", "-c", "echo too much memory; kill -KILL $$$$"), 137, "too much memory"),
    ],
    ids=["command-not-found", "killed"],
)
def test_exit_codes_of_the_shell(here: Stage, command: tuple[str, ...], code: int, says: str) -> None:
    with filmed(here) as film:
        here.apply(shop("v1"), migration("v1", command))
        here.await_reason("MigrationFailed")
        assert film.versions() == set()
    assert here.status()["attempt"]["exitCode"] == code
    assert says in here.condition("Stalled")["message"]
    assert [(row["state"], row["exit_code"]) for row in here.ledger()] == [("failed", code)]
    [pod] = here.attempt_pods()
    [migrate] = pod["status"]["containerStatuses"]
    assert migrate["state"]["terminated"]["exitCode"] == code
