"""`python -m examples.demo [--context NAME] [--namespace NAME] [--fast]`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from . import story, view
from .acts import ACTS, Act
from .checks import Check
from .cluster import Cluster, Trouble, kubectl_path
from .snapshot import CUSTOMERS, SHOP, Snapshot
from .story import Story
from .view import Scene
from .watch import Watch

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/schemamigrations.schemahold.dev"
OPERATORS = "/apis/apps/v1/deployments?labelSelector=app.kubernetes.io/name=schemahold"
HOW = {
    "": "`make demo` installs it, or python3 -m tests.cluster.prepare --only-shop",
    "own": "`make demo CONTEXT={context} IMAGE=<registry>/schemahold:<tag>` installs it",
}
NEEDS = """\
Your own cluster, context {context}. It needs Kubernetes 1.36 or later, rights to create the namespace {namespace}, and
images that its nodes can pull: the operator's (IMAGE), {shop}:v1 to v4 (SHOP_IMAGE), {customers}:v1 and v2
(CUSTOMERS_IMAGE) and {postgres} (POSTGRES_IMAGE)."""


def main() -> int:
    words = _words()
    console = Console(highlight=False, soft_wrap=False)
    try:
        return _run(words, console)
    except Trouble as trouble:
        Console(stderr=True, highlight=False).print(Text(f"error: {trouble}"))
        return 2
    except KeyboardInterrupt:
        console.print("stopped; the namespace stays as it is")
        return 130


def _words() -> argparse.Namespace:
    described = "Hold, Job, release: seen on a real cluster."
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=described)
    context = os.environ.get("SCHEMAHOLD_CONTEXT", "")
    shop, customers = (os.environ.get(f"{app.upper()}_IMAGE") or app for app in (SHOP, CUSTOMERS))
    parser.add_argument("--context", default=context, help="of your kubeconfig (default: the local cluster)")
    parser.add_argument("--namespace", default="demo", help="made anew (default: demo)")
    parser.add_argument("--fast", action="store_true", help="without time for reading")
    parser.add_argument("--shop-image", default=shop, help="repository of the shop's images")
    parser.add_argument("--customers-image", default=customers, help="repository of the customers' images")
    parser.add_argument("--postgres-image", default=os.environ.get("POSTGRES_IMAGE") or "postgres:17")
    return parser.parse_args()


def _run(words: argparse.Namespace, console: Console) -> int:
    images = {SHOP: words.shop_image, CUSTOMERS: words.customers_image}
    if words.context:
        names = {**images, "context": words.context, "namespace": words.namespace, "postgres": words.postgres_image}
        console.print(NEEDS.format(**names), style=view.QUIET)
    cluster = Cluster(words.namespace, words.context)
    _ensure_installed(cluster)
    with _watching(cluster) as watch:
        pace = story.FAST if words.fast else story.Pace()
        stage = Terminal(console) if console.is_terminal else Lines(console)
        told = Story(cluster, watch, stage, pace, images, words.postgres_image)
        with console.status("a fresh namespace, Postgres in it"):
            told.prepare()
        results, last = told.play()
        told.leave()
    _conclude(console, cluster, results, last)
    return 0 if all(check.ok for check in results) else 1


def _ensure_installed(cluster: Cluster) -> None:
    how = HOW["own" if cluster.context else ""].format(context=cluster.context)
    if not cluster.get(CRD):
        raise Trouble(f"schemahold is not installed on this cluster: {how}")
    found = cluster.get(OPERATORS).get("items") or []
    if not any(one.get("status", {}).get("readyReplicas") for one in found):
        raise Trouble(f"no operator is ready on this cluster: {how}")


@contextmanager
def _watching(cluster: Cluster) -> Iterator[Watch]:
    watch = Watch(cluster)
    try:
        yield watch
    finally:
        watch.close()


class Terminal:
    """A picture that moves; each act leaves its results above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def begin(self, act: Act, last: Snapshot) -> None:
        self._console.print()
        self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._live.start()
        self.show(act, last, [], "")

    def show(self, act: Act, last: Snapshot, results: list[Check], doing: str) -> None:
        size = self._console.size
        if self._live:
            self._live.update(view.frame(last, _scene(act, results, doing), size.width, size.height), refresh=True)

    def say(self, text: str) -> None:
        """kubectl's words would be gone before they are read; the picture shows the same."""

    def end(self, act: Act, results: list[Check], seconds: float) -> None:
        if self._live:
            self._live.stop()
        self._console.print(view.act_report(_scene(act, results), results, seconds))


class Lines:
    """One line per change, for a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = Snapshot()

    def begin(self, act: Act, last: Snapshot) -> None:
        self._console.print(f"\nAct {act.number} of {len(ACTS)}: {act.title}", soft_wrap=True)
        self._console.print(act.text, soft_wrap=True)
        self._last = last

    def show(self, act: Act, last: Snapshot, results: list[Check], doing: str) -> None:
        for line in view.changes(self._last, last):
            self._console.print(Text(line), soft_wrap=True)
        self._last = last

    def say(self, text: str) -> None:
        for line in text.splitlines():
            self._console.print(Text(f"       kubectl     {line}"), soft_wrap=True)

    def end(self, act: Act, results: list[Check], seconds: float) -> None:
        self._console.print(view.act_report(_scene(act, results), results, seconds), soft_wrap=True)


def _scene(act: Act, results: list[Check], doing: str = "") -> Scene:
    return Scene(act.number, len(ACTS), act.title, act.text, doing, results)


def _conclude(console: Console, cluster: Cluster, results: list[Check], last: list[Snapshot]) -> None:
    console.print()
    console.print(view.table(results))
    console.print(view.totals(last))
    console.print(view.closing(results))
    for one in last:
        if not one.status.ready:
            console.print(Text(f"the status of {one.app} says {one.status.reason}: {one.status.message}"))
    busy, processors = os.getloadavg()[0], os.cpu_count() or 1
    if not cluster.context and not all(check.ok for check in results) and busy > 2 * processors:
        load = f"this machine's load average is {busy:.0f} on {processors} processors"
        console.print(f"{load}: its cluster may starve", style=view.QUIET)
    console.print()
    for line in _look_around(cluster):
        console.print(Text(line), soft_wrap=True)


def _look_around(cluster: Cluster) -> Iterator[str]:
    kubectl = f"kubectl -n {cluster.namespace}"
    yield "Look around:"
    if cluster.context:
        kubectl = f"kubectl --context {cluster.context} -n {cluster.namespace}"
    else:
        yield f"  export KUBECONFIG={cluster.kubeconfig}"
        if not shutil.which("kubectl"):
            yield f"  alias kubectl={kubectl_path('')}"
    yield f"  {kubectl} get smig,deploy,jobs,pods"
    yield f"  {kubectl} describe smig shop customers"
    yield f"  {kubectl} logs job/shop-3 -c migrate"
    yield f"  {kubectl} exec postgres-0 -- psql -U shop -c 'table schemahold.ledger'"
    yield "Take it down:"
    if cluster.context:
        yield f"  {kubectl} delete namespace {cluster.namespace}"
        yield f"  helm --kube-context {cluster.context} uninstall schemahold -n schemahold"
    else:
        yield "  make cluster-down"


if __name__ == "__main__":
    sys.exit(main())
