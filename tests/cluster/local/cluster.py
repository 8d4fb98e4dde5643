"""up, down and status of a checkout's cluster."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import (
    binaries,
    cgroups,
    client,
    components,
    credentials,
    dns,
    health,
    images,
    leftovers,
    network,
    packages,
    processes,
    recipes,
    settings,
    storage,
    tunables,
)
from .commands import CLEAN, run
from .failure import Failure
from .layout import Layout
from .progress import say

PATIENCE = 90.0
_LOG_TAIL = 15


def up(layout: Layout | None = None) -> Layout:
    """A cluster whose processes live is taken as it is; one that is broken, unfinished or of other settings is replaced."""
    layout = layout or Layout()
    packages.need_root()
    with _alone(layout):
        if reason := health.flaw(layout):
            _replace(layout, reason)
        else:
            _await(layout)
            credentials.ensure_kubeconfig(layout)
            say("the cluster is up")
    return layout


def down(layout: Layout | None = None) -> None:
    layout = layout or Layout()
    packages.need_root()
    with _alone(layout):
        if not leftovers.exist(layout):
            say("there is no cluster")
            return
        killed = leftovers.clear(layout)
        tunables.restore()
        say(f"the cluster is gone ({killed} processes ended)")


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One `up` or `down` of a checkout at a time. Not a lock in the cache: two of them may use different caches."""
    folder = os.open(layout.checkout, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _await(layout: Layout) -> None:
    """Its processes live, so what is in it may be dear to somebody: a look that fails is repeated, and at last told,
    but the cluster stays."""
    give_up = time.monotonic() + PATIENCE
    told = False
    while seen := health.unready(layout):
        if time.monotonic() > give_up:
            raise Failure(
                f"the cluster is running, but for {PATIENCE:.0f} s now {seen}. It stays as it is: its logs are in "
                f"{layout.logs}, `make cluster-down` removes it, and `make cluster` then starts a new one"
            )
        if not told:
            say(f"the cluster is running, but {seen}: looking again for up to {PATIENCE:.0f} s")
            told = True
        time.sleep(0.5)


def _replace(layout: Layout, reason: str) -> None:
    # Before anything is removed: a build that fails shall not cost a cluster.
    packages.ensure(packages.CLUSTER)
    binaries.ensure()
    if leftovers.exist(layout):
        say(f"removing this checkout's cluster, with all that is in it, to start a new one: {reason}")
        leftovers.clear(layout)
    tunables.remember()
    _create(layout)


def _create(layout: Layout) -> None:
    needed = [recipes.image(name) for name in ("pause", "coredns")]
    for folder in (layout.folder, layout.logs, layout.pids, layout.kubelet_data, layout.run, layout.kubelet):
        folder.mkdir()
    run(["mount", "--bind", layout.kubelet_data, layout.kubelet])
    snapshotter = "overlayfs" if storage.overlay_works(layout.folder / "containerd") else "native"
    (layout.folder / "snapshotter").write_text(snapshotter)
    network.create(layout)
    cgroups.create(layout)
    credentials.create(layout)
    settings.write(layout, settings.files(layout, snapshotter))
    _start(layout, components.FIRST)
    _wait(layout, "containerd", lambda it: "" if it.containerd_socket.exists() else f"no {it.containerd_socket}")
    for image in needed:
        images.load(image, layout)
    _wait(layout, "the API server", client.unready)
    _start(layout, components.SECOND)
    client.kubectl(layout, "create", "--filename", "-", stdin=dns.manifest())
    for what, look in health.CHECKS.items():
        _wait(layout, what, look)
    (layout.folder / "stamp").write_text(json.dumps(health.identity(layout), indent=2) + "\n")


def _start(layout: Layout, names: tuple[str, ...]) -> None:
    commands = components.commands(layout)
    # containerd looks for its shim beside itself only if the search path says so.
    path = f"{Path(commands['containerd'][0]).parent}:{CLEAN['PATH']}"
    for name in names:
        processes.start(layout, name, commands[name], {"PATH": path})


def _wait(layout: Layout, what: str, look: Callable[[Layout], str]) -> None:
    give_up = time.monotonic() + PATIENCE
    while seen := health.seen(layout, look):
        started = [pid.name for pid in layout.pids.iterdir()]
        if dead := processes.dead(layout, started):
            raise Failure(f"{dead[0]} ended:\n{_tail(layout, dead[0])}")
        if time.monotonic() > give_up:
            raise Failure(f"{what} is not ready after {PATIENCE:.0f} s ({seen}); see {layout.logs}")
        time.sleep(0.1)
    say(f"{what} is ready")


def _tail(layout: Layout, name: str) -> str:
    log = (layout.logs / f"{name}.log").read_text(errors="replace")
    return "\n".join(log.splitlines()[-_LOG_TAIL:])
