"""The components' configuration files, as text that depends on nothing but the layout."""

import json
from collections.abc import Mapping

from .credentials import kubeconfig
from .layout import DNS_DOMAIN, DNS_SERVICE, NODE, POD_CIDR, Layout

PAUSE = "localhost/schemahold/pause:1"
_CNI_PLUGINS = "/usr/lib/cni"
_WRITES = ["create", "update", "patch", "delete", "deletecollection"]


def files(layout: Layout, snapshotter: str) -> dict[str, str]:
    """File name to content; `cni/` is a folder of its own because containerd reads all of it."""
    return {
        "audit.json": _json(_audit()),
        "kubelet.json": _json(_kubelet(layout)),
        "kube-proxy.json": _json(_proxy(layout)),
        "containerd.toml": _containerd(layout, snapshotter),
        "cni/pods.conflist": _json(_cni(layout)),
        # Pods outside the cluster's DNS resolve nothing: there is no way out of the namespace.
        "resolv.conf": "nameserver 127.0.0.1\n",
    }


def write(layout: Layout, content: Mapping[str, str]) -> None:
    for name, text in content.items():
        path = layout.settings / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _audit() -> dict[str, object]:
    """Every write, by whomever, once it is answered: what the tests count."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "verbs": _WRITES}, {"level": "None"}],
    }


def _kubelet(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(layout.credentials / "ca.crt")}},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.name}",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": DNS_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "resolvConf": str(layout.settings / "resolv.conf"),
        "podLogsDir": str(layout.pod_logs),
        "volumePluginDir": str(layout.kubelet / "volume-plugins"),
        # What a developer's machine may be: cgroup v1, swap, a nearly full disk, other work beside the pods.
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "200Mi", "imagefs.available": "200Mi"},
        "imageGCHighThresholdPercent": 100,  # an image that was collected could not be pulled again
        # The kubelet's own iptables chains serve hostPorts on a bridge; there are none.
        "makeIPTablesUtilChains": False,
        "maxPods": 250,
        "serializeImagePulls": False,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
    }


def _proxy(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig(layout, "kube-proxy")), "qps": 100, "burst": 200},
        "mode": "iptables",
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE,
        # Those sysctls belong to the host, not to the namespace.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "iptables": {"minSyncPeriod": "0s"},
    }


def _cni(layout: Layout) -> dict[str, object]:
    """A route per pod instead of a bridge: Services then work without the br_netfilter module."""
    ranges = [[{"subnet": POD_CIDR}]]
    addresses = {
        "type": "host-local",
        "dataDir": str(layout.run / "addresses"),
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "1.0.0", "name": layout.name, "plugins": plugins}


def _containerd(layout: Layout, snapshotter: str) -> str:
    return f"""version = 3
root = "{layout.folder}/containerd"
state = "{layout.run}/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.differ.v1.erofs",
]

[grpc]
  address = "{layout.containerd_socket}"

# Nothing here outlives a crash of the machine.
[plugins.'io.containerd.metadata.v1.bolt']
  no_sync = true

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{snapshotter}"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{PAUSE}"

[plugins.'io.containerd.cri.v1.runtime']
  # Where a process may not lower its oom_score_adj, runc dies with "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    use_internal_loopback = true
    bin_dirs = ["{_CNI_PLUGINS}"]
    conf_dir = "{layout.settings}/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "runc"
      Root = "{layout.run}/runc"
      SystemdCgroup = false
"""
