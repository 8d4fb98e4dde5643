"""Removing every trace of a cluster, found by its folder and its name: after a crash as after a good day."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from . import cgroups, network, processes
from .commands import run
from .failure import Failure
from .layout import Layout

# Two places outside the cluster's folders that Kubernetes and CNI have no setting for.
_LOG_LINKS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")


def exist(layout: Layout) -> bool:
    return layout.folder.exists() or layout.run.exists() or network.exists(layout) or bool(cgroups.roots(layout))


def clear(layout: Layout) -> int:
    """How many processes it ended."""
    sockets = list(_shim_sockets(layout))
    killed = processes.kill(layout)  # the kubelet and the shims first: nobody restarts what dies next
    killed += cgroups.kill(layout)
    cgroups.remove(layout)
    _unmount(layout)
    network.remove(layout)
    for path in (*sockets, *_log_links(layout), *_CNI_RESULTS.glob(f"{layout.name}-*")):
        path.unlink(missing_ok=True)
    for folder in (layout.folder, layout.run):
        _remove(folder)
    return killed


def _shim_sockets(layout: Layout) -> Iterator[Path]:
    """containerd puts the sockets of its shims in /run/containerd, wherever its own state is."""
    for file in layout.shim_state.glob("*/*/bootstrap.json"):
        try:
            address = str(json.loads(file.read_text()).get("address", ""))
        except (OSError, ValueError):
            continue
        if address.startswith("unix:///run/containerd/s/"):
            yield Path(address.removeprefix("unix://"))


def _log_links(layout: Layout) -> Iterator[Path]:
    if _LOG_LINKS.is_dir():
        for link in _LOG_LINKS.iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(layout.pod_logs):
                yield link


def _mounts(layout: Layout) -> list[Path]:
    """Below our folders, the deepest first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Blanks and the like are written as octal escapes.
        mount = Path(line.split()[4].encode().decode("unicode_escape").encode("latin-1").decode())
        if any(mount.is_relative_to(folder) for folder in (layout.folder, layout.run)):
            found.append(mount)
    return found[::-1]


def _unmount(layout: Layout) -> None:
    for _ in range(3):  # one mount may lie on another
        mounts = _mounts(layout)
        if not mounts:
            return
        run(["umount", "--lazy", "--", *mounts], check=False)
    if mounts := _mounts(layout):
        raise Failure(f"these mounts cannot be removed: {', '.join(map(str, mounts))}")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
