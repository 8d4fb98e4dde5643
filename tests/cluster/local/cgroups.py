"""The cgroups of a cluster's pods lie under a root of their own, named like the cluster: in one hierarchy with
cgroup v2, in each of several with v1."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from . import processes
from .failure import Failure
from .layout import Layout

_CPUSET = ("cpuset.cpus", "cpuset.mems")


def _hierarchies() -> Iterator[tuple[Path, str]]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        kind = right.split()[0]
        if kind in ("cgroup", "cgroup2"):
            yield Path(left.split()[4]), kind


def roots(layout: Layout) -> list[Path]:
    """Those that exist."""
    return [root for mount, _ in _hierarchies() if (root := mount / layout.name).is_dir()]


def create(layout: Layout) -> None:
    hierarchies = list(_hierarchies())
    if not hierarchies:
        raise Failure("no cgroup hierarchy is mounted: the kubelet cannot run pods here")
    for mount, kind in hierarchies:
        root = mount / layout.name
        if kind == "cgroup2":
            _delegate(mount)
        root.mkdir(exist_ok=True)
        for name in _CPUSET:
            # A v1 cpuset starts empty, and no process may enter an empty one.
            if kind == "cgroup" and (root / name).exists():
                (root / name).write_text((mount / name).read_text())


def _delegate(mount: Path) -> None:
    """cgroup v2 gives a child only the controllers that its parent passes on."""
    for controller in (mount / "cgroup.controllers").read_text().split():
        try:
            (mount / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            continue  # some cannot be passed on here; the kubelet names those that it misses


def kill(layout: Layout) -> int:
    """Every process in the pods: what lies in a cgroup of ours is ours."""
    pids = {pid for root in roots(layout) for pid in _pids(root)}
    for pid in pids:
        processes.send_kill(pid)
    return len(pids)


def _pids(root: Path) -> Iterator[int]:
    for file in root.rglob("cgroup.procs"):
        try:
            # 0 stands for a process that this process namespace cannot see; to kill() it means ourselves.
            yield from (pid for pid in map(int, file.read_text().split()) if pid > 0)
        except OSError:
            continue  # it went away while we looked


def remove(layout: Layout, patience: float = 10.0) -> None:
    """From the leaves up; the kernel refuses while a killed process is still being buried."""
    give_up = time.monotonic() + patience
    while found := roots(layout):
        kill(layout)
        for root in found:
            _remove_tree(root)
        if roots(layout) and time.monotonic() > give_up:
            raise Failure(f"these cgroups cannot be removed: {', '.join(map(str, roots(layout)))}")
        time.sleep(0.02)


def _remove_tree(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            continue  # busy: the next round
