"""Brings everything up that the stories and the demo need: cluster, images, chart. Idempotent; standard library only.

    python3 -m tests.cluster.prepare [--only-shop | --only-chart | --kubeconfig]

For the stories the chart gets short times, so that a story about a retry or a lost run takes seconds.  The cluster is
the local one, or the context in SCHEMAHOLD_CONTEXT.  There, an image that IMAGE, SHOP_IMAGE or POSTGRES_IMAGE names is
not built, and an installation that is not from here is not changed.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .local import binaries, cache, cluster, context, images, installation, recipes
from .local.failure import Failure
from .local.layout import Layout
from .local.progress import step

SHOP = ("postgres", "schemahold", "shop-v1", "shop-v2", "shop-v3", "shop-v4", "customers-v1", "customers-v2")
STORIES = (*SHOP, "no-shell", "node-shop")
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
    parser.add_argument("--kubeconfig", action="store_true", help="print one of the chosen cluster alone, and no more")
    words = parser.parse_args()
    try:
        if words.kubeconfig:
            print(context.merged() if context.chosen() else Layout().kubeconfig.read_text(), end="")
        elif words.only_chart:
            chart()
        else:
            prepare(SHOP if words.only_shop else STORIES, {} if words.only_shop else SHORT)
    except (Failure, OSError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


def prepare(names: tuple[str, ...], values: dict[str, str]) -> None:
    """The cluster with these images, and the chart with these values on it."""
    if context.chosen():
        return _prepare_own(names, values)
    cluster.up()
    for name in names:
        images.load(recipes.image(name))
    return install(values)


def chart() -> None:
    """The chart alone, with its own times."""
    if context.chosen():
        context.check()
        if not _may_install({}, again=True):
            return
    install({})


def _prepare_own(names: tuple[str, ...], values: dict[str, str]) -> None:
    """On a cluster of the user's. What is there, and whether it will do, is asked before anything is built."""
    context.check()
    demo = names == SHOP
    if demo:
        _refuse_tags("SHOP_IMAGE", "CUSTOMERS_IMAGE")
    installation.image_values(_image_name())
    installs = _may_install(values, again=not demo)
    # The stories name every image but the operator's themselves.
    heeded = set(names) if demo else {"schemahold"}
    there = {name for name in heeded if context.elsewhere(name)} | (set() if installs else {"schemahold"})
    _refuse_without_root([context.variable(name) for name in names if name in heeded - there])
    for name in names:
        if name not in there:
            image = recipes.image(name)
            context.load(image.tag, image.archive, named=name in heeded)
    if installs:
        install(values)


def _refuse_tags(*variables: str) -> None:
    for variable in variables:
        name = os.environ.get(variable, "")
        if ":" in name.rpartition("/")[2]:
            raise Failure(f"{variable}={name} has a tag: name the repository alone, the demo adds the versions")


def _refuse_without_root(variables: list[str]) -> None:
    if variables and os.geteuid() != 0:
        names = " ".join(f"{variable}=..." for variable in dict.fromkeys(variables))
        raise Failure(f"building images needs root; without it, name images that the cluster's nodes can pull: {names}")


def _may_install(values: dict[str, str], *, again: bool) -> bool:
    found = installation.look()
    given = _given_values(*((found.release, found.namespace) if found else (RELEASE, NAMESPACE)))
    ours = given is not None and installation.is_ours(given, {}, SHORT)
    return installation.may_install(found, released=given is not None, ours=ours, again=again, exact=bool(values))


def _given_values(release: str, namespace: str) -> dict[str, Any] | None:
    """What whoever installed a release set; None if there is no such release."""
    try:
        return dict(json.loads(helm("get", "values", release, "--namespace", namespace, "--output", "json")) or {})
    except Failure as failure:
        if "not found" in str(failure):
            return None
        raise


def install(values: dict[str, str]) -> None:
    """`helm upgrade --install`, and the operator's pod anew if its image changed under the same tag."""
    sets = [word for key, value in {**_image(), **values}.items() for word in ("--set-string", f"{key}={value}")]
    words = [RELEASE, str(installation.CHART), "--namespace", NAMESPACE, "--create-namespace"]
    with step("installing the chart"):
        try:
            helm("upgrade", "--install", *words, *sets, "--wait", "--timeout", "3m")
        except Failure as failure:
            pods = f"kubectl --context {context.chosen() or Layout().name} -n {NAMESPACE} describe pods"
            raise Failure(f"{failure}\n`{pods}` may say why; mend it (is the image right?), and run this again") from None


def _image() -> dict[str, str]:
    if context.elsewhere("schemahold"):
        content = cache.digest([_image_name()])  # nothing was built here
    else:
        content = recipes.image("schemahold").archive.parent.name
    return {**installation.image_values(_image_name()), installation.MARK: f"a{content}"}


def _image_name() -> str:
    return os.environ.get("IMAGE") or recipes.SCHEMAHOLD


def kubeconfig() -> Path:
    """Of the chosen context's file, or of the local cluster."""
    if context.chosen():
        return Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    return Layout().kubeconfig


def helm(*words: str) -> str:
    """Helm 4 on the chosen cluster; what it printed. Failure says what it said."""
    # Of the user's own there may be several files: KUBECONFIG can name them, and --kubeconfig cannot.
    file = [] if context.chosen() else ["--kubeconfig", str(kubeconfig())]
    command = [str(binaries.path("helm")), *file, "--kube-context", context.chosen() or Layout().name, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"helm {' '.join(words[:3])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
