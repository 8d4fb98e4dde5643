"""A pod in the cluster that asks an application all the time, and counts.

It counts from the first answer on: before that there is nobody to ask.  Every request is a connection of its own, as a new
customer's is, so a pod that leaves too early or starts too early is noticed.
"""

from __future__ import annotations

import json

from .cluster import Cluster, Json
from .snapshot import Traffic

SCRIPT = """
import collections, json, sys, time, urllib.error, urllib.request

counted = {"answered": 0, "failed": 0, "versions": collections.Counter(), "last_failure": ""}
told = 0.0
while True:
    began = time.monotonic()
    try:
        with urllib.request.urlopen(f"http://{sys.argv[1]}/", timeout=30) as reply:
            version = json.load(reply)["version"]
        counted["answered"] += 1
        counted["versions"][version] += 1
    except Exception as error:
        if counted["answered"]:
            counted["failed"] += 1
            said = error.read().decode().strip() if isinstance(error, urllib.error.HTTPError) else ""
            took = f"after {time.monotonic() - began:.1f} s"
            counted["last_failure"] = f"{time.strftime('%H:%M:%S')} {took}: {error} {said}".strip()
            print(counted["last_failure"], flush=True)
    if time.monotonic() - told > 0.25:
        print(json.dumps(counted), flush=True)
        told = time.monotonic()
    time.sleep(0.05 if counted["answered"] else 0.5)
"""


def name(app: str) -> str:
    return f"probe-{app}"


def manifest(app: str, image: str) -> Json:
    """``app``: whose Service it asks; ``image``: any with Python."""
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", SCRIPT, app],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"terminationGracePeriodSeconds": 0, "securityContext": security, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name(app)}, "spec": spec}


def counted(cluster: Cluster, app: str) -> Traffic:
    """Its last count; the lines between are failures, for whoever reads the log."""
    log = cluster.read(f"/api/v1/namespaces/{cluster.namespace}/pods/{name(app)}/log?tailLines=9").decode()
    counts = [line for line in log.splitlines() if line.startswith("{")]
    return Traffic(**json.loads(counts[-1])) if counts else Traffic()
