"""The chart, rendered by helm: what it grants, what it refuses, and that it agrees with the code."""

import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemahold.api import durations
from schemahold.controller import settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "schemahold"
API = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
EVERYTHING = ("metrics.serviceMonitor.enabled=true", "metrics.prometheusRule.enabled=true")
POLICY_KINDS = {
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


@functools.cache
def helm() -> str:
    if given := os.environ.get("HELM"):
        return given
    if found := shutil.which("helm"):
        return found
    # Asked last: it builds helm where there is none yet, which takes minutes, once per machine.
    asked = subprocess.run(
        [sys.executable, "-m", "tests.cluster.local", "path", "helm"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    path = (asked.stdout.strip().splitlines() or [""])[-1]
    if asked.returncode == 0 and Path(path).exists():
        return path
    pytest.skip("no helm: set HELM, put helm on the PATH, or run `python3 -m tests.cluster.local binaries`")


def run(*words: str, api: str = API) -> subprocess.CompletedProcess[str]:
    command = [helm(), "template", "schemahold", str(CHART), "--namespace", "operators", *words]
    return subprocess.run([*command, *(["--api-versions", api] if api else [])], capture_output=True, text=True, check=False)


@functools.cache
def render(*values: str) -> tuple[dict[str, Any], ...]:
    done = run(*(word for value in values for word in ("--set", value)))
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def of_kind(documents: tuple[dict[str, Any], ...], *kinds: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] in kinds]


def named(documents: tuple[dict[str, Any], ...], kind: str, name: str) -> dict[str, Any]:
    (found,) = [document for document in of_kind(documents, kind) if document["metadata"]["name"] == name]
    return found


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for role in of_kind(render(*EVERYTHING), "Role", "ClusterRole"):
        for rule in role["rules"]:
            yield role["metadata"]["name"], rule


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    for workload in of_kind(render(), "Deployment", "Job"):
        yield workload["metadata"]["name"], workload["spec"]["template"]["spec"]


def test_lint() -> None:
    done = subprocess.run([helm(), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_role_has_a_wildcard_or_reads_secrets_or_enters_pods() -> None:
    seen = 0
    for name, rule in rules():
        seen += 1
        assert not [word for words in rule.values() for word in words if "*" in word], name
        for resource in rule["resources"]:
            assert resource not in {"secrets", "serviceaccounts/token", "nodes"}, name
            # What is named in a SchemaMigration may be read; nobody looks what else there is.
            assert resource != "configmaps" or rule["verbs"] == ["get"], name
            assert not resource.startswith("pods/"), name
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), name
    assert seen > 8


def test_only_the_own_namespace_lets_the_operator_create_deployments() -> None:
    creating = [
        role
        for role in of_kind(render(), "Role", "ClusterRole")
        for rule in role["rules"]
        if "deployments" in rule["resources"] and "create" in rule["verbs"]
    ]
    assert [(role["kind"], role["metadata"]["namespace"]) for role in creating] == [("Role", "operators")]


def test_nobody_is_bound_to_approve_and_no_standard_role_gets_it() -> None:
    documents = render()
    approving = [r for r in of_kind(documents, "ClusterRole") if any("approve" in rule["verbs"] for rule in r["rules"])]
    assert [role["metadata"]["name"] for role in approving] == ["schemahold-approver"]
    assert not [label for label in approving[0]["metadata"]["labels"] if "aggregate" in label]
    bindings = of_kind(documents, "RoleBinding", "ClusterRoleBinding")
    assert bindings
    assert "schemahold-approver" not in {binding["roleRef"]["name"] for binding in bindings}


def test_pods_are_restricted() -> None:
    """Pod Security `restricted`, and a root file system that nobody writes."""
    seen = 0
    for name, spec in pod_specs():
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert [volume for volume in spec["volumes"] if set(volume) != {"name", "emptyDir"}] == [], name
        for container in spec["containers"]:
            seen += 1
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["runAsNonRoot"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert seen == 2


def test_the_environment_has_every_setting_and_nothing_else() -> None:
    container = named(render(), "Deployment", "schemahold")["spec"]["template"]["spec"]["containers"][0]
    environ = {variable["name"]: variable["value"] for variable in container["env"]}
    assert set(environ) == {f"SCHEMAHOLD_{field.name.upper()}" for field in dataclasses.fields(settings.Settings)}
    read = settings.from_environment(environ)
    # The chart's defaults are the code's; only what the release decides differs.
    image = f"schemahold:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}"
    assert read == settings.Settings(image=image, namespace="operators")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": read.health_port, "metrics": read.metrics_port}


def test_values_reach_the_settings() -> None:
    documents = render(
        "retryBackoff.max=9m", "staleAfter=90s", "workers=3", "logFormat=text", "image.digest=sha256:" + "a" * 64
    )
    container = named(documents, "Deployment", "schemahold")["spec"]["template"]["spec"]["containers"][0]
    read = settings.from_environment({variable["name"]: variable["value"] for variable in container["env"]})
    assert (read.backoff_max, read.stale_after, read.workers, read.log_format) == (540.0, 90.0, 3, "text")
    assert container["image"] == read.image == "schemahold@sha256:" + "a" * 64


def test_refuses_a_cluster_that_cannot_hold() -> None:
    done = run(api="")
    assert done.returncode != 0
    assert "schemahold needs the API admissionregistration.k8s.io/v1 MutatingAdmissionPolicy" in done.stderr
    assert "nothing would be held" in done.stderr


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("staleAfter=90", "staleAfter"),
        ("retryBackoff.initial=soon", "retryBackoff/initial"),
        ("workers=0", "workers"),
        ("replicas=2", "replicas"),
        ("image.pullPolicy=Sometimes", "image/pullPolicy"),
        ("logFormat=xml", "logFormat"),
        ("crds.keeep=true", "keeep"),
        ("replicaCount=1", "replicaCount"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, field: str) -> None:
    done = run("--set", value)
    assert done.returncode != 0
    assert field in done.stderr


def test_the_schema_knows_every_value_and_the_readme_names_it() -> None:
    def leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, inner in schema["properties"].items():
            if "properties" in inner:
                assert inner["additionalProperties"] is False, f"{path}{name}"
                yield from leaves(inner, f"{path}{name}.")
            else:
                yield f"{path}{name}"

    def values(tree: dict[str, Any], known: set[str], path: str = "") -> Iterator[str]:
        for name, inner in tree.items():
            if isinstance(inner, dict) and f"{path}{name}" not in known:
                yield from values(inner, known, f"{path}{name}.")
            else:
                yield f"{path}{name}"

    schema = json.loads((CHART / "values.schema.json").read_text())
    known = set(leaves(schema)) - {"global"}
    assert set(values(yaml.safe_load((CHART / "values.yaml").read_text()), known)) == known
    table = (CHART / "README.md").read_text()
    missing = [leaf for leaf in known if f"`{leaf}`" not in table and f"`.{leaf.rsplit('.', 1)[-1]}`" not in table]
    assert missing == []


def test_durations_are_those_of_the_code() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["definitions"]["duration"]["pattern"] == durations.PATTERN


def test_the_chart_carries_the_generated_crds() -> None:
    """Mended by: cp crds/*.yaml charts/schemahold/files/crds/"""
    generated = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    copied = {path.name: path.read_text() for path in (CHART / "files" / "crds").glob("*.yaml")}
    assert generated, "crds/ is empty"
    assert copied == generated, "run: cp crds/*.yaml charts/schemahold/files/crds/"


@pytest.mark.parametrize("keep", [True, False])
def test_crds_are_rendered_as_generated(keep: bool) -> None:
    rendered = of_kind(render(f"crds.keep={str(keep).lower()}"), "CustomResourceDefinition")
    generated = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert [crd["spec"] for crd in rendered] == [crd["spec"] for crd in generated]
    for crd in rendered:
        policy = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)
    assert of_kind(render("crds.enabled=false"), "CustomResourceDefinition") == []


def test_the_uninstall_hook_may_delete_our_policies_and_no_others() -> None:
    documents = render()
    role = named(documents, "ClusterRole", "schemahold-uninstall")
    policies = of_kind(documents, *POLICY_KINDS)
    assert policies
    (deleting,) = [rule for rule in role["rules"] if "delete" in rule["verbs"]]
    assert set(deleting["resourceNames"]) == {policy["metadata"]["name"] for policy in policies}
    job = named(documents, "Job", "schemahold-uninstall")
    environ = {variable["name"]: variable["value"] for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    selector = dict(pair.split("=") for pair in environ["SCHEMAHOLD_SELECTOR"].split(","))
    for policy in policies:
        assert selector.items() <= policy["metadata"]["labels"].items(), policy["metadata"]["name"]


def test_nothing_of_the_uninstall_hook_stays_after_its_success() -> None:
    documents = render()
    hooks = [document for document in documents if "helm.sh/hook" in document["metadata"].get("annotations", {})]
    assert {hook["kind"] for hook in hooks} == {
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Job",
    }
    for hook in hooks:
        assert hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
        assert hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    assert not [d for d in render("uninstallHook.enabled=false") if "uninstall" in d["metadata"]["name"]]


def test_the_service_and_the_deployment_select_the_operator_only() -> None:
    documents = render()
    selector = named(documents, "Service", "schemahold-metrics")["spec"]["selector"]
    deployment = named(documents, "Deployment", "schemahold")["spec"]
    assert deployment["selector"]["matchLabels"] == selector
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    hook = named(documents, "Job", "schemahold-uninstall")["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() <= hook.items()


def test_alerts_name_metrics_of_the_design() -> None:
    (rule,) = of_kind(render(*EVERYTHING), "PrometheusRule")
    alerts = {alert["alert"]: alert for group in rule["spec"]["groups"] for alert in group["rules"]}
    assert set(alerts) == {"SchemaholdHoldTooLong", "SchemaholdHoldInactive", "SchemaholdOperatorAbsent"}
    metrics = {name for alert in alerts.values() for name in re.findall(r"schemahold_\w+", alert["expr"])}
    assert metrics == {"schemahold_oldest_hold_seconds", "schemahold_hold_active"}
    assert of_kind(render(), "PrometheusRule", "ServiceMonitor") == []


def test_the_policies_trust_the_account_that_the_operator_runs_as() -> None:
    documents = render("serviceAccount.name=ours")
    spec = named(documents, "Deployment", "schemahold")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "ours"
    bindings = of_kind(documents, "ClusterRoleBinding", "RoleBinding")
    operators = [binding for binding in bindings if binding["metadata"]["name"] == "schemahold"]
    assert [binding["subjects"][0]["name"] for binding in operators] == ["ours", "ours"]
    hold = named(documents, "MutatingAdmissionPolicy", "schemahold-hold")
    assert "system:serviceaccount:operators:ours" in json.dumps(hold)
