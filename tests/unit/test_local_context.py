"""A cluster of the user's: what is asked of it first, what is left alone, and how it gets its images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import prepare
from tests.cluster.local import binaries, context, images, installation, recipes
from tests.cluster.local.failure import Failure

CONTEXT = "far-away"
VERSION = installation.chart_version()
VARIABLES = ("IMAGE", "SHOP_IMAGE", "CUSTOMERS_IMAGE", "POSTGRES_IMAGE")
GIVEN = {
    "IMAGE": "reg:5000/schemahold:7",
    "SHOP_IMAGE": "reg:5000/shop",
    "CUSTOMERS_IMAGE": "reg:5000/customers",
    "POSTGRES_IMAGE": "postgres:17.4",
}
# Each program writes down how it was called. kubectl and helm answer from files.
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "{home}/calls"
case "$(basename "$0") $*" in
  *"get-contexts {context} "*) cat "{home}/context" ;;
  *get-contexts*) echo near; echo nearer ;;
  *"get deployments"*) cat "{home}/deployments" ;;
  *"get customresource"*) cat "{home}/crd" ;;
  *"get values"*) cat "{home}/values" 2>/dev/null || {{ echo "Error: release: not found" >&2; exit 1; }} ;;
esac
"""
FIELDS = {"properties": {"spec": {"properties": {"run": {}, "sql": {}, "contract": {}, "version": {}}}}}
CRD = {"spec": {"versions": [{"served": True, "schema": {"openAPIV3Schema": FIELDS}}]}}


class Cluster:
    """Somebody's, as stub programs show it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "calls").touch()
        (home / "context").write_text(CONTEXT)
        (home / "crd").write_text(json.dumps(CRD))
        (home / "deployments").write_text('{"items": []}')
        for name in ("kubectl", "helm", "kind"):
            path = home / name
            path.write_text(STUB.format(home=home, context=CONTEXT))
            path.chmod(0o755)

    def has(self, *, version: str = VERSION, ready: bool = True, image: str = "old:1", values: Any = None) -> None:
        labels = {"app.kubernetes.io/instance": "theirs", "app.kubernetes.io/version": version}
        status = {"observedGeneration": 3, "updatedReplicas": 1, "readyReplicas": 1 if ready else 0}
        spec = {"template": {"spec": {"containers": [{"image": image}]}}}
        metadata = {"namespace": "ops", "labels": labels, "generation": 3}
        self.write("deployments", {"items": [{"metadata": metadata, "spec": spec, "status": status}]})
        self.write("values", values if values is not None else {"resync": "7m"})

    def write(self, name: str, content: Any) -> None:
        (self.home / name).write_text(json.dumps(content))

    def calls(self, start: str) -> list[str]:
        return [line for line in (self.home / "calls").read_text().splitlines() if line.startswith(start)]

    @property
    def upgrades(self) -> list[str]:
        return [line for line in self.calls("helm") if " upgrade " in line]


@pytest.fixture
def built() -> list[str]:
    return []


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: list[str]) -> Cluster:
    made = Cluster(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv(context.VARIABLE, CONTEXT)
    for variable in (*VARIABLES, "KUBECONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(binaries, "path", lambda name: tmp_path / name)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def image(name: str) -> images.Image:
        built.append(name)
        tag = name.replace("-v", ":v") if "-v" in name else {"postgres": "postgres:17"}.get(name, f"{name}:dev")
        return images.Image(tag, tmp_path / name / "image.tar")

    monkeypatch.setattr(recipes, "image", image)
    return made


def _demo() -> None:
    prepare.prepare(prepare.SHOP, {})


def _stories() -> None:
    prepare.prepare(prepare.STORIES, prepare.SHORT)


def _ours(**more: Any) -> dict[str, Any]:
    return {"image": {"repository": "old", "tag": "1"}, "podAnnotations": {"content": "a1"}, **more}


# What is installed there ----------------------------------------------------------------------------------------------


def test_nothing_there_is_installed_to(there: Cluster) -> None:
    _demo()
    [words] = there.upgrades
    assert words.startswith(f"helm --kube-context {CONTEXT} upgrade --install schemahold ")
    assert "--set-string image.repository=schemahold --set-string image.tag=dev" in words


@pytest.mark.parametrize("values", [{"resync": "7m"}, _ours(), _ours(resync="7m"), {}])
def test_bug_what_will_do_is_not_touched(
    there: Cluster, built: list[str], values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """`helm upgrade --install` put every value of somebody's installation back to the chart's."""
    there.has(values=values)
    _demo()
    assert there.upgrades == []
    assert "schemahold" not in built
    said = capsys.readouterr().err
    assert f"using schemahold {VERSION} (release theirs, namespace ops, image old:1) as it is" in said


def test_theirs_is_not_mended_but_explained(there: Cluster) -> None:
    there.has(ready=False)
    with pytest.raises(Failure, match=r"its operator is not ready .*--kube-context far-away -n ops upgrade theirs"):
        _demo()
    assert there.upgrades == []


def test_nor_what_another_tool_installed(there: Cluster) -> None:
    there.has(ready=False)
    (there.home / "values").unlink()
    with pytest.raises(Failure, match="To mend it: with the tool that installed it"):
        _demo()


@pytest.mark.parametrize("older", ["0.0.9", "0.0.9-rc.1"])
def test_older_cannot_do(there: Cluster, older: str) -> None:
    there.has(version=older)
    with pytest.raises(Failure, match=f"stays as it is, but it is older than this checkout's {VERSION}"):
        _demo()
    assert there.upgrades == []


def test_nor_can_an_older_resource(there: Cluster) -> None:
    there.has()
    there.write("crd", {})
    with pytest.raises(Failure, match="spec has no contract and no run and no sql"):
        _demo()


def test_newer_will_do_and_is_never_downgraded(there: Cluster) -> None:
    there.has(version="0.10.0", values=_ours())
    _demo()
    for change in (_stories, prepare.chart, lambda: (there.has(version="0.10.0", ready=False, values=_ours()), _demo())):
        with pytest.raises(Failure, match="nothing is downgraded"):
            change()
    assert there.upgrades == []


def test_what_failed_from_here_is_mended(there: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped IMAGE, and then the right one."""
    there.has(ready=False, values=_ours())
    monkeypatch.setenv("IMAGE", GIVEN["IMAGE"])
    _demo()
    [words] = there.upgrades
    assert "image.repository=reg:5000/schemahold --set-string image.tag=7" in words


def test_stories_want_their_own(there: Cluster) -> None:
    there.has(values=_ours(resync="7m"))
    with pytest.raises(Failure, match="the stories would upgrade, stop and uninstall it"):
        _stories()
    assert there.upgrades == []
    there.has(values=_ours())
    _stories()
    assert len(there.upgrades) == 1


def test_the_stories_own_values_are_ours() -> None:
    nested: dict[str, Any] = {name: value for name, value in prepare.SHORT.items() if "." not in name}
    nested["retryBackoff"] = {"initial": "1s", "max": "4s"}
    assert installation.is_ours(_ours(**nested), {}, prepare.SHORT)


def test_a_release_without_an_operator(there: Cluster) -> None:
    there.write("values", {"resync": "7m"})
    with pytest.raises(Failure, match="mend or uninstall it first"):
        _demo()
    there.write("values", _ours())
    _demo()
    assert len(there.upgrades) == 1


def test_a_rollout_that_hangs_is_not_ready(there: Cluster) -> None:
    there.has()
    found = json.loads((there.home / "deployments").read_text())["items"][0]
    assert installation.read(found, CRD).trouble() == ""
    found["metadata"]["generation"] = 4
    assert "not ready" in installation.read(found, CRD).trouble()
    assert "not ready" in installation.read({**found, "status": {}}, CRD).trouble()


# Its images -----------------------------------------------------------------------------------------------------------


def test_each_image_with_its_own_variable(there: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    _demo()
    said = capsys.readouterr().err
    for tag, name in {
        "schemahold:dev": "IMAGE=REGISTRY/schemahold:dev",
        "shop:v3": "SHOP_IMAGE=REGISTRY/shop",
        "customers:v2": "CUSTOMERS_IMAGE=REGISTRY/customers",
        "postgres:17": "POSTGRES_IMAGE=REGISTRY/postgres:17",
    }.items():
        [line] = [line for line in said.splitlines() if f"can pull {tag}:" in line]
        assert line.endswith(f"image.tar to a registry and name it with {name}")


def test_named_images_are_neither_built_nor_mentioned(
    there: Cluster, built: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in GIVEN.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # and so nobody has to be root
    _demo()
    assert built == []
    assert "registry" not in capsys.readouterr().err
    assert len(there.upgrades) == 1


def test_without_root_the_variables_are_named(there: Cluster, built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE", GIVEN["IMAGE"])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Failure, match=r"needs root.*: POSTGRES_IMAGE=\.\.\. SHOP_IMAGE=\.\.\. CUSTOMERS_IMAGE=\.\.\.$"):
        _demo()
    assert built == []


def test_stories_heed_the_operators_image_alone(
    there: Cluster, built: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in GIVEN.items():
        monkeypatch.setenv(variable, value)
    _stories()
    assert set(built) == {*prepare.STORIES} - {"schemahold"}
    said = capsys.readouterr().err
    assert "SHOP_IMAGE" not in said
    assert "can pull shop:v1: push " in said
    assert "and keep its name" in said


def test_kind_takes_archives(there: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """buildah's images are unknown to Docker's engine, where `kind load docker-image` looks."""
    monkeypatch.setenv(context.VARIABLE, "kind-two")
    monkeypatch.setenv("POSTGRES_IMAGE", GIVEN["POSTGRES_IMAGE"])
    _demo()
    names = [name for name in prepare.SHOP if name != "postgres"]
    assert there.calls("kind") == [f"kind load image-archive {there.home}/{name}/image.tar --name two" for name in names]


def test_a_missing_context_is_said_first(there: Cluster, built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (there.home / "context").unlink()
    monkeypatch.setenv("KUBECONFIG", "/a:/b")
    for run in (_demo, _stories, prepare.chart):
        with pytest.raises(Failure, match="CONTEXT=far-away: /a:/b has no such context, but near, nearer"):
            run()
    assert built == []
    assert there.calls("helm") == []


def test_several_kubeconfigs_reach_helm(there: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/a:/b")
    prepare.helm("list")
    assert there.calls("helm") == [f"helm --kube-context {CONTEXT} list"]


@pytest.mark.parametrize(
    ("name", "repository", "tag", "digest"),
    [
        ("schemahold:dev", "schemahold", "dev", ""),
        ("localhost:5000/schemahold:dev", "localhost:5000/schemahold", "dev", ""),
        ("ghcr.io/who/schemahold:0.1.0", "ghcr.io/who/schemahold", "0.1.0", ""),
        ("reg:5000/schemahold@sha256:ab", "reg:5000/schemahold", "", "sha256:ab"),
        ("reg/schemahold:1@sha256:ab", "reg/schemahold", "1", "sha256:ab"),
    ],
)
def test_image_names(name: str, repository: str, tag: str, digest: str) -> None:
    wanted = {"image.repository": repository, "image.tag": tag, "image.digest": digest}
    assert installation.image_values(name) == {key: value for key, value in wanted.items() if value}


@pytest.mark.parametrize("name", ["localhost:5000/schemahold", "schemahold", "reg/schemahold:"])
def test_an_image_without_a_tag(there: Cluster, built: list[str], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("IMAGE", name)
    with pytest.raises(Failure, match=f"IMAGE={name} has no tag: name one, as in IMAGE={name.rstrip(':')}:dev"):
        _demo()
    assert built == []


@pytest.mark.parametrize("name", ["shop:v1", "localhost:5000/shop:v1", "shop@sha256:ab"])
def test_a_repository_has_no_tag(there: Cluster, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SHOP_IMAGE", name)
    with pytest.raises(Failure, match=f"SHOP_IMAGE={name} has a tag"):
        _demo()


def test_the_local_cluster_asks_nobody(there: Cluster, monkeypatch: pytest.MonkeyPatch, built: list[str]) -> None:
    monkeypatch.delenv(context.VARIABLE)
    monkeypatch.setattr(prepare.cluster, "up", lambda: None)
    monkeypatch.setattr(prepare.images, "load", lambda image: None)
    monkeypatch.setenv("SHOP_IMAGE", GIVEN["SHOP_IMAGE"])
    _demo()
    assert built == [*prepare.SHOP, "schemahold"]
    assert there.calls("kubectl") == []
    [words] = there.upgrades
    assert f"--kubeconfig {prepare.Layout().kubeconfig} --kube-context {prepare.Layout().name} upgrade" in words
