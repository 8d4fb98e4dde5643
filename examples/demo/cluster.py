"""The way to the cluster: reads go to the API server, writes through kubectl as a user's would, SQL through psql."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import IO, Any

import urllib3
from kubernetes import client, config

from tests.cluster.local import binaries
from tests.cluster.local.layout import Layout

Json = dict[str, Any]

PSQL = ("exec", "-i", "postgres-0", "--", "psql", "-U", "shop", "-d", "shop", "-qAtX")
DEADLINE = 20.0  # seconds for one answer


class Trouble(Exception):
    """What keeps the demo from going on, for whoever runs it."""


class Cluster:
    """One namespace. ``context``: of the user's kubeconfig; "" is the local cluster."""

    def __init__(self, namespace: str, context: str = "") -> None:
        self.namespace = namespace
        self.context = context
        self.kubeconfig = None if context else Layout().kubeconfig
        self._api = _client(self.kubeconfig, context)
        self._kubectl = [kubectl_path(context), *_chosen(self.kubeconfig, context), "--namespace", namespace]

    def get(self, path: str) -> Json:
        """{} if there is no such thing."""
        data = self.read(path)
        return dict(json.loads(data)) if data else {}

    def read(self, path: str) -> bytes:
        request = self._api.param_serialize("GET", path, auth_settings=["BearerToken"])
        try:
            reply = self._api.call_api(*request, _request_timeout=DEADLINE)
            data = bytes(reply.read() or b"")  # type: ignore[no-untyped-call]
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Trouble(f"the API server does not answer: {error}") from None
        if reply.status in (401, 403):
            raise Trouble(f"not allowed to read {path}: {data.decode(errors='replace')[:200]}")
        return data if reply.status < 300 else b""

    def items(self, group: str, kind: str, selector: str = "") -> list[Json]:
        """``group``: api/v1, apis/apps/v1 and so on."""
        query = f"?labelSelector={selector}" if selector else ""
        return list(self.get(f"/{group}/namespaces/{self.namespace}/{kind}{query}").get("items") or [])

    def kubectl(self, *words: str, stdin: str = "") -> tuple[str, str]:
        """What it printed, and what it warned of."""
        done = subprocess.run([*self._kubectl, *words], input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(f"kubectl {' '.join(words[:4])}: {(done.stderr or done.stdout).strip()}")
        return done.stdout, done.stderr

    def database(self) -> Database:
        return Database([*self._kubectl, *PSQL])


class Database:
    """One psql in the Postgres pod for the whole demo; started again if it is gone."""

    END = "--end--"

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, script: str) -> list[str]:
        """The lines that psql prints for this script; [] if the database cannot be asked."""
        process = self._started()
        try:
            _pipe(process.stdin).write(f"{script}\n\\echo {self.END}\n".encode())
            _pipe(process.stdin).flush()
            return self._answer(_pipe(process.stdout))
        except (BrokenPipeError, EOFError, TimeoutError):
            self.close()
            return []

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            pipe = subprocess.PIPE
            quiet = subprocess.DEVNULL
            self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=quiet, bufsize=0)
        return self._process

    def _answer(self, stdout: IO[bytes]) -> list[str]:
        text = b""
        while not text.endswith(f"{self.END}\n".encode()):
            if not select.select([stdout], [], [], DEADLINE)[0]:
                raise TimeoutError
            more = os.read(stdout.fileno(), 65536)
            if not more:
                raise EOFError
            text += more
        return text.decode().splitlines()[:-1]


def kubectl_path(context: str) -> str:
    """The user's own on a cluster of the user's, which may need its version and its plugins."""
    found = shutil.which("kubectl") if context else None
    return found or str(binaries.path("kubectl"))


def _chosen(kubeconfig: Path | None, context: str) -> list[str]:
    return ["--context", context] if kubeconfig is None else [f"--kubeconfig={kubeconfig}"]


def _client(kubeconfig: Path | None, context: str) -> client.ApiClient:
    if kubeconfig and not kubeconfig.exists():
        raise Trouble("there is no local cluster yet: `make demo` brings one up")
    try:
        return config.new_client_from_config(  # type: ignore[no-any-return, no-untyped-call]
            config_file=str(kubeconfig) if kubeconfig else None, context=context or None
        )
    except config.ConfigException as error:
        raise Trouble(f"kube context {context}: {error}") from None


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream
    return stream
