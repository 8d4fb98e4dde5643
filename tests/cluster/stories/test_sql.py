"""SQL files: from where they come, what is refused before anything runs, and what happens when something is in the way."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator

import pytest

from tests.cluster.local import context
from tests.cluster.stories import columns, runs
from tests.cluster.stories.columns import DROP, FIRST, NOW, TABLE, V1
from tests.cluster.stories.stage import (
    OPERATOR,
    Json,
    Stage,
    config_map,
    deployment,
    filmed,
    sql_migration,
)

EMAIL = "0002_email.sql"
ADD_EMAIL = "ALTER TABLE customers ADD COLUMN email text;\n"
INDEX = "0002_index.sql"
CONCURRENTLY = "CREATE INDEX CONCURRENTLY customers_name ON customers (name);\n"
# Tables of a story have few rows, and locking those is no harm.
ANY_SIZE: Json = {"largeTable": 0}


def _customers(version: str) -> Json:
    """The example, which has its files in its image; here it only idles."""
    return deployment(version, image=f"customers:{version}", command=("sleep", "infinity"))


def _from_image(version: str) -> Json:
    return sql_migration(version, sql={"directory": "/app/migrations"}, contract={"after": NOW})


def _spec(pod: Json) -> tuple[list[str], list[str]]:
    """Names of the pod's init containers, and which kinds of volumes bring it files."""
    volumes = [one for one in pod["spec"]["volumes"] if one["name"].startswith("schemahold-sql")]
    kinds = [key for one in volumes for key in one if key != "name"]
    return [one["name"] for one in pod["spec"].get("initContainers") or []], kinds


# Where the files come from


def test_config_maps(here: Stage) -> None:
    """Two of them, one order; no pod of the version before all of it is applied."""
    one = {FIRST: TABLE, "0010_upper.sql": "UPDATE customers SET email = upper(email) WHERE id = 1;\n"}
    two = {EMAIL: ADD_EMAIL, "0009_ada.sql": "INSERT INTO customers (id, email) VALUES (1, 'ada@example.org');\n"}
    sql: Json = {"configMaps": ["shop-one", "shop-two"]}
    with filmed(here) as film:
        here.apply(config_map(one, "shop-one"), config_map(two, "shop-two"))
        here.apply(deployment("v1"), sql_migration("v1", sql=sql))
        columns.out(here, "v1")
        [succeeded] = here.ledger()
        made = [one["metadata"]["creationTimestamp"] for one in film.states("replicasets")]
    assert [file for file, _, _ in here.files()] == [FIRST, EMAIL, "0009_ada.sql", "0010_upper.sql"]
    assert here.sql("select email from customers") == "ADA@EXAMPLE.ORG"
    assert made and min(made) >= succeeded["finished_at"][:19], "a ReplicaSet came before the success"
    [pod] = here.attempt_pods()
    assert _spec(pod) == ([], ["configMap", "configMap"])


def test_a_directory_by_an_image_volume(here: Stage) -> None:
    _removes_the_column(here)
    assert [_spec(pod) for pod in here.attempt_pods()] == [([], ["image"])] * 3


@pytest.mark.alone
def test_a_directory_by_copying(here: Stage) -> None:
    """For nodes whose runtime has no image volumes: the image's own cp is not needed, nor a shell in it."""
    with _copying(here):
        _removes_the_column(here)
        assert [_spec(pod) for pod in here.attempt_pods()] == [(["shell", "files"], ["emptyDir"])] * 3


def _removes_the_column(here: Stage) -> None:
    for version in ("v1", "v2"):
        here.apply(_customers(version), _from_image(version))
        columns.out(here, version)
    columns.contracted(here)
    assert here.files() == [
        ("0001_customers.sql", "expand", "v1"),
        ("0002_drop_legacy_name.contract.sql", "contract", "v2"),
    ]
    assert not columns.is_there(here)


@contextlib.contextmanager
def _copying(here: Stage) -> Iterator[None]:
    """The operator believes that the cluster has no image volumes."""
    found = here.api.get(f"/apis/apps/v1/namespaces/{OPERATOR}/deployments/{OPERATOR}")
    env = found["spec"]["template"]["spec"]["containers"][0]["env"]
    before = next(one["value"] for one in env if one["name"] == "SCHEMAHOLD_IMAGE_VOLUMES")
    _set_operator(here, "never")
    try:
        yield
    finally:
        _set_operator(here, before)


def _set_operator(here: Stage, image_volumes: str) -> None:
    operator = dataclasses.replace(here.kubectl, namespace=OPERATOR)
    for words in (
        ("set", "env", f"deployment/{OPERATOR}", f"SCHEMAHOLD_IMAGE_VOLUMES={image_volumes}"),
        ("rollout", "status", f"deployment/{OPERATOR}", "--timeout=50s"),
    ):
        code, said = operator(*words)
        assert code == 0, said


# What is refused


def _held_back(here: Stage, reason: str, *parts: str) -> None:
    """Nothing of v2 ran or runs, and the status says why."""
    here.await_reason(reason)
    stalled = here.condition("Stalled")
    assert stalled["reason"] == reason
    for part in parts:
        assert part in stalled["message"], stalled
    assert here.is_held() and "v2" not in here.pod_versions()
    assert [file for file, _, _ in here.files()] == [FIRST]
    assert columns.rows(here) == [("v1", "expand", "succeeded")]


def test_a_config_map_that_comes_later(here: Stage) -> None:
    here.apply(deployment("v1"), sql_migration("v1"))
    here.await_reason("SourceInvalid")
    assert "ConfigMap 'shop-sql' of `sql.configMaps` does not exist" in here.message()
    assert here.jobs() == [] and here.is_held()
    here.apply(config_map(V1))
    columns.out(here, "v1")
    assert here.files() == [(FIRST, "expand", "v1")]


def test_a_file_that_changed_after_it_was_applied(here: Stage) -> None:
    """Both hashes are named; putting it back is enough."""
    columns.release(here, "v1", V1)
    other = TABLE.replace("legacy_name text", "legacy_name text NOT NULL")
    columns.apply(here, "v2", {FIRST: other, EMAIL: ADD_EMAIL})
    then, now = (hashlib.sha256(text.encode()).hexdigest()[:12] for text in (TABLE, other))
    _held_back(here, "ChecksumMismatch", FIRST, f"then SHA-256 {then}", f"now {now}")

    here.apply(config_map({FIRST: TABLE, EMAIL: ADD_EMAIL}))
    columns.out(here, "v2")
    assert here.files() == [(FIRST, "expand", "v1"), (EMAIL, "expand", "v2")]


def test_a_drop_before_the_rollout(here: Stage) -> None:
    """The rule, the lock and the safe form are named, and not even the harmless file before it has run."""
    columns.release(here, "v1", V1, contract={"after": NOW})
    columns.apply(here, "v2", {**V1, EMAIL: ADD_EMAIL, "0003_drop.sql": DROP}, contract={"after": NOW})
    _held_back(
        here, "StatementsRefused", "0003_drop.sql:1", "drop-column", "ACCESS EXCLUSIVE", "a file named *.contract.sql"
    )
    assert columns.is_there(here) and not columns.is_there(here, "email")

    here.apply(config_map({**V1, EMAIL: ADD_EMAIL, "0003_drop.contract.sql": DROP}))  # as it says
    columns.out(here, "v2")
    columns.contracted(here)
    assert columns.is_there(here, "email") and not columns.is_there(here)


def test_an_index_that_would_stop_writes(here: Stage) -> None:
    columns.release(here, "v1", V1, sql=ANY_SIZE)
    columns.apply(here, "v2", {**V1, INDEX: CONCURRENTLY.replace("CONCURRENTLY ", "")}, sql=ANY_SIZE)
    _held_back(here, "StatementsRefused", f"{INDEX}:1", "create-index", "SHARE lock", "CREATE INDEX CONCURRENTLY")

    here.apply(config_map({**V1, INDEX: CONCURRENTLY}))  # as it says
    columns.out(here, "v2")
    assert _indexes(here) == ["customers_name t"]


def test_an_override_with_its_reason(here: Stage) -> None:
    """Where reviewers see it: above the statement."""
    columns.release(here, "v1", V1)
    allowed = "-- schemahold:allow drop-column: nobody ever read it\n" + DROP
    columns.release(here, "v2", {**V1, "0002_drop.sql": allowed})
    assert not columns.is_there(here)
    [log] = [here.log(pod["metadata"]["name"], "migrate") for pod in here.attempt_pods() if "-2-" in pod["metadata"]["name"]]
    assert "allowed: nobody ever read it" in log


def test_a_file_that_fails_is_mended_where_it_is(here: Stage) -> None:
    """It leaves nothing behind, so the same version goes on as soon as the ConfigMap is right."""
    columns.release(here, "v1", V1)
    broken = ADD_EMAIL + "INSERT INTO customers (id, name) SELECT 1, 'Ada' FROM no_such_table;\n"
    columns.apply(here, "v2", {**V1, EMAIL: broken})
    here.await_reason("MigrationFailed")
    for part in (f"{EMAIL}:2", 'relation "no_such_table" does not exist'):
        assert part in here.message(), here.message()
    assert here.is_held() and not columns.is_there(here, "email")
    here.run("annotate", "schemamigration/shop", "somebody=looks")  # so that the operator looks again
    here.steadily("it is not tried again by itself", lambda: len(here.jobs()) == 2)

    here.apply(config_map({**V1, EMAIL: ADD_EMAIL}))
    columns.out(here, "v2")
    assert here.files()[-1] == (EMAIL, "expand", "v2")
    assert [row[2] for row in columns.rows(here)] == ["succeeded", "superseded", "succeeded"]


# What is in the way


def _indexes(here: Stage) -> list[str]:
    """Those of customers but its primary key: name, and whether it is valid."""
    found = here.sql(
        "select indexrelid::regclass || ' ' || left(indisvalid::text, 1) from pg_index"
        " where indrelid = 'customers'::regclass and not indisprimary order by 1"
    )
    return found.splitlines()


def _building(here: Stage) -> str:
    """The server process that builds an index here, "" if none does."""
    return here.sql("select pid from pg_stat_progress_create_index where datname = current_database()")


@pytest.mark.parametrize("end", ["told-to-stop", "killed", "killed-with-its-session"])
def test_a_pod_that_ends_while_it_builds_an_index(here: Stage, end: str) -> None:
    """The catalog says what became of it: the next attempt takes the finished index, or clears the torso and builds anew."""
    if end != "told-to-stop" and context.chosen():
        pytest.skip("needs the node's processes: only on the local cluster")
    columns.release(here, "v1", V1, sql=ANY_SIZE)
    with here.session() as writer:
        writer.execute("insert into customers (id, name) values (1, 'Ada')")  # the build waits for this transaction
        columns.apply(here, "v2", {**V1, INDEX: CONCURRENTLY}, sql=ANY_SIZE)
        builder = here.until("the index is being built", lambda: _building(here))
        begun = _number(here)
        _end(here, end, builder)
        assert (_building(here) == builder) == (end == "killed"), "a server process does not see that its client is dead"
        here.until("another attempt has been made", lambda: len(here.jobs()) > 2)
        assert here.is_held()
        writer.commit()
    columns.out(here, "v2")
    assert _indexes(here) == ["customers_name t"]
    assert (_number(here) == begun) == (end == "killed"), "what was finished is taken, and only that"
    assert [row["state"] for row in here.rows("select * from schemahold.statements order by number")] == ["done"]
    assert here.files()[-1] == (INDEX, "expand", "v2")
    assert columns.rows(here)[-1] == ("v2", "expand", "succeeded")
    assert {row[2] for row in columns.rows(here)[1:-1]} == {"superseded"}


def _number(here: Stage) -> str:
    """An index that is built anew has another."""
    return here.sql("select 'customers_name'::regclass::oid")


def _end(here: Stage, how: str, builder: str) -> None:
    [pod] = [pod for pod in here.attempt_pods() if pod["metadata"]["name"].startswith("shop-2-")]
    if how == "told-to-stop":
        here.run("delete", "pod", pod["metadata"]["name"], "--wait=false")
    else:
        runs.sigkill(pod, "schemahold.runner")
    if how == "killed-with-its-session":
        here.sql(f"select pg_terminate_backend({builder})")
    if how != "killed":
        here.until("its session is gone", lambda: _building(here) != builder)
        assert _indexes(here) == ["customers_name f"]


def test_a_query_that_holds_the_table(here: Stage) -> None:
    """The file is tried again and again, so that nobody queues behind it for long; it goes through when the query ends."""
    columns.release(here, "v1", V1)
    with here.session() as reader:
        reader.execute("select count(*) from customers")  # and the transaction stays open
        columns.apply(here, "v2", {**V1, EMAIL: ADD_EMAIL})
        log = here.until("it was tried again, and says who is in the way", lambda: _tried(here, reader.info.backend_pid))
        assert "lock timeout" in log
        assert here.sql("select count(*) from customers") == "0", "others read meanwhile"
        assert here.reason() == "Running" and here.is_held() and not columns.is_there(here, "email")
        reader.commit()
    columns.out(here, "v2")
    assert columns.is_there(here, "email")
    assert len(here.jobs()) == 2 and columns.rows(here)[1:] == [("v2", "expand", "succeeded")]


def _tried(here: Stage, blocker: int) -> str:
    """What migrate has written, once it has tried a second time."""
    pods = [pod["metadata"]["name"] for pod in here.attempt_pods() if pod["metadata"]["name"].startswith("shop-2-")]
    log = "".join(here.log(pod, "migrate") for pod in pods)
    return log if "try 2, it is tried again" in log and f"blocked by pid {blocker}" in log else ""
