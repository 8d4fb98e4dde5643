"""The stage of a story: a namespace and a database of its own on the shared cluster, and the words to tell it in.

Waiting is always for a condition with a deadline; what is read while waiting stands in the failure.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.cluster import hold_support
from tests.cluster.hold_support import Api, Kubectl, User

Json = dict[str, Any]

LABEL = "schemahold.dev/migration"
VERSION = "schemahold.dev/version"
DATABASES = "story-databases"  # the namespace of the Postgres that all stories share
OPERATOR = "schemahold"  # namespace and name of the operator's Deployment
PATIENCE = 90.0  # seconds; generous, because a busy machine is no failure

SHOP = ("python", "-m", "shop.server")
ALEMBIC = ("alembic", "upgrade", "head")
NO_SHELL = "no-shell:v1"

# kubectl's WebSocket client may discard what a fast command wrote ("Unknown stream id 1, discarding message"): a query
# then seems to have no rows. SPDY has not that race.
os.environ.setdefault("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")


@dataclasses.dataclass(frozen=True)
class Film:
    """Everything of some kinds that the namespace has had since it began: a watch misses nothing between two looks."""

    stage: Stage
    kinds: tuple[str, ...]
    reels: tuple[Path, ...]

    def states(self, kind: str) -> list[Json]:
        """Every state that every object of the kind has been in, in order; at last those that exist now."""
        lines = self.reels[self.kinds.index(kind)].read_text().splitlines()
        seen = [json.loads(line) for line in lines if line.endswith("}")]
        return [one["object"] for one in seen if one["type"] in ("ADDED", "MODIFIED", "DELETED")] + self.stage.items(kind)

    def moment(self, kind: str, uid: str, when: Callable[[Json], bool] = lambda _: True) -> int:
        """Since when an object has been so: a revision of the store, in which all kinds are in one order."""
        found = (one["metadata"] for one in self.states(kind) if one["metadata"]["uid"] == uid and when(one))
        return int(next(found)["resourceVersion"])

    def versions(self, app: str = "shop-api") -> set[str]:
        """Versions of which a Deployment has ever had a ReplicaSet or a pod."""
        replica_sets = [one["spec"]["template"] for one in self.states("replicasets")]
        found = [one["metadata"] for one in [*replica_sets, *self.states("pods")]]
        return {meta["annotations"][VERSION] for meta in found if meta["labels"].get("app") == app}


_LISTS = {
    "deployments": "/apis/apps/v1/namespaces/{}/deployments",
    "pods": "/api/v1/namespaces/{}/pods",
    "replicasets": "/apis/apps/v1/namespaces/{}/replicasets",
    "jobs": "/apis/batch/v1/namespaces/{}/jobs",
    "schemamigrations": "/apis/schemahold.dev/v1alpha1/namespaces/{}/schemamigrations",
    "endpointslices": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
}


@contextmanager
def filmed(here: Stage, *kinds: str) -> Iterator[Film]:
    """Films ReplicaSets and pods, or the given kinds."""
    kinds = kinds or ("replicasets", "pods")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as watches:
        reels = tuple(Path(folder) / kind for kind in kinds)
        for kind, reel in zip(kinds, reels, strict=True):
            path = _LISTS[kind].format(here.namespace)
            since = here.api.get(path)["metadata"]["resourceVersion"]
            raw = ["get", "--raw", f"{path}?watch=true&resourceVersion={since}&timeoutSeconds=600"]
            words = [here.kubectl.binary, f"--kubeconfig={here.kubectl.kubeconfig}", *raw]
            watch = watches.enter_context(subprocess.Popen(words, stdout=watches.enter_context(reel.open("w"))))
            watches.callback(watch.terminate)
        yield Film(here, kinds, reels)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One namespace.  ``database``: its name on the shared server; ``url``: how pods reach it, as libpq reads it."""

    api: Api
    kubectl: Kubectl
    namespace: str
    database: str

    # Writing

    def apply(self, *objects: Json, user: User | None = None, server_side: bool = False) -> str:
        """``kubectl apply`` of all of them at once; what kubectl said."""
        flags = ["--server-side"] if server_side else []
        return self.run(
            "apply", *flags, "-f", "-", user=user, stdin={"apiVersion": "v1", "kind": "List", "items": [*objects]}
        )

    def run(self, *words: str, user: User | None = None, stdin: Json | None = None) -> str:
        """kubectl; fails the story if kubectl fails."""
        code, said = self.kubectl(*words, user=user, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(words)} ended with {code}: {said}"
        return said

    def annotate(self, what: str, user: User | None = None, **annotations: str) -> tuple[int, str]:
        """``what`` is kind/name; keys are ours without the prefix, `_` for `-`. Returns code and words of kubectl."""
        words = [f"schemahold.dev/{key.replace('_', '-')}={value}" for key, value in annotations.items()]
        return self.kubectl("annotate", "--overwrite", what, *words, user=user)

    def change(self, what: str, patch: Json, user: User | None = None) -> tuple[int, str]:
        """A merge patch of kind/name; code and words of kubectl."""
        return self.kubectl("patch", what, "--type=merge", "-p", json.dumps(patch), user=user)

    def retry(self, token: str, name: str = "shop") -> None:
        code, said = self.annotate(f"schemamigration/{name}", retry_at=token)
        assert code == 0, said

    def grant(self) -> None:
        """EDITOR may what Kubernetes' own `edit` allows, APPROVER approves as well: by the roles that the chart brings."""
        editor, approver = hold_support.EDITOR, hold_support.APPROVER
        for user, role in [(editor, "edit"), (approver, "edit"), (approver, f"{OPERATOR}-approver")]:
            self.run("create", "rolebinding", f"{user.name}-{role}", f"--clusterrole={role}", f"--user={user.name}")
        for user, verb, kind in [(editor, "patch", "deployments"), (approver, "approve", "schemamigrations")]:
            self.until(f"{user.name} may {verb} {kind}", lambda u=user, v=verb, k=kind: self.may(u, v, k), 30)

    def may(self, user: User, verb: str, kind: str) -> bool:
        return self.kubectl("auth", "can-i", verb, kind, user=user)[0] == 0

    # Reading

    def message(self, name: str = "shop") -> str:
        """The Ready condition's words."""
        return str(self.condition("Ready", name).get("message", ""))

    def log(self, pod: str, container: str) -> str:
        """What a container wrote; "" when it has not begun."""
        code, said = self.kubectl("logs", pod, "-c", container)
        return said if code == 0 else ""

    def said(self, name: str = "shop") -> str:
        """All that we say where more people may read than may read Secrets: status, Events, lock, gate, the operator."""
        parts = [json.dumps(self.status(name)), self.run("get", "events", "-o", "json")]
        parts += [json.dumps(pod["status"]) for pod in self.attempt_pods(name)]
        pods = [pod["metadata"]["name"] for pod in self.attempt_pods(name)]
        parts += [self.log(pod, container) for pod in pods for container in ("lock", "gate")]
        operator = dataclasses.replace(self.kubectl, namespace=OPERATOR)

        def log() -> str:  # none while another story restarts it
            code, said = operator("logs", f"deployment/{OPERATOR}")
            return said if code == 0 else ""

        return "\n".join([*parts, self.until("the operator's log can be read", log)])

    # Straight from the API server: a kubectl for each look of each waiting story would keep the machine busy by itself.

    def get(self, kind: str, name: str) -> Json | None:
        reply = self.api.request("GET", f"{_collection(kind, self.namespace)}/{name}")
        assert reply.ok or reply.status == 404, reply
        return reply.body if reply.ok else None

    def items(self, kind: str, selector: str = "") -> list[Json]:
        query = f"?labelSelector={urllib.parse.quote(selector)}" if selector else ""
        return list(self.api.get(_collection(kind, self.namespace) + query)["items"])

    def status(self, name: str = "shop") -> Json:
        found = self.get("schemamigration", name)
        return dict((found or {}).get("status") or {})

    def condition(self, kind: str, name: str = "shop") -> Json:
        """One condition of a SchemaMigration, {} if it is not there."""
        return next((one for one in self.status(name).get("conditions") or [] if one["type"] == kind), {})

    def reason(self, name: str = "shop") -> str:
        return str(self.condition("Ready", name).get("reason", ""))

    def jobs(self, name: str = "shop") -> list[Json]:
        """The attempts' Jobs, oldest first."""
        found = self.items("jobs", f"{LABEL}={name}")
        return sorted(found, key=lambda job: int(job["metadata"]["labels"]["schemahold.dev/attempt"]))

    def attempt_pods(self, name: str = "shop") -> list[Json]:
        return self.items("pods", f"{LABEL}={name},schemahold.dev/attempt")

    def events(self, reason: str, about: str) -> list[Json]:
        """Events with this reason about an object's name."""
        query = f"?fieldSelector=reason={reason},involvedObject.name={about}"
        return list(self.api.get(_collection("events", self.namespace) + query)["items"])

    def annotation(self, key: str, deployment: str = "shop-api") -> str:
        found = self.get("deployment", deployment) or {}
        return str((found["metadata"].get("annotations") or {}).get(f"schemahold.dev/{key}", ""))

    def is_held(self, deployment: str = "shop-api") -> bool:
        found = self.get("deployment", deployment)
        return bool(found and found["spec"].get("paused") and self.annotation("held", deployment))

    def pod_versions(self, app: str = "shop-api") -> set[str]:
        """Versions of every pod of a Deployment that exists, terminating ones included."""
        return {pod["metadata"]["annotations"][VERSION] for pod in self.items("pods", f"app={app}")}

    # Waiting

    def until(self, what: str, done: Callable[[], Any], seconds: float = PATIENCE, name: str = "shop") -> Any:
        """Polls until ``done`` returns something true, and returns that; a failure shows the state of things."""
        deadline = time.monotonic() + seconds
        while True:
            result = done()
            if result:
                return result
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s: {what}\n{self.describe(name)}")
            time.sleep(0.3)

    def await_reason(self, *reasons: str, name: str = "shop", seconds: float = PATIENCE) -> str:
        """Until the Ready condition of the current generation has one of these reasons; which one."""

        def now() -> str:
            found = self.get("schemamigration", name) or {}
            status = found.get("status") or {}
            ready = next((one for one in status.get("conditions") or [] if one["type"] == "Ready"), {})
            fresh = status.get("observedGeneration") == found.get("metadata", {}).get("generation")
            return str(ready["reason"]) if fresh and ready.get("reason") in reasons else ""

        return str(self.until(f"SchemaMigration {name} says {' or '.join(reasons)}", now, seconds, name))

    def await_rollout(self, version: str, deployment: str = "shop-api", seconds: float = PATIENCE) -> None:
        """Until the Deployment is not held and every pod of it has this version and is ready."""

        def rolled() -> bool:
            found = self.get("deployment", deployment) or {}
            spec, status = found.get("spec", {}), found.get("status", {})
            want = spec.get("replicas", 1)
            current = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
            whole = status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == status.get("replicas", 0) == want
            asked = (spec.get("template", {}).get("metadata", {}).get("annotations") or {}).get(VERSION)
            return bool(current and whole and asked == version and not spec.get("paused"))

        self.until(f"Deployment {deployment} rolled out {version}", rolled, seconds)

    def steadily(self, what: str, holds: Callable[[], Any], seconds: float = 3.0) -> None:
        """For what must not happen: it holds at every look for so long. Short, because it is no proof, only a chance."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert holds(), f"no longer true: {what}\n{self.describe('shop')}"
            time.sleep(0.3)

    def describe(self, name: str) -> str:
        """What a person would look at first."""
        parts = [self.kubectl("get", "smig,deploy,rs,jobs,pods", "-o", "wide")[1]]
        parts.append(json.dumps(self.status(name), indent=1))
        parts.append(self.kubectl("get", "events", "--sort-by=.lastTimestamp")[1][-3000:])
        for pod in self.attempt_pods(name)[-2:]:
            for container in ("lock", "gate", "migrate"):
                parts.append(f"--- {pod['metadata']['name']} {container}")
                parts.append(self.kubectl("logs", pod["metadata"]["name"], "-c", container, "--tail=15")[1])
        return "\n".join(parts)

    # The database

    def sql(self, statement: str) -> str:
        """One statement in this database, as the server's owner; what ``psql -At`` would print."""
        return on_server(self.kubectl, statement, self.database)

    def rows(self, query: str) -> list[Json]:
        """The rows of a query as dictionaries; [] if the table is not there yet."""
        table = query.split(" from ")[1].split()[0] if " from " in query else ""
        if table and self.sql(f"select to_regclass('{table}') is null") == "t":
            return []
        return list(json.loads(self.sql(f"select coalesce(json_agg(x), '[]') from ({query}) x")))

    def ledger(self, name: str = "") -> list[Json]:
        """The rows of schemahold.ledger in order; of one ledger name, or all."""
        where = f" where name = '{name}'" if name else ""
        return self.rows(f"select * from schemahold.ledger{where} order by id")

    def files(self) -> list[tuple[str, str, str]]:
        """The SQL files that were applied, in order: name, phase, version."""
        found = self.rows("select file, phase, version from schemahold.files order by applied_at, file")
        return [(row["file"], row["phase"], row["version"]) for row in found]

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        """A session in this database, as the server's owner, that stays open: for locks and transactions that last."""
        with psycopg.connect(_server(self.kubectl, self.database)) as session:
            yield session

    def starts(self) -> list[Json]:
        """What migrate itself wrote (`shop.journal`)."""
        return [row for row in self.rows("select * from journal order by id") if row["event"] == "start"]

    def tell(self) -> None:
        """Lets a migrate command that is UNTIL_TOLD come to its end."""
        self.sql("create table told ()")

    @property
    def url(self) -> str:
        return f"postgresql://{self.database}:{self.database}@postgres.{DATABASES}.svc:5432/{self.database}"

    # Builders

    def secret(self, name: str = "shop-db", url: str = "") -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": {"url": url or self.url},
        }


_WHOLE = "--whole--"


_API = {
    "schemamigration": "/apis/schemahold.dev/v1alpha1",
    "deployment": "/apis/apps/v1",
    "replicaset": "/apis/apps/v1",
    "job": "/apis/batch/v1",
    "endpointslice": "/apis/discovery.k8s.io/v1",
}
_CORE = ("configmap", "endpoint", "event", "pod", "resourcequota", "secret", "service", "serviceaccount")


def _collection(kind: str, namespace: str) -> str:
    """Where the API server keeps a kind; singular or plural."""
    kind = {"smig": "schemamigration", "deploy": "deployment", "rs": "replicaset"}.get(kind, kind).removesuffix("s")
    root = _API.get(kind) or ("/api/v1" if kind in _CORE else None)
    assert root, f"the stage does not know where {kind!r} is kept"
    return f"{root}/namespaces/{namespace}/{kind}s"


def on_server(kubectl: Kubectl, statement: str, database: str = "postgres") -> str:
    """One statement on the shared server, as its owner; what ``psql -At`` would print."""
    with psycopg.connect(_server(kubectl, database), autocommit=True) as session:
        result = session.execute(statement).pgresult
    assert result is not None
    rows = ([result.get_value(row, column) or b"" for column in range(result.nfields)] for row in range(result.ntuples))
    return "\n".join(b"|".join(row).decode() for row in rows)


def _server(kubectl: Kubectl, database: str) -> str:
    port = _forwarded_port(kubectl.binary, kubectl.kubeconfig)
    return f"host=127.0.0.1 port={port} user=stories password=stories dbname={database} connect_timeout=20"


@functools.cache
def _forwarded_port(binary: str, kubeconfig: Path) -> int:
    """One ``kubectl port-forward`` to the shared server for as long as this process lives."""
    command = [
        binary,
        f"--kubeconfig={kubeconfig}",
        f"--namespace={DATABASES}",
        "port-forward",
        "deployment/postgres",
        ":5432",
    ]
    forward = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    atexit.register(forward.terminate)
    assert forward.stdout is not None
    said = forward.stdout.readline()
    found = re.search(r"127\.0\.0\.1:(\d+)", said)
    assert found, f"kubectl port-forward said: {said}"
    # Its later words must not fill the pipe.
    threading.Thread(target=forward.stdout.read, daemon=True).start()
    return int(found[1])


def deployment(
    version: str = "",
    *,
    name: str = "shop-api",
    migration: str | None = "shop",
    image: str = "shop:v1",
    command: Sequence[str] = ("/no-shell", "serve"),
    replicas: int = 1,
    env: Mapping[str, str] | None = None,
    container: Json | None = None,
    **pod: Any,
) -> Json:
    """A Deployment; by default of the image without a shell, which serves nothing and starts at once.

    ``version`` "" leaves the annotation out (follow mode).  ``env`` beside DATABASE_URL; ``container`` and ``pod``: more of
    the container, and of the pod's spec.
    """
    if command and command[0] == "/no-shell" and image == "shop:v1":
        image = NO_SHELL
    url = {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}}
    made = {
        "name": "api",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*command],
        "env": [url, *({"name": key, "value": value} for key, value in (env or {}).items())],
        **(container or {}),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {LABEL: migration} if migration else {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {VERSION: version} if version else {}},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [made], **pod},
            },
        },
    }


def journal(seconds: float = 0, code: int = 0) -> tuple[str, ...]:
    """A migrate command that writes its start and end into the database; the Deployment must run the shop's image."""
    return ("python", "-m", "shop.journal", "run", str(seconds), str(code))


# A migrate command that runs until the story says `here.tell()`; of the shop's image.  A connection that a busy machine
# lets time out is tried again: it is not what the story is about.
UNTIL_TOLD = (
    "python",
    "-c",
    """
import time, psycopg
from shop import database, journal

once = database.connect

def connect(tries=20):
    try:
        return once()
    except psycopg.OperationalError:
        if tries == 0:
            raise
    time.sleep(0.5)
    return connect(tries - 1)

database.connect = connect
journal.write("start")
with connect() as connection:
    while not connection.execute("select to_regclass('public.told') is not null").fetchone()[0]:
        time.sleep(0.2)
journal.write("end")
""",
)


def shop(version: str, **more: Any) -> Json:
    """A Deployment of the shop's image that idles: for stories whose migrate writes into the database (`journal`)."""
    return deployment(version, image=more.pop("image", "shop:v1"), command=("sleep", "infinity"), **more)


def migration(
    version: str | None,
    command: Sequence[str] = ("/no-shell", "exit", "0"),
    *,
    name: str = "shop",
    annotations: Mapping[str, str] | None = None,
    run: Json | None = None,
    **spec: Any,
) -> Json:
    """A SchemaMigration with short times; ``run`` and ``spec`` add or replace fields."""
    chosen = {"version": version} if version is not None else {}
    return {
        "apiVersion": "schemahold.dev/v1alpha1",
        "kind": "SchemaMigration",
        "metadata": {"name": name, "annotations": dict(annotations or {})},
        "spec": {
            **chosen,
            "database": {"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}},
            "run": {"command": [*command], "gracePeriod": "10s", **(run or {})},
            "lock": {"timeout": "20s"},
            "settle": "1s",
            **spec,
        },
    }


def config_map(files: Mapping[str, str], name: str = "shop-sql") -> Json:
    """SQL files by name."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(files)}


def sql_migration(version: str, *, sql: Json | None = None, **more: Any) -> Json:
    """A SchemaMigration whose work is SQL files, of the ConfigMap `shop-sql` unless ``sql`` says from where."""
    made = migration(version, **more)
    source = {} if sql and "directory" in sql else {"configMaps": ["shop-sql"]}
    del made["spec"]["run"]
    made["spec"]["sql"] = {**source, "gracePeriod": "10s", **(sql or {})}
    return made


@contextmanager
def raised(api: Api, kubectl_binary: str, name: str) -> Iterator[Stage]:
    """A fresh namespace and database for one story, gone afterwards."""
    namespace = f"story-{name}"[:50].rstrip("-")
    database = namespace.replace("-", "_")
    kubectl = Kubectl(kubectl_binary, api.kubeconfig, namespace)
    api.ensure("/api/v1/namespaces", {"metadata": {"name": namespace}})
    on_server(kubectl, f"create role {database} login password '{database}'")
    on_server(kubectl, f"create database {database} owner {database}")
    try:
        yield Stage(api, kubectl, namespace, database)
    finally:
        # Our finalizer waits for a running attempt; the story is over.
        kubectl("delete", "jobs,deployments,pods", "--all", "--wait=false", "--grace-period=1")
        api.request("DELETE", f"/api/v1/namespaces/{namespace}")
        on_server(kubectl, f"drop database if exists {database} with (force)")
        on_server(kubectl, f"drop role {database}")


def ensure_databases(api: Api, kubectl_binary: str) -> None:
    """The Postgres that all stories share."""
    kubectl = Kubectl(kubectl_binary, api.kubeconfig, DATABASES)
    api.ensure("/api/v1/namespaces", {"metadata": {"name": DATABASES}})
    code, said = kubectl("apply", "-f", "-", stdin=_postgres())
    assert code == 0, said
    code, said = kubectl("rollout", "status", "deployment/postgres", "--timeout=60s")
    assert code == 0, said


def _postgres() -> Json:
    env = {"POSTGRES_USER": "stories", "POSTGRES_PASSWORD": "stories", "POSTGRES_DB": "postgres"}
    probe = {"exec": {"command": ["pg_isready", "-h", "127.0.0.1", "-U", "stories"]}, "periodSeconds": 1}
    container = {
        "name": "postgres",
        "image": "postgres:17",
        "imagePullPolicy": "IfNotPresent",
        "args": ["-c", "fsync=off", "-c", "max_connections=400"],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "readinessProbe": probe,
    }
    labels = {"app": "postgres"}
    deployed = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "postgres"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "postgres"},
        # A busy machine fails a probe now and then, and every story would lose its database.
        "spec": {"selector": labels, "ports": [{"port": 5432}], "publishNotReadyAddresses": True},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [deployed, service]}


def own_postgres(
    name: str,
    *,
    password: str,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    tls: Mapping[str, str] | None = None,
) -> list[Json]:
    """A Postgres of the story's own: user, database and host are ``name``.  ``tls``: `tls.crt` and `tls.key` as text."""
    values = {"POSTGRES_USER": name, "POSTGRES_PASSWORD": password, "POSTGRES_DB": name, **(env or {})}
    container: Json = {
        "name": "postgres",
        "image": "postgres:17",
        "imagePullPolicy": "IfNotPresent",
        "args": ["-c", "fsync=off", *args],
        "env": [{"name": key, "value": value} for key, value in values.items()],
        "readinessProbe": {
            "exec": {"command": ["pg_isready", "-h", "127.0.0.1", "-U", name]},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
        },
    }
    pod: Json = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    objects: list[Json] = []
    if tls:
        container["args"] += ["-c", "ssl=on", "-c", "ssl_cert_file=/tls/tls.crt", "-c", "ssl_key_file=/tls/tls.key"]
        container["volumeMounts"] = [{"name": "tls", "mountPath": "/tls"}]
        # Postgres takes a key of root's that its group may read: 999 is its group.
        pod["volumes"] = [{"name": "tls", "secret": {"secretName": f"{name}-tls", "defaultMode": 0o640}}]
        pod["securityContext"] = {"fsGroup": 999}
        objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-tls"}, "stringData": {**tls}})
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    objects.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})
    ports = {"selector": labels, "ports": [{"port": 5432}], "publishNotReadyAddresses": True}
    return [*objects, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": ports}]


def connect() -> Api:
    """The cluster that ``tests.cluster.prepare`` made ready; skips, with the reason, where there is none."""
    return hold_support.connect()


def kubectl_binary() -> str:
    return hold_support.kubectl_binary()


def worker_name() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


def audit_log() -> Path:
    """The API server's audit log of the local cluster (who wrote what)."""
    return hold_support.ROOT / ".cluster/logs/audit.log"
