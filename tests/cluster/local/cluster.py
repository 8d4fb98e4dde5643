"""up, down and status of a checkout's cluster."""

import time
from collections.abc import Callable
from pathlib import Path

from . import (
    binaries,
    cache,
    cgroups,
    client,
    components,
    credentials,
    dns,
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
from .layout import NODE, Layout
from .progress import say

PATIENCE = 90.0
_LOG_TAIL = 15


def up(layout: Layout | None = None) -> Layout:
    """A healthy cluster is taken as it is; anything less is removed and built anew."""
    layout = layout or Layout()
    packages.need_root()
    with cache.lock(layout.name):
        complaint = ailment(layout)
        if not complaint:
            say("the cluster is up")
            return layout
        if leftovers.exist(layout):
            say(f"removing what is left of a cluster: {complaint}")
            leftovers.clear(layout)
        tunables.remember()
        packages.ensure(packages.CLUSTER)
        binaries.ensure()
        _create(layout)
    return layout


def down(layout: Layout | None = None) -> None:
    layout = layout or Layout()
    packages.need_root()
    with cache.lock(layout.name):
        if not leftovers.exist(layout):
            say("there is no cluster")
            return
        killed = leftovers.clear(layout)
        tunables.restore()
        say(f"the cluster is gone ({killed} processes ended)")


def ailment(layout: Layout) -> str:
    """Why the cluster cannot be used as it is; empty when it can."""
    if not (layout.folder / "stamp").exists():
        return "it was never finished" if leftovers.exist(layout) else "there is none"
    if dead := processes.dead(layout, components.ALL):
        return f"not running: {', '.join(dead)}"
    if (layout.folder / "stamp").read_text() != _stamp(layout):
        return "it was started with other settings or versions"
    for what, test in _CHECKS.items():
        if not test(layout):
            return f"{what} is not ready"
    return ""


def _stamp(layout: Layout) -> str:
    commands = components.commands(layout).values()
    return cache.digest([*settings.files(layout, "").values(), *(word for words in commands for word in words)])


def _node_ready(layout: Layout) -> bool:
    return client.condition(client.get_object(layout, f"/api/v1/nodes/{NODE}"), "Ready")


def _dns_ready(layout: Layout) -> bool:
    return client.condition(client.get_object(layout, dns.DEPLOYMENT), "Available")


def _account_there(layout: Layout) -> bool:
    """Without it no pod can be created in the namespace `default`."""
    return bool(client.get_object(layout, "/api/v1/namespaces/default/serviceaccounts/default"))


_CHECKS: dict[str, Callable[[Layout], bool]] = {
    "the API server": client.ready,
    "the node": _node_ready,
    "the service account": _account_there,
    "DNS": _dns_ready,
}


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
    _wait(layout, "containerd", lambda it: it.containerd_socket.exists())
    for image in needed:
        images.load(image, layout)
    _wait(layout, "the API server", client.ready)
    _start(layout, components.SECOND)
    client.kubectl(layout, "create", "--filename", "-", stdin=dns.manifest())
    for what, test in _CHECKS.items():
        _wait(layout, what, test)
    (layout.folder / "stamp").write_text(_stamp(layout))


def _start(layout: Layout, names: tuple[str, ...]) -> None:
    commands = components.commands(layout)
    # containerd looks for its shim beside itself only if the search path says so.
    path = f"{Path(commands['containerd'][0]).parent}:{CLEAN['PATH']}"
    for name in names:
        processes.start(layout, name, commands[name], {"PATH": path})


def _wait(layout: Layout, what: str, test: Callable[[Layout], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not test(layout):
        started = [pid.name for pid in layout.pids.iterdir()]
        if dead := processes.dead(layout, started):
            raise Failure(f"{dead[0]} ended:\n{_tail(layout, dead[0])}")
        if time.monotonic() > give_up:
            raise Failure(f"{what} is not ready after {PATIENCE:.0f} s; see {layout.logs}")
        time.sleep(0.1)
    say(f"{what} is ready")


def _tail(layout: Layout, name: str) -> str:
    log = (layout.logs / f"{name}.log").read_text(errors="replace")
    return "\n".join(log.splitlines()[-_LOG_TAIL:])
