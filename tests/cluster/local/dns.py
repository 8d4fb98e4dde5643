"""CoreDNS, so that a Service's name resolves from a pod."""

import json

from .layout import DNS_DOMAIN, DNS_SERVICE

IMAGE = "localhost/schemahold/coredns:1"
DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
_LABELS = {"k8s-app": "kube-dns"}
_ACCOUNT = "coredns"

# Outside names do not exist, rather than fail: a mistyped host is answered as on any cluster, at once.
_COREFILE = f"""{DNS_DOMAIN}:53 in-addr.arpa:53 ip6.arpa:53 {{
    errors
    kubernetes {DNS_DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        ttl 5
    }}
}}
.:53 {{
    errors
    health
    ready
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def manifest() -> str:
    objects = [_account(), _role(), _binding(), _config(), _deployment(), _service()]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _meta(name: str, *, namespaced: bool = True) -> dict[str, object]:
    return {"name": name, "labels": _LABELS, **({"namespace": "kube-system"} if namespaced else {})}


def _account() -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(_ACCOUNT)}


def _role() -> dict[str, object]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    meta = _meta("system:coredns", namespaced=False)
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}


def _binding() -> dict[str, object]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": _meta("system:coredns", namespaced=False),
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": "kube-system"}],
    }


def _config() -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(_ACCOUNT), "data": {"Corefile": _COREFILE}}


def _container() -> dict[str, object]:
    return {
        "name": "coredns",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 10, "failureThreshold": 5},
    }


def _deployment() -> dict[str, object]:
    pod = {
        "serviceAccountName": _ACCOUNT,
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "containers": [_container()],
        "volumes": [{"name": "config", "configMap": {"name": _ACCOUNT}}],
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta("coredns"), "spec": spec}


def _service() -> dict[str, object]:
    ports = [{"name": f"dns-{kind.lower()}", "port": 53, "protocol": kind} for kind in ("UDP", "TCP")]
    spec = {"selector": _LABELS, "clusterIP": DNS_SERVICE, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta("kube-dns"), "spec": spec}
