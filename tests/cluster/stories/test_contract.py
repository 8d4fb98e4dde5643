"""The contract: it waits for the last old pod, and what it took away nobody can go back to by accident."""

from __future__ import annotations

import datetime

import pytest

from tests.cluster.stories import columns, runs
from tests.cluster.stories.columns import DROP, LAST, NEVER, NOW, V1, V2
from tests.cluster.stories.stage import (
    UNTIL_TOLD,
    Film,
    Json,
    Stage,
    config_map,
    deployment,
    filmed,
    journal,
    migration,
    shop,
    sql_migration,
)

IN_IMAGE: Json = {"directory": "/app/migrations"}


def _customers(version: str, linger: int = 0) -> Json:
    """The example, whose v1 reads the column.  ``linger``: seconds that a pod takes to go, still serving."""
    container: Json = {
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 10}
    }
    if linger:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": linger}}}
    command = ("python", "-m", "customers.server")
    return deployment(
        version,
        image=f"customers:{version}",
        command=command,
        env={"DRAIN_SECONDS": "0"},
        container=container,
        terminationGracePeriodSeconds=60 if linger else 2,
    )


def _removed(here: Stage, **spec: object) -> None:
    """v1, v2, and v2's contract is done."""
    columns.release(here, "v1", V1, contract={"after": NOW}, **spec)
    columns.release(here, "v2", V2, contract={"after": NOW}, **spec)
    columns.contracted(here)


def _contracts(here: Stage) -> list[Json]:
    return [job for job in here.jobs() if job["metadata"]["labels"]["schemahold.dev/phase"] == "contract"]


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


# The wait


def test_the_drop_waits_for_the_last_old_pod(here: Stage) -> None:
    """v1's pod is on its way out and still serves; v2 has long been rolled out."""
    spec = {"sql": IN_IMAGE, "contract": {"after": NOW}}
    here.apply(_customers("v1", linger=15), sql_migration("v1", **spec))
    columns.out(here, "v1")
    [old] = here.items("pods", "app=shop-api")
    with filmed(here, "pods", "jobs") as film:
        here.apply(_customers("v2"), sql_migration("v2", **spec))
        waits = columns.contracted(here, "WaitingForPods")
        assert f"'{old['metadata']['name']}' (version 'v1', terminating)" in waits["message"]
        assert (here.reason(), here.condition("Ready")["status"]) == ("Applied", "True")
        assert _contracts(here) == [] and columns.is_there(here)

        columns.contracted(here)
        [job] = _contracts(here)
        ended = film.moment("pods", old["metadata"]["uid"], _is_over)
        assert ended < film.moment("jobs", job["metadata"]["uid"]), "the Job was made while v1 ran"
        assert _ended_at(film, old) <= _time(here.ledger()[-1]["started_at"])
        assert _stayed_ready(film, "v2")
    assert not columns.is_there(here)
    assert columns.rows(here) == [
        ("v1", "expand", "succeeded"),
        ("v2", "expand", "succeeded"),
        ("v2", "contract", "succeeded"),
    ]
    assert here.files() == [("0001_customers.sql", "expand", "v1"), (LAST, "contract", "v2")]
    for about in ("shop", "shop-api"):
        here.until(f"an Event about {about}", lambda about=about: here.events("ContractSucceeded", about))


def _is_over(pod: Json) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _ended_at(film: Film, pod: Json) -> datetime.datetime:
    """When its container ended, as the kubelet says in the pod's last state."""
    last = [one for one in film.states("pods") if one["metadata"]["uid"] == pod["metadata"]["uid"]][-1]
    return _time(last["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"])


def _stayed_ready(film: Film, version: str) -> bool:
    """From their first ready state on, at every state that the watch has seen."""
    by_pod: dict[str, list[bool]] = {}
    for pod in film.states("pods"):
        labels, notes = pod["metadata"]["labels"], pod["metadata"].get("annotations") or {}
        if labels.get("app") == "shop-api" and notes.get("schemahold.dev/version") == version:
            ready = all(one["ready"] for one in pod["status"].get("containerStatuses") or [{"ready": False}])
            by_pod.setdefault(pod["metadata"]["uid"], []).append(ready)
    return bool(by_pod) and all(True in states and all(states[states.index(True) :]) for states in by_pod.values())


def test_approval(here: Stage) -> None:
    """It waits for a person, who names the version."""
    spec = {"contract": {"after": NOW, "approval": "Manual"}}
    columns.release(here, "v1", V1, **spec)
    columns.release(here, "v2", V2, **spec)
    assert "schemahold.dev/approve-contract: 'v2'" in columns.contracted(here, "WaitingForApproval")["message"]
    assert here.annotate("schemamigration/shop", approve_contract="v1")[0] == 0
    here.steadily("v1's approval is not v2's", lambda: not _contracts(here) and columns.is_there(here))

    assert here.annotate("schemamigration/shop", approve_contract="v2")[0] == 0
    columns.contracted(here)
    assert not columns.is_there(here)


def test_a_version_that_arrives_first_skips_it(here: Stage) -> None:
    """Nothing is lost: the file is applied by the next contract, in its order."""
    columns.release(here, "v1", V1)
    columns.release(here, "v2", V2, contract={"after": NEVER})
    columns.contracted(here, "Soaking")
    third = {**V2, "0003_email.sql": "ALTER TABLE customers ADD COLUMN email text;\n"}
    columns.release(here, "v3", third, contract={"after": NEVER})
    for about in ("shop", "shop-api"):
        [event] = here.until(f"an Event about {about}", lambda about=about: here.events("ContractSkipped", about))
        assert event["type"] == "Normal" and "'v2'" in event["message"]
    columns.contracted(here, "Soaking")
    assert columns.is_there(here) and _contracts(here) == []

    here.apply(sql_migration("v3", contract={"after": NOW}))
    columns.contracted(here)
    assert not columns.is_there(here) and columns.is_there(here, "email")
    assert here.files()[-2:] == [("0003_email.sql", "expand", "v3"), (LAST, "contract", "v3")]
    assert columns.rows(here)[-1] == ("v3", "contract", "succeeded")
    assert len(_contracts(here)) == 1


# The way back


def test_back_before_the_contract_is_released_at_once(here: Stage) -> None:
    """And forward again, which asks the ledger, runs nothing twice, and ends in the contract."""
    columns.release(here, "v1", V1, contract={"after": NEVER})
    columns.release(here, "v2", V2, contract={"after": NEVER})
    columns.contracted(here, "Soaking")
    before = here.jobs()
    columns.release(here, "v1", V1, contract={"after": NEVER})
    assert [job["metadata"]["uid"] for job in here.jobs()] == [job["metadata"]["uid"] for job in before]
    assert columns.is_there(here)

    columns.release(here, "v2", V2, contract={"after": NOW})
    columns.contracted(here)
    assert [row[:2] for row in columns.rows(here)] == [("v1", "expand"), ("v2", "expand"), ("v2", "contract")]


@pytest.mark.parametrize("lost", ["status", "resource"])
def test_back_after_the_contract_stays_held(here: Stage, lost: str) -> None:
    """By the ledger alone, whatever became of the status or of the resource; v2's pods serve."""
    _removed(here)
    known = columns.rows(here)
    with filmed(here, "pods") as film:
        _lose(here, lost, "v2")
        here.await_reason("Applied")
        columns.apply(here, "v1", V1)
        _is_refused(here, film)
        _lose(here, lost, "v1")
        _is_refused(here, film)
    assert columns.rows(here) == known

    columns.release(here, "v2", V2)  # its pods never stopped
    assert here.pod_versions() == {"v2"}


def _lose(here: Stage, what: str, version: str) -> None:
    if what == "status":
        runs.replace_status(here, None)
    else:
        here.run("delete", "schemamigration", "shop")
        here.apply(sql_migration(version))


def _is_refused(here: Stage, film: Film) -> None:
    here.await_reason("Incompatible")
    assert "the oldest version to go to is 'v2'" in here.message()
    assert "schemahold.dev/break-glass" in here.message()
    assert here.condition("Stalled")["reason"] == "Incompatible"
    assert here.is_held() and here.annotation("held") == "v1"
    seen = {pod["metadata"]["uid"] for pod in film.states("pods") if pod["metadata"]["labels"].get("app") == "shop-api"}
    assert here.pod_versions() == {"v2"} and len(seen) == 1, "a pod of v1, or a new one of v2"


def test_break_glass_gets_past_it(here: Stage) -> None:
    """At its own risk: the old code meets a table without its column, never gets ready, and v2's pod stays."""
    spec = {"sql": IN_IMAGE, "contract": {"after": NOW}}
    for version in ("v1", "v2"):
        here.apply(_customers(version), sql_migration(version, **spec))
        columns.out(here, version)
    columns.contracted(here)
    here.apply(_customers("v1"), sql_migration("v1", **spec))
    here.await_reason("Incompatible")

    code, said = here.annotate("deployment/shop-api", break_glass="v2 eats orders, INC-8")
    assert code == 0, said
    here.until("v1 says what it misses", lambda: 'column "legacy_name" does not exist' in _log_of(here, "v1"))
    assert not here.is_held() and here.pod_versions() == {"v1", "v2"}
    assert [pod["status"]["containerStatuses"][0]["ready"] for pod in _pods(here, "v2")] == [True]

    here.apply(_customers("v2"), sql_migration("v2", **spec))
    columns.out(here, "v2")
    assert [row[:2] for row in columns.rows(here)] == [("v1", "expand"), ("v2", "expand"), ("v2", "contract")]


def _pods(here: Stage, version: str) -> list[Json]:
    pods = here.items("pods", "app=shop-api")
    return [pod for pod in pods if pod["metadata"]["annotations"]["schemahold.dev/version"] == version]


def _log_of(here: Stage, version: str) -> str:
    return "".join(here.log(pod["metadata"]["name"], "api") for pod in _pods(here, version))


# Failing


def _fail(here: Stage) -> Json:
    """v1 and v2, and v2's contract fails, for a view needs the column; the pod of v2."""
    columns.release(here, "v1", V1, contract={"after": NOW})
    here.sql("create view labels as select legacy_name from customers")
    columns.release(here, "v2", V2, contract={"after": NOW})
    [pod] = _pods(here, "v2")
    here.await_reason("ContractFailed")
    return pod


def test_a_failed_contract_disturbs_nothing_and_is_run_again_on_demand(here: Stage) -> None:
    pod = _fail(here)
    stalled = here.condition("Stalled")
    for part in ("column legacy_name of table customers", LAST, "schemahold.dev/retry-at"):
        assert part in stalled["message"], stalled
    assert here.condition("Contracted")["status"] == "False"
    found = here.get("deployment", "shop-api") or {}
    assert not found["spec"].get("paused") and here.annotation("failed") == here.annotation("held") == ""
    for about in ("shop", "shop-api"):
        [event] = here.until(f"an Event about {about}", lambda about=about: here.events("ContractFailed", about))
        assert event["type"] == "Warning"
    here.run("annotate", "schemamigration/shop", "somebody=looks")  # so that the operator looks again
    here.steadily("it is not tried again by itself", lambda: len(_contracts(here)) == 1)
    assert _is_alive(here, pod) and columns.is_there(here)

    here.sql("drop view labels")
    here.retry("mended")
    columns.contracted(here)
    here.await_reason("Applied")
    assert not columns.is_there(here) and _is_alive(here, pod)
    assert columns.rows(here)[2:] == [("v2", "contract", "superseded"), ("v2", "contract", "succeeded")]


def _is_alive(here: Stage, pod: Json) -> bool:
    """It is the only one, and its container was never started again."""
    found = here.items("pods", "app=shop-api")
    same = [one["metadata"]["uid"] for one in found] == [pod["metadata"]["uid"]]
    return same and [one["restartCount"] for one in found[0]["status"]["containerStatuses"]] == [0]


@pytest.mark.parametrize("way", ["version", "files"])
def test_out_of_a_failed_contract(here: Stage, way: str) -> None:
    """By the next version, or by mending the file of this one: nobody has to ask."""
    _fail(here)
    mended = {**V1, LAST: "DROP VIEW labels;\n" + DROP}
    if way == "version":
        columns.release(here, "v3", mended, contract={"after": NOW})
    else:
        here.apply(config_map(mended))
    columns.contracted(here)
    here.await_reason("Applied")
    assert not columns.is_there(here)
    version = "v3" if way == "version" else "v2"
    assert here.files()[-1] == (LAST, "contract", version)
    assert columns.rows(here)[-1] == (version, "contract", "succeeded")
    assert ("v2", "contract", "superseded") in columns.rows(here)


# With a tool of one's own


def _by_hand(version: str, contract: Json) -> tuple[Json, Json]:
    return shop(version), migration(version, journal(), contract={"after": NOW, **contract})


def test_a_command(here: Stage) -> None:
    """`spec.run` and `contract.run`: two commands, one journal, one ledger."""
    told: Json = {"run": {"command": ["sh", "-c", "JOURNAL_WHO=contract python -m shop.journal run 0"]}}
    here.apply(*_by_hand("v1", told))
    columns.out(here, "v1")
    columns.contracted(here)
    assert [(row["who"] == "contract", row["event"]) for row in here.rows("select * from journal order by id")] == [
        (False, "start"),
        (False, "end"),
        (True, "start"),
        (True, "end"),
    ]
    assert columns.rows(here) == [("v1", "expand", "succeeded"), ("v1", "contract", "succeeded")]


def test_a_command_and_files_for_the_contract(here: Stage) -> None:
    """`spec.run` and `contract.sql`, from another ConfigMap."""
    here.sql(f"create table customers (legacy_name text); alter table customers owner to {here.database}")
    here.apply(config_map({LAST: DROP}, "shop-contract"), *_by_hand("v1", {"sql": {"configMaps": ["shop-contract"]}}))
    columns.out(here, "v1")
    columns.contracted(here)
    assert not columns.is_there(here)
    assert here.files() == [(LAST, "contract", "v1")] and runs.said(here) == ["start", "end"]


def test_while_it_runs_nobody_goes_anywhere(here: Stage) -> None:
    """What it takes away while it runs, the version that arrives may need: it waits, and then asks the ledger."""
    told: Json = {"run": {"command": [*UNTIL_TOLD], "gracePeriod": "10s"}}
    here.apply(*_by_hand("v1", {**told, "after": NEVER}))
    columns.out(here, "v1")
    here.apply(*_by_hand("v2", told))
    columns.out(here, "v2")
    columns.contracted(here, "Running")
    runs.begun(here, 3)

    here.apply(*_by_hand("v1", told))
    here.await_reason("WaitingForContract")
    assert "'v1'" in here.message() and "contract of version 'v2'" in here.message()
    here.steadily("v1 is held", lambda: here.is_held() and here.pod_versions() == {"v2"})
    here.tell()
    here.await_reason("Incompatible")
    assert "the oldest version to go to is 'v2'" in here.message()
    assert here.is_held() and here.pod_versions() == {"v2"}
    assert columns.rows(here)[-1] == ("v2", "contract", "succeeded")
