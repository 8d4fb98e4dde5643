"""Measures what docs/measurements.md says: writes per migration, success → release, memory.

    make bench

Runs on the local cluster, whose audit log counts the writes.  Latencies are also given as ratios to a plain write to the API
server in the same run, because a machine's seconds say little about another's.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import urllib3

from tests.cluster import hold_support
from tests.cluster.hold_support import Api
from tests.cluster.stories import stage
from tests.cluster.stories.stage import Stage, deployment, migration

OPERATOR = "system:serviceaccount:schemahold:schemahold"


@dataclasses.dataclass(eq=False)  # threads are compared by identity
class Watcher(threading.Thread):
    """Notes when each object first looked a certain way, by the clock of this process."""

    api: Api
    path: str
    shows: Callable[[dict[str, Any]], str]

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: dict[str, float] = {}
        self._ended = False

    def run(self) -> None:
        pool = self.api._pool
        headers = self.api._headers
        answer = pool.request(
            "GET",
            f"{self.api.server}{self.path}?watch=1",
            headers=headers,
            preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=600),
        )
        for line in answer.stream(decode_content=True):
            for part in line.splitlines():
                self._note(part)

    def _note(self, line: bytes) -> None:
        try:
            thing = json.loads(line)["object"]
        except (ValueError, KeyError):
            return
        key = self.shows(thing)
        if key:
            self.seen.setdefault(key, time.monotonic())


def succeeded(pod: dict[str, Any]) -> str:
    """The migration's name, once its migrate container has ended with 0."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        if status["name"] == "migrate" and (status["state"].get("terminated") or {}).get("exitCode") == 0:
            return str(pod["metadata"]["labels"].get(stage.LABEL, ""))
    return ""


def released(found: dict[str, Any]) -> str:
    """The migration's name, once its Deployment is no longer paused."""
    meta = found["metadata"]
    approved = (meta.get("annotations") or {}).get("schemahold.dev/approved")
    return str(meta.get("labels", {}).get(stage.LABEL, "")) if approved and not found["spec"].get("paused") else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.bench")
    parser.add_argument("--migrations", type=int, default=20)
    words = parser.parse_args()
    api = stage.connect()
    stage.ensure_databases(api, stage.kubectl_binary())
    with stage.raised(api, stage.kubectl_binary(), f"bench-{os.getpid()}") as here:
        here.apply(here.secret())
        report = measure(here, words.migrations)
    for line in report:
        print(line)
    return 0


def measure(here: Stage, count: int) -> list[str]:
    before = audit_size()
    pods = Watcher(here.api, f"/api/v1/namespaces/{here.namespace}/pods", succeeded)
    deployments = Watcher(here.api, f"/apis/apps/v1/namespaces/{here.namespace}/deployments", released)
    pods.start(), deployments.start()
    plain = plain_write(here)
    for number in range(count):  # one after the other: latency, not throughput
        name = f"bench-{number}"
        here.apply(deployment("v1", name=name, migration=name), migration("v1", name=name))
        here.await_reason("Applied", name=name)
        here.until("the finalizer is gone", lambda name=name: not finalizers(here, name))
    waits = sorted(deployments.seen[name] - pods.seen[name] for name in pods.seen if name in deployments.seen)
    writes = writes_by_operator(before, here.namespace)
    return [
        f"migrations                          {count}",
        f"operator writes per migration       {sum(writes.values()) / count:.1f}   {dict(writes)}",
        f"plain write to the API server       p50 {plain * 1000:.0f} ms",
        f"success seen -> release seen        p50 {statistics.median(waits) * 1000:.0f} ms, max {waits[-1] * 1000:.0f} ms, "
        f"ratio to a plain write {statistics.median(waits) / plain:.1f}",
        f"inside the operator (histogram)     {inside(here)}",
        f"operator resident memory            {memory(here):.0f} MiB",
    ]


def finalizers(here: Stage, name: str) -> list[str]:
    found = here.get("schemamigration", name) or {}
    return list(found["metadata"].get("finalizers") or [])


def plain_write(here: Stage) -> float:
    """Seconds for one write of a ConfigMap, median of 50."""
    path = f"/api/v1/namespaces/{here.namespace}/configmaps"
    here.api.ensure(path, {"metadata": {"name": "plain"}})
    times = []
    for number in range(50):
        begun = time.monotonic()
        reply = here.api.request("PATCH", f"{path}/plain", {"data": {"n": str(number)}}, content_type=hold_support.MERGE)
        assert reply.ok
        times.append(time.monotonic() - begun)
    return statistics.median(times)


def audit_size() -> int:
    return stage.audit_log().stat().st_size


def writes_by_operator(start: int, namespace: str) -> collections.Counter[str]:
    """Writes of the operator in the namespace since then, besides Events, by verb and resource."""
    found: collections.Counter[str] = collections.Counter()
    with stage.audit_log().open() as log:
        log.seek(start)
        for line in log:
            entry = json.loads(line)
            what = entry.get("objectRef") or {}
            if entry["user"]["username"] != OPERATOR or what.get("namespace") != namespace:
                continue
            if entry.get("stage") == "ResponseComplete" and what.get("resource") != "events":
                sub = f"/{what['subresource']}" if what.get("subresource") else ""
                found[f"{entry['verb']} {what['resource']}{sub}"] += 1
    return found


def metrics(here: Stage) -> dict[str, float]:
    """The operator's metrics, through the API server's proxy."""
    path = "/api/v1/namespaces/schemahold/pods"
    pod = next(one for one in here.api.get(path)["items"] if one["status"]["phase"] == "Running")
    reply = here.kubectl("get", "--raw", f"{path}/{pod['metadata']['name']}:9090/proxy/metrics")[1]
    lines = (line.rsplit(" ", 1) for line in reply.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def memory(here: Stage) -> float:
    return metrics(here)["process_resident_memory_bytes"] / 2**20


def inside(here: Stage) -> str:
    found = metrics(here)
    count = found["schemahold_release_seconds_count"]
    under = {edge: found[f'schemahold_release_seconds_bucket{{le="{edge}"}}'] / count for edge in ("0.05", "0.1", "0.25")}
    shares = ", ".join(f"{share:.0%} within {float(edge) * 1000:.0f} ms" for edge, share in under.items())
    return f"mean {found['schemahold_release_seconds_sum'] / count * 1000:.0f} ms, {shares} (of {count:.0f})"


if __name__ == "__main__":
    sys.exit(main())
