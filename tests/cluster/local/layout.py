"""Names, addresses and folders of one cluster, all derived from the path of its checkout."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]

# These exist inside the cluster's own network namespace only, so every cluster has the same.
POD_CIDR = "10.88.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
DNS_DOMAIN = "cluster.local"
NODE = "node"
API_PORT = 6443

# The host has a leg in each cluster's /30: 16384 of them to choose from.
_LINKS = IPv4Address("10.213.0.0")
_LINK_COUNT = 1 << 14


@dataclass(frozen=True)
class Layout:
    """Where everything of a checkout's cluster is."""

    checkout: Path = CHECKOUT

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(str(self.checkout.resolve()).encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Of the network namespace, the cgroups and the folder in /run."""
        return f"schemahold-{self._digest}"

    @property
    def folder(self) -> Path:
        return self.checkout.resolve() / ".cluster"

    @property
    def run(self) -> Path:
        """Sockets, containerd's state and mounts: on a tmpfs, and short enough for a socket's path."""
        return Path("/run") / self.name

    @property
    def network_namespace(self) -> Path:
        return Path("/run/netns") / self.name

    @property
    def host_interface(self) -> str:
        return f"sh{self._digest}h"

    @property
    def cluster_interface(self) -> str:
        return f"sh{self._digest}c"

    def _link(self, offset: int) -> str:
        return str(_LINKS + (int(self._digest, 16) % _LINK_COUNT) * 4 + offset)

    @property
    def host_address(self) -> str:
        """The host, as seen from the cluster: where a webhook of a test may listen."""
        return self._link(1)

    @property
    def address(self) -> str:
        """The node and its API server, as seen from the host."""
        return self._link(2)

    @property
    def server(self) -> str:
        return f"https://{self.address}:{API_PORT}"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials"

    @property
    def settings(self) -> Path:
        return self.folder / "settings"

    @property
    def pids(self) -> Path:
        return self.folder / "pids"

    @property
    def kubelet_data(self) -> Path:
        """Pods' volumes."""
        return self.folder / "kubelet"

    @property
    def kubelet(self) -> Path:
        """The same folder, mounted where the paths of the kubelet's sockets are short enough."""
        return self.run / "kubelet"

    @property
    def pod_logs(self) -> Path:
        return self.folder / "pod-logs"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def shim_state(self) -> Path:
        """One folder per running task, with the address of its shim's socket."""
        return self.run / "containerd" / "io.containerd.runtime.v2.task"
