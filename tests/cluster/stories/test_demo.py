"""The demo itself, as continuous integration and a newcomer run it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.cluster.hold_support import ROOT, Api
from tests.cluster.stories import stage


@pytest.mark.alone  # no request may fail and a release must be quick: nothing that a starved machine can promise
@pytest.mark.timeout(900)  # eleven acts, and each has its own patience on a busy machine
def test_the_demo_shows_what_it_says(api: Api) -> None:
    """In a namespace of its own, so that it leaves alone what `make demo` has left."""
    namespace = f"story-demo-{stage.worker_name()}"
    command = [sys.executable, "-m", "examples.demo", "--fast", "--namespace", namespace]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=850)
    finally:
        api.request("DELETE", f"/api/v1/namespaces/{namespace}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^all \d+ checks passed$", done.stdout, re.MULTILINE), done.stdout
    assert " 0 failed; 9 attempts; 7 ledger rows; " in done.stdout
