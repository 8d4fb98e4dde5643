"""The policies and the function in core/hold.py, on the same random writes.

Objects evolve: each write starts from what the API server stored last. Compared are the stored state, the refusals
and every text that a user is shown. SCHEMAHOLD_SEED and SCHEMAHOLD_WRITES choose another or a longer run.
"""

import copy
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from schemahold.core import hold, versions
from schemahold.core.hold import Operation, Outcome, Write
from tests.cluster import hold_support as support
from tests.cluster.hold_support import Place, Reply, User

SEED = int(os.environ.get("SCHEMAHOLD_SEED", "20261122"))
WRITES = int(os.environ.get("SCHEMAHOLD_WRITES", "2400"))
NET_WRITES = WRITES // 4
OBJECTS = 8

LABEL = "schemahold.dev/migration"
VERSION = "schemahold.dev/version"
DEFAULT = "kubectl.kubernetes.io/default-container"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
VALUES = ("1", "2", "3")
IMAGES = ("shop:1", "shop:2", "shop", "shop:latest", "reg:5000/shop", "reg:5000/shop:1", f"shop@sha256:{'0' * 64}")
REPLACED_FIELDS = ("resourceVersion", "uid", "generation", "creationTimestamp", "managedFields")

Json = dict[str, Any]


# Edits ----------------------------------------------------------------------------------------------------------------


def set_or_drop(mapping: Json, key: str, value: object) -> None:
    mapping.pop(key, None)
    if value is not None:
        mapping[key] = value


def annotations_of(metadata: Json) -> Json:
    found: Json = metadata.setdefault("annotations", {})
    return found


def template_annotations(thing: Json) -> Json:
    return annotations_of(thing["spec"]["template"]["metadata"])


def relabel(thing: Json, rng: random.Random) -> None:
    set_or_drop(thing["metadata"].setdefault("labels", {}), LABEL, rng.choice(["shop", "shop", "other", "", "Bad_1", None]))


def opt_in(thing: Json, rng: random.Random) -> None:
    thing["metadata"].setdefault("labels", {})[LABEL] = "shop"


def declare(thing: Json, rng: random.Random) -> None:
    set_or_drop(template_annotations(thing), VERSION, rng.choice([*VALUES, *VALUES, "", None, None]))


def roll_back(thing: Json, rng: random.Random) -> None:
    template_annotations(thing)[VERSION] = hold.state_of(thing).approved or "1"


def swap_image(thing: Json, rng: random.Random) -> None:
    rng.choice(thing["spec"]["template"]["spec"]["containers"])["image"] = rng.choice(IMAGES)


def swap_containers(thing: Json, rng: random.Random) -> None:
    names = rng.choice([["app"], ["side", "app"], ["app", "side"]])
    thing["spec"]["template"]["spec"]["containers"] = [{"name": name, "image": rng.choice(IMAGES)} for name in names]


def name_container(thing: Json, rng: random.Random) -> None:
    set_or_drop(template_annotations(thing), DEFAULT, rng.choice(["app", "app", "side", "gone", "", None]))


def pause(thing: Json, rng: random.Random) -> None:
    set_or_drop(thing["spec"], "paused", rng.choice([True, False, None]))


def forge(thing: Json, rng: random.Random) -> None:
    key = rng.choice(list(hold.ANNOTATIONS.values()))
    set_or_drop(annotations_of(thing["metadata"]), key, rng.choice([*VALUES, "", "stale words", None]))


def release(thing: Json, rng: random.Random) -> None:
    annotations = annotations_of(thing["metadata"])
    annotations["schemahold.dev/approved"] = rng.choice([hold.state_of(thing).version] * 4 + ["2"])
    annotations.pop("schemahold.dev/held", None)
    thing["spec"].pop("paused", None)


def break_glass(thing: Json, rng: random.Random) -> None:
    annotations_of(thing["metadata"])["schemahold.dev/break-glass"] = f"reason {rng.randrange(3)}"


def bare(thing: Json, rng: random.Random) -> None:
    """As a manifest would be that knows nothing of us: `kubectl replace`."""
    thing["metadata"].pop("annotations", None)
    thing["spec"].pop("paused", None)


def leave(thing: Json, rng: random.Random) -> None:
    (thing["metadata"].get("labels") or {}).pop(LABEL, None)


def leave_rolled_back(thing: Json, rng: random.Random) -> None:
    roll_back(thing, rng)
    leave(thing, rng)


def bare_template(thing: Json, rng: random.Random) -> None:
    thing["spec"]["template"]["metadata"].pop("annotations", None)


def applied(thing: Json, rng: random.Random) -> None:
    set_or_drop(annotations_of(thing["metadata"]), APPLIED, rng.choice(['{"spec":{"paused":false}}', "{}", None]))


def owned(thing: Json, rng: random.Random) -> None:
    owner = {"apiVersion": "v1", "kind": "App", "name": "x", "uid": "1", "controller": rng.choice([True, False])}
    thing["metadata"]["ownerReferences"] = rng.choice([[owner], []])


EDITS = {
    relabel: 2, opt_in: 3, declare: 8, roll_back: 3, swap_image: 3, swap_containers: 2, name_container: 3, pause: 4,
    forge: 4, release: 5, break_glass: 3, bare: 3, leave: 2, leave_rolled_back: 2, bare_template: 1, applied: 1, owned: 1,
}  # fmt: skip


def edited(thing: Json, rng: random.Random) -> Json:
    changed = copy.deepcopy(thing)
    for field in REPLACED_FIELDS:
        changed["metadata"].pop(field, None)
    for edit in rng.choices(list(EDITS), list(EDITS.values()), k=rng.choice([0, 1, 1, 1, 2, 2, 3])):
        edit(changed, rng)
    return changed


def merge_patch(old: Json, new: Json) -> Json:
    """What turns `old` into `new`, RFC 7386."""
    patch: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            if deeper := merge_patch(before, value):
                patch[key] = deeper
        elif before != value:
            patch[key] = value
    return patch


# Writes ---------------------------------------------------------------------------------------------------------------


class Run:
    """A sequence of writes to a few objects, each beside what the function says of it."""

    def __init__(self, place: Place, seed: int, name: str = "d") -> None:
        self.place, self.rng, self.name = place, random.Random(seed), name
        self.stored: dict[str, Json] = {}
        self.seen: Counter[str] = Counter()
        self.users = {
            "editor": support.EDITOR,
            "approver": support.APPROVER,
            "admin": support.ADMIN,
            "operator": place.operator,
        }

    def step(self) -> None:
        name = f"{self.name}{self.rng.randrange(OBJECTS)}"
        user = self.users[self.rng.choices(list(self.users), [4, 2, 2, 4])[0]]
        old = self.stored.get(name)
        if old is None:
            self.create(support.deployment(name, version="1"), user)
        elif self.rng.random() < 0.08:
            self.place.api.request("DELETE", f"{self.place.deployments}/{name}?propagationPolicy=Background")
            del self.stored[name]
            self.create(old, user)  # from an export, with whatever it carried
        elif self.rng.random() < 0.12:
            self.write_status(old, user)
        else:
            self.update(old, user)

    def create(self, thing: Json, user: User) -> None:
        new = edited(thing, self.rng)
        new.pop("status", None)
        self._compare(None, new, user, self._send("POST", self.place.deployments, new, user))

    def update(self, old: Json, user: User) -> None:
        new = edited(old, self.rng)
        path = f"{self.place.deployments}/{old['metadata']['name']}"
        if self.rng.random() < 0.4:
            self._compare(old, new, user, self._send("PATCH", path, merge_patch(_unversioned(old), new), user))
        else:
            self._compare(old, new, user, self._send("PUT", path, new, user))

    def write_status(self, old: Json, user: User) -> None:
        new = edited(old, self.rng)
        path = f"{self.place.deployments}/{old['metadata']['name']}/status"
        # A patch, as the Deployment controller may have changed the status since.
        reply = self._send("PATCH", path, merge_patch(_unversioned(old), new), user)
        kept = {**new, "spec": old["spec"], "metadata": {**new["metadata"], "labels": old["metadata"].get("labels")}}
        wanted = hold.restored_on_status(hold.state_of(old), hold.state_of(kept))
        self._count("status", restored=wanted != hold.state_of(kept))
        self._check(old, new, user, reply, Outcome(wanted), told=())
        if not self.dry:
            self.stored[old["metadata"]["name"]] = reply.body

    def _send(self, method: str, path: str, body: Json, user: User) -> Reply:
        self.dry = self.rng.random() < 0.2
        query = "?dryRun=All" if self.dry else ""
        content_type = support.MERGE if method == "PATCH" else "application/json"
        return self.place.api.request(method, path + query, body, user=user, content_type=content_type)

    def _compare(self, old: Json | None, new: Json, user: User, reply: Reply) -> None:
        write = self.write(old, new, user)
        outcome = hold.admit(write)
        told = outcome.warnings
        if reply.ok and user != self.place.operator:
            told += hold.advice(old, reply.body)
        self._count(write.operation.value, outcome, write)
        self._check(old, new, user, reply, outcome, told)
        if reply.ok and not self.dry:
            self.stored[new["metadata"]["name"]] = reply.body

    def write(self, old: Json | None, new: Json, user: User) -> Write:
        state = hold.state_of(old) if old else None
        named = state is not None and state.migration == support.MIGRATION
        return Write(
            Operation.UPDATE if old else Operation.CREATE,
            state,
            hold.state_of(new),
            username=user.name,
            user_is_operator=user == self.place.operator,
            user_may_approve=user == support.ADMIN or (user == support.APPROVER and named),
            deployment=new["metadata"]["name"],
        )

    def _check(self, old: Json | None, new: Json, user: User, reply: Reply, outcome: Outcome, told: tuple[str, ...]) -> None:
        story = f"seed {SEED}, {user.name}: {old and hold.state_of(old)} -> {hold.state_of(new)}"
        if outcome.denied:
            assert not reply.ok and outcome.denied in reply.message, f"{story}\n{outcome}\n{reply}"
            assert reply.warnings == (), f"{story}\nrefused, and told what would come of it: {reply.warnings}"
            return
        assert reply.ok, f"{story}\n{outcome}\n{reply.message}"
        stored = hold.state_of(reply.body)
        assert stored == outcome.state, f"{story}\nthe API server: {stored}\nthe function:   {outcome.state}"
        assert set(reply.warnings) >= set(told), f"{story}\nthe API server: {reply.warnings}\nthe function:   {told}"
        # The API server tries first on its cached object and, where a controller was faster, once more on the stored
        # one. It sends the warnings of both.
        self.seen["told too much"] += set(reply.warnings) > set(told)

    def _count(self, kind: str, outcome: Outcome | None = None, write: Write | None = None, **facts: bool) -> None:
        self.seen["writes"] += 1
        if outcome and write:
            old, state = write.old or hold.NOTHING, outcome.state
            facts["denied"] = outcome.denied is not None
            facts["held"] = state.held != ""
            facts["released"] = old.held != "" and not state.paused and state.migration is not None
            facts["own pause"] = state.paused and not state.held
            facts["adopted"] = state.adopted not in ("", old.adopted)
            facts["glass broken"] = state.break_glass_by not in ("", old.break_glass_by)
            facts["opted out"] = old.migration is not None and state.migration is None
            facts["mutated"] = state != write.new
            facts["warned"] = outcome.warnings != ()
        self.seen.update([kind, *(fact for fact, true in facts.items() if true)])


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with support.prepared(support.connect(), "hold-differential") as made:
        yield made


@pytest.mark.timeout(1200)  # half a minute on an idle machine
def test_the_policies_are_the_function(place: Place) -> None:
    run = Run(place, SEED)
    for _ in range(WRITES):
        run.step()
    print(dict(run.seen))
    rare = ("CREATE", "UPDATE", "status", "denied", "held", "released", "own pause", "adopted", "glass broken", "opted out")
    few = {fact: run.seen[fact] for fact in rare if run.seen[fact] < WRITES // 300}
    assert not few, f"the generator has gone blind: {few}"
    assert run.seen["told too much"] <= WRITES // 100


# The net, alone -------------------------------------------------------------------------------------------------------


class NetRun(Run):
    """The mutating policy is not there: the net judges what was written, and the API server stores just that."""

    def write_status(self, old: Json, user: User) -> None:
        self.update(old, user)

    def _compare(self, old: Json | None, new: Json, user: User, reply: Reply) -> None:
        write = self.write(old, new, user)
        outcome = Outcome(write.new, hold.net_denies(write, write.new))
        self._count(write.operation.value, outcome, write)
        self._check(old, new, user, reply, outcome, told=())
        if reply.ok and not self.dry:
            self.stored[new["metadata"]["name"]] = reply.body

    def step(self) -> None:
        super().step()
        name = self.rng.choice(list(self.stored) or [""])
        if name and self.rng.random() < 0.3:  # else nearly everything is refused and nothing moves
            mended = hold.apply_state(self.stored[name], self._mended(self.stored[name]))
            reply = self.place.api.request("PUT", f"{self.place.deployments}/{name}", _unversioned(mended))
            if reply.ok:
                self.stored[name] = reply.body

    def _mended(self, thing: Json) -> hold.State:
        """Held, or approved, with a version to go back to."""
        state = hold.state_of(thing)
        held = replace(state, paused=True, held=state.version)
        return self.rng.choice([held, replace(state, paused=True, held=""), replace(state, held="")])


def _unversioned(thing: Json) -> Json:
    return {**thing, "metadata": {k: v for k, v in thing["metadata"].items() if k not in REPLACED_FIELDS}}


def is_net(document: Json) -> bool:
    name: str = document["metadata"]["name"]
    return document["kind"].startswith("Validating") and name.endswith("-net")


@pytest.mark.timeout(600)
def test_the_net_is_the_function_too() -> None:
    api = support.connect()
    if support.installed(api):
        pytest.skip("the installed chart's mutating policy is in front of the net: run this without the chart")
    with support.prepared(api, "hold-net", only=is_net) as place:
        unpaused = support.deployment("probe", labels={LABEL: "shop"})
        dry = f"{place.deployments}?dryRun=All"
        support.until("the net acts", lambda: not api.request("POST", dry, unpaused).ok)
        run = NetRun(place, SEED, "n")
        for _ in range(NET_WRITES):
            run.step()
        print(dict(run.seen))
        assert run.seen["denied"] > NET_WRITES // 10 and run.seen["UPDATE"] > NET_WRITES // 2


def test_versions_differ_enough_to_be_compared() -> None:
    """The generator's images and annotations reach every branch of core/versions.py."""
    rng = random.Random(SEED)
    thing = support.deployment("x", version="1")
    seen: Counter[str] = Counter()
    for _ in range(2_000):
        thing = edited(thing, rng)
        template = thing["spec"]["template"]
        seen["declared"] += versions.declared(template) != ""
        seen["ambiguous"] += versions.is_ambiguous(template)
        seen["mutable"] += versions.is_mutable(template)
        seen["named"] += versions.container(template) is not versions.containers(template)[0]
    assert min(seen[key] for key in ("declared", "ambiguous", "mutable", "named")) > 20, seen
