"""`helm uninstall` and back: nobody is kept from a Deployment, nothing starts by accident, nothing runs a second time."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import prepare
from tests.cluster.hold_support import Api
from tests.cluster.stories import stage
from tests.cluster.stories.stage import OPERATOR, UNTIL_TOLD, Stage, deployment, journal, migration, shop

POLICIES = (
    "mutatingadmissionpolicies,mutatingadmissionpolicybindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
)
OURS = f"app.kubernetes.io/instance={prepare.RELEASE}"


@dataclasses.dataclass(frozen=True)
class Three:
    """``done``: released and rolled out.  ``held``: its migration failed.  ``running``: its migration runs until told."""

    done: Stage
    held: Stage
    running: Stage


@contextmanager
def _three(api: Api) -> Iterator[Three]:
    binary, mark = stage.kubectl_binary(), uuid.uuid4().hex[:6]
    with (
        stage.raised(api, binary, f"uninstall-done-{mark}") as done,
        stage.raised(api, binary, f"uninstall-held-{mark}") as held,
        stage.raised(api, binary, f"uninstall-running-{mark}") as running,
    ):
        for one in (done, held, running):
            one.apply(one.secret())
        done.apply(shop("v1"), migration("v1", journal()))
        held.apply(deployment("v1"), migration("v1"))
        running.apply(shop("v1"), migration("v1", UNTIL_TOLD))
        held.await_rollout("v1")
        held.apply(deployment("v2"), migration("v2", ("/no-shell", "fail", "3")))
        held.await_reason("MigrationFailed")
        done.await_reason("Applied")
        running.until("migrate runs", running.starts)
        yield Three(done, held, running)


def _finalizers(one: Stage) -> list[str]:
    found = one.get("schemamigration", "shop")
    assert found
    return list(found["metadata"].get("finalizers") or [])


def _policies(here: Stage) -> list[str]:
    found = json.loads(here.run("get", POLICIES, "-l", OURS, "-o", "json"))["items"]
    return [one["metadata"]["name"] for one in found]


def _helm_uninstall() -> str:
    """All that it says: Helm 4 prints a hook's log to stderr."""
    chosen = ["--kube-context", prepare.context.chosen()] if prepare.context.chosen() else []
    command = [str(prepare.binaries.path("helm")), "--kubeconfig", str(prepare.kubeconfig()), *chosen]
    words = ["uninstall", prepare.RELEASE, "--namespace", prepare.NAMESPACE, "--timeout", "3m"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _resume(one: Stage) -> str:
    return f"kubectl -n {one.namespace} rollout resume deployment/shop-api"


@pytest.mark.alone
@pytest.mark.timeout(900)  # killed in the middle, it would leave a cluster without us
def test_uninstalled_and_installed_again(api: Api) -> None:
    with _three(api) as three:
        before = three.done.ledger(), three.held.ledger()
        assert _finalizers(three.running) == ["schemahold.dev/running"]
        assert _policies(three.done)
        try:
            said = _helm_uninstall()
            print("SAID", said)
            _nothing_of_ours_is_left(three)
            _what_is_held_stays_and_is_listed(three, said)
            _a_person_resumes_it(three.held)
            _what_runs_ends_and_is_recorded(three.running)
        finally:
            prepare.install(prepare.SHORT)
        _the_state_comes_back(three)
        assert (three.done.ledger(), three.held.ledger()) == before, "something ran again"


def _nothing_of_ours_is_left(three: Three) -> None:
    here = three.done
    assert _policies(here) == []
    code, said = dataclasses.replace(here.kubectl, namespace=prepare.NAMESPACE)("get", "deployment", OPERATOR)
    assert code != 0
    assert "NotFound" in said
    for one in (three.done, three.held, three.running):
        assert _finalizers(one) == []
    # What is labelled now is held by nobody.
    here.apply(deployment("v7", name="after", migration="nothing"))
    here.run("rollout", "status", "deployment/after", "--timeout=55s")
    here.run("delete", "deployment", "after", "--wait=false")


def _what_is_held_stays_and_is_listed(three: Three, said: str) -> None:
    for one, version in ((three.held, "v2"), (three.running, "v1")):
        found = one.get("deployment", "shop-api")
        assert found
        assert found["spec"]["paused"] is True
        assert f"{_resume(one)}   # version {version}" in said
        [event] = one.events("Uninstalled", "shop-api")
        assert _resume(one) in (event.get("note") or event["message"])
    assert _resume(three.done) not in said
    assert three.held.pod_versions() == {"v1"}
    assert three.running.pod_versions() == set()


def _a_person_resumes_it(here: Stage) -> None:
    here.run(*_resume(here).split()[1:])
    here.run("rollout", "status", "deployment/shop-api", "--timeout=55s")
    here.until("only the resumed version is left", lambda: here.pod_versions() == {"v2"})


def _what_runs_ends_and_is_recorded(here: Stage) -> None:
    assert len(here.starts()) == 1
    [job] = here.jobs()
    here.tell()
    here.until("the Job has succeeded", lambda: here.jobs()[0]["status"].get("succeeded"))
    assert [(row["state"], row["job"]) for row in here.ledger()] == [("succeeded", job["metadata"]["name"])]
    assert here.is_held(), "nobody is there to release it"


def _the_state_comes_back(three: Three) -> None:
    three.running.await_rollout("v1")
    three.running.await_reason("Applied")
    assert len(three.running.starts()) == 1
    assert len(three.running.ledger()) == 1

    three.done.await_reason("Applied")
    assert len(three.done.starts()) == 1
    assert len(three.done.ledger()) == 1

    # The hold is back: another version waits for its migration.
    three.done.apply(shop("v2"))
    assert three.done.is_held()
    three.done.await_reason("WaitingForVersion")
    assert three.done.pod_versions() == {"v1"}
    three.done.apply(shop("v1"))
    three.done.await_rollout("v1")

    # What a person resumed goes on running: it is not held again, and nothing runs for it.
    print("HELD NOW", three.held.describe("shop"), three.held.get("deployment", "shop-api")["metadata"])
    assert three.held.pod_versions() == {"v2"}
    assert not (three.held.get("deployment", "shop-api") or {})["spec"].get("paused")
