"""The cluster's own network namespace: its ports, routes and iptables never meet the host's."""

import json
from collections.abc import Sequence
from pathlib import Path

from .commands import run
from .failure import Failure
from .layout import Layout


def inside(layout: Layout, command: Sequence[str | Path]) -> list[str]:
    """`nsenter`, because `ip netns exec` mounts a fresh /sys, in which the kubelet finds no cgroups."""
    return ["nsenter", f"--net={layout.network_namespace}", "--", *map(str, command)]


def create(layout: Layout) -> None:
    _refuse_taken_addresses(layout)
    name, host, peer = layout.name, layout.host_interface, layout.cluster_interface
    run(["ip", "netns", "add", name])
    run(["ip", "link", "add", host, "type", "veth", "peer", "name", peer, "netns", name])
    run(["ip", "address", "add", f"{layout.host_address}/30", "dev", host])
    run(["ip", "link", "set", host, "up"])
    run(["ip", "-netns", name, "address", "add", f"{layout.address}/30", "dev", peer])
    run(["ip", "-netns", name, "link", "set", peer, "up"])
    run(["ip", "-netns", name, "link", "set", "lo", "up"])
    # `/proc/sys/net` shows the namespace of the process that opens it: the host's own setting stays as it is.
    run(inside(layout, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))


def exists(layout: Layout) -> bool:
    return layout.network_namespace.exists()


def remove(layout: Layout) -> None:
    run(["ip", "link", "delete", layout.host_interface], check=False)
    if exists(layout):
        run(["ip", "netns", "delete", layout.name])


def _refuse_taken_addresses(layout: Layout) -> None:
    for interface in json.loads(run(["ip", "-json", "address"])):
        for address in interface.get("addr_info", []):
            if address.get("local") in (layout.host_address, layout.address):
                raise Failure(f"{address['local']} belongs to {interface['ifname']}: move the checkout elsewhere")
