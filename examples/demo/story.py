"""The acts are played: applied, waited for, checked."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import yaml

from . import checks, probe
from .acts import ACTS, Act, stalled_for
from .checks import Check, Looks
from .cluster import Cluster, Json, Trouble
from .snapshot import CUSTOMERS, SHOP, Snapshot
from .watch import Watch

EXAMPLES = Path(__file__).resolve().parents[1]
MADE_HERE = "schemahold.dev/made-by"
PATIENCE = 150.0  # seconds for one act; generous, because a busy machine is no failure
INTERVAL = 0.25
STALLED = 10.0  # seconds in a state that needs a person, until an act is given up


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds: ``reading`` before and ``looking`` after an act; ``migrating``: what the shop's migration sleeps."""

    reading: float = 3.0
    looking: float = 1.0
    migrating: int = 4


FAST = Pace(reading=0.0, looking=0.0, migrating=1)


class Stage(Protocol):
    """Where it is shown."""

    def begin(self, act: Act, last: Snapshot) -> None: ...

    def show(self, act: Act, last: Snapshot, results: list[Check], doing: str) -> None: ...

    def say(self, text: str) -> None: ...

    def end(self, act: Act, results: list[Check], seconds: float) -> None: ...


@dataclasses.dataclass
class Story:
    """``images``: repository of each application's images; ``postgres``: the database's image."""

    cluster: Cluster
    watch: Watch
    stage: Stage
    pace: Pace
    images: Mapping[str, str]
    postgres: str = "postgres:17"

    def play(self) -> tuple[list[Check], list[Snapshot]]:
        """Every check of every act that was reached, and the last look at each application.

        An act that does not come to its end is the last one.
        """
        results: list[Check] = []
        played: list[Act] = []
        self.watch.begin()
        for act in ACTS:
            played.append(act)
            found, ended = self._play(act)
            results += found
            if not ended:
                break
        last = [self.watch.look(app) for app in dict.fromkeys(act.app for act in played)]
        versions = sorted({act.version for act in played if act.app == SHOP})
        return [*results, *map(checks.requests, last), checks.starts(self.watch.starts(), versions)], last

    def _play(self, act: Act) -> tuple[list[Check], bool]:
        before = self.watch.look(act.app)
        looks = Looks(act.number, act.version, before)
        self.stage.begin(act, before)
        self._linger(act, looks, 0.0 if act.lasts else self.pace.reading, f"next: kubectl apply, {act.version}")
        looks = Looks(act.number, act.version, self.watch.look(act.app))
        began = time.monotonic()
        self.stage.say(_warnings(self.apply(act)))
        ended = self._until_done(act, looks, began + PATIENCE)
        seconds = time.monotonic() - began
        self._linger(act, looks, self.pace.looking, "done")
        results = act.checks(looks)
        self.stage.end(act, results, seconds)
        return results, ended

    def _until_done(self, act: Act, looks: Looks, deadline: float) -> bool:
        while True:
            looks.since.append(self.watch.look(act.app))
            self.stage.show(act, looks.last, act.checks(looks), "")
            done = act.done(looks)
            if done or stalled_for(looks) > STALLED or time.monotonic() > deadline:
                return done
            time.sleep(INTERVAL)

    def _linger(self, act: Act, looks: Looks, seconds: float, doing: str) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.stage.show(act, self.watch.look(act.app), act.checks(looks), doing)
            time.sleep(INTERVAL)

    # Writing

    def prepare(self) -> None:
        """A fresh namespace, with the database ready and the probes asking."""
        self._fresh_namespace()
        for name in ("secret", "postgres"):
            text = (EXAMPLES / f"shop/manifests/{name}.yaml").read_text()
            self._apply_text(text.replace("postgres:17", self.postgres))
        probes = [probe.manifest(app, f"{self.images[SHOP]}:v1") for app in (SHOP, CUSTOMERS)]
        self._apply_text(yaml.safe_dump_all(probes))
        self.cluster.kubectl("rollout", "status", "statefulset/postgres", "--timeout=180s")
        pods = [f"pod/{made['metadata']['name']}" for made in probes]
        self.cluster.kubectl("wait", *pods, "--for=condition=Ready", "--timeout=120s")

    def apply(self, act: Act) -> str:
        """The example's manifest at this version; kubectl's warnings."""
        text = (EXAMPLES / f"{act.app}/manifests/{act.app}.yaml").read_text()
        documents = [*yaml.safe_load_all(text.replace('v1"', f'{act.version}"'))]
        for document in documents:
            self._adapt(document, act)
        return self._apply_text(yaml.safe_dump_all(documents))

    def _adapt(self, document: Json, act: Act) -> None:
        """Images of this cluster, and times in which there is something to see and not much to wait for."""
        if document["kind"] == "Deployment":
            [container] = document["spec"]["template"]["spec"]["containers"]
            container["image"] = f"{self.images[act.app]}:{act.version}"
            if act.app == SHOP:
                container["env"].append({"name": "MIGRATION_PAUSE_SECONDS", "value": str(self.pace.migrating)})
        elif "contract" in document.get("spec", {}):
            document["spec"]["settle"] = "1s"
            document["spec"]["contract"]["after"] = act.soak or document["spec"]["contract"]["after"]

    def leave(self) -> None:
        """What would go on for ever otherwise."""
        probes = [probe.name(app) for app in (SHOP, CUSTOMERS)]
        self.cluster.kubectl("delete", "pod", *probes, "--wait=false", "--ignore-not-found")

    def _apply_text(self, text: str) -> str:
        return self.cluster.kubectl("apply", "-f", "-", stdin=text)[1]

    def _fresh_namespace(self) -> None:
        name = self.cluster.namespace
        found = self.cluster.get(f"/api/v1/namespaces/{name}")
        if found and MADE_HERE not in (found["metadata"].get("labels") or {}):
            raise Trouble(f"namespace {name} is there and not the demo's: delete it, or choose another with --namespace")
        if found:
            # The operator's finalizer waits for a running attempt; that demo is over.
            self.cluster.kubectl("delete", "jobs,deployments,statefulsets,pods", "--all", "--wait=false", "--grace-period=1")
            self.cluster.kubectl("delete", "namespace", name, "--timeout=180s")
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {MADE_HERE: "demo"}}}
        self._apply_text(yaml.safe_dump(made))


def _warnings(text: str) -> str:
    """Ours, without what the API server puts before them."""
    before = re.compile(r"Validation failed for ValidatingAdmissionPolicy '[^']*' with binding '[^']*': ")
    return "\n".join(before.sub("", line) for line in text.splitlines() if line.startswith("Warning:"))
