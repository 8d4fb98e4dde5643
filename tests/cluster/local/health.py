"""What ails a cluster: a flaw, for which it can only be replaced, or a look that did not see what it should have seen.

The two are kept apart, because a look fails for many reasons (a busy machine, a lost file) that are no reason to remove
what somebody works with.
"""

import json
from collections.abc import Callable

from . import binaries, cache, client, components, dns, leftovers, packages, processes, settings
from .layout import NODE, Layout


def ailment(layout: Layout) -> str:
    """Why the cluster cannot be used at this moment; empty when it can."""
    return flaw(layout) or unready(layout)


def flaw(layout: Layout) -> str:
    """Why the cluster can only be replaced; empty when it need not be. Asks nobody who may be late with an answer."""
    stamp = layout.folder / "stamp"
    if not stamp.exists():
        return "it was never finished" if leftovers.exist(layout) else "there is none"
    packages.need_root()  # others may not see whose the processes are
    if dead := processes.dead(layout, components.ALL):
        return f"not running: {', '.join(dead)}"
    if other := _differences(stamp.read_text(), identity(layout)):
        return f"it was started with other settings or versions ({', '.join(other)})"
    return ""


def unready(layout: Layout) -> str:
    """What a look at the running cluster saw that it should not have; empty when all is well."""
    for what, look in CHECKS.items():
        if saw := seen(layout, look):
            return f"{what} is not ready ({saw})"
    return ""


def seen(layout: Layout, look: Callable[[Layout], str]) -> str:
    try:
        return look(layout)
    except client.Unanswered as error:
        return str(error)


def identity(layout: Layout) -> dict[str, str]:
    """What makes it this cluster and no other: each component's version, command line and settings, as digests. Where
    the cache with the binaries is makes no difference."""
    commands = {name: [binaries.identity(name), *words[1:]] for name, words in components.commands(layout).items()}
    files = {name: [text] for name, text in settings.files(layout, "").items()}
    return {name: cache.digest(parts) for name, parts in {**commands, **files}.items()}


def _differences(stamp: str, now: dict[str, str]) -> list[str]:
    """By name."""
    try:
        noted = dict(json.loads(stamp))
    except (ValueError, TypeError):
        return ["by an older checkout"]
    return sorted(name for name in noted.keys() | now.keys() if noted.get(name) != now.get(name))


def _node_unready(layout: Layout) -> str:
    return client.lacking(client.get_object(layout, f"/api/v1/nodes/{NODE}"), "Ready")


def _dns_unready(layout: Layout) -> str:
    return client.lacking(client.get_object(layout, dns.DEPLOYMENT), "Available")


def _account_missing(layout: Layout) -> str:
    """Without it no pod can be created in the namespace `default`."""
    client.get_object(layout, "/api/v1/namespaces/default/serviceaccounts/default")
    return ""


# Each says what it saw; nothing, if all is well.
CHECKS: dict[str, Callable[[Layout], str]] = {
    "the API server": client.unready,
    "the node": _node_unready,
    "the service account": _account_missing,
    "DNS": _dns_unready,
}
