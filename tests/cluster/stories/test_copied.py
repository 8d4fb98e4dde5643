"""What the application's container has, the migration has: read from inside of it, on a real node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.stories.stage import (
    DATABASES,
    UNTIL_TOLD,
    Json,
    Stage,
    deployment,
    filmed,
    journal,
    migration,
    shop,
)

# Writes into the journal what it finds around itself.
LOOKS_AROUND = (
    "python",
    "-c",
    """
import base64, errno, json, os, pathlib
from shop import journal

def who_am_i():
    token = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/token").read_text().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["sub"]

def root():
    try:
        os.close(os.open("/written", os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "writable"

found = {
    "account": who_am_i(),
    "authority": pathlib.Path("/etc/authority/ca.crt").read_text(),
    "folder": os.getcwd(),
    "groups": sorted(os.getgroups()),
    "region": os.environ.get("REGION"),
    "root": root(),
    "user": os.getuid(),
    "own": os.environ.get("OWN"),
}
os.environ["JOURNAL_WHO"] = json.dumps(found)
journal.write("start")
""",
)

# A proxy: everything on 127.0.0.1:6432 goes to the story's database.
FORWARDS = f"""
import asyncio

async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

async def serve(reader, writer):
    there, back = await asyncio.open_connection("postgres.{DATABASES}.svc", 5432)
    await asyncio.gather(pipe(reader, back), pipe(there, writer))

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 6432)
    await server.serve_forever()

asyncio.run(main())
"""


def _container(made: Json) -> Json:
    container: Json = made["spec"]["template"]["spec"]["containers"][0]
    return container


def _config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def _registry_secret() -> Json:
    settings = {"auths": {"registry.example.com": {"auth": "dTpw"}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "registry"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps(settings)},
    }


def test_account_files_variables_and_rights_arrive(here: Stage) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "shop-runner"}}
    authority = _config_map("authority", **{"ca.crt": "the authority"})
    settings = _config_map("settings", REGION="north")
    source = shop(
        "v1",
        env={"OWN": "mine"},
        serviceAccountName="shop-runner",
        imagePullSecrets=[{"name": "registry"}],
        securityContext={"runAsNonRoot": True, "runAsUser": 10007, "fsGroup": 2042},
        volumes=[{"name": "authority", "configMap": {"name": "authority"}}],
    )
    _container(source).update(
        {
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "securityContext": {"runAsUser": 12345, "readOnlyRootFilesystem": True},
            "volumeMounts": [{"name": "authority", "mountPath": "/etc/authority"}],
        }
    )
    here.apply(account, authority, settings, _registry_secret(), source, migration("v1", LOOKS_AROUND))
    here.await_reason("Applied")

    [row] = here.starts()
    found = json.loads(row["who"])
    assert found.pop("groups").count(2042) == 1
    assert found == {
        "account": f"system:serviceaccount:{here.namespace}:shop-runner",
        "authority": "the authority",
        "folder": "/shop",
        "region": "north",
        "root": "EROFS",
        "user": 12345,
        "own": "mine",
    }
    pod = here.attempt_pods()[-1]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["spec"]["serviceAccountName"] == "shop-runner"


def _proxy(**more: Any) -> Json:
    command = ["python", "-c", FORWARDS]
    return {"name": "proxy", "image": "shop:v1", "imagePullPolicy": "IfNotPresent", "command": command, **more}


def _through_the_proxy(here: Stage) -> Json:
    return here.secret(url=f"postgresql://{here.database}:{here.database}@127.0.0.1:6432/{here.database}")


def test_a_native_proxy_sidecar_comes_along_and_carries_lock_and_migrate(here: Stage) -> None:
    up = "import socket; socket.create_connection(('127.0.0.1', 6432)).close()"
    probe = {"exec": {"command": ["python", "-c", up]}, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 60}
    source = shop("v1", initContainers=[_proxy(restartPolicy="Always", startupProbe=probe)])
    here.apply(_through_the_proxy(here), source, migration("v1", journal()))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert len(here.starts()) == 1
    pod = here.attempt_pods()[-1]
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["proxy", "lock", "gate"]


def test_an_ordinary_proxy_sidecar_comes_along_when_it_is_named(here: Stage) -> None:
    source = shop("v1")
    source["spec"]["template"]["spec"]["containers"].append(_proxy())
    here.apply(_through_the_proxy(here), source, migration("v1", journal(), run={"sidecars": ["proxy"]}))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert len(here.starts()) == 1
    assert [row["state"] for row in here.ledger()] == ["succeeded"]
    # It would keep the pod running for ever, were it not a native one there.
    here.until("the Job has succeeded", lambda: [job["status"].get("succeeded") for job in here.jobs()][-1:] == [1])


def test_no_service_of_the_application_finds_the_jobs_pod(here: Stage) -> None:
    ports = [{"port": 80, "targetPort": 8080}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop"},
        # With those that are not ready, too: such a Service would have a Job's pod from its first moment on.
        "spec": {"selector": {"app": "shop-api"}, "ports": ports, "publishNotReadyAddresses": True},
    }
    here.apply(service, shop("v1"), migration("v1", ("true",)))
    here.await_rollout("v1")
    with filmed(here, "endpointslices", "pods") as film:
        here.apply(shop("v2"), migration("v2", UNTIL_TOLD))
        here.until("migrate runs", here.starts)
        here.tell()
        here.await_rollout("v2")
        here.until("the Job's pod is over", lambda: all(job["status"].get("succeeded") for job in here.jobs()))
        slices, pods = film.states("endpointslices"), film.states("pods")
    behind = {
        (endpoint.get("targetRef") or {}).get("name", "")
        for one in slices
        if one["metadata"]["labels"].get("kubernetes.io/service-name") == "shop"
        for endpoint in one.get("endpoints") or []
    }
    jobs = {one["metadata"]["name"] for one in pods if "batch.kubernetes.io/job-name" in one["metadata"]["labels"]}
    new = {one["metadata"]["name"] for one in pods if one["metadata"]["annotations"].get("schemahold.dev/version") == "v2"}
    assert jobs
    assert new <= behind, "the Service was watched and finds the application"
    assert not jobs & behind


@pytest.mark.parametrize("image", ["no-shell:v1", "shop:v1"])
def test_in_a_namespace_of_level_restricted_the_jobs_pod_is_admitted(here: Stage, image: str) -> None:
    here.run("label", "namespace", here.namespace, "pod-security.kubernetes.io/enforce=restricted")
    source = deployment("v1") if image == "no-shell:v1" else shop("v1")
    _container(source)["securityContext"] = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    command = ("/no-shell", "exit", "0") if image == "no-shell:v1" else journal()
    refused, said = here.kubectl("run", "root", "--image=no-shell:v1", "--restart=Never")
    assert refused != 0, "the level is not enforced"
    assert "restricted" in said
    here.apply(source, migration("v1", command))
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert [row["state"] for row in here.ledger()] == ["succeeded"]
