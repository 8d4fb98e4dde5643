"""What the API server says about SchemaMigrations that cannot work, and that it takes those that can.

`invalid/*.yaml`: each `# expect:` line stands in the error word for word. Of several documents the last is the one that is
refused, the others are there before it. `# stalled: <Reason>` marks what nobody can know at admission: the API server takes
it, and the operator says the same words in status. `valid/*.yaml` are taken, with every default filled in.

The cluster is that of `KUBECONFIG`, else the local one (`python3 -m tests.cluster.local up`). Dry runs only, but for the
documents that must be there before.
"""

import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemahold.api import models
from schemahold.core import job

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CRDS = ROOT / "crds"

POD = {"gracePeriod": "60s", "startTimeout": "5m"}
# Filled in only where the object is given; the rest always.
GIVEN: dict[str, Any] = {
    "run": {**POD, "logTail": True},
    "sql": {
        **POD, "outOfOrder": "refuse", "largeTable": 100000, "lockTimeout": "2s", "statementTimeout": "0s",
        "retryFor": "10m",
    },
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "lock": {"timeout": "30s", "allowPooler": False},
    "retries": 3,
    "settle": "10s",
    "suspend": False,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One file: what must be said, the reason if only the operator can say it, and the documents."""

    name: str
    expect: tuple[str, ...]
    stalled: str
    documents: tuple[dict[str, Any], ...]

    @property
    def migration(self) -> dict[str, Any]:
        return next(one for one in reversed(self.documents) if one["kind"] == "SchemaMigration")


def read(file: Path) -> Case:
    text = file.read_text()
    comments = [line.partition(": ") for line in text.splitlines() if line.startswith("# ")]
    stalled = [value for key, _, value in comments if key == "# stalled"]
    return Case(
        name=file.stem,
        expect=tuple(value for key, _, value in comments if key == "# expect"),
        stalled=stalled[0] if stalled else "",
        documents=tuple(yaml.safe_load_all(text)),
    )


INVALID = [read(file) for file in sorted((HERE / "invalid").glob("*.yaml"))]
REFUSED = [case for case in INVALID if not case.stalled]
STALLED = [case for case in INVALID if case.stalled]
VALID = [read(file) for file in sorted((HERE / "valid").glob("*.yaml"))]


class Kubectl:
    """kubectl in a namespace of our own."""

    def __init__(self, kubeconfig: Path) -> None:
        found = shutil.which("kubectl") or _local_kubectl()
        self._command = [found, f"--kubeconfig={kubeconfig}"]
        self.namespace = f"corpus-{uuid.uuid4().hex[:8]}"

    def __call__(self, *words: str, document: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        command = [*self._command, f"--namespace={self.namespace}", *words]
        # JSON is what kubectl sends anyway; YAML that Python wrote could mean something else to Go.
        stdin = json.dumps(document) if document else None
        return subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=60, check=False)

    def apply(self, document: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        return self("apply", "-f", "-", *words, document=document)

    def must(self, *words: str, document: dict[str, Any] | None = None) -> str:
        done = self(*words, document=document)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _local_kubectl() -> str:
    command = [sys.executable, "-m", "tests.cluster.local", "path", "kubectl"]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def kubectl() -> Iterator[Kubectl]:
    kubeconfig = Path(os.environ.get("KUBECONFIG") or ROOT / ".cluster/kubeconfig")
    if not kubeconfig.exists():
        pytest.skip("no cluster: run `python3 -m tests.cluster.local up`, or set KUBECONFIG")
    run = Kubectl(kubeconfig)
    run.must(
        "apply", "--server-side", "-f", str(CRDS)
    )  # no force: another owner's older CRD is for them to bring up to date
    run.must("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    run.must("create", "namespace", run.namespace)
    yield run
    run("delete", "schemamigrations", "--all")
    run("delete", "namespace", run.namespace, "--wait=false")


def ids(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


@pytest.mark.parametrize("case", REFUSED, ids=ids(REFUSED))
def test_what_cannot_work_is_refused_with_the_way_out(kubectl: Kubectl, case: Case) -> None:
    *before, last = case.documents
    for document in before:
        kubectl.must("apply", "-f", "-", document=document)
    done = kubectl.apply(last, "--dry-run=server")
    assert done.returncode != 0, "the API server took it"
    for words in case.expect:
        assert words in done.stderr


@pytest.mark.parametrize("case", VALID, ids=ids(VALID))
def test_what_can_work_is_taken_with_its_defaults(kubectl: Kubectl, case: Case) -> None:
    taken = json.loads(kubectl.must("apply", "-f", "-", "--dry-run=server", "-o", "json", document=case.migration))
    assert taken["spec"] == with_defaults(case.migration["spec"])
    assert taken["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize("case", VALID, ids=ids(VALID))
def test_python_reads_what_the_api_server_takes(case: Case) -> None:
    filled = models.Spec.model_validate(with_defaults(case.migration["spec"]))
    assert filled == models.Spec.model_validate(case.migration["spec"])


@pytest.mark.parametrize("case", STALLED, ids=ids(STALLED))
def test_what_nobody_can_know_at_admission_is_taken(kubectl: Kubectl, case: Case) -> None:
    for document in case.documents:
        done = kubectl.apply(document, "--dry-run=server")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", [one for one in STALLED if one.stalled != "AmbiguousSource"], ids=lambda case: case.name)
def test_the_job_builder_refuses_it_with_the_same_words(case: Case) -> None:
    spec = models.Spec.model_validate(case.migration["spec"])
    source = next(one for one in case.documents if one["kind"] == "Deployment")
    with pytest.raises(job.JobError) as caught:
        job.build_job(
            name="shop",
            namespace="prod",
            uid="u",
            spec=spec,
            source=source,
            ask=job.pod.Ask(ledger_name="n", phase="expand", version="1", inputs="", attempt=1, job="shop-1"),
            image="schemahold",
            image_pull_policy="Never",
            inputs="",
            database="",
        )
    assert caught.value.reason == case.stalled
    for words in case.expect:
        assert words in caught.value.message


def test_the_corpus_is_large_and_says_what_it_expects() -> None:
    assert len(REFUSED) >= 45
    assert len(VALID) >= 15
    assert [case.name for case in INVALID if not case.expect] == []


def with_defaults(spec: dict[str, Any]) -> dict[str, Any]:
    filled = copy.deepcopy(DEFAULTS)
    for key, value in spec.items():
        filled[key] = filled[key] | value if isinstance(filled.get(key), dict) else value
    _fill_given(filled)
    if "contract" in filled:
        filled["contract"] = {"after": "10m", "approval": "Automatic", **filled["contract"]}
        _fill_given(filled["contract"])
    return filled


def _fill_given(where: dict[str, Any]) -> None:
    for key, defaults in GIVEN.items():
        if key in where:
            where[key] = {**defaults, **where[key]}
