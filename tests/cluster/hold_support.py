"""What the tests of the hold share: a fast client that impersonates, users, the policies, a namespace.

The policies are the chart's if it is installed; else they are rendered from the chart's template and bound to the
test's own namespace.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "charts/schemahold/templates/policies.yaml"
CRD = ROOT / "crds/schemahold.dev_schemamigrations.yaml"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
MUTATING = f"{ADMISSION}/mutatingadmissionpolicies"
SECONDS_TO_ACT = 60
MADE_HERE = "schemahold.dev/made-by-test"

Json = dict[str, Any]


# The API server -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """Whom a request is made as; None stands for the kubeconfig's own user, a cluster administrator."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    status: int
    body: Json
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Api:
    """JSON over one kept-alive connection."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        self.server = cluster["server"].rstrip("/")
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._pool = urllib3.PoolManager(**_tls(cluster, user), retries=False, timeout=30)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: User | None = None,
        content_type: str = "application/json",
    ) -> Reply:
        headers = urllib3.HTTPHeaderDict({**self._headers, "Content-Type": content_type})
        if user:
            headers.add("Impersonate-User", user.name)
            for group in user.groups:
                headers.add("Impersonate-Group", group)
        data = None if body is None else json.dumps(body)
        response = self._pool.request(method, self.server + path, body=data, headers=headers)
        warnings = response.headers.getlist("Warning")
        return Reply(response.status, _json(response.data), tuple(_warning_text(one) for one in warnings))

    def get(self, path: str) -> Json:
        reply = self.request("GET", path)
        assert reply.ok, reply
        return reply.body

    def ensure(self, path: str, thing: Json) -> None:
        """Creates it, or replaces what is there under its name."""
        found = self.request("GET", f"{path}/{thing['metadata']['name']}")
        if found.ok:
            version = {"resourceVersion": found.body["metadata"]["resourceVersion"]}
            thing = {**thing, "metadata": {**thing["metadata"], **version}}
            reply = self.request("PUT", f"{path}/{thing['metadata']['name']}", thing)
        else:
            reply = self.request("POST", path, thing)
        assert reply.ok, (thing["metadata"]["name"], reply.message)


def _named(entries: list[Json], name: str) -> Json:
    return next(entry for entry in entries if entry["name"] == name)


def _tls(cluster: Json, user: Json) -> Json:
    files = {
        "ca_certs": _as_file(cluster, "certificate-authority"),
        "cert_file": _as_file(user, "client-certificate"),
        "key_file": _as_file(user, "client-key"),
    }
    verify = "CERT_NONE" if cluster.get("insecure-skip-tls-verify") else "CERT_REQUIRED"
    return {"cert_reqs": verify, **{key: value for key, value in files.items() if value}}


def _as_file(entry: Json, key: str) -> str | None:
    if f"{key}-data" not in entry:
        return entry.get(key)
    with tempfile.NamedTemporaryFile(delete=False, suffix=".pem") as file:
        file.write(base64.b64decode(entry[f"{key}-data"]))
    return file.name


def _json(data: bytes) -> Json:
    try:
        return dict(json.loads(data))
    except ValueError:
        return {"message": data.decode(errors="replace")}


def _warning_text(header: str) -> str:
    """`299 - "text"`, with the quoting undone and the policy's own prefix taken off."""
    quoted = re.fullmatch(r'299 \S+ "(.*)"', header, re.DOTALL)
    text = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header
    return re.sub(r"^Validation failed for ValidatingAdmissionPolicy '[^']*' with binding '[^']*': ", "", text)


def connect() -> Api:
    """To `KUBECONFIG`, else to the checkout's own cluster; skips the test where there is none."""
    path = Path(os.environ.get("KUBECONFIG") or ROOT / ".cluster/kubeconfig")
    if not path.exists():
        pytest.skip("no cluster: set KUBECONFIG, or run make cluster")
    api = Api(path)
    try:
        answers = api.request("GET", MUTATING)
    except urllib3.exceptions.HTTPError as error:
        pytest.skip(f"the cluster of {path} does not answer: {error}")
    if answers.status == 404:
        pytest.skip("the cluster has no MutatingAdmissionPolicy v1: Kubernetes 1.36 or later")
    return api


# kubectl --------------------------------------------------------------------------------------------------------------


def kubectl_binary() -> str:
    found = shutil.which("kubectl")
    if found:
        return found
    command = [sys.executable, "-m", "tests.cluster.local", "path", "kubectl"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        pytest.skip("no kubectl in PATH")
    return asked.stdout.strip()


@dataclass(frozen=True)
class Kubectl:
    """The real kubectl in one namespace, as any user."""

    binary: str
    kubeconfig: Path
    namespace: str

    def __call__(self, *words: str, user: User | None = None, stdin: Json | None = None) -> tuple[int, str]:
        """Its exit code, and what it wrote to stdout and stderr together."""
        as_user = [f"--as={user.name}", *(f"--as-group={group}" for group in user.groups)] if user else []
        command = [self.binary, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *as_user, *words]
        done = subprocess.run(
            command, input=json.dumps(stdin) if stdin else None, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout + done.stderr


# The policies ---------------------------------------------------------------------------------------------------------


def render(text: str, values: dict[str, str]) -> list[Json]:
    """A chart's template that uses nothing but comments, `define`, `include` and `nindent`."""
    text = re.sub(r"\{\{-? */\*.*?\*/ *-?\}\}", "", text, flags=re.DOTALL)
    define = re.compile(r'\{\{-? define "([^"]+)" -?\}\}(.*?)\{\{-? end -?\}\}', re.DOTALL)
    known = {**{name: body.strip("\n") for name, body in define.findall(text)}, **values}
    text = define.sub("", text)
    include = re.compile(r'(\s*)\{\{-? include "([^"]+)" \.(?: \| nindent (\d+))? \}\}')

    def included(match: re.Match[str]) -> str:
        body = include.sub(included, known[match[2]])
        if match[3] is None:
            return match[1] + body
        return "".join(f"\n{' ' * int(match[3])}{line}" for line in body.splitlines())

    return [document for document in yaml.safe_load_all(include.sub(included, text)) if document]


@dataclass(frozen=True)
class Policies:
    operator: User
    prefix: str


def operator_user(username: str) -> User:
    namespace = username.split(":")[2]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(username, groups)


def installed(api: Api) -> Policies | None:
    """The policies of an installed chart."""
    for policy in api.get(MUTATING)["items"]:
        metadata = policy["metadata"]
        operator = metadata.get("annotations", {}).get("schemahold.dev/operator")
        if operator and MADE_HERE not in metadata.get("labels", {}):
            return Policies(operator_user(operator), metadata["name"].removesuffix("-hold"))
    return None


@contextmanager
def ensure_policies(api: Api, namespace: str, *, only: Callable[[Json], bool] | None = None) -> Iterator[Policies]:
    """The installed chart's policies, else the rendered ones, for one namespace and for as long as this lasts.

    `only` chooses among the rendered documents; then the installed chart does not serve.
    """
    found = None if only else installed(api)
    if found:
        yield found
        return
    policies = Policies(operator_user(f"system:serviceaccount:{namespace}:schemahold"), namespace)
    values = {
        "schemahold.fullname": policies.prefix,
        "schemahold.labels": f'{MADE_HERE}: "yes"',
        "schemahold.username": policies.operator.name,
    }
    documents = [one for one in render(TEMPLATE.read_text(), values) if only is None or only(one)]
    try:
        for document in documents:
            api.ensure(path_of(document), _bound_to(document, namespace))
        yield policies
    finally:
        for document in reversed(documents):
            api.request("DELETE", f"{path_of(document)}/{document['metadata']['name']}")


def path_of(document: Json) -> str:
    plural = re.sub(r"policy$", "policies", document["kind"].lower())
    return f"{ADMISSION}/{plural if plural.endswith('policies') else plural + 's'}"


def _bound_to(document: Json, namespace: str) -> Json:
    if not document["kind"].endswith("Binding"):
        return document
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {**document, "spec": {**document["spec"], "matchResources": {"namespaceSelector": selector}}}


def until(what: str, done: Callable[[], bool], seconds: float = SECONDS_TO_ACT) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


# The namespace and who writes in it -----------------------------------------------------------------------------------

EVERYONE = ("system:authenticated",)
EDITOR = User("hold-editor", EVERYONE)
APPROVER = User("hold-approver", EVERYONE)
ADMIN = User("hold-admin", ("system:masters", *EVERYONE))
MIGRATION = "shop"  # APPROVER has the verb on this one alone


@dataclass(frozen=True)
class Place:
    """A namespace in which the policies act."""

    api: Api
    namespace: str
    operator: User

    @property
    def deployments(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments"

    @property
    def migrations(self) -> str:
        return f"/apis/schemahold.dev/v1alpha1/namespaces/{self.namespace}/schemamigrations"


@contextmanager
def prepared(api: Api, name: str, *, only: Callable[[Json], bool] | None = None) -> Iterator[Place]:
    """A namespace of this process's own with users, the kinds and the policies; gone afterwards.

    The name ends with the test worker's: two workers may share a module, and the one that ends first deletes its namespace.
    """
    name = "-".join(filter(None, (name, os.environ.get("PYTEST_XDIST_WORKER"))))
    _ensure_crd(api)
    _fresh_namespace(api, name)
    try:
        with ensure_policies(api, name, only=only) as policies:
            place = Place(api, name, policies.operator)
            _grant(place)
            if only is None:
                _wait_for_policies(place)
            yield place
    finally:
        api.request("DELETE", f"/api/v1/namespaces/{name}")


def _fresh_namespace(api: Api, name: str) -> None:
    path = f"/api/v1/namespaces/{name}"
    api.request("DELETE", path)  # of a run that was killed, or of the one before
    until(f"namespace {name} is gone", lambda: api.request("GET", path).status == 404)
    api.ensure("/api/v1/namespaces", {"metadata": {"name": name}})


def _ensure_crd(api: Api) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    if not api.request("GET", f"{path}/schemamigrations.schemahold.dev").ok:
        api.ensure(path, yaml.safe_load(CRD.read_text()) if CRD.exists() else _smallest_crd())
    until("the CRD is served", lambda: api.request("GET", "/apis/schemahold.dev/v1alpha1/schemamigrations").ok)


def _smallest_crd() -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"kind": "SchemaMigration", "plural": "schemamigrations"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "schemamigrations.schemahold.dev"},
        "spec": {"group": "schemahold.dev", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _grant(place: Place) -> None:
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{place.namespace}"
    migrations = {"apiGroups": ["schemahold.dev"], "resources": ["schemamigrations"]}
    rules = {
        "migrations": {**migrations, "verbs": ["get", "create", "update", "patch", "delete"]},
        "approve": {**migrations, "verbs": ["approve"], "resourceNames": [MIGRATION]},
        "status": {"apiGroups": ["apps"], "resources": ["deployments/status"], "verbs": ["update", "patch"]},
    }
    for name, rule in rules.items():
        api_rule = {"metadata": {"name": name}, "rules": [rule]}
        place.api.ensure(f"{rbac}/roles", api_rule)
    for user in (EDITOR, APPROVER, place.operator):
        _bind(place, rbac, user, "ClusterRole", "edit")
        _bind(place, rbac, user, "Role", "migrations")
        _bind(place, rbac, user, "Role", "status")
    _bind(place, rbac, APPROVER, "Role", "approve")


def _bind(place: Place, rbac: str, user: User, kind: str, role: str) -> None:
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": f"{user.name.rpartition(':')[2]}-{role}"},
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user.name}],
    }
    place.api.ensure(f"{rbac}/rolebindings", binding)


def _wait_for_policies(place: Place) -> None:
    """A policy takes up to a second or so to act: each one is asked for something that only it does."""
    probe = deployment("probe", labels={"schemahold.dev/migration": MIGRATION})
    dry = f"{place.deployments}?dryRun=All"

    def holds() -> bool:
        reply = place.api.request("POST", dry, probe, user=place.operator)
        return bool(reply.body.get("spec", {}).get("paused"))

    def warns() -> bool:
        return place.api.request("POST", dry, probe, user=EDITOR).warnings != ()

    until("the operator's dry-run CREATE comes back paused", holds)
    until("the user is warned", warns)
    place.api.request("POST", place.deployments, probe)
    until("the net acts", lambda: not _strip_label(place).ok)
    until("annotations survive a status write", lambda: _forge_on_status(place) != "forged")
    until("answers are checked", lambda: not _bad_answer(place).ok)
    until("who is not asked is told", lambda: _bad_answer(place).warnings != ())
    place.api.request("DELETE", f"{place.deployments}/probe")


def _strip_label(place: Place) -> Reply:
    patch = {"metadata": {"labels": {"schemahold.dev/migration": None}}}
    path = f"{place.deployments}/probe?dryRun=All"
    return place.api.request("PATCH", path, patch, user=EDITOR, content_type=MERGE)


def _forge_on_status(place: Place) -> str:
    patch = {"metadata": {"annotations": {"schemahold.dev/adopted": "forged"}}}
    path = f"{place.deployments}/probe/status?dryRun=All"
    reply = place.api.request("PATCH", path, patch, user=EDITOR, content_type=MERGE)
    return str(reply.body["metadata"].get("annotations", {}).get("schemahold.dev/adopted", ""))


def _bad_answer(place: Place) -> Reply:
    thing = migration("probe", {"schemahold.dev/answer": "yes"})
    return place.api.request("POST", f"{place.migrations}?dryRun=All", thing, user=ADMIN)


MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


def deployment(name: str, *, labels: Json | None = None, version: str = "", image: str = "shop:1") -> Json:
    """No replicas: nothing is scheduled, and the hold does not care."""
    annotations = {"schemahold.dev/version": version} if version else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {
            "replicas": 0,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    }


def migration(name: str, annotations: Json | None = None) -> Json:
    return {
        "apiVersion": "schemahold.dev/v1alpha1",
        "kind": "SchemaMigration",
        "metadata": {"name": name, "annotations": dict(annotations or {})},
        "spec": {
            "version": "1",
            "database": {"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}},
            "run": {"command": ["true"]},
            "suspend": True,  # an operator that happens to run here starts nothing
        },
    }
