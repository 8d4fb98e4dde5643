"""One look at the cluster, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

CONTAINERS = ("lock", "gate", "shell", "files", "migrate")  # of a Job; each has some of them
SHOP, CUSTOMERS = "shop", "customers"


@dataclasses.dataclass(frozen=True)
class Pods:
    """The pods of one version. ``live``: without those on their way out, which ``total`` counts too."""

    total: int = 0
    live: int = 0
    ready: int = 0


@dataclasses.dataclass(frozen=True)
class ReplicaSet:
    name: str
    version: str
    wanted: int
    ready: int


@dataclasses.dataclass(frozen=True)
class Deployment:
    """``version``: what its template needs. ``held``: the version that the hold is for, "" without one."""

    version: str = ""
    replicas: int = 0
    paused: bool = False
    held: str = ""
    approved: str = ""


@dataclasses.dataclass(frozen=True)
class Container:
    """``state``: waiting, running, done or failed; ``detail``: a reason, seconds, or an exit code."""

    name: str
    state: str = "waiting"
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Attempt:
    """The newest Job."""

    number: int
    job: str
    version: str
    containers: tuple[Container, ...] = ()
    phase: str = "expand"

    def container(self, name: str) -> Container:
        return next((one for one in self.containers if one.name == name), Container(name))


@dataclasses.dataclass(frozen=True)
class Contract:
    """The condition ``Contracted``; ``reason`` is "" where there is no contract."""

    done: bool = False
    reason: str = ""
    message: str = ""


@dataclasses.dataclass(frozen=True)
class Status:
    """What the SchemaMigration says. ``current``: about the generation that is there now."""

    version: str = ""
    ready: bool = False
    stalled: bool = False
    reason: str = ""
    message: str = ""
    current: bool = False
    contract: Contract = Contract()


@dataclasses.dataclass(frozen=True)
class Lock:
    """Who holds the advisory lock, as pg_locks and pg_stat_activity tell."""

    pid: int
    application: str
    pod: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of schemahold.ledger."""

    id: int
    version: str
    state: str
    exit_code: int | None
    pod: str
    phase: str = "expand"


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What the probe counted. ``versions``: answers by the version that gave them."""

    answered: int = 0
    failed: int = 0
    versions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    last_failure: str = ""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """``seconds``: since the demo began. What is read first is oldest: pods before the database, the probe last.

    ``app``: which application it is of; ``has_legacy_name``: whether its table still has that column, None without one.
    """

    seconds: float = 0.0
    app: str = SHOP
    deployment: Deployment = Deployment()
    replica_sets: tuple[ReplicaSet, ...] = ()
    pods: Mapping[str, Pods] = dataclasses.field(default_factory=dict)
    attempts: int = 0
    attempt: Attempt | None = None
    status: Status = Status()
    lock: Lock | None = None
    rows: tuple[Row, ...] = ()
    traffic: Traffic = Traffic()
    has_legacy_name: bool | None = None

    def pods_of(self, version: str) -> Pods:
        return self.pods.get(version, Pods())

    def row_of(self, version: str, phase: str = "expand") -> Row | None:
        """The last one."""
        return next((row for row in reversed(self.rows) if (row.version, row.phase) == (version, phase)), None)

    def succeeded(self, version: str) -> bool:
        return any((row.version, row.phase, row.state) == (version, "expand", "succeeded") for row in self.rows)

    def rolled_out(self, version: str) -> bool:
        """Every replica has this version and is ready, and the status says so."""
        here, pods = self.deployment, self.pods_of(version)
        others = sum(each.live for name, each in self.pods.items() if name != version)
        whole = here.version == version and not here.paused and pods.ready == pods.live == here.replicas > 0
        return whole and not others and self.status.current and self.status.ready and self.status.version == version
