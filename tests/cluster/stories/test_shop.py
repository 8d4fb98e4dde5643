"""The example shop as its users run it: by Helm, by kubectl, server-side; and a customer who notices none of it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from tests.cluster import prepare
from tests.cluster.local.failure import Failure
from tests.cluster.local.layout import CHECKOUT
from tests.cluster.stories.stage import DATABASES, VERSION, Film, Json, Stage, filmed

CHART = CHECKOUT / "examples/shop/chart"
MANIFESTS = CHECKOUT / "examples/shop/manifests"
WAIT = ("--wait", "--timeout", "3m")


def _helm(here: Stage, *words: str) -> str:
    return prepare.helm(*words, "--namespace", here.namespace)


def _upgrade(here: Stage, version: str, timeout: str = "3m") -> str:
    return _helm(
        here, "upgrade", "--install", "shop", str(CHART), "--set", f"version={version}", "--wait", "--timeout", timeout
    )


def _give_it_a_database(here: Stage, host: str = "") -> None:
    url = here.url.replace("postgresql://", "postgresql+psycopg://")
    here.apply(here.secret(url=url.replace(f"postgres.{DATABASES}.svc", host) if host else url))


def _is_out(here: Stage, version: str) -> None:
    """Now, without waiting: released and rolled out."""
    found = here.get("deployment", "shop") or {}
    status = found["status"]
    assert found["spec"]["template"]["metadata"]["annotations"][VERSION] == version
    assert not found["spec"].get("paused"), here.describe("shop")
    assert status["observedGeneration"] == found["metadata"]["generation"], here.describe("shop")
    counts = {key: status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    assert set(counts.values()) == {2}, here.describe("shop")
    assert here.status()["version"] == version
    ready = here.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Applied"), here.describe("shop")


def _was_held_until_success(here: Stage, film: Film, version: str) -> None:
    """At every state of it, and by the database's own clock."""
    states = [one for one in film.states("deployments") if one["metadata"]["name"] == "shop"]
    of_version = [one for one in states if one["spec"]["template"]["metadata"]["annotations"][VERSION] == version]
    first, marks = of_version[0], of_version[0]["metadata"]["annotations"]
    assert first["spec"].get("paused") and marks["schemahold.dev/held"] == version, first
    succeeded = _succeeded_at(here)[version]
    for replica_set in film.states("replicasets"):
        if replica_set["spec"]["template"]["metadata"]["annotations"][VERSION] == version:
            created = _time(replica_set["metadata"]["creationTimestamp"])
            assert created >= succeeded.replace(microsecond=0), replica_set
    assert _attempts(film, version) == 1


def _attempts(film: Film, version: str) -> int:
    jobs = [job["metadata"] for job in film.states("jobs")]
    return len({job["uid"] for job in jobs if job["annotations"]["schemahold.dev/run-version"] == version})


def _succeeded_at(here: Stage) -> dict[str, datetime.datetime]:
    return {row["version"]: _time(row["finished_at"]) for row in here.ledger() if row["state"] == "succeeded"}


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_helm(here: Stage) -> None:
    """`helm install` and `helm upgrade` with `--wait` come back when the new pods run, and not before."""
    _give_it_a_database(here)
    with filmed(here, "deployments", "replicasets", "jobs") as film:
        _helm(here, "install", "shop", str(CHART), *WAIT)
        _is_out(here, "v1")
        _upgrade(here, "v2")
        _is_out(here, "v2")
        for version in ("v1", "v2"):
            _was_held_until_success(here, film, version)
    assert "Running upgrade 0001 -> 0002" in here.run("logs", "job/shop-2")


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_manifests(here: Stage, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """As the example's README says; the database comes up while the first migration waits for it."""
    here.run("delete", "secret", "shop-db")  # the example brings its own
    with filmed(here, "deployments", "replicasets", "jobs") as film:
        here.run("apply", *flags, "-f", str(MANIFESTS / "secret.yaml"), "-f", str(MANIFESTS / "postgres.yaml"))
        here.run("apply", *flags, "-f", str(MANIFESTS / "shop.yaml"))
        here.await_reason("Applied")
        here.await_rollout("v1", "shop")

        second = tmp_path / "shop.yaml"
        second.write_text((MANIFESTS / "shop.yaml").read_text().replace('v1"', 'v2"'))
        here.run("apply", *flags, "-f", str(second))
        here.await_rollout("v2", "shop")
        here.await_reason("Applied")
        _is_out(here, "v2")
        assert _attempts(film, "v2") == 1
        held = [one["metadata"]["annotations"].get("schemahold.dev/held") for one in film.states("deployments")]
        assert "v1" in held and "v2" in held

        again = here.run("apply", *flags, "-f", str(second))
        assert "configured" not in again, "what we changed is not what the manifest says"
        here.steadily("applying the same again changes nothing", lambda: _attempts(film, "v2") == 1)
        _is_out(here, "v2")
    psql = ("psql", "-U", "shop", "-d", "shop", "-qAtc", "select version, state from schemahold.ledger order by id")
    assert here.run("exec", "postgres-0", "--", *psql).split() == ["v1|succeeded", "v2|succeeded"]


# The customer

PROBE = """
import http.client, json, os, signal, threading, time

stop, lock = threading.Event(), threading.Lock()
requests, failures, versions = {}, {}, {}

def go_on(kind, pause):
    connection = http.client.HTTPConnection("shop", timeout=30)
    while not stop.is_set():
        status, answer, begun = 0, {}, time.time()
        try:
            if kind == "order":
                connection.request("POST", "/orders", json.dumps({"item": "tea"}))
            else:
                connection.request("GET", "/")
            response = connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except Exception as error:
            answer = {"error": repr(error)}
        if kind == "fresh" or not status:
            connection.close()
        now = time.time()
        with lock:
            requests[kind] = requests.get(kind, 0) + 1
            if status not in (200, 201):
                failure = failures.setdefault(f"{kind}: {status} {answer}", {"count": 0, "first": begun})
                failure.update(count=failure["count"] + 1, last=now)
            else:
                versions.setdefault(answer["version"], [now, now])[1] = now
        stop.wait(pause)

signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
threads = [
    threading.Thread(target=go_on, args=(kind, pause))
    for kind, pause in [("kept", 0.05), ("kept", 0.05), ("fresh", 0.1), ("order", 0.3)]
]
for thread in threads:
    thread.start()
print("probing", flush=True)
for thread in threads:
    thread.join()
print(json.dumps({"requests": requests, "failures": failures, "versions": versions}))
"""


class _Customer:
    """Goes on asking the Service from a pod of its own: with kept connections, with fresh ones, and with orders."""

    def __init__(self, here: Stage) -> None:
        self._here = here
        container = {
            "name": "probe",
            "image": "shop:v1",
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", PROBE],
        }
        pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
        here.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "customer"}, "spec": pod})
        here.until("the customer has come", lambda: "probing" in here.kubectl("logs", "customer")[1])

    def leave(self) -> Json:
        """What it has seen."""
        self._here.run("exec", "customer", "--", "python", "-c", "import os; os.kill(1, 15)")
        self._here.until("the customer has left", lambda: self._phase() == "Succeeded")
        return dict(json.loads(self._here.run("logs", "customer").splitlines()[-1]))

    def _phase(self) -> str:
        return str((self._here.get("pod", "customer") or {})["status"]["phase"])


@pytest.mark.alone
def test_a_customer_notices_nothing(here: Stage) -> None:
    """v1, v2, v3 whose migration fails, v4, and back to v2."""
    # By address: on a busy machine a name that is not resolved in time fails a request, which says nothing about a rollout.
    server = here.api.get(f"/api/v1/namespaces/{DATABASES}/services/postgres")["spec"]["clusterIP"]
    _give_it_a_database(here, f"[{server}]" if ":" in server else server)
    _upgrade(here, "v1")
    customer = _Customer(here)

    _upgrade(here, "v2")
    _is_out(here, "v2")

    with pytest.raises(Failure, match=r"(?s)not ready.*orders_reference_key"):  # at once, and with the cause
        _upgrade(here, "v3")
    assert here.condition("Stalled")["reason"] == "MigrationFailed"
    here.until("the Deployment says it too", lambda: here.annotation("failed", "shop") == "v3")

    _upgrade(here, "v4")
    _is_out(here, "v4")

    newest = here.jobs()[-1]["metadata"]["name"]  # by name: the oldest of four is on its way out
    _helm(here, "rollback", "shop", "2", *WAIT)
    _is_out(here, "v2")
    assert here.jobs()[-1]["metadata"]["name"] == newest, "what was applied before needs no attempt"

    here.until("the last pod of v4 has drained", lambda: here.pod_versions("shop") == {"v2"})
    seen = customer.leave()
    assert seen["failures"] == {}, json.dumps(seen, indent=1) + here.describe("shop")
    assert sum(seen["requests"].values()) >= 200 and min(seen["requests"].values()) >= 20, seen["requests"]
    _came_after_success(here, seen["versions"])


def _came_after_success(here: Stage, versions: dict[str, list[float]]) -> None:
    assert set(versions) == {"v1", "v2", "v4"}
    succeeded = _succeeded_at(here)
    for version in ("v2", "v4"):
        first, _ = versions[version]
        assert first > succeeded[version].timestamp(), f"{version} answered before its migration had succeeded"
    assert versions["v2"][1] > versions["v4"][1], "v2 is what runs in the end"
