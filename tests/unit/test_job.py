"""What of the source goes into the Job and what does not; what others changed in it."""

import copy
import json
from typing import Any

import kubernetes.client
import pytest

from schemahold.api import models, names, pod
from schemahold.core import changes, copied, job

PROBE = {"httpGet": {"path": "/", "port": "http"}}
# A Deployment that sets every field of a pod template there is.
SOURCE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop-api", "namespace": "prod", "labels": {names.MIGRATION: "shop"}},
    "spec": {
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {
                "labels": {"app": "shop", "argocd.argoproj.io/instance": "shop", "helm.sh/chart": "shop-1"},
                "annotations": {
                    names.VERSION_ANNOTATION: "2",
                    names.DEFAULT_CONTAINER: "api",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                    "kustomize.toolkit.fluxcd.io/name": "shop",
                    "meta.helm.sh/release-name": "shop",
                },
            },
            "spec": {
                "activeDeadlineSeconds": 60,
                "affinity": {
                    "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
                    "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
                    "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
                },
                "automountServiceAccountToken": False,
                "containers": [
                    {"name": "proxy", "image": "proxy:1", "args": ["--port=5432"], "startupProbe": PROBE,
                     "volumeMounts": [{"name": "proxy", "mountPath": "/p"}],
                     "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}],
                     "resources": {"requests": {"cpu": "1"}, "claims": [{"name": "gpu"}]}},
                    {
                        "name": "api",
                        "image": "shop:2",
                        "imagePullPolicy": "Always",
                        "args": ["serve"],
                        "command": ["/app"],
                        "env": [
                            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "shop-db", "key": "password"}}},
                            {"name": "OTHER", "value": "secret-of-the-application"},
                            {"name": "DATABASE_URL", "value": "postgresql://app:$(PASSWORD)@db/shop"},
                        ],
                        "envFrom": [{"secretRef": {"name": "shop-env"}}],
                        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
                        "livenessProbe": PROBE,
                        "ports": [{"name": "http", "containerPort": 80}],
                        "readinessProbe": PROBE,
                        "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
                        "resources": {"limits": {"memory": "1Gi"}, "claims": [{"name": "gpu"}]},
                        "restartPolicy": "Always",
                        "restartPolicyRules": [],
                        "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "readOnlyRootFilesystem": True},
                        "startupProbe": PROBE,
                        "stdin": True,
                        "stdinOnce": True,
                        "terminationMessagePath": "/tmp/message",
                        "terminationMessagePolicy": "File",
                        "tty": True,
                        "volumeDevices": [{"name": "raw", "devicePath": "/dev/raw"}],
                        "volumeMounts": [
                            {"name": "ca", "mountPath": "/etc/ca", "mountPropagation": "HostToContainer"},
                            {"name": "scratch", "mountPath": "/tmp"},
                            {"name": "scratch", "mountPath": "/usr/lib/"},
                        ],
                        "workingDir": "/srv",
                    },
                    {"name": "logs", "image": "logs:1"},
                ],
                "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
                "dnsPolicy": "ClusterFirst",
                "enableServiceLinks": False,
                "ephemeralContainers": [],
                "evictionResponders": [],
                "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["db"]}],
                "hostIPC": True,
                "hostNetwork": True,
                "hostPID": True,
                "hostUsers": False,
                "hostname": "shop",
                "hostnameOverride": "shop",
                "imagePullSecrets": [{"name": "registry"}],
                "initContainers": [
                    {"name": "wait", "image": "busybox"},
                    {"name": "native", "image": "native:1", "restartPolicy": "Always", "livenessProbe": PROBE,
                     "startupProbe": PROBE, "lifecycle": {"postStart": {"sleep": {"seconds": 1}}},
                     "volumeMounts": [{"name": "native", "mountPath": "/n"}]},
                ],
                "nodeName": "node-1",
                "nodeSelector": {"disk": "ssd"},
                "os": {"name": "linux"},
                "overhead": {"cpu": "1"},
                "preemptionPolicy": "Never",
                "priority": 5,
                "priorityClassName": "high",
                "readinessGates": [{"conditionType": "x"}],
                "resourceClaims": [{"name": "gpu"}],
                "resources": {"limits": {"memory": "1Gi"}},
                "restartPolicy": "Always",
                "runtimeClassName": "gvisor",
                "schedulerName": "other",
                "schedulingGates": [{"name": "gate"}],
                "schedulingGroup": {},
                "securityContext": {"runAsUser": 0, "fsGroup": 2000},
                "serviceAccount": "shop",
                "serviceAccountName": "shop",
                "setHostnameAsFQDN": True,
                "shareProcessNamespace": True,
                "subdomain": "shop",
                "terminationGracePeriodSeconds": 5,
                "tolerations": [{"key": "db", "operator": "Exists"}],
                "topologySpreadConstraints": [],
                "volumes": [
                    {"name": name, "emptyDir": {}} for name in ("proxy", "ca", "scratch", "raw", "native", "logs", "wait")
                ],
            },
        },
    },
}  # fmt: skip
URL_FROM = {"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}}
ENV = {"env": "DATABASE_URL"}
ASK = pod.Ask(ledger_name="prod/shop", phase="expand", version="2", inputs="i", attempt=7, job="shop-7")


def spec(database: Any = None, **run: Any) -> models.Spec:
    return models.Spec.model_validate({"database": database or URL_FROM, "run": {"command": ["npm", "up"], **run}})


def source(**pod_spec: Any) -> dict[str, Any]:
    made = copy.deepcopy(SOURCE)
    made["spec"]["template"]["spec"] |= pod_spec
    return made


def with_container(**fields: Any) -> dict[str, Any]:
    """The source with some fields of its `api` container replaced; None removes one."""
    made = copy.deepcopy(SOURCE)
    api = made["spec"]["template"]["spec"]["containers"][1]
    api |= fields
    for field in [key for key, value in fields.items() if value is None]:
        del api[field]
    return made


def with_metadata(labels: dict[str, str], annotations: dict[str, str]) -> dict[str, Any]:
    made = copy.deepcopy(SOURCE)
    metadata = made["spec"]["template"]["metadata"]
    metadata["labels"] |= labels
    metadata["annotations"] |= annotations
    return made


def build(given: dict[str, Any] = SOURCE, spec_: models.Spec | None = None, ask: pod.Ask = ASK) -> dict[str, Any]:
    return job.build_job(
        name="shop",
        namespace="prod",
        uid="u-1",
        spec=spec_ or spec(),
        source=given,
        ask=ask,
        image="schemahold:1",
        image_pull_policy="IfNotPresent",
        inputs="i" * 16,
        database="d" * 16,
    )


def template_spec(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["spec"]["template"]["spec"]
    return found


def container(made: dict[str, Any], name: str) -> dict[str, Any]:
    everyone = template_spec(made)["initContainers"] + template_spec(made)["containers"]
    found: dict[str, Any] = next(one for one in everyone if one["name"] == name)
    return found


def env_of(one: dict[str, Any]) -> list[str]:
    return [entry["name"] for entry in one["env"]]


# Every field is decided ----------------------------------------------------------------------------------------------


def fields(model: Any) -> set[str]:
    return set(model.attribute_map.values())


def test_every_field_of_a_pod_and_a_container_is_decided_once() -> None:
    pod_fields = [*copied.POD_COPIED, *copied.POD_BUILT, *copied.POD_LEFT]
    assert sorted(pod_fields) == sorted(fields(kubernetes.client.V1PodSpec))
    container_fields = [*copied.CONTAINER_COPIED, *copied.CONTAINER_BUILT, *copied.CONTAINER_LEFT]
    assert sorted(container_fields) == sorted(fields(kubernetes.client.V1Container))


def test_the_fixture_sets_every_field() -> None:
    given = SOURCE["spec"]["template"]["spec"]
    assert set(given) == fields(kubernetes.client.V1PodSpec)
    assert set(given["containers"][1]) == fields(kubernetes.client.V1Container)


@pytest.mark.parametrize("field", copied.POD_COPIED)
def test_pod_field_is_copied(field: str) -> None:
    assert template_spec(build())[field] == SOURCE["spec"]["template"]["spec"][field]


@pytest.mark.parametrize("field", copied.CONTAINER_COPIED)
def test_container_field_is_copied(field: str) -> None:
    assert container(build(), "migrate")[field] == SOURCE["spec"]["template"]["spec"]["containers"][1][field]


def test_nothing_else_is_there() -> None:
    assert set(template_spec(build())) == {*copied.POD_COPIED, *copied.POD_BUILT}
    assert set(container(build(), "migrate")) == {*copied.CONTAINER_COPIED, *copied.CONTAINER_BUILT}


def test_what_the_source_does_not_set_is_not_set() -> None:
    bare = {"metadata": {"name": "bare"}, "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}}
    made = build(bare)
    assert set(template_spec(made)) == {*copied.POD_BUILT} - {"affinity"}
    assert set(container(made, "migrate")) == {"image", *copied.CONTAINER_BUILT} - {"resources"}


# The Job -------------------------------------------------------------------------------------------------------------


def test_job() -> None:
    made = build()
    assert (made["apiVersion"], made["kind"]) == ("batch/v1", "Job")
    ours = {
        names.MIGRATION: "shop",
        names.OWNER_UID: "u-1",
        names.ATTEMPT: "7",
        names.INPUTS: "i" * 16,
        names.DATABASE: "d" * 16,
        names.PHASE: "expand",
        names.MODE: "run",
        names.MANAGED_BY: "schemahold",
    }
    assert made["metadata"] == {
        "name": "shop-7",
        "namespace": "prod",
        "labels": ours,
        "annotations": {names.RUN_VERSION: "2"},
    }
    assert {key: value for key, value in made["spec"].items() if key != "template"} == {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "Failed",
    }


def test_the_source_is_not_changed() -> None:
    before = copy.deepcopy(SOURCE)
    build(SOURCE, spec(ENV, sidecars=["proxy"]))
    assert before == SOURCE


def test_pod_is_never_restarted_and_gets_the_grace_period() -> None:
    made = template_spec(build(SOURCE, spec(gracePeriod="1m500ms")))
    assert (made["restartPolicy"], made["terminationGracePeriodSeconds"]) == ("Never", 61)


def test_only_node_affinity_is_copied() -> None:
    assert template_spec(build())["affinity"] == {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}


def test_containers_stand_in_their_order() -> None:
    made = template_spec(build(SOURCE, spec(sidecars=["logs", "proxy"])))
    assert [one["name"] for one in made["initContainers"]] == ["native", "logs", "proxy", "lock", "gate"]
    assert [one["name"] for one in made["containers"]] == ["migrate"]
    restart = [one.get("restartPolicy") for one in made["initContainers"]]
    assert restart == ["Always", "Always", "Always", "Always", None]


# Metadata ------------------------------------------------------------------------------------------------------------

OPT_OUT_LABELS = {"sidecar.istio.io/inject": "false", "kuma.io/sidecar-injection": "disabled"}
OPT_OUT_ANNOTATIONS = {
    **OPT_OUT_LABELS,
    "linkerd.io/inject": "disabled",
    "consul.hashicorp.com/connect-inject": "false",
}


def test_pod_has_our_labels_and_the_meshes_switches_alone() -> None:
    made = build()
    metadata = made["spec"]["template"]["metadata"]
    assert metadata["labels"] == {**OPT_OUT_LABELS, **made["metadata"]["labels"]}
    assert metadata["annotations"] == {
        **OPT_OUT_ANNOTATIONS,
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
        names.DEFAULT_CONTAINER: "migrate",
        names.RUN_VERSION: "2",
    }


def test_a_mesh_that_the_user_switches_is_left_as_the_user_has_it() -> None:
    given = with_metadata(
        {"sidecar.istio.io/inject": "true", "istio.io/rev": "canary"},
        {"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true", "notistio.io/x": "y"},
    )
    metadata = build(given)["spec"]["template"]["metadata"]
    assert metadata["labels"]["sidecar.istio.io/inject"] == "true"
    assert metadata["labels"]["istio.io/rev"] == "canary"
    assert metadata["annotations"]["proxy.istio.io/config"].startswith("hold")
    assert "sidecar.istio.io/inject" not in metadata["annotations"]
    assert "notistio.io/x" not in metadata["annotations"]
    assert metadata["annotations"]["linkerd.io/inject"] == "disabled"


def test_the_revision_of_a_mesh_alone_does_not_bring_its_sidecar() -> None:
    metadata = build(with_metadata({"istio.io/rev": "canary"}, {}))["spec"]["template"]["metadata"]
    assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
    assert "istio.io/rev" not in metadata["labels"]


def test_the_switch_of_an_identity_webhook_is_copied() -> None:
    metadata = build(with_metadata({"azure.workload.identity/use": "true"}, {}))["spec"]["template"]["metadata"]
    assert metadata["labels"]["azure.workload.identity/use"] == "true"


# migrate -------------------------------------------------------------------------------------------------------------


def test_migrate_runs_the_command_through_our_script() -> None:
    made = container(build(), "migrate")
    assert made["command"] == ["/schemahold/busybox", "sh", "/schemahold/migrate.sh", "npm", "up"]
    assert "args" not in made


@pytest.mark.parametrize(("tail", "policy"), [(True, "FallbackToLogsOnError"), (False, "File")])
def test_migrate_keeps_its_last_lines_if_wanted(tail: bool, policy: str) -> None:
    assert container(build(SOURCE, spec(logTail=tail)), "migrate")["terminationMessagePolicy"] == policy


def test_migrate_has_the_users_mounts_as_they_are_and_ours() -> None:
    theirs = SOURCE["spec"]["template"]["spec"]["containers"][1]["volumeMounts"]
    assert container(build(), "migrate")["volumeMounts"] == [*theirs, {"name": "schemahold", "mountPath": "/schemahold"}]


def test_resources_are_copied_without_claims_on_devices() -> None:
    assert container(build(), "migrate")["resources"] == {"limits": {"memory": "1Gi"}}


def test_only_used_volumes_are_copied() -> None:
    made = template_spec(build(SOURCE, spec(sidecars=["proxy"])))
    assert [one["name"] for one in made["volumes"]] == [
        "proxy",
        "ca",
        "scratch",
        "raw",
        "native",
        "schemahold",
        "schemahold-tmp",
    ]
    assert "proxy" not in [one["name"] for one in template_spec(build())["volumes"]]


def test_a_volume_that_only_a_variable_reads_is_copied() -> None:
    ref = {"fileKeyRef": {"volumeName": "logs", "path": "x", "key": "X"}}
    made = template_spec(build(with_container(env=[{"name": "X", "valueFrom": ref}])))
    assert "logs" in [one["name"] for one in made["volumes"]]


def test_our_volumes_make_way_for_the_users() -> None:
    mounts = [{"name": "schemahold", "mountPath": "/data"}]
    given = with_container(volumeMounts=mounts, volumeDevices=None)
    given["spec"]["template"]["spec"]["volumes"] = [{"name": "schemahold", "configMap": {"name": "x"}}]
    made = build(given)
    assert container(made, "gate")["volumeMounts"] == [{"name": "schemahold-0", "mountPath": "/schemahold"}]
    assert [one["name"] for one in template_spec(made)["volumes"]][-2:] == ["schemahold-0", "schemahold-tmp"]


# Sidecars ------------------------------------------------------------------------------------------------------------


def test_a_native_sidecar_stays_as_it_is() -> None:
    assert container(build(), "native") == SOURCE["spec"]["template"]["spec"]["initContainers"][1]


def test_a_named_sidecar_becomes_a_native_one_and_keeps_its_probes_but_no_host_port() -> None:
    made = container(build(SOURCE, spec(sidecars=["proxy"])), "proxy")
    assert made == {
        "name": "proxy",
        "image": "proxy:1",
        "args": ["--port=5432"],
        "volumeMounts": [{"name": "proxy", "mountPath": "/p"}],
        "startupProbe": PROBE,
        "ports": [{"name": "http", "containerPort": 80}],
        "resources": {"requests": {"cpu": "1"}},
        "restartPolicy": "Always",
    }


def test_a_native_sidecar_may_be_named_too() -> None:
    made = template_spec(build(SOURCE, spec(sidecars=["native"])))
    assert [one["name"] for one in made["initContainers"]] == ["native", "lock", "gate"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nobody", "Deployment 'shop-api' has no such container; write one of 'logs', 'native', 'proxy'"),
        ("api", "that is the container of Deployment 'shop-api' which the Job copies anyway"),
        ("wait", "that is an init container of Deployment 'shop-api' which ends by itself"),
    ],
)
def test_a_sidecar_that_is_none_is_refused(name: str, why: str) -> None:
    with pytest.raises(job.JobError) as caught:
        build(SOURCE, spec(sidecars=[name]))
    assert caught.value.reason == "SidecarNotFound"
    assert caught.value.message.startswith(f"`run.sidecars` names '{name}', but {why}")


@pytest.mark.parametrize("name", ["lock", "gate", "migrate"])
def test_a_sidecar_with_the_name_of_ours_is_refused(name: str) -> None:
    given = source(initContainers=[{"name": name, "image": "x", "restartPolicy": "Always"}])
    with pytest.raises(job.JobError) as caught:
        build(given)
    assert caught.value.reason == "ContainerNameTaken"
    assert f"has a sidecar named '{name}'" in caught.value.message


def test_the_copied_container_may_be_called_migrate() -> None:
    assert container(build(with_container(name="migrate")), "migrate")["image"]


@pytest.mark.parametrize("path", ["/schemahold", "/schemahold/", "/schemahold/x"])
def test_a_mount_where_ours_is_is_refused(path: str) -> None:
    with pytest.raises(job.JobError) as caught:
        build(with_container(volumeMounts=[{"name": "ca", "mountPath": path}]))
    assert caught.value.reason == "MountPathTaken"
    assert f"mounts a volume at '{path}'" in caught.value.message


def test_a_mount_beside_ours_is_none_of_our_business() -> None:
    assert build(with_container(volumeMounts=[{"name": "ca", "mountPath": "/schemahold-data"}]))


def test_a_source_without_containers_is_refused() -> None:
    with pytest.raises(job.JobError) as caught:
        build({"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": []}}}})
    assert caught.value.reason == "SourceHasNoContainer"


# lock and gate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lock", "gate"])
def test_ours_fit_a_restricted_namespace(name: str) -> None:
    made = container(build(), name)
    assert made["image"] == "schemahold:1"
    assert made["imagePullPolicy"] == "IfNotPresent"
    assert made["command"] == ["/opt/schemahold/bin/python", "-I", "-m", "schemahold.runner", name]
    assert made["securityContext"] == {
        "runAsUser": 1000,
        "runAsGroup": 3000,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert made["resources"] == {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}}


@pytest.mark.parametrize(
    ("of_container", "of_pod", "user"),
    [
        ({"runAsUser": 5}, {"runAsUser": 6}, 5),
        (None, {"runAsUser": 6}, 6),
        (None, {}, 65532),
        (None, {"runAsUser": 0}, 65532),
        ({"runAsUser": 0}, {"runAsUser": 6}, 65532),
    ],
)
def test_ours_run_as_the_users_user_but_never_as_root(of_container: Any, of_pod: Any, user: int) -> None:
    given = with_container(securityContext=of_container)
    given["spec"]["template"]["spec"]["securityContext"] = of_pod
    assert container(build(given), "lock")["securityContext"]["runAsUser"] == user


def test_lock_sees_the_users_files_read_only_but_not_over_ours() -> None:
    assert container(build(), "lock")["volumeMounts"] == [
        {"name": "ca", "mountPath": "/etc/ca", "readOnly": True},
        {"name": "schemahold", "mountPath": "/schemahold"},
        {"name": "schemahold-tmp", "mountPath": "/tmp"},
    ]


def test_gate_sees_nothing_of_the_users() -> None:
    made = container(build(SOURCE, spec(ENV)), "gate")
    assert made["volumeMounts"] == [{"name": "schemahold", "mountPath": "/schemahold"}]
    assert env_of(made) == ["SCHEMAHOLD_POD_UID", "SCHEMAHOLD_POD_NAME", "SCHEMAHOLD_ASK"]
    assert "envFrom" not in made


def asked(one: dict[str, Any]) -> pod.Ask:
    """What the container reads after the kubelet's expansion of `$$`."""
    value = next(entry["value"] for entry in one["env"] if entry["name"] == pod.ENV_ASK)
    assert "$(" not in value.replace("$$", "")
    return pod.Ask.from_json(value.replace("$$", "$"))


def test_lock_gets_the_url_from_the_secret() -> None:
    made = container(build(), "lock")
    assert env_of(made) == ["SCHEMAHOLD_DATABASE_URL", "SCHEMAHOLD_POD_UID", "SCHEMAHOLD_POD_NAME", "SCHEMAHOLD_ASK"]
    assert made["env"][0]["valueFrom"] == {"secretKeyRef": {"name": "shop-db", "key": "url"}}
    assert "envFrom" not in made
    assert (asked(made).url_variable, asked(made).url_origin) == ("SCHEMAHOLD_DATABASE_URL", "Secret 'shop-db', key 'url'")


def test_lock_gets_the_variable_and_what_it_refers_to_and_no_more() -> None:
    made = container(build(SOURCE, spec(ENV)), "lock")
    assert env_of(made)[:-3] == ["PASSWORD", "DATABASE_URL"]
    assert "envFrom" not in made
    assert asked(made).url_variable == "DATABASE_URL"
    assert asked(made).url_origin == "variable 'DATABASE_URL' of container 'api' (put together from 'PASSWORD')"


def test_lock_gets_env_from_when_the_variable_can_only_come_from_there() -> None:
    made = container(build(SOURCE, spec({"env": "ADMIN_URL"})), "lock")
    assert env_of(made)[:-3] == []
    assert made["envFrom"] == [{"secretRef": {"name": "shop-env"}}]
    assert asked(made).url_origin == "variable 'ADMIN_URL' of container 'api' (from `envFrom`: Secret 'shop-env')"


def test_lock_gets_the_variables_of_its_mounts_paths() -> None:
    mounts = [{"name": "ca", "mountPath": "/ca", "subPathExpr": "$(OTHER)/ca"}]
    assert env_of(container(build(with_container(volumeMounts=mounts)), "lock"))[0] == "OTHER"


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ({"value": "postgresql://db/x"}, "a literal value"),
        ({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, "Secret 's', key 'k'"),
        ({"valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}, "ConfigMap 'c', key 'k'"),
        ({"valueFrom": {"fileKeyRef": {"volumeName": "ca"}}}, "`valueFrom.fileKeyRef`"),
    ],
)
def test_origin_says_where_the_url_comes_from_without_its_value(entry: dict[str, Any], origin: str) -> None:
    given = with_container(env=[{"name": "DATABASE_URL", **entry}])
    found = job.with_database(ASK, spec(ENV), given)
    assert found.url_origin == f"variable 'DATABASE_URL' of container 'api' ({origin})"


def test_a_variable_that_the_container_lacks_is_refused() -> None:
    with pytest.raises(job.JobError) as caught:
        build(with_container(envFrom=None), spec({"env": "DATABASE_URI"}))
    assert caught.value.reason == "DatabaseVariableNotFound"
    assert caught.value.message == (
        "`database.env` is 'DATABASE_URI', but container 'api' of Deployment 'shop-api' has no such variable and no "
        "`envFrom`: write one of 'PASSWORD', 'OTHER', 'DATABASE_URL', or use `database.urlFrom`."
    )


def test_a_persons_reason_cannot_draw_a_variable_into_the_ask() -> None:
    reason = "1 retry it was $(DATABASE_URL) and $$(PASSWORD) $"
    ask = pod.Ask(ledger_name="n", phase="expand", version="$(X)", inputs="i", attempt=1, job="j", answer=reason)
    made = build(SOURCE, spec(ENV), ask)
    assert asked(container(made, "lock")).answer == reason
    assert asked(container(made, "gate")).job == "shop-1"


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("postgresql://app:hunter2@db/shop", 1),
        ("postgresql://db/shop?user=app&password=hunter2", 1),
        ("postgresql://app:a/b@db/shop", 1),
        ("postgresql://app:$(PASSWORD)@db/shop", 0),
        ("postgresql://app@db/shop", 0),
        ("postgresql://db:5432/shop?password=$(PASSWORD)", 0),
    ],
)
def test_a_password_in_plain_text_gives_a_warning_without_it(value: str, count: int) -> None:
    given = with_container(env=[{"name": "DATABASE_URL", "value": value}])
    found = job.warnings(spec(ENV), given)
    assert len(found) == count
    assert "hunter2" not in json.dumps(found)
    assert job.warnings(spec(), given) == []


# What others changed -------------------------------------------------------------------------------------------------


def returned() -> dict[str, Any]:
    """The Job as the API server answers it: with its own defaults."""
    made = build(SOURCE, spec(ENV))
    made["metadata"] |= {"uid": "x", "resourceVersion": "1"}
    made["spec"] |= {"completionMode": "NonIndexed", "suspend": False, "manualSelector": False}
    made["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "shop-7"
    made["spec"]["template"]["spec"]["serviceAccount"] = "shop"
    for volume in made["spec"]["template"]["spec"]["volumes"]:
        volume["defaultMode"] = 420
    for one in made["spec"]["template"]["spec"]["initContainers"]:
        one |= {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"}
    return made


def test_the_api_servers_own_defaults_are_no_change() -> None:
    assert changes.compare(build(SOURCE, spec(ENV)), returned()) == []


def change_job(made: Any) -> None:
    made["spec"] |= {"ttlSecondsAfterFinished": 100, "backoffLimit": 3}


def change_pod(made: Any) -> None:
    template_spec(made)["restartPolicy"] = "OnFailure"
    template_spec(made)["securityContext"]["runAsNonRoot"] = True


def change_image(made: Any) -> None:
    container(made, "migrate")["image"] = "mirror/shop:2"


def change_command(made: Any) -> None:
    container(made, "migrate")["command"] = ["wrapper"]


def change_env(made: Any) -> None:
    entries = container(made, "migrate")["env"]
    entries[1]["value"] = "hunter2"
    del entries[0]
    entries.append({"name": "PROXY", "value": "hunter2"})


def change_mounts(made: Any) -> None:
    container(made, "lock")["volumeMounts"].pop()


def add_container(made: Any) -> None:
    template_spec(made)["containers"].append({"name": "mesh", "image": "mesh"})
    template_spec(made)["initContainers"].reverse()


def remove_container(made: Any) -> None:
    del template_spec(made)["initContainers"][0]


def change_security(made: Any) -> None:
    container(made, "lock")["securityContext"]["privileged"] = True


def change_volume(made: Any) -> None:
    template_spec(made)["volumes"][0] = {"name": "ca", "hostPath": {"path": "/"}}


def change_label(made: Any) -> None:
    del made["metadata"]["labels"][names.OWNER_UID]


CHANGES: list[tuple[Any, list[str]]] = [
    (
        change_job,
        [
            "The Job's `backoffLimit` was changed from '0' to '3'.",
            "The Job's `ttlSecondsAfterFinished` was changed from nothing to '100'.",
        ],
    ),
    (
        change_pod,
        [
            "The pod's `restartPolicy` was changed from 'Never' to 'OnFailure'.",
            "The pod's `securityContext` was changed",
        ],
    ),
    (change_image, ["Container 'migrate': `image` was changed from 'shop:2' to 'mirror/shop:2'."]),
    (change_command, ["Container 'migrate': `command` was changed."]),
    (
        change_env,
        [
            "Container 'migrate': variable 'PROXY' was added.",
            "Container 'migrate': variable 'PASSWORD' was removed.",
            "Container 'migrate': variable 'OTHER' was changed.",
        ],
    ),
    (change_mounts, ["Container 'lock': mount '/tmp' was removed."]),
    (add_container, ["The order of `initContainers` was changed.", "Container 'mesh' was added to `containers`."]),
    (remove_container, ["Container 'native' was removed from `initContainers`."]),
    (change_security, ["Container 'lock': `securityContext` was changed"]),
    (change_volume, ["The pod's volume 'ca' was removed or changed."]),
    (change_label, ["The Job's 'schemahold.dev/uid' was 'u-1' and was changed."]),
]


@pytest.mark.parametrize(("change", "sentences"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_what_others_changed_is_told(change: Any, sentences: list[str]) -> None:
    got = returned()
    change(got)
    told = job.compare(build(SOURCE, spec(ENV)), got)
    assert len(told) == len(sentences)
    assert all(one.startswith(start) for one, start in zip(told, sentences, strict=True))
    assert "hunter2" not in json.dumps(told)
