"""Decisions carried out, again and again, in a cluster of dictionaries: do they come to rest, and always at the same end?

There is no API server here and no concurrency (that is tests/sim): just enough to apply a write, and a Job, a gate and a
rollout that go one stage further with each turn.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import random
from collections.abc import Callable
from typing import Any

import pytest

from schemahold.api import models, names
from schemahold.api.pod import Reason
from schemahold.core import decision, hold
from tests.unit import make
from tests.unit.make import Json

TURN = 5.0  # seconds


class Crash(Exception):
    """The operator dies here."""


class World:
    """``runs``: versions that migrate was started for.  ``crash_at``: the operator dies after so many writes."""

    def __init__(self, shop: Json, *deployments: Json, crash_at: int | None = None) -> None:
        self.shop = shop
        self.deployments = {one["metadata"]["name"]: one for one in deployments}
        self.jobs: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.ledger: dict[str, str] = {"v1": "succeeded"}
        self.fails: set[str] = set()  # versions whose migrate fails
        self.refusals: list[Reason] = []  # what the next gates say
        self.runs: list[str] = []
        self.writes: list[decision.Write] = []
        self.since = 0  # writes before this one are not counted
        self.crash_at = crash_at
        self.due: float | None = None  # when time alone changes the decision
        self.now = make.NOW

    # The operator

    def look(self) -> make.Observed:
        return make.look(self.shop, *self.deployments.values(), jobs=[*self.jobs.values()], pods=[*self.pods.values()])

    def settle(self) -> None:
        """Decides until nothing is left to write; the second time there must be nothing, unless an object was deleted."""
        for _ in range(4):
            made = make.decided(self.look(), self.now)
            try:
                for write in made.writes:
                    self._write(write)
            except Crash:
                continue
            if not any(isinstance(one, decision.DeleteJob | decision.DeletePod) for one in made.writes):
                again = make.decided(self.look(), self.now)
                assert again.writes == (), f"not quiet after {made.writes}: {again.writes}"
                assert again.events == (), again.events
                self.due = again.requeue
                return
        raise AssertionError(f"still writing: {self.writes[-6:]}")

    def _write(self, write: decision.Write) -> None:
        self._apply(write)
        self.writes.append(write)
        if len(self.writes) == self.crash_at:
            raise Crash

    def _apply(self, write: decision.Write) -> None:
        meta = self.shop["metadata"]
        match write:
            case decision.SetFinalizer():
                meta["finalizers"] = [names.RUNNING_FINALIZER] if write.present else []
            case decision.WriteStatus():
                self.shop["status"] = models.dump_status(write.status)
            case decision.CreateJob():
                assert write.job["metadata"]["name"] not in self.jobs
                assert all(_is_over(raw) for raw in self.jobs.values()), "one attempt at a time"
                raw = copy.deepcopy(dict(write.job))
                raw["metadata"] |= {
                    "uid": f"uid-job-{raw['metadata']['labels'][names.ATTEMPT]}",
                    "creationTimestamp": self._time(),
                }
                self.jobs[raw["metadata"]["name"]] = raw
            case decision.OwnJob():
                self.jobs[write.name]["metadata"]["ownerReferences"] = [{"uid": make.UID}]
            case decision.DeleteJob():
                self.jobs.pop(write.name, None)
                self.pods.pop(write.name, None)
            case decision.DeletePod():
                self.pods[write.name.removesuffix("-x")]["metadata"]["deletionTimestamp"] = self._time()
            case decision.Release():
                assert self.ledger.get(write.version) == "succeeded", "nothing goes out before it is applied"
                self._admit(write.deployment, approved=write.version)
            case decision.MarkFailed():
                self._admit(write.deployment, failed=write.version)

    def _admit(self, name: str, **fields: Any) -> None:
        old = self.deployments[name]
        before = hold.state_of(old)
        changed = dataclasses.replace(before, **fields)
        outcome = hold.admit(hold.Write(hold.Operation.UPDATE, before, changed, user_is_operator=True))
        assert outcome.denied is None
        self._store(name, hold.apply_state(old, outcome.state))

    # The user

    def apply(self, version: str, name: str = "shop-api", *, follow: bool = False) -> None:
        """The manifest of a version, through admission."""
        old = self.deployments.get(name)
        wanted = make.deployment(version, version, name=name, follow=follow)
        raw = {**(old or wanted), "spec": {**wanted["spec"], "paused": (old or {"spec": {}})["spec"].get("paused", False)}}
        if old is None:
            raw["metadata"] = {**wanted["metadata"], "annotations": {}}
        operation = hold.Operation.UPDATE if old else hold.Operation.CREATE
        before = hold.state_of(old) if old else None
        outcome = hold.admit(hold.Write(operation, before, hold.state_of(raw)))
        assert outcome.denied is None
        self._store(name, hold.apply_state(raw, outcome.state))

    def _store(self, name: str, raw: Json) -> None:
        raw["metadata"]["generation"] = raw["metadata"]["generation"] + 1
        self.deployments[name] = raw

    def spec(self, **changes: Any) -> None:
        self.shop["spec"] |= changes
        self.shop["metadata"]["generation"] += 1

    def annotate(self, key: str, value: str) -> None:
        self.shop["metadata"]["annotations"][key] = value

    # The cluster

    def turn(self) -> None:
        self.now += datetime.timedelta(seconds=TURN)
        for raw in self.deployments.values():
            self._roll(raw)
        for name, raw in list(self.jobs.items()):
            if not _is_over(raw):
                self._go_on(name, raw)

    def _roll(self, raw: Json) -> None:
        """The first turn sees the change, the second has rolled it out."""
        if raw["spec"].get("paused"):
            return
        status, current = raw["status"], raw["metadata"]["generation"]
        done = status["observedGeneration"] == current
        replicas = raw["spec"]["replicas"]
        raw["status"] = {**status, "observedGeneration": current, "updatedReplicas": replicas if done else 0}

    def _go_on(self, name: str, raw: Json) -> None:
        number = int(raw["metadata"]["labels"][names.ATTEMPT])
        pod, version = self.pods.get(name), raw["metadata"]["annotations"][names.RUN_VERSION]
        containers = _states(pod) if pod else {}
        if pod is None:
            self.pods[name] = make.pod(number)
        elif pod["status"]["phase"] in ("Succeeded", "Failed"):
            kind = "Complete" if pod["status"]["phase"] == "Succeeded" else "Failed"
            raw["status"] = {"conditions": [{"type": kind, "status": "True"}]}
        elif "terminated" in containers.get("lock", {}):
            pod["status"]["phase"] = "Succeeded" if "terminated" in containers.get("migrate", {}) else "Failed"
        elif "terminated" in containers.get("migrate", {}):
            self.pods[name] = self._reported(number, version)
        elif "running" in containers.get("migrate", {}):
            self.ledger[version] = "failed" if version in self.fails else "succeeded"
            self.pods[name] = self._ended(number, version, said=False)
        elif pod["metadata"].get("deletionTimestamp"):
            self.pods[name] = make.pod(number, lock=make.ended(0), gate=make.ended(1, make.report(Reason.WITHDRAWN)))
        elif "running" in containers.get("gate", {}):
            self.pods[name] = self._judged(number, version)
        else:
            self.pods[name] = make.pod_locking(number)
        meta = self.pods[name]["metadata"]
        meta["labels"] |= raw["metadata"]["labels"]
        meta |= {key: raw["metadata"][key] for key in ("annotations", "creationTimestamp")}

    def _judged(self, number: int, version: str) -> Json:
        reason = self.refusals.pop(0) if self.refusals else None
        if self.ledger.get(version) == "succeeded":
            reason = Reason.ALREADY_APPLIED
        if reason is not None:
            said = make.report(reason, row=self._row(version), ledger="ledger-1")
            return make.pod(number, lock=make.ended(0), gate=make.ended(1, said))
        assert self.ledger.get(version) != "succeeded"
        self.runs.append(version)
        return make.pod_running(number)

    def _ended(self, number: int, version: str, *, said: bool) -> Json:
        code = 1 if self.ledger[version] == "failed" else 0
        reason = Reason.FAILED if code else Reason.SUCCEEDED
        text = make.report(reason, row=self._row(version), exit_code=code, ledger="ledger-1")
        return make.pod_ended(code, text if said else "", number)

    def _reported(self, number: int, version: str) -> Json:
        return self._ended(number, version, said=True)

    def _row(self, version: str) -> int:
        return [*self.ledger, version].index(version) + 1

    def _time(self) -> str:
        return make.observed.format_time(self.now)

    # The story

    def rest(self, turns: int = 80) -> None:
        """On until nothing moves any more and no time is waited for."""
        for _ in range(turns):
            self.settle()
            before = repr((self.jobs, self.pods, self.deployments))
            self.turn()
            if self.due is None and before == repr((self.jobs, self.pods, self.deployments)):
                return
        raise AssertionError(f"not at rest: {self.end()}")

    def end(self) -> Json:
        """What must be the same whatever happened on the way."""
        status = models.parse_status(self.shop["status"])
        return {
            "conditions": [(one.type, one.status, one.reason) for one in status.conditions],
            "history": [(one.version, one.row) for one in status.history],
            "released": status.released.version if status.released else None,
            "attempt": (status.attempt.version, status.attempt.released) if status.attempt else None,
            "ledger": status.ledger,
            "deployments": {name: hold.state_of(raw) for name, raw in self.deployments.items()},
            "runs": self.runs,
            "finalizers": self.shop["metadata"]["finalizers"],
            "unfinished": [name for name, raw in self.jobs.items() if not _is_over(raw)],
            "unowned": [name for name, raw in self.jobs.items() if "ownerReferences" not in raw["metadata"]],
        }

    def counted(self) -> list[str]:
        return [type(one).__name__ for one in self.writes[self.since :]]


def _is_over(job: Json) -> bool:
    return bool((job.get("status") or {}).get("conditions"))


def _states(pod: Json) -> Json:
    both = pod["status"]["initContainerStatuses"] + pod["status"]["containerStatuses"]
    return {one["name"]: one["state"] for one in both}


# Stories: how a world begins, and what its user does ------------------------------------------------------------------

RUN = {"command": make.COMMAND, "deployment": "shop-api"}
JOBS_BEFORE = 3
Story = Callable[[World], None]


def old_jobs(world: World) -> None:
    """Three finished attempts, the most that are kept."""
    for number in range(1, JOBS_BEFORE + 1):
        world.jobs[f"shop-{number}"] = make.job(number, version=f"v0.{number}", finished=True, owned=True, age=9999)


def upgrade(world: World) -> None:
    old_jobs(world)
    world.rest()
    world.since = len(world.writes)
    world.spec(version="v2")
    world.apply("v2")
    world.rest()


def upgrade_resource_first(world: World) -> None:
    world.rest()
    world.spec(version="v2")
    world.settle()
    world.apply("v2")
    world.rest()


def upgrade_deployment_first(world: World) -> None:
    world.rest()
    world.apply("v2")
    world.settle()
    world.spec(version="v2")
    world.rest()


def back_and_forth(world: World) -> None:
    upgrade(world)
    for version in ("v1", "v2", "v1"):
        world.spec(version=version)
        world.apply(version)
        world.rest()


def fails_and_is_mended(world: World) -> None:
    world.fails = {"v2"}
    upgrade(world)
    world.spec(version="v3")
    world.apply("v3")
    world.rest()


def fails_and_is_retried(world: World) -> None:
    world.fails = {"v2"}
    upgrade(world)
    world.fails = set()
    world.ledger.pop("v2")
    world.annotate(names.RETRY_AT, "now")
    world.rest()


def suspended_while_it_runs(world: World) -> None:
    world.spec(version="v2")
    world.apply("v2")
    world.settle()
    world.turn()
    world.spec(suspend=True)
    world.rest()
    assert world.deployments["shop-api"]["spec"]["paused"]
    world.spec(suspend=False)
    world.rest()


def replaced_before_it_starts(world: World) -> None:
    world.spec(version="v2")
    world.apply("v2")
    world.settle()
    world.turn()
    world.settle()
    world.spec(version="v3")
    world.apply("v3")
    world.rest()


def lock_is_taken_twice(world: World) -> None:
    world.refusals = [Reason.LOCK_TIMEOUT, Reason.DATABASE_UNREACHABLE]
    upgrade(world)


def two_deployments(world: World) -> None:
    world.spec(run=RUN)
    world.apply("v1", "worker")
    world.rest()
    world.spec(version="v2")
    world.apply("v2")
    world.apply("v2", "worker")
    world.rest()


def a_late_follower(world: World) -> None:
    world.spec(run=RUN)
    upgrade(world)
    world.apply("v2", "worker")
    world.rest()


def installed(world: World) -> None:
    world.deployments.clear()
    world.rest()
    world.apply("v1")
    world.rest()


def follows_the_image(world: World) -> None:
    world.deployments.clear()
    world.spec(version="")
    del world.shop["spec"]["version"]
    world.ledger = {"shop:1": "succeeded"}
    world.apply("shop:1", follow=True)
    world.rest()
    old_jobs(world)
    world.rest()
    world.since = len(world.writes)
    world.apply("shop:2", follow=True)
    world.rest()


STORIES: dict[str, tuple[Story, str, list[str]]] = {
    "an upgrade": (upgrade, "Applied", ["v2"]),
    "the resource first": (upgrade_resource_first, "Applied", ["v2"]),
    "the Deployment first": (upgrade_deployment_first, "Applied", ["v2"]),
    "back and forth": (back_and_forth, "Applied", ["v2"]),
    "fails and is mended": (fails_and_is_mended, "Applied", ["v2", "v3"]),
    "fails and is retried": (fails_and_is_retried, "Applied", ["v2", "v2"]),
    "suspended while it runs": (suspended_while_it_runs, "Applied", ["v2"]),
    "replaced before it starts": (replaced_before_it_starts, "Applied", ["v3"]),
    "lock taken twice": (lock_is_taken_twice, "Applied", ["v2"]),
    "two Deployments": (two_deployments, "Applied", ["v2"]),
    "a late follower": (a_late_follower, "Applied", ["v2"]),
    "installed": (installed, "Applied", []),
    "follows the image": (follows_the_image, "Applied", ["shop:2"]),
}


def told(story: str, crash_at: int | None = None) -> World:
    world = World(make.migration("v1"), make.deployment("v1", "v1"), crash_at=crash_at)
    STORIES[story][0](world)
    return world


@pytest.mark.parametrize("story", STORIES, ids=lambda name: name.replace(" ", "-"))
def test_a_story_comes_to_rest(story: str) -> None:
    world = told(story)
    _, reason, runs = STORIES[story]
    end = world.end()
    assert ("Ready", "True", reason) in end["conditions"]
    assert world.runs == runs
    assert (end["finalizers"], end["unfinished"], end["unowned"]) == ([], [], [])
    assert len(world.jobs) <= 3
    assert all(not state.paused and not state.held for state in end["deployments"].values())


@pytest.mark.parametrize("story", STORIES, ids=lambda name: name.replace(" ", "-"))
def test_a_crash_after_any_write_ends_the_same(story: str) -> None:
    clean = told(story)
    wanted = clean.end()
    for crash_at in range(clean.since + 1, len(clean.writes) + 1):
        world = told(story, crash_at)
        assert world.end() == wanted, f"crash after write {crash_at}: {world.writes[crash_at - 1]}"


def test_an_upgrade_costs_at_most_ten_writes() -> None:
    world = told("an upgrade")
    kinds = world.counted()
    assert len(kinds) <= 10, kinds
    assert kinds.count("DeleteJob") == 1, "one old Job goes for each that comes"


def test_a_step_back_costs_neither_a_job_nor_a_wait() -> None:
    """The first way back asks the ledger, which nobody here had asked about v1; the second needs no one."""
    world = told("back and forth")
    since = max(number for number, one in enumerate(world.writes) if isinstance(one, decision.SetFinalizer))
    assert [type(one).__name__ for one in world.writes[since + 1 :]] == ["Release", "WriteStatus", "WriteStatus"]


def test_follow_mode_costs_at_most_twelve() -> None:
    world = told("follows the image")
    kinds = world.counted()
    assert len(kinds) <= 12, kinds
    assert kinds.count("WriteStatus") >= 2, "settling is remembered"


@pytest.mark.parametrize("story", STORIES, ids=lambda name: name.replace(" ", "-"))
def test_a_quiet_hour(story: str) -> None:
    world = told(story)
    before = len(world.writes)
    for _ in range(20):
        world.now += datetime.timedelta(seconds=180)
        world.settle()
    assert world.writes[before:] == []


# Whatever a user does -------------------------------------------------------------------------------------------------


def _mischief(world: World, dice: random.Random) -> None:
    version = f"v{dice.randint(1, 5)}"
    match dice.randrange(12):
        case 0 | 1:
            world.spec(version=version)
        case 2 | 3:
            world.apply(version)
        case 4:
            world.spec(version=version)
            world.apply(version)
        case 5:
            world.apply(version, "worker")
        case 6:
            world.spec(suspend=dice.random() < 0.5)
        case 7:
            world.shop["status"] = dice.choice([{}, {"attempt": "gone"}, {"observedGeneration": 1, "conditions": []}])
        case 8:
            world.annotate(names.RETRY_AT, str(dice.random()))
        case 9:
            world.spec(run={"command": ["migrate", str(dice.randint(1, 3))], "deployment": "shop-api"})
        case 10:
            world.fails = set(dice.sample(["v2", "v3", "v4", "v5"], dice.randint(0, 2)))
        case 11:
            _lose_a_job(world, dice)


def _lose_a_job(world: World, dice: random.Random) -> None:
    """Someone deletes an attempt that has not started; one that runs would need a real ledger."""
    idle = [name for name in world.jobs if "migrate" not in _states(world.pods.get(name, make.pod()))]
    if idle:
        gone = dice.choice(idle)
        world.jobs.pop(gone)
        world.pods.pop(gone, None)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_a_user_does(seed: int) -> None:
    """Nothing goes out before it is applied, nothing that is applied runs again, one at a time; and it ends well."""
    dice = random.Random(seed)
    world = World(make.migration("v1", run=RUN, settle="10s"), make.deployment("v1", "v1"))
    for _ in range(25):
        _mischief(world, dice)
        world.crash_at = len(world.writes) + dice.randint(1, 4) if dice.random() < 0.3 else None
        for _ in range(dice.randint(0, 4)):
            world.settle()
            world.turn()
    world.crash_at = None
    world.fails, version = set(), f"v{dice.randint(2, 5)}"
    world.spec(version=version, suspend=False)
    for name in world.deployments:
        world.apply(version, name)
    world.annotate(names.RETRY_AT, "at the end")
    world.rest()
    end = world.end()
    assert ("Ready", "True", "Applied") in end["conditions"], end
    assert (end["finalizers"], end["unfinished"]) == ([], [])
    assert {state.approved for state in end["deployments"].values()} == {version}
