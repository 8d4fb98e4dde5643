"""The acts: what is applied, what is said about it, what is waited for and checked."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import yaml

from . import checks, probe
from .checks import Check, Looks, Question
from .cluster import Cluster, Trouble
from .snapshot import Snapshot
from .watch import Watch

MANIFESTS = Path(__file__).resolve().parents[1] / "shop/manifests"
MADE_HERE = "schemahold.dev/made-by"
PATIENCE = 150.0  # seconds for one act; generous, because a busy machine is no failure
INTERVAL = 0.25
STALLED = 10.0  # seconds in a state that needs a person, until an act is given up
SEEN_FAILING = 3.0  # seconds after a failure in which no pod may start either


@dataclasses.dataclass(frozen=True)
class Act:
    number: int
    version: str
    title: str
    text: str
    questions: tuple[Question, ...]
    done: Callable[[Looks], bool]

    def checks(self, looks: Looks) -> list[Check]:
        return [question(looks) for question in self.questions] if looks.since else []


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds: ``reading`` before and ``looking`` after an act; ``migrating``: what the shop's migration sleeps."""

    reading: float = 3.0
    looking: float = 1.5
    migrating: int = 4


FAST = Pace(reading=0.0, looking=0.0, migrating=1)


class Stage(Protocol):
    """Where it is shown."""

    def begin(self, act: Act, last: Snapshot) -> None: ...

    def show(self, act: Act, last: Snapshot, results: list[Check], doing: str) -> None: ...

    def say(self, text: str) -> None: ...

    def end(self, act: Act, results: list[Check], seconds: float) -> None: ...


def _rolled_out(looks: Looks) -> bool:
    return looks.last.rolled_out(looks.version)


def _failed(looks: Looks) -> bool:
    return _stalled_for(looks) >= SEEN_FAILING


def _stalled_for(looks: Looks) -> float:
    """Seconds for which the status has said that it does not go on by itself."""
    fine = [look for look in looks.since if not (look.status.current and look.status.stalled)]
    return looks.last.seconds - (fine[-1] if fine else looks.since[0]).seconds


ACTS = (
    Act(
        1,
        "v1",
        "install v1",
        "One apply brings Deployment, Service and SchemaMigration. The API server holds the Deployment in that same "
        "write. Its first pods start when the first migration has succeeded.",
        (
            checks.held_at_once,
            checks.lock_held,
            checks.none_before_success,
            checks.one_job,
            checks.ledger_succeeded,
            checks.rolled_out,
        ),
        _rolled_out,
    ),
    Act(
        2,
        "v2",
        "v2 adds a column",
        "v2's code needs a column that is not there yet, so its pods wait. A Job migrates under a lock in the database. "
        "v1's pods serve until the ledger says that it succeeded.",
        (
            checks.held_at_once,
            checks.old_serves,
            checks.lock_held,
            checks.none_before_success,
            checks.ledger_succeeded,
            checks.rolled_out,
        ),
        _rolled_out,
    ),
    Act(
        3,
        "v3",
        "v3's migration fails",
        "v3 makes a column unique, and the orders in the table do not allow it. No pod of v3 ever starts. v2's pods go on "
        "serving, and the status says why.",
        (
            checks.held_at_once,
            checks.ledger_failed,
            checks.status_says_why,
            checks.never_started,
            checks.old_serves,
            checks.still_held,
        ),
        _failed,
    ),
    Act(
        4,
        "v4",
        "v4 is the fix",
        "v4 brings the same column, done right. It is applied like any version: nothing has to be cleaned up or retried "
        "by hand.",
        (
            checks.held_at_once,
            checks.old_serves,
            checks.none_before_success,
            checks.one_job,
            checks.ledger_succeeded,
            checks.rolled_out,
        ),
        _rolled_out,
    ),
    Act(
        5,
        "v2",
        "back to v2",
        "v2's migration is in the ledger, and the schema of v4 serves v2's code too. So v2 is released at once, without "
        "a Job.",
        (checks.released_at_once, checks.no_job, checks.no_row, checks.rolled_out),
        _rolled_out,
    ),
)


@dataclasses.dataclass
class Story:
    """``shop``: repository of its images; ``postgres``: the database's image."""

    cluster: Cluster
    watch: Watch
    stage: Stage
    pace: Pace
    shop: str = "shop"
    postgres: str = "postgres:17"

    def play(self) -> tuple[list[Check], Snapshot]:
        """Every check of every act that was reached; an act that does not come to its end is the last one."""
        results: list[Check] = []
        self.watch.begin()
        for act in ACTS:
            found, ended = self._play(act)
            results += found
            if not ended:
                break
        last = self.watch.look()
        versions = sorted({act.version for act in ACTS if act.number <= results[-1].act})
        return [*results, *checks.of_all(last, self.watch.starts(), versions)], last

    def _play(self, act: Act) -> tuple[list[Check], bool]:
        before = self.watch.look()
        looks = Looks(act.number, act.version, before)
        self.stage.begin(act, before)
        self._linger(act, looks, self.pace.reading, f"next: kubectl apply, {act.version}")
        looks = Looks(act.number, act.version, self.watch.look())
        began = time.monotonic()
        self.stage.say(_warnings(self.apply(act.version)))
        ended = self._until_done(act, looks, began + PATIENCE)
        seconds = time.monotonic() - began
        self._linger(act, looks, self.pace.looking, "done")
        results = act.checks(looks)
        self.stage.end(act, results, seconds)
        return results, ended

    def _until_done(self, act: Act, looks: Looks, deadline: float) -> bool:
        while True:
            looks.since.append(self.watch.look())
            self.stage.show(act, looks.last, act.checks(looks), "")
            done = act.done(looks)
            if done or _stalled_for(looks) > STALLED or time.monotonic() > deadline:
                return done
            time.sleep(INTERVAL)

    def _linger(self, act: Act, looks: Looks, seconds: float, doing: str) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.stage.show(act, self.watch.look(), act.checks(looks), doing)
            time.sleep(INTERVAL)

    # Writing

    def prepare(self) -> None:
        """A fresh namespace, with the database ready and the probe asking."""
        self._fresh_namespace()
        for name in ("secret", "postgres"):
            self._apply_text((MANIFESTS / f"{name}.yaml").read_text().replace("postgres:17", self.postgres))
        self._apply_text(yaml.safe_dump(probe.manifest(f"{self.shop}:v1")))
        self.cluster.kubectl("rollout", "status", "statefulset/postgres", "--timeout=180s")
        self.cluster.kubectl("wait", "pod/probe", "--for=condition=Ready", "--timeout=120s")

    def apply(self, version: str) -> str:
        """The example's manifest at this version; kubectl's warnings."""
        documents = [*yaml.safe_load_all((MANIFESTS / "shop.yaml").read_text().replace('v1"', f'{version}"'))]
        for document in documents:
            if document["kind"] == "Deployment":
                [container] = document["spec"]["template"]["spec"]["containers"]
                container["image"] = f"{self.shop}:{version}"
                container["env"].append({"name": "MIGRATION_PAUSE_SECONDS", "value": str(self.pace.migrating)})
        return self._apply_text(yaml.safe_dump_all(documents))

    def leave(self) -> None:
        """What would go on for ever otherwise."""
        self.cluster.kubectl("delete", "pod", probe.NAME, "--wait=false", "--ignore-not-found")

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
