"""The command lines of the cluster's processes."""

from pathlib import Path

from . import binaries
from .credentials import kubeconfig
from .layout import API_PORT, NODE, POD_CIDR, SERVICE_CIDR, Layout

FIRST = ("etcd", "containerd", "kube-apiserver")
# These talk to the API server as soon as they start.
SECOND = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
ALL = (*FIRST, *SECOND)

Flags = dict[str, str | Path]
_ETCD = "http://127.0.0.1:2379"


def commands(layout: Layout) -> dict[str, list[str]]:
    flags: dict[str, Flags] = {
        "etcd": _etcd(layout),
        "containerd": {"config": layout.settings / "containerd.toml"},
        "kube-apiserver": _api_server(layout),
        "kube-controller-manager": _controller_manager(layout),
        "kube-scheduler": _scheduler(layout),
        "kubelet": _kubelet(layout),
        "kube-proxy": {"config": layout.settings / "kube-proxy.json"},
    }
    return {name: [str(binaries.place(name)), *_words(flags[name])] for name in ALL}


def _words(flags: Flags) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _etcd(layout: Layout) -> Flags:
    return {
        "data-dir": layout.folder / "etcd",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": "http://127.0.0.1:2380",
        # A crash of this cluster is answered by building a new one.
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }


def _api_server(layout: Layout) -> Flags:
    secrets = layout.credentials
    return {
        "advertise-address": layout.address,
        "secure-port": str(API_PORT),
        "etcd-servers": _ETCD,
        "service-cluster-ip-range": SERVICE_CIDR,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "token-auth-file": secrets / "tokens.csv",
        "client-ca-file": secrets / "ca.crt",
        "tls-cert-file": secrets / "apiserver.crt",
        "tls-private-key-file": secrets / "apiserver.key",
        "kubelet-client-certificate": secrets / "apiserver-to-kubelet.crt",
        "kubelet-client-key": secrets / "apiserver-to-kubelet.key",
        "kubelet-preferred-address-types": "InternalIP",
        # Unused, but the scheduler and the controller-manager complain every minute when it is missing.
        "requestheader-client-ca-file": secrets / "ca.crt",
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": secrets / "service-accounts.key",
        "service-account-signing-key-file": secrets / "service-accounts.key",
        "audit-policy-file": layout.settings / "audit.json",
        "audit-log-path": layout.audit_log,
        "audit-log-maxsize": "2000",
        # Stories run in parallel against one small machine: queueing is fairer than refusing.
        "max-requests-inflight": "800",
        "max-mutating-requests-inflight": "400",
    }


def _controller_manager(layout: Layout) -> Flags:
    secrets = layout.credentials
    return {
        "kubeconfig": kubeconfig(layout, "kube-controller-manager"),
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "service-account-private-key-file": secrets / "service-accounts.key",
        "root-ca-file": secrets / "ca.crt",
        "cluster-signing-cert-file": secrets / "ca.crt",
        "cluster-signing-key-file": secrets / "ca.key",
        "cluster-cidr": POD_CIDR,
        "allocate-node-cidrs": "false",
        "kube-api-qps": "200",
        "kube-api-burst": "400",
    }


def _scheduler(layout: Layout) -> Flags:
    own = kubeconfig(layout, "kube-scheduler")
    return {
        "kubeconfig": own,
        "authentication-kubeconfig": own,
        "authorization-kubeconfig": own,
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "kube-api-qps": "200",
        "kube-api-burst": "400",
    }


def _kubelet(layout: Layout) -> Flags:
    return {
        "config": layout.settings / "kubelet.json",
        "kubeconfig": kubeconfig(layout, "kubelet"),
        "hostname-override": NODE,
        "node-ip": layout.address,
        "root-dir": layout.kubelet,
        "cert-dir": layout.kubelet / "pki",
    }
