"""The CRD is generated, structural, bounded, and says what it means."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from schemahold.api import crd, durations, models

FOLDER = Path(__file__).parents[2] / "crds"
CRD = crd.build_crd(crd.SCHEMA_MIGRATION)
VERSION = CRD["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node with its path, as kubectl explain writes it."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from nodes(schema[inner], f"{path}[]")


OURS = [(path, node) for path, node in nodes(ROOT) if path.startswith((".spec", ".status"))]


def at(path: str) -> dict[str, Any]:
    return dict(OURS)[path]


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda kind: kind.kind)
def test_the_file_is_what_the_models_say(kind: crd.Kind) -> None:
    file = FOLDER / f"schemahold.dev_{kind.plural}.yaml"
    assert file.read_text() == crd.render([kind]), f"stale: python -m schemahold.api.crd {kind.plural} > crds/{file.name}"


def test_no_other_file_is_there() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {f"schemahold.dev_{kind.plural}.yaml" for kind in crd.KINDS}


def test_rendering_is_yaml_of_all_kinds() -> None:
    assert [one["kind"] for one in yaml.safe_load_all(crd.render())] == ["CustomResourceDefinition"] * len(crd.KINDS)


@pytest.mark.parametrize(("path", "node"), OURS, ids=[path for path, _ in OURS])
def test_node_is_structural_and_bounded(path: str, node: dict[str, Any]) -> None:
    assert node["type"] in ("object", "array", "string", "integer", "boolean")
    assert not {"anyOf", "$ref", "title", "pattern", "nullable"} & set(node)
    match node["type"]:
        case "string":
            assert "maxLength" in node or "enum" in node
        case "array":
            assert "maxItems" in node
        case "object":
            assert "properties" in node or {"maxProperties", "additionalProperties"} <= set(node)
    assert node.get("additionalProperties") is not True


@pytest.mark.parametrize("path", [path for path, _ in OURS if path.startswith(".spec") and not path.endswith("[]")])
def test_everything_a_user_writes_is_described(path: str) -> None:
    assert at(path).get("description")


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, node in nodes(ROOT):
        for rule in node.get("x-kubernetes-validations", []):
            yield path, rule


@pytest.mark.parametrize(("path", "rule"), list(rules()), ids=lambda value: value if isinstance(value, str) else "")
def test_message_names_the_field_and_what_must_be(path: str, rule: dict[str, Any]) -> None:
    said = rule.get("message") or rule["messageExpression"]
    assert "\n" not in said
    assert "`" in said
    assert "must" in said
    assert ":" in said or "," in said  # the fix stands behind it


def patterns(model: type[pydantic.BaseModel]) -> Iterator[str]:
    """Paths below `.spec` of the fields that Python checks by a pattern."""
    raw = model.model_json_schema(by_alias=True)

    def walk(node: dict[str, Any], path: str) -> Iterator[str]:
        node = crd._resolved(node, raw["$defs"])  # type: ignore[assignment]
        if "pattern" in node:
            yield path
        for name, field in node.get("properties", {}).items():
            yield from walk(field, f"{path}.{name}")

    yield from walk(raw, ".spec")


def test_where_python_has_a_pattern_the_api_server_has_a_rule() -> None:
    found = list(patterns(models.Spec))
    assert ".spec.lock.timeout" in found
    assert [path for path in found if not at(path).get("x-kubernetes-validations")] == []


def test_columns() -> None:
    columns = {one["name"]: one for one in VERSION["additionalPrinterColumns"]}
    assert list(columns) == ["Ready", "Stalled", "Version", "Reason", "Held", "Age", "Job", "Status"]
    assert [name for name, one in columns.items() if one.get("priority")] == ["Job", "Status"]
    assert columns["Held"]["jsonPath"] == ".status.heldCount"
    for one in columns.values():
        path = one["jsonPath"].partition("[?")[0]
        assert path.startswith(".metadata.") or path in dict(OURS)


def test_names() -> None:
    assert CRD["spec"]["names"]["shortNames"] == ["smig"]
    assert CRD["spec"]["names"]["categories"] == ["schemahold"]
    assert CRD["metadata"]["name"] == "schemamigrations.schemahold.dev"
    assert VERSION["subresources"] == {"status": {}}


def test_a_resource_nobody_has_seen_does_not_look_current() -> None:
    assert ROOT["properties"]["status"]["default"] == {"observedGeneration": -1}
    defaults = [path for path, node in OURS if path.startswith(".status.") and "default" in node]
    assert defaults == []


def test_defaults_are_those_of_the_models() -> None:
    defaults = {path: node["default"] for path, node in OURS if path.startswith(".spec") and "default" in node}
    ours = {path: value for path, value in defaults.items() if not path.startswith((".spec.sql", ".spec.contract"))}
    assert defaults[".spec.sql.largeTable"] == 100_000
    assert defaults[".spec.contract.after"] == "10m"
    assert ours == {
        ".spec.run.gracePeriod": "60s",
        ".spec.run.startTimeout": "5m",
        ".spec.run.logTail": True,
        ".spec.lock": {},
        ".spec.lock.timeout": "30s",
        ".spec.lock.allowPooler": False,
        ".spec.retries": 3,
        ".spec.settle": "10s",
        ".spec.suspend": False,
    }


def test_required_fields() -> None:
    assert ROOT["required"] == ["spec"]
    assert at(".spec")["required"] == ["database"]
    assert at(".spec.run")["required"] == ["command"]


def test_conditions_are_a_map_by_type() -> None:
    conditions = at(".status.conditions")
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_a_choice_of_types_is_refused() -> None:
    class Choice(models.Model):
        field: int | str

    with pytest.raises(ValueError, match="cannot choose between types"):
        crd.structural(Choice)


def test_no_duration_of_its_length_is_too_long_for_cel() -> None:
    """CEL counts nanoseconds in 64 bits."""
    longest = "9" * 6 + "h" + "9" * 6 + "h"
    assert len(longest) <= at(".spec.lock.timeout")["maxLength"]
    assert durations.seconds(longest + "9h") * 1e9 < 2**63


def test_a_status_of_the_models_is_within_the_schema() -> None:
    status = models.dump_status(models.Status(held_count=1))
    assert set(status) <= set(at(".status")["properties"])
