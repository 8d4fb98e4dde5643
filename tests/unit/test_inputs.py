"""What makes two attempts the same, and what does not."""

import copy
import re
from typing import Any

import pytest

from schemahold.api import models
from schemahold.core import inputs

SPEC: dict[str, Any] = {
    "database": {"env": "DATABASE_URL"},
    "run": {"command": ["npm", "run", "migrate"]},
}
CONTAINER: dict[str, Any] = {
    "name": "api",
    "image": "shop:1",
    "env": [
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "shop-db", "key": "password"}}},
        {"name": "HOST", "value": "db"},
        {"name": "DATABASE_URL", "value": "postgresql://app:$(PASSWORD)@$(HOST)/shop"},
        {"name": "PORT", "value": "8080"},
    ],
    "resources": {"limits": {"memory": "1Gi"}},
}


def spec(**changes: Any) -> models.Spec:
    raw = copy.deepcopy(SPEC)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = raw
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return models.Spec.model_validate(raw)


def container(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(CONTAINER) | changes


def env(name: str, **entry: Any) -> dict[str, Any]:
    """The container with this variable set, or replaced, to ``entry``."""
    return container(env=[{"name": name, **entry} if one["name"] == name else one for one in CONTAINER["env"]])


@pytest.mark.parametrize("hash_", [inputs.inputs, inputs.database_reference])
def test_sixteen_hex_characters_the_same_at_every_call(hash_: Any) -> None:
    assert re.fullmatch("[0-9a-f]{16}", hash_(spec(), container()))
    assert hash_(spec(), container()) == hash_(spec(), container())


def test_a_hash_does_not_change_between_releases() -> None:
    """A new operator that hashed otherwise would take every finished run for one with other inputs."""
    assert inputs.inputs(spec(), container()) == "91cb80da93c2f743"
    assert inputs.database_reference(spec(), container()) == "d88e1cdc33357088"


CHANGES = {
    "command": {"run__command": ["npm", "run", "migrate:up"]},
    "command split otherwise": {"run__command": ["npm", "run migrate"]},
    "database": {"database": {"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}}},
    "password file": {"database__passwordFile": "/var/run/token"},
    "session options": {"run__sessionOptions": {"lock_timeout": "5s"}},
    "sidecars": {"run__sidecars": ["proxy"]},
    "lock name": {"lock__name": "reporting"},
    "pooler allowed": {"lock__allowPooler": True},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_inputs_change_with(change: dict[str, Any]) -> None:
    assert inputs.inputs(spec(**change), container()) != inputs.inputs(spec(), container())


SAME = {
    "version": {"version": "2"},
    "identity": {"identity": "shop"},
    "lock timeout": {"lock__timeout": "5m"},
    "start timeout": {"run__startTimeout": "1h"},
    "grace period": {"run__gracePeriod": "1h"},
    "log tail": {"run__logTail": False},
    "source's name": {"run__deployment": "shop-api"},
    "retries": {"retries": 9},
    "settle": {"settle": "0s"},
    "suspend": {"suspend": True},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_inputs_do_not_change_with(change: dict[str, Any]) -> None:
    assert inputs.inputs(spec(**change), container()) == inputs.inputs(spec(), container())


def test_every_field_of_the_spec_is_decided() -> None:
    """A new field must be put into one of the two tables above."""
    fields = {"version", "identity", "retries", "settle", "suspend", "database", "run", "sql", "contract", "lock"}
    assert set(models.Spec.model_fields) == fields
    assert set(models.Database.model_fields) == {"url_from", "env", "password_file"}
    assert set(models.Lock.model_fields) == {"timeout", "name", "allow_pooler"}
    assert set(models.Run.model_fields) == {
        "command", "deployment", "sidecars", "grace_period", "start_timeout", "session_options", "log_tail",
    }  # fmt: skip


def test_inputs_change_with_the_image_but_not_with_the_rest_of_the_container() -> None:
    assert inputs.inputs(spec(), container(image="shop:2")) != inputs.inputs(spec(), container())
    same = container(name="web", resources={}, workingDir="/app", ports=[{"containerPort": 80}])
    assert inputs.inputs(spec(), same) == inputs.inputs(spec(), container())


def test_order_of_session_options_and_sidecars_does_not_matter() -> None:
    one = spec(run__sessionOptions={"lock_timeout": "5s", "statement_timeout": "1min"}, run__sidecars=["a", "b"])
    other = spec(run__sessionOptions={"statement_timeout": "1min", "lock_timeout": "5s"}, run__sidecars=["b", "a"])
    assert inputs.inputs(one, container()) == inputs.inputs(other, container())


def test_reference_follows_the_variables_that_the_url_refers_to() -> None:
    before = inputs.database_reference(spec(), container())
    assert inputs.database_reference(spec(), env("HOST", value="db2")) != before
    assert inputs.database_reference(spec(), env("PORT", value="81")) == before


def test_a_secrets_key_is_one_reference_however_it_is_named() -> None:
    by_url_from = spec(database={"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}})
    ref = {"name": "shop-db", "key": "url", "optional": False}
    by_variable = env("DATABASE_URL", valueFrom={"secretKeyRef": ref})
    assert inputs.database_reference(spec(), by_variable) == inputs.database_reference(by_url_from, {})


def test_url_from_does_not_look_at_the_container() -> None:
    by_url_from = spec(database={"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}})
    assert inputs.database_reference(by_url_from, container()) == inputs.database_reference(by_url_from, {})
    other = spec(database={"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "admin"}}})
    assert inputs.database_reference(by_url_from, {}) != inputs.database_reference(other, {})


def test_a_variable_from_env_from_is_referred_to_by_its_sources_and_name() -> None:
    given = container(env=[], envFrom=[{"secretRef": {"name": "shop-env"}}])
    other_source = container(env=[], envFrom=[{"secretRef": {"name": "other"}}])
    other_name = spec(database={"env": "ADMIN_URL"})
    hashes = {
        inputs.database_reference(spec(), given),
        inputs.database_reference(spec(), other_source),
        inputs.database_reference(other_name, given),
        inputs.database_reference(spec(), container(env=[])),
    }
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("postgresql://$(USER):$(PASSWORD)@db/x", {"USER", "PASSWORD"}),
        ("$$(USER)", set()),
        ("$$$(USER)", {"USER"}),
        ("$USER ${USER} $( )", {" "}),
        ("$()", set()),
        ("$(", set()),
    ],
)
def test_references_are_read_as_the_kubelet_reads_them(text: str, names: set[str]) -> None:
    assert inputs.references(text) == names


def test_needed_env_keeps_order_duplicates_and_cycles() -> None:
    entries = [
        {"name": "A", "value": "1"},
        {"name": "A", "value": "$(A)2"},
        {"name": "X", "value": "x"},
        {"name": "B", "value": "$(A)$(C)"},
        {"name": "C", "value": "$(B)"},
    ]
    needed = inputs.needed_env({"env": entries}, ["B"])
    assert [one["name"] for one in needed] == ["A", "A", "B", "C"]


def test_env_from_is_needed_only_for_what_env_lacks() -> None:
    from_ = [{"configMapRef": {"name": "c"}}]
    assert not inputs.needs_env_from(container(envFrom=from_), ["DATABASE_URL"])
    assert inputs.needs_env_from(container(env=CONTAINER["env"][1:], envFrom=from_), ["DATABASE_URL"])
    assert not inputs.needs_env_from(container(env=CONTAINER["env"][1:]), ["DATABASE_URL"])
    assert not inputs.needs_env_from(container(envFrom=from_), [])
