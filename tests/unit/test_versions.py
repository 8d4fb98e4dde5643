"""The version of a pod template, on whatever the API may hand us."""

from typing import Any

import pytest

from schemahold.core import versions

DECLARED = "schemahold.dev/version"
NAMED = "kubectl.kubernetes.io/default-container"


def template(*containers: tuple[str, str], **annotations: str) -> dict[str, Any]:
    keys = {"declared": DECLARED, "named": NAMED}
    return {
        "metadata": {"annotations": {keys[key]: value for key, value in annotations.items()}},
        "spec": {"containers": [{"name": name, "image": image} for name, image in containers]},
    }


APP, PROXY = ("app", "shop:2"), ("proxy", "envoy:1")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        pytest.param(template(APP), "shop:2", id="the image"),
        pytest.param(template(APP, declared="2026.1"), "2026.1", id="the annotation before the image"),
        pytest.param(template(APP, declared=""), "shop:2", id="an empty annotation is none"),
        pytest.param(template(APP, declared=" "), " ", id="a blank is a literal string"),
        pytest.param(template(PROXY, APP), "envoy:1", id="the first container"),
        pytest.param(template(PROXY, APP, named="app"), "shop:2", id="the default container"),
        pytest.param(template(PROXY, APP, named="gone"), "envoy:1", id="a name that no container has"),
        pytest.param(template(PROXY, APP, named="app", declared="7"), "7", id="the annotation before the default container"),
        pytest.param(template(), "", id="no container"),
        pytest.param({}, "", id="nothing"),
        pytest.param({"metadata": None, "spec": None}, "", id="nulls"),
        pytest.param({"metadata": {"annotations": None}, "spec": {"containers": None}}, "", id="deeper nulls"),
        pytest.param({"spec": {"containers": [{"name": "app"}]}}, "", id="no image"),
        pytest.param({"spec": {"containers": [{"name": "app", "image": None}]}}, "", id="a null image"),
        pytest.param({"spec": {"initContainers": [{"image": "x"}]}}, "", id="init containers do not count"),
    ],
)
def test_version(given: dict[str, Any], wanted: str) -> None:
    assert versions.version(given) == wanted


def test_container_is_the_whole_container() -> None:
    given = template(PROXY, APP, named="app")
    assert versions.container(given) is given["spec"]["containers"][1]
    assert versions.container({}) == {}


@pytest.mark.parametrize(
    ("image", "mutable"),
    [
        ("shop", True),
        ("shop:latest", True),
        ("registry:5000/shop", True),
        ("registry:5000/shop:latest", True),
        ("shop:", True),
        ("shop:1", False),
        ("registry:5000/shop:1", False),
        ("shop:latest-1", False),
        ("shop@sha256:00", False),
        ("shop:latest@sha256:00", False),
        ("", False),
    ],
)
def test_a_tag_that_stays_while_the_build_changes(image: str, mutable: bool) -> None:
    assert versions.is_mutable(template(("app", image))) is mutable
    assert not versions.is_mutable(template(("app", image), declared="1"))


@pytest.mark.parametrize(
    ("given", "ambiguous"),
    [
        pytest.param(template(APP), False, id="one container"),
        pytest.param(template(PROXY, APP), True, id="two"),
        pytest.param(template(PROXY, APP, named="app"), False, id="two, one named"),
        pytest.param(template(PROXY, APP, named="gone"), True, id="two, a name that neither has"),
        pytest.param(template(PROXY, APP, declared="1"), False, id="two, the version declared"),
    ],
)
def test_a_container_that_nobody_named(given: dict[str, Any], ambiguous: bool) -> None:
    assert versions.is_ambiguous(given) is ambiguous
