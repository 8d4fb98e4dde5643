"""The operator is away, or dies: what holds, holds without it, and what ran is found when it is back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from tests.cluster.local import context
from tests.cluster.stories import runs
from tests.cluster.stories.stage import OPERATOR, Json, Stage, filmed, journal, migration, shop

pytestmark = pytest.mark.alone

_LABELS = f"app.kubernetes.io/name={OPERATOR},app.kubernetes.io/component=operator"


@dataclasses.dataclass(frozen=True)
class Operator:
    """The operator that all stories share."""

    here: Stage

    def kubectl(self, *words: str) -> str:
        code, said = dataclasses.replace(self.here.kubectl, namespace=OPERATOR)(*words)
        assert code == 0, said
        return said

    @property
    def pods(self) -> list[Json]:
        return list(self.here.api.get(f"/api/v1/namespaces/{OPERATOR}/pods?labelSelector={_LABELS}")["items"])

    @property
    def is_ready(self) -> bool:
        found = [status for pod in self.pods for status in pod["status"].get("containerStatuses") or []]
        return len(found) == 1 and found[0]["ready"]

    def leave(self) -> None:
        self.kubectl("scale", f"deployment/{OPERATOR}", "--replicas=0")
        self.here.until("the operator is gone", lambda: self.pods == [])

    def come_back(self) -> None:
        self.kubectl("scale", f"deployment/{OPERATOR}", "--replicas=1")

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Back at the end in any case."""
        try:
            self.leave()
            yield
        finally:
            self.come_back()


@pytest.fixture
def operator(here: Stage) -> Iterator[Operator]:
    found = Operator(here)
    here.until("the operator is ready", lambda: found.is_ready)
    yield found
    found.come_back()
    here.until("the operator is ready", lambda: found.is_ready)


def test_new_version_while_away(here: Stage, operator: Operator) -> None:
    runs.applied(here, "v1")
    with filmed(here) as film, operator.away():
        here.apply(shop("v2"), migration("v2", runs.waiting()))
        assert here.is_held()
        here.steadily("v1 serves and nothing else begins", lambda: here.pod_versions() == {"v1"} and len(here.jobs()) == 1)
        assert "v2" not in film.versions()
        assert runs.said(here) == ["start", "end"]
    runs.begun(here, 2)
    assert here.is_held()
    runs.let_go(here)
    here.await_reason("Applied")
    here.await_rollout("v2")
    assert runs.said(here) == ["start", "end", "start", "end"]
    assert runs.states(here) == ["succeeded", "succeeded"]


def test_rollback_while_away(here: Stage, operator: Operator) -> None:
    """To what runs: admission lets go of it, in the same write."""
    runs.applied(here, "v1")
    with filmed(here) as film:
        with operator.away():
            here.apply(shop("v2"), migration("v2", journal()))
            assert here.is_held()
            here.apply(shop("v1"), migration("v1", journal()))
            assert not here.is_held()
            assert "paused" not in (here.get("deployment", "shop-api") or {})["spec"]
            here.run("set", "env", "deployment/shop-api", "ANSWER=42")
            here.await_rollout("v1")  # a restart of what runs needs no operator either
        here.await_reason("Applied")
        assert film.versions() == {"v1"}
    assert runs.said(here) == ["start", "end"]
    assert runs.states(here) == ["succeeded"]


def test_killed_while_the_job_runs(here: Stage, operator: Operator) -> None:
    runs.begin(here)
    [old] = operator.pods
    operator.kubectl("delete", "pod", old["metadata"]["name"], "--force", "--grace-period=0")
    assert runs.said(here) == ["start"]
    here.until("another operator is ready", lambda: operator.is_ready and operator.pods[0]["metadata"]["uid"] != _uid(old))
    assert here.is_held()
    _ends_well(here)


def test_sigkill_while_the_job_runs(here: Stage, operator: Operator) -> None:
    """No goodbye at all: the kubelet starts the container again."""
    if context.chosen():
        pytest.skip("needs the node's processes: only on the local cluster")
    runs.begin(here)
    restarts = _restarts(operator)
    runs.sigkill(operator.pods[0], "schemahold.controller")
    here.until("the container was started again", lambda: operator.is_ready and _restarts(operator) > restarts)
    assert here.is_held()
    _ends_well(here)


def test_away_while_the_job_ends(here: Stage, operator: Operator) -> None:
    """Between migrate's success and the release: the Job is over, the ledger knows, and the Deployment stays held."""
    runs.begin(here)
    with operator.away():
        runs.let_go(here)
        here.until("the ledger has it", lambda: runs.states(here) == ["succeeded"])
        here.until("the Job is over", lambda: here.jobs()[0]["status"].get("succeeded") == 1)
        here.steadily("held without the operator", lambda: here.is_held() and here.pod_versions() == set(), seconds=1)
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "end"]
    assert len(here.jobs()) == 1


def test_away_and_the_job_is_deleted(here: Stage, operator: Operator) -> None:
    """Nothing in the cluster tells of the success any more: the ledger does."""
    runs.begin(here)
    with operator.away():
        runs.let_go(here)
        here.until("the ledger has it", lambda: runs.states(here) == ["succeeded"])
        here.run("delete", "job", here.jobs()[0]["metadata"]["name"])
        here.until("its pod is gone", lambda: here.attempt_pods() == [])
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "end"]
    assert runs.states(here) == ["succeeded"]
    assert here.status()["attempt"]["reason"] == "AlreadyApplied"


def _ends_well(here: Stage) -> None:
    runs.let_go(here)
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "end"]
    assert runs.states(here) == ["succeeded"]
    assert len(here.jobs()) == 1


def _uid(thing: Json) -> str:
    return str(thing["metadata"]["uid"])


def _restarts(operator: Operator) -> int:
    return sum(status["restartCount"] for pod in operator.pods for status in pod["status"].get("containerStatuses") or [])
