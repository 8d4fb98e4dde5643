"""Starting the cluster's processes, and telling them from everybody else's.

Each carries the cluster's folder in its environment, and its children (the shims) inherit that. A process id alone
proves nothing: the kernel hands them out again.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .commands import CLEAN
from .failure import Failure
from .layout import Layout
from .network import inside

MARK = "SCHEMAHOLD_CLUSTER_FOLDER"


def start(layout: Layout, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
    """In a session of its own, so that it survives the invoking shell."""
    with (layout.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            inside(layout, command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**CLEAN, **env, MARK: str(layout.folder)},
            start_new_session=True,
        )
    (layout.pids / name).write_text(f"{process.pid}\n")


def dead(layout: Layout, names: Sequence[str]) -> list[str]:
    """Which of these have a pid file without a living process of ours, or none at all."""
    return [name for name in names if not _alive(layout, name)]


def _alive(layout: Layout, name: str) -> bool:
    try:
        pid = int((layout.pids / name).read_text())
    except (OSError, ValueError):
        return False
    for _ in range(3):
        if is_ours(layout, pid):
            return True
        time.sleep(0.02)  # for a moment within exec() a process has no environment
    return False


def is_ours(layout: Layout, pid: int) -> bool:
    try:
        return _mark(layout) in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _mark(layout: Layout) -> bytes:
    return f"{MARK}={layout.folder}".encode()


def ours(layout: Layout) -> Iterator[int]:
    """Every process of this cluster that is outside a pod; zombies have no environment and do not count."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and is_ours(layout, int(entry.name)):
            yield int(entry.name)


def kill(layout: Layout, patience: float = 10.0) -> int:
    """Ends all of them. Without mercy: nothing here is worth a graceful stop, and a crash leaves no choice."""
    killed: set[int] = set()
    give_up = time.monotonic() + patience
    while found := list(ours(layout)):
        for pid in found:
            if is_ours(layout, pid):
                send_kill(pid)
        killed.update(found)
        if time.monotonic() > give_up:
            raise Failure(f"these processes of the cluster do not end: {sorted(found)}")
        time.sleep(0.02)
    return len(killed)


def send_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
