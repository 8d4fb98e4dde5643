"""Any tool in any image: its output, its arguments, its environment and its exit code are its own."""

from __future__ import annotations

import json

import pytest

from tests.cluster.stories.stage import ALEMBIC, Json, Stage, deployment, migration, shop

NODE = ("npx", "node-pg-migrate", "up")


def _alembic_url(here: Stage) -> Json:
    """As SQLAlchemy reads it: the shop's own way of writing its database."""
    return here.secret(url=here.url.replace("postgresql://", "postgresql+psycopg://"))


def _node(version: str) -> Json:
    return deployment(version, image="node-shop:v1", command=("sleep", "infinity"))


def _log(here: Stage, attempt: int = 1) -> str:
    """As a user looks: the Job's log is the tool's, without naming a container."""
    said = here.run("logs", f"job/shop-{attempt}")
    assert said == here.run("logs", f"job/shop-{attempt}", "-c", "migrate")
    return said


def _succeeds(here: Stage, version: str = "v1") -> None:
    here.await_reason("Applied")
    here.await_rollout(version)
    assert here.ledger()[-1]["state"] == "succeeded"


# Tools


def test_alembic(here: Stage) -> None:
    here.apply(_alembic_url(here), shop("v1"), migration("v1", ALEMBIC))
    _succeeds(here)
    assert "Running upgrade  -> 0001" in _log(here)
    assert here.sql("select count(*) from orders") == "3"

    here.apply(shop("v2", image="shop:v2"), migration("v2", ALEMBIC))
    _succeeds(here, "v2")
    assert "Running upgrade 0001 -> 0002" in _log(here, 2)
    log = [(row["version"], row["event"]) for row in here.rows("select * from migration_log order by id")]
    assert log == [("v1", "start"), ("v1", "end"), ("v2", "start"), ("v2", "end")]


def test_alembic_fails(here: Stage) -> None:
    """v3's migration breaks a unique constraint: its last line is in status, and nothing of it stays."""
    here.apply(_alembic_url(here), shop("v3", image="shop:v3"), migration("v3", ALEMBIC))
    here.await_reason("MigrationFailed")
    message = here.condition("Stalled")["message"]
    assert "the migration to v3 failed" in message
    assert "orders_reference_key" in message
    assert here.status()["attempt"]["exitCode"] == 1
    assert here.status()["attempt"]["message"] == _log(here).strip()
    assert here.sql("select to_regclass('orders') is null") == "t"


def test_node_pg_migrate(here: Stage) -> None:
    here.apply(_node("v1"), migration("v1", NODE))
    _succeeds(here)
    log = _log(here)
    assert "MIGRATION 0001_orders (UP)" in log and "Migrations complete!" in log, log
    assert here.sql("select count(*) from pgmigrations") == "1"
    assert here.sql("select count(*) from node_orders") == "0"


def test_node_pg_migrate_fails(here: Stage) -> None:
    here.sql("create table node_orders ()")
    here.apply(_node("v1"), migration("v1", NODE))
    here.await_reason("MigrationFailed")
    assert 'relation "node_orders" already exists' in here.condition("Stalled")["message"]
    assert here.status()["attempt"]["exitCode"] == 1
    assert 'relation "node_orders" already exists' in _log(here)
    assert here.is_held()


@pytest.mark.parametrize("code", [1, 3, 79, 255])
def test_exit_codes(here: Stage, code: int) -> None:
    """Also 79, which is our own word for a success that could not be recorded."""
    here.apply(deployment("v1"), migration("v1", ("/no-shell", "fail", str(code))))
    here.await_reason("MigrationFailed")
    assert here.status()["attempt"]["exitCode"] == code
    assert here.status()["attempt"]["message"] == f"no-shell: failing with {code}, as asked"
    assert f"no-shell: failing with {code}, as asked" in here.condition("Stalled")["message"]
    assert _log(here) == f"no-shell: failing with {code}, as asked\n"
    assert [(row["state"], row["exit_code"]) for row in here.ledger()] == [("failed", code)]


# What arrives at the command

WORDS = (
    "two words",
    "  blanks around  ",
    "it's",
    'say "hello"',
    "",
    "$(UNKNOWN)",
    "$HOME",
    "${HOME:-nowhere}",
    "`id`",
    "*",
    "~",
    "a;b|c&d>e",
    "back\\slash\\n",
    "-n",
    "--",
    "größe 🛒",
    "line one\nline two",
)


def test_arguments_arrive_unchanged(here: Stage) -> None:
    """In an image without a shell.  `$(…)` is Kubernetes' own syntax, as in every container's command."""
    known = ("$(GREETING)", "$$(GREETING)")
    command = ("/no-shell", "args", *WORDS, *known)
    here.apply(deployment("v1", env={"GREETING": "good day"}), migration("v1", command))
    _succeeds(here)
    arrived = [*WORDS, "good day", "$(GREETING)"]
    assert _log(here) == "".join(f"[{word}]\n" for word in arrived)


ENVIRONMENT = """
import json, os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=60) as connection:
    seen = connection.execute("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone()[0]
print(json.dumps({"application_name": seen, "cwd": os.getcwd(), **os.environ}))
"""


def _environment(here: Stage, **own: str) -> Json:
    made = shop("v1", env={"PLAIN": "a value", "WITH_REFERENCE": "before $(PLAIN) after", "EMPTY": "", **own})
    [container] = made["spec"]["template"]["spec"]["containers"]
    container["env"].append({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})
    container["envFrom"] = [{"configMapRef": {"name": "settings"}, "prefix": "FROM_"}]
    container["workingDir"] = "/usr"
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"COLOUR": "green", "LINES": "one\ntwo\n"},
    }
    here.apply(settings, made, migration("v1", ("python", "-c", ENVIRONMENT)))
    _succeeds(here)
    return dict(json.loads(_log(here)))


def test_environment_of_the_deployment(here: Stage) -> None:
    seen = _environment(here)
    expected = {
        "PLAIN": "a value",
        "WITH_REFERENCE": "before a value after",
        "EMPTY": "",
        "FROM_COLOUR": "green",
        "FROM_LINES": "one\ntwo\n",
        "DATABASE_URL": here.url,
        "SHOP_VERSION": "v1",  # the image's own
        "cwd": "/usr",
        "PGAPPNAME": f"schemahold migrate {here.namespace}/shop",
    }
    assert {key: seen.get(key) for key in expected} == expected
    assert seen["NODE"]
    assert seen["application_name"] == f"schemahold migrate {here.namespace}/shop"[:63]
    assert [key for key in seen if key.startswith("SCHEMAHOLD")] == []


def test_application_name_of_the_deployment(here: Stage) -> None:
    """Who sets PGAPPNAME keeps it."""
    assert _environment(here, PGAPPNAME="shop")["application_name"] == "shop"
