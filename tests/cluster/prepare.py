"""Brings everything up that the stories and the demo need: cluster, images, chart. Idempotent; standard library only.

    python3 -m tests.cluster.prepare [--only-shop | --only-chart]

The chart is installed with short times, so that a story about a retry or a lost run takes seconds.  The cluster is the
local one, or the context in SCHEMAHOLD_CONTEXT.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from .local import binaries, cluster, context, images, recipes
from .local.failure import Failure
from .local.layout import CHECKOUT, Layout
from .local.progress import step

STORIES = ("postgres", "schemahold", "shop-v1", "shop-v2", "shop-v3", "shop-v4", "no-shell", "node-shop")
SHOP = ("postgres", "schemahold", "shop-v1", "shop-v2", "shop-v3", "shop-v4")
NAMESPACE = RELEASE = "schemahold"
# Times that make a story short. What they stand for is measured with the defaults elsewhere.
SHORT = {
    "retryBackoff.initial": "1s",
    "retryBackoff.max": "4s",
    "podTimeout": "8s",
    "beat": "1s",
    "staleAfter": "8s",
    "probeInterval": "2s",
    "resync": "30s",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster.prepare", description=__doc__)
    parser.add_argument("--only-shop", action="store_true", help="the images of the demo only, and the chart's own times")
    parser.add_argument("--only-chart", action="store_true", help="the chart with its own times, on a cluster that is up")
    words = parser.parse_args()
    try:
        if words.only_chart:
            install({})
        else:
            prepare(SHOP if words.only_shop else STORIES, {} if words.only_shop else SHORT)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


def prepare(names: tuple[str, ...], values: dict[str, str]) -> None:
    """The cluster with these images, and the chart with these values on it."""
    if not context.chosen():
        cluster.up()
    for name in names:
        images.load(recipes.image(name))
    install(values)


def install(values: dict[str, str]) -> None:
    """`helm upgrade --install`, and the operator's pod anew if its image changed under the same tag."""
    archive = recipes.image("schemahold").archive
    repository, _, tag = os.environ.get("IMAGE", recipes.SCHEMAHOLD).rpartition(":")
    given = {"image.repository": repository, "image.tag": tag, "podAnnotations.content": f"a{archive.parent.name}", **values}
    sets = [word for key, value in given.items() for word in ("--set-string", f"{key}={value}")]
    chart = [RELEASE, str(CHECKOUT / "charts/schemahold"), "--namespace", NAMESPACE, "--create-namespace"]
    with step("installing the chart"):
        helm("upgrade", "--install", *chart, *sets, "--wait", "--timeout", "3m")


def kubeconfig() -> Path:
    """Of the chosen context's file, or of the local cluster."""
    if context.chosen():
        return Path(os.environ.get("KUBECONFIG", "~/.kube/config")).expanduser()
    return Layout().kubeconfig


def helm(*words: str) -> str:
    """Helm 4 on the chosen cluster; what it printed. Failure says what it said."""
    chosen = ["--kube-context", context.chosen()] if context.chosen() else []
    command = [str(binaries.path("helm")), "--kubeconfig", str(kubeconfig()), *chosen, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"helm {' '.join(words[:3])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
