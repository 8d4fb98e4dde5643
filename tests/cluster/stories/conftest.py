"""Fixtures of the stories."""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hold_support import Api
from tests.cluster.stories import stage
from tests.cluster.stories.stage import Stage

OPERATOR_DEPLOYMENT = "/apis/apps/v1/namespaces/schemahold/deployments/schemahold"


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    """The prepared cluster with the chart installed; one worker makes the shared database, the others wait for it."""
    found = stage.connect()
    if not found.request("GET", OPERATOR_DEPLOYMENT).ok:
        pytest.skip("the chart is not installed: python3 -m tests.cluster.prepare")
    folder = tmp_path_factory.getbasetemp()
    shared = folder if stage.worker_name() == "main" else folder.parent
    with _locked(shared / "databases.lock"):
        stage.ensure_databases(found, stage.kubectl_binary())
    return found


class _locked:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.fixture
def here(api: Api, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A namespace and a database for this story alone, with the Secret `shop-db` in it."""
    short = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_")).strip("-")[:30]
    mark = hashlib.sha256(f"{request.node.nodeid}{id(request)}".encode()).hexdigest()[:6]
    with stage.raised(api, stage.kubectl_binary(), f"{short}-{mark}") as made:
        made.apply(made.secret())
        yield made
