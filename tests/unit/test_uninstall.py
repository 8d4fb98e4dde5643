"""The uninstall hook against an API server that can be told to fail."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from schemahold.api import names
from schemahold.cli import uninstall

ENVIRON = {"SCHEMAHOLD_NAMESPACE": "operators", "SCHEMAHOLD_DEPLOYMENT": "schemahold", "SCHEMAHOLD_SELECTOR": "ours"}
OPERATOR = ("deployments", "operators", "schemahold")
NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


class Fake:
    """Objects by (plural, namespace, name); ``calls`` in order; ``refusals`` by (verb, plural)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.calls: list[tuple[str, ...]] = []
        self.refusals: dict[tuple[str, str], list[int]] = {}
        self.labels: dict[tuple[str, str, str], str] = {}
        self.lingering = 0  # how often the operator's Deployment is still seen after its deletion

    def add(self, plural: str, namespace: str, name: str, selector: str = "", **fields: Any) -> dict[str, Any]:
        metadata = {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            **fields.pop("metadata", {}),
        }
        self.objects[plural, namespace, name] = {"metadata": metadata, **fields}
        self.labels[plural, namespace, name] = selector
        return self.objects[plural, namespace, name]

    def _call(self, verb: str, plural: str, *rest: str) -> None:
        self.calls.append((verb, plural, *rest))
        if statuses := self.refusals.get((verb, plural)):
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            if status:
                raise uninstall.Refused(status, f"{status} as told")

    def list(self, group: str, version: str, plural: str, selector: str) -> Sequence[Mapping[str, Any]]:
        self._call("list", plural)
        return [o for key, o in self.objects.items() if key[0] == plural and selector in ("", self.labels[key])]

    def get(self, group: str, version: str, plural: str, namespace: str, name: str) -> Mapping[str, Any]:
        self._call("get", plural, namespace, name)
        if (plural, namespace, name) == OPERATOR and self.lingering > 0:
            self.lingering -= 1
            return {}
        if (plural, namespace, name) not in self.objects:
            raise uninstall.Refused(404, "not found")
        return self.objects[plural, namespace, name]

    def merge(self, group: str, version: str, plural: str, namespace: str, name: str, patch: Mapping[str, Any]) -> None:
        self._call("merge", plural, namespace, name)
        self.objects[plural, namespace, name]["metadata"]["finalizers"] = patch["metadata"]["finalizers"]

    def delete(self, group: str, version: str, plural: str, namespace: str, name: str) -> None:
        self._call("delete", plural, namespace, name)
        if self.objects.pop((plural, namespace, name), None) is None:
            raise uninstall.Refused(404, "not found")

    def create(self, group: str, version: str, plural: str, namespace: str, body: Mapping[str, Any]) -> None:
        self._call("create", plural, namespace, body["metadata"]["name"])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def full() -> Fake:
    fake = Fake()
    fake.add(*OPERATOR)
    for plural in uninstall.POLICIES:
        fake.add(plural, "", "schemahold-hold", selector="ours")
        fake.add(plural, "", "somebody-elses", selector="theirs")
    fake.add("schemamigrations", "shop", "shop", metadata={"finalizers": ["other", names.RUNNING_FINALIZER]})
    fake.add("schemamigrations", "shop", "idle")
    deployment(fake, "shop-api", "v2")
    return fake


def deployment(fake: Fake, name: str, held: str, paused: bool = True) -> dict[str, Any]:
    annotations = {"annotations": {names.HELD: held}} if held else {}
    return fake.add("deployments", "shop", name, selector=names.MIGRATION, metadata=annotations, spec={"paused": paused})


def run(fake: Fake) -> int:
    clock = Clock()
    return uninstall.uninstall(fake, ENVIRON, clock, clock.sleep)


def test_listing() -> None:
    assert uninstall.listing([]) == "No Deployment is held."
    assert uninstall.listing([("shop", "shop-api", "v2")]) == (
        "1 Deployment stays paused: the new version waits for a migration that has not succeeded. "
        "The old pods keep serving.\n"
        "Migrate by hand, then resume it:\n"
        "  kubectl -n shop rollout resume deployment/shop-api   # version v2"
    )
    two = uninstall.listing([("a", "x", "v1"), ("b", "y", "v2")])
    assert two.startswith("2 Deployments stay paused")
    assert "resume each" in two


def test_only_our_own_pause_is_listed() -> None:
    fake = Fake()
    objects = [deployment(fake, "z", "v2"), deployment(fake, "own-pause", ""), deployment(fake, "runs", "v1", paused=False)]
    objects += [{"metadata": {"name": "bare"}, "spec": {}}, deployment(fake, "a", "v3")]
    assert uninstall.held(objects) == [("shop", "a", "v3"), ("shop", "z", "v2")]


def test_the_event_carries_the_command_and_fits() -> None:
    fake = Fake()
    event = uninstall.event(deployment(fake, "d" * 253, "registry/" + "v" * 1000), NOW)
    assert event["metadata"]["name"] == "uninstalled.uid-" + "d" * 253
    assert len(event["note"]) <= 1024
    assert event["note"].endswith(uninstall.resume_command("shop", "d" * 253))
    assert event["eventTime"] == "2026-11-22T00:00:00.000000Z"
    assert event["regarding"]["uid"] == "uid-" + "d" * 253


def test_everything_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    fake = full()
    fake.lingering = 3
    assert run(fake) == 0
    writes = [call[:2] for call in fake.calls if call[0] not in ("list", "get")]
    assert writes == [
        ("delete", "deployments"),
        *(("delete", plural) for plural in uninstall.POLICIES),
        ("merge", "schemamigrations"),
        ("create", "events"),
    ]
    # The operator's pods are gone before anything else happens.
    assert [call[0] for call in fake.calls[:5]] == ["delete", "get", "get", "get", "get"]
    assert fake.objects["schemamigrations", "shop", "shop"]["metadata"]["finalizers"] == ["other"]
    assert ("mutatingadmissionpolicies", "", "somebody-elses") in fake.objects
    assert fake.objects["deployments", "shop", "shop-api"]["spec"]["paused"] is True
    said = capsys.readouterr().out
    assert "The operator is stopped." in said
    assert "4 policies and bindings removed" in said
    assert "kubectl -n shop rollout resume deployment/shop-api" in said


def test_may_be_repeated() -> None:
    fake = full()
    assert run(fake) == 0
    before = dict(fake.objects)
    fake.refusals["create", "events"] = [409]
    assert run(fake) == 0
    assert fake.objects == before


def test_without_its_kind_and_policies_there_is_nothing_to_do() -> None:
    fake = Fake()
    for plural in (*uninstall.POLICIES, "schemamigrations"):
        fake.refusals["list", plural] = [404]
    assert run(fake) == 0


def test_a_policy_that_stays_is_a_failure_and_the_rest_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    fake = full()
    fake.refusals["delete", "mutatingadmissionpolicies"] = [403]
    assert run(fake) == 1
    assert "mutatingadmissionpolicies/schemahold-hold could not be deleted: 403" in capsys.readouterr().out
    assert fake.objects["schemamigrations", "shop", "shop"]["metadata"]["finalizers"] == ["other"]
    assert ("validatingadmissionpolicies", "", "schemahold-hold") not in fake.objects


@pytest.mark.parametrize(
    ("verb", "plural"),
    [
        ("delete", "deployments"),
        ("get", "deployments"),
        ("list", "schemamigrations"),
        ("merge", "schemamigrations"),
        ("list", "deployments"),
        ("create", "events"),
    ],
)
def test_no_other_refusal_keeps_the_policies(verb: str, plural: str) -> None:
    fake = full()
    fake.refusals[verb, plural] = [500]
    assert run(fake) == 0
    assert not [key for key in fake.objects if key[2] == "schemahold-hold"]


def test_an_operator_that_does_not_stop_is_not_waited_for_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    fake = full()
    fake.lingering = 10_000
    assert run(fake) == 0
    assert "did not end within 75 s" in capsys.readouterr().out


def test_a_conflict_on_a_finalizer_is_tried_again() -> None:
    fake = full()
    fake.refusals["merge", "schemamigrations"] = [409, 409, 0]
    assert run(fake) == 0
    assert fake.objects["schemamigrations", "shop", "shop"]["metadata"]["finalizers"] == ["other"]
