"""Database URLs as people have them, and databases as people meet them: each works, or says soon and clearly why not.

Whatever happens, the password is in nothing that we say: status, Events, logs of lock and gate, the operator's log.
"""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.stories.stage import (
    ALEMBIC,
    DATABASES,
    Json,
    Stage,
    deployment,
    migration,
    own_postgres,
    shop,
)

PASSWORD = "Tr0ub4dor-9f2c"
CANARY = "Tr0ub4dor"
SOON = 20.0  # seconds
# An URL's password as it comes out of a generator, and nobody encoded it.
AWKWARD = f"{CANARY}&3/x:@y"


def _keeps_the_secret(here: Stage) -> None:
    said = here.said()
    assert len(said) > 1000, "what is said was not read"
    assert CANARY not in said


def _set_password(here: Stage, password: str = PASSWORD) -> None:
    here.sql(f"alter role {here.database} password '{password}'")


def _url(here: Stage, scheme: str = "postgresql", *, query: str = "", password: str = PASSWORD) -> str:
    host = f"postgres.{DATABASES}.svc:5432"
    return f"{scheme}://{here.database}:{password}@{host}/{here.database}{query}"


# What works


@dataclasses.dataclass(frozen=True)
class Form:
    scheme: str
    query: str
    command: tuple[str, ...] = ("/no-shell", "exit", "0")
    image: str = "no-shell:v1"


FORMS = {
    "sqlalchemy": Form("postgresql+psycopg", "", ALEMBIC, "shop:v1"),
    "prisma": Form("postgresql", "?schema=public&connection_limit=1"),
    "jdbc": Form("jdbc:postgresql", "?currentSchema=public&ssl=false"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_urls_of_other_drivers_work(here: Stage, form: Form) -> None:
    _set_password(here)
    here.apply(here.secret(url=_url(here, form.scheme, query=form.query)))
    runs = shop("v1") if form.image.startswith("shop") else deployment("v1")
    here.apply(runs, migration("v1", form.command))
    here.await_reason("Applied")
    assert [row["state"] for row in here.ledger()] == ["succeeded"]
    if form.command == ALEMBIC:
        assert here.sql("select count(*) from orders") == "3"
    _keeps_the_secret(here)


def _by_value_from(here: Stage) -> Json:
    here.apply(here.secret(url=_url(here)))
    return deployment("v1")  # DATABASE_URL by valueFrom.secretKeyRef


def _by_env_from(here: Stage) -> Json:
    settings = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "settings"}}
    here.apply({**settings, "stringData": {"DATABASE_URL": _url(here)}})
    return _with_env(deployment("v1"), [], envFrom=[{"secretRef": {"name": "settings"}}])


def _put_together(here: Stage) -> Json:
    here.apply(here.secret("parts", url=PASSWORD))
    password = {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "parts", "key": "url"}}}
    user = {"name": "DB_USER", "value": here.database}
    url = f"postgresql://$(DB_USER):$(DB_PASSWORD)@postgres.{DATABASES}.svc/$(DB_USER)"
    return _with_env(deployment("v1"), [user, password, {"name": "DATABASE_URL", "value": url}])


def _literally(here: Stage) -> Json:
    return _with_env(deployment("v1"), [{"name": "DATABASE_URL", "value": _url(here)}])


def _with_env(made: Json, env: list[Json], **more: object) -> Json:
    made["spec"]["template"]["spec"]["containers"][0].update({"env": env, **more})
    return made


VARIABLES: dict[str, Callable[[Stage], Json]] = {
    "valueFrom": _by_value_from,
    "envFrom": _by_env_from,
    "references": _put_together,
    "literal": _literally,
}


@pytest.mark.parametrize("made", VARIABLES.values(), ids=VARIABLES.keys())
def test_the_containers_own_variable_works(here: Stage, made: Callable[[Stage], Json]) -> None:
    _set_password(here)
    source = made(here)
    # It has the same variable: without one the command ends with 1.
    run = ("/no-shell", "env", "DATABASE_URL")
    here.apply(source, migration("v1", run, database={"env": "DATABASE_URL"}))
    here.await_reason("Applied")
    [row] = here.ledger()
    assert row["state"] == "succeeded"
    assert here.log(row["pod_name"], "migrate").count(f":{PASSWORD}@") == 1
    if made is _literally:
        assert here.events("LiteralDatabaseUrl", "shop")
    else:
        assert here.events("LiteralDatabaseUrl", "shop") == []
    _keeps_the_secret(here)


def _certificate(host: str, folder: Path) -> dict[str, str]:
    """A certificate that is its own authority, and its key."""
    names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(folder / "tls.key")]
    words = ["openssl", "req", "-x509", "-days", "30", *key, *names, "-out", str(folder / "tls.crt")]
    subprocess.run(words, check=True, capture_output=True)
    return {name: (folder / name).read_text() for name in ("tls.crt", "tls.key")}


def test_a_server_with_tls_of_its_own_authority(here: Stage, tmp_path: Path) -> None:
    """node-postgres' no-verify first; then the certificate checked, by an authority that the Deployment mounts."""
    tls = _certificate("secure", tmp_path)
    # Without TLS nobody gets in: what works here has used it.
    refuse_plain = "hostnossl all all all reject\\nhostssl all all all scram-sha-256\\nlocal all all trust"
    hba = ["-c", "hba_file=/tmp/hba"]
    server = own_postgres("secure", password=PASSWORD, args=hba, tls=tls)
    container = server[1]["spec"]["template"]["spec"]["containers"][0]
    script = f"printf '{refuse_plain}\\n' > /tmp/hba; exec docker-entrypoint.sh \"$@\""
    container["command"] = ["sh", "-c", script, "sh"]
    container["readinessProbe"]["exec"]["command"] = ["pg_isready", "-U", "secure"]
    authority = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "authority"},
        "data": {"ca.crt": tls["tls.crt"]},
    }
    base = f"postgresql://secure:{PASSWORD}@secure:5432/secure"
    here.apply(*server, authority, here.secret(url=f"{base}?sslmode=no-verify"))
    here.run("rollout", "status", "deployment/secure", "--timeout=55s")

    here.apply(deployment("v1"), migration("v1"))
    here.await_reason("Applied")

    mount = {"volumeMounts": [{"name": "authority", "mountPath": "/etc/authority", "readOnly": True}]}
    volumes = [{"name": "authority", "configMap": {"name": "authority"}}]
    url = f"{base}?sslmode=verify-full&sslrootcert=/etc/authority/ca.crt"
    here.apply(here.secret(url=url))
    source = shop("v2", volumes=volumes)
    source["spec"]["template"]["spec"]["containers"][0].update(mount)
    here.apply(source, migration("v2", ("python", "-m", "shop.journal", "start")))
    here.await_reason("Applied")
    asked = "select count(*) from journal where event = 'start'"
    done = here.run("exec", "deployment/secure", "--", "psql", "-U", "secure", "-d", "secure", "-qAtc", asked)
    assert done.strip() == "1"
    _keeps_the_secret(here)


# What does not


@dataclasses.dataclass(frozen=True)
class Trouble:
    url: str  # {user}, {password}, {host}, {database} are the right ones
    reason: str
    words: tuple[str, ...]


UNREACHABLE = "DatabaseUnreachable"
TROUBLES = {
    "refused": Trouble(
        "postgresql://{user}:{password}@127.0.0.1:1/{database}", UNREACHABLE, ("Connection refused", "127.0.0.1")
    ),
    "unroutable": Trouble(
        "postgresql://{user}:{password}@192.0.2.1:5432/{database}", UNREACHABLE, ("no connection: ", "192.0.2.1")
    ),
    "unknown-name": Trouble(
        "postgresql://{user}:{password}@db.invalid/{database}", UNREACHABLE, ("no connection: ", "db.invalid")
    ),
    "wrong-password": Trouble(
        f"postgresql://{{user}}:{AWKWARD}@{{host}}/{{database}}", UNREACHABLE, ("password authentication failed", "{user}")
    ),
    "unknown-database": Trouble(
        "postgresql://{user}:{password}@{host}/nowhere", UNREACHABLE, ('database "nowhere" does not exist',)
    ),
    "no-tls": Trouble(
        "postgresql://{user}:{password}@{host}/{database}?sslmode=no-verify", UNREACHABLE, ("server does not support SSL",)
    ),
    "another-kind": Trouble(
        "mysql://{user}:{password}@{host}/{database}",
        "DatabaseUrlInvalid",
        ("Secret 'shop-db', key 'url'", "'mysql'", "postgresql://"),
    ),
    "no-url": Trouble(f"{AWKWARD}", "DatabaseUrlInvalid", ("Secret 'shop-db', key 'url'", "neither a URL")),
}


def _gate_took(here: Stage) -> float:
    """Seconds from gate's start to its word, by the kubelet's clock."""
    [pod] = here.attempt_pods()
    gate = next(one for one in pod["status"]["initContainerStatuses"] if one["name"] == "gate")
    ended = gate["state"]["terminated"]
    begun, done = (datetime.datetime.fromisoformat(ended[key]) for key in ("startedAt", "finishedAt"))
    return (done - begun).total_seconds()


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_a_database_out_of_reach_is_told_soon_and_clearly(here: Stage, trouble: Trouble) -> None:
    _set_password(here)
    known = {"user": here.database, "database": here.database, "password": PASSWORD, "host": f"postgres.{DATABASES}.svc"}
    here.apply(here.secret(url=trouble.url.format(**known)))
    # Reached at most that long; a busy machine has the rest.
    here.apply(deployment("v1"), migration("v1", retries=0, lock={"timeout": "8s"}))
    here.await_reason(trouble.reason)
    assert here.condition("Stalled")["reason"] == trouble.reason
    for words in trouble.words:
        assert words.format(**known) in here.message()
    assert _gate_took(here) <= SOON
    assert here.is_held()
    assert here.pod_versions() == set()
    for which in ("shop", "shop-api"):
        # An Event follows the status.
        here.until(f"an Event about {which}", lambda which=which: here.events("MigrationFailed", which))
    _keeps_the_secret(here)


def test_a_standby_is_refused(here: Stage) -> None:
    here.apply(*own_postgres("standby", password=PASSWORD, env={"MODE": "standby"}))
    here.run("rollout", "status", "deployment/standby", "--timeout=55s")
    here.apply(here.secret(url=f"postgresql://standby:{PASSWORD}@standby/standby"))
    here.apply(deployment("v1"), migration("v1", retries=0))
    here.await_reason("DatabaseStandby")
    assert "primary" in here.message()
    assert _gate_took(here) <= SOON
    _keeps_the_secret(here)


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [("nothing", "url", '"nothing" not found'), ("shop-db", "uri", "key uri")],
    ids=["secret", "key"],
)
def test_a_missing_secret_is_named_and_making_it_is_enough(here: Stage, name: str, key: str, words: str) -> None:
    reference = {"urlFrom": {"secretKeyRef": {"name": name, "key": key}}}
    here.apply(deployment("v1"), migration("v1", database=reference))
    here.await_reason("PodNotStarted")
    assert "'lock'" in here.message()
    assert words in here.message()
    [pod] = here.attempt_pods()

    here.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"url": here.url, key: here.url}}
    )
    here.await_reason("Applied")
    assert [(row["state"], row["pod_name"]) for row in here.ledger()] == [("succeeded", pod["metadata"]["name"])]


def test_a_database_that_lets_us_in_later_needs_nobody_else(here: Stage) -> None:
    here.apply(here.secret(url=_url(here)))  # its role still has another password
    here.apply(deployment("v1"), migration("v1", retries=50))
    here.until("the reason is told", lambda: "password authentication failed" in here.message())
    assert not here.condition("Stalled")
    _set_password(here)
    here.await_reason("Applied")
    assert [row["state"] for row in here.ledger()] == ["succeeded"]
    _keeps_the_secret(here)


# The ledger's rights


def _narrow_role(here: Stage) -> str:
    """A role that may connect and nothing else."""
    role = f"{here.database}_app"
    here.sql(f"create role {role} login password '{PASSWORD}'")
    return role


def _as_role(here: Stage, role: str) -> Json:
    return here.secret(url=f"postgresql://{role}:{PASSWORD}@postgres.{DATABASES}.svc/{here.database}")


def _exact_sql(here: Stage) -> str:
    message = str(here.status()["attempt"]["message"])
    assert " with: " in message
    return message.partition(" with: ")[2]


def test_a_role_that_may_make_no_schema_gets_the_sql_for_it(here: Stage) -> None:
    here.apply(_as_role(here, _narrow_role(here)))
    here.apply(deployment("v1"), migration("v1", retries=0))
    here.await_reason("LedgerForbidden")
    assert f"'{here.database}_app'" in here.message()
    assert f"'{here.database}'" in here.message()
    assert _gate_took(here) <= SOON

    here.sql(_exact_sql(here))  # a DBA's session, word for word
    here.retry("allowed")
    here.await_reason("Applied")
    assert [row["state"] for row in here.ledger()] == ["succeeded"]
    _keeps_the_secret(here)


def test_a_role_that_may_not_use_anothers_ledger_gets_the_sql_for_it(here: Stage) -> None:
    here.apply(deployment("v1"), migration("v1"))
    here.await_reason("Applied")  # the owner's ledger

    here.apply(_as_role(here, _narrow_role(here)))
    here.apply(deployment("v2"), migration("v2", retries=0))
    here.await_reason("LedgerForbidden")
    here.sql(_exact_sql(here))
    here.retry("allowed")
    here.await_reason("Applied")
    assert [(row["version"], row["state"]) for row in here.ledger()] == [("v1", "succeeded"), ("v2", "succeeded")]
    _keeps_the_secret(here)
