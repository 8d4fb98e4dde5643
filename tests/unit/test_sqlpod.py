"""The pod of sql mode: one container of ours, and the files beside it."""

import json
from typing import Any

import pytest

from schemahold.api import models, names, pod
from schemahold.core import inputs, job
from tests.unit import make
from tests.unit.make import deployment, look, migration

SOURCE = deployment("v2", "v1")
CONTAINER = SOURCE["spec"]["template"]["spec"]["containers"][0]
CONTAINER |= {
    "image": "shop:2",
    "imagePullPolicy": "Always",
    "securityContext": {"runAsUser": 1000},
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
}
SOURCE["spec"]["template"]["spec"]["volumes"] = [
    {"name": "ca", "secret": {"secretName": "ca"}},
    {"name": "schemahold-sql", "emptyDir": {}},
    {"name": "other", "emptyDir": {}},
]


def build(*, image_volumes: bool = False, phase: str = "expand", contract: Any = None, **sql: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {"version": "v2", "database": make.URL, "sql": sql}
    spec = models.Spec.model_validate({**raw, **({"contract": contract} if contract else {})})
    ask = pod.Ask(ledger_name="prod/shop", phase=phase, version="v2", inputs="i", attempt=7, job="shop-7")
    return job.build_job(
        name="shop", namespace="prod", uid="u-1", spec=spec, source=SOURCE, ask=ask, image="schemahold:1",
        image_pull_policy="IfNotPresent", inputs="i", database="d", image_volumes=image_volumes,
    )  # fmt: skip


def parts(made: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, dict[str, Any]]]:
    spec = made["spec"]["template"]["spec"]
    [migrate] = spec["containers"]
    return migrate, spec["initContainers"], {one["name"]: one for one in spec["volumes"]}


def test_one_container_of_ours_has_the_session() -> None:
    made = build(configMaps=["shop-sql"])
    migrate, init, _ = parts(made)
    assert init == []
    assert (migrate["name"], migrate["image"]) == ("migrate", "schemahold:1")
    assert migrate["command"][-2:] == ["schemahold.runner", "sql"]
    assert pod.ENV_URL in [one["name"] for one in migrate["env"]]
    assert migrate["securityContext"]["runAsNonRoot"] and migrate["securityContext"]["runAsUser"] == 1000
    assert made["metadata"]["labels"][names.MODE] == "sql"
    assert made["spec"]["template"]["metadata"]["labels"][names.MODE] == "sql"


def test_its_last_word_is_its_own_message_and_no_log() -> None:
    migrate, _, _ = parts(build(configMaps=["shop-sql"]))
    assert migrate.get("terminationMessagePolicy", "File") == "File"


def test_config_maps_stand_side_by_side() -> None:
    migrate, _, volumes = parts(build(configMaps=["shop-sql", "more.sql"]))
    mounts = {one["mountPath"]: one for one in migrate["volumeMounts"]}
    for name in ("shop-sql", "more.sql"):
        mount = mounts[f"{pod.SQL_PATH}/{name}"]
        assert mount["readOnly"]
        assert volumes[mount["name"]]["configMap"] == {"name": name}
    assert mounts["/etc/ca"]["readOnly"]


def test_a_directory_as_an_image_volume() -> None:
    migrate, init, volumes = parts(build(directory="/app/migrations", image_volumes=True))
    assert init == []
    [mount] = [one for one in migrate["volumeMounts"] if "image" in volumes[one["name"]]]
    assert volumes[mount["name"]]["image"] == {"reference": "shop:2", "pullPolicy": "Always"}
    assert mount["readOnly"]
    assert mount["name"] != "schemahold-sql"  # the source has a volume of that name


def test_a_directory_copied() -> None:
    migrate, [shell, files], volumes = parts(build(directory="/app/migrations"))
    assert (shell["image"], shell["command"][-1]) == ("schemahold:1", "shell")
    assert (files["image"], files["imagePullPolicy"]) == ("shop:2", "Always")
    assert files["command"][:3] == [pod.BUSYBOX, "sh", "-c"]
    assert files["command"][-2:] == ["/app/migrations", pod.SQL_PATH]
    assert files["securityContext"] == {"runAsUser": 1000}  # what its process may read
    assert "env" not in files and "envFrom" not in files
    [target] = [one for one in files["volumeMounts"] if one["mountPath"] == pod.SQL_PATH]
    [read] = [one for one in migrate["volumeMounts"] if one["mountPath"] == pod.SQL_PATH]
    assert target["name"] == read["name"] and read["readOnly"] and not target.get("readOnly")
    assert volumes[target["name"]] == {"name": target["name"], "emptyDir": {}}
    assert "other" not in volumes


def test_a_mount_of_the_source_must_not_hide_the_files() -> None:
    taken = make.deployment("v2", "v1")
    mounts = [{"name": "x", "mountPath": f"{pod.SQL_PATH}/shop-sql"}]
    taken["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts
    raw = migration("v2", sql={"configMaps": ["shop-sql"]})
    raw["spec"].pop("run")
    found = look(raw, taken)
    assert make.state(found) == ("stalled", "MountPathTaken")


SQL = {"directory": "/app/migrations", "largeTable": 5, "lockTimeout": "500ms", "statementTimeout": "1m", "retryFor": "0s",
       "baseline": "0003", "outOfOrder": "allow"}  # fmt: skip


def asked(raw: make.Json, **more: Any) -> pod.Ask:
    raw["spec"].pop("run")
    found = make.starts(look(raw, deployment("v2", "v1"), **more))
    assert found is not None
    return found


def test_everything_in_the_spec_reaches_the_pod() -> None:
    assert asked(migration("v2", sql=SQL)).sql == pod.SqlAsk(
        large_table=5, lock_timeout=0.5, statement_timeout=60, retry_for=0, baseline="0003", out_of_order=True
    )
    assert set(models.Sql.model_fields) - {"config_maps", "directory", "sidecars", "deployment"} == {
        "baseline", "out_of_order", "large_table", "lock_timeout", "statement_timeout", "retry_for", "grace_period",
        "start_timeout",
    }  # fmt: skip


def test_what_was_seen_once_is_pinned_for_the_next_attempt() -> None:
    raw = migration("v2", sql=SQL)
    spec = models.Spec.model_validate({key: value for key, value in raw["spec"].items() if key != "run"})
    hashes = inputs.inputs(spec, deployment("v2", "v1")["spec"]["template"]["spec"]["containers"][0])
    seen = make.status(pin={"inputs": hashes, "hash": "p1"})
    assert asked(migration("v2", sql=SQL, status=seen)).sql.pin == "p1"  # type: ignore[union-attr]
    other = make.status(pin={"inputs": "of another image", "hash": "p1"})
    assert asked(migration("v2", sql=SQL, status=other)).sql.pin == ""  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("contract", "elsewhere"),
    [(None, False), ({"after": "1s"}, False), ({"run": {"command": ["x"]}}, True), ({"sql": {"directory": "/c"}}, True)],
)
def test_whether_the_contract_has_files_of_its_own(contract: Any, elsewhere: bool) -> None:
    more = {"contract": contract} if contract else {}
    assert asked(migration("v2", sql=SQL, **more)).sql.contract_elsewhere is elsewhere  # type: ignore[union-attr]


def test_the_password_file_reaches_every_pod() -> None:
    """Once it did not: nothing failed, and the server was asked without a password."""
    database = {**make.URL, "passwordFile": "/var/run/token"}
    for raw in (migration("v2", database=database), migration("v2", database=database, sql=SQL)):
        if "sql" in raw["spec"]:
            raw["spec"].pop("run")
        found = make.starts(look(raw, deployment("v2", "v1")))
        assert found is not None and found.password_file == "/var/run/token"


def test_the_question_survives_the_environment() -> None:
    ask = pod.Ask(ledger_name="a", phase="expand", version="1", inputs="", attempt=1, job="a-1", sql=pod.SqlAsk(pin="x"))
    assert pod.Ask.from_json(ask.to_json()) == ask
    assert json.loads(ask.to_json())["sql"]["pin"] == "x"
