"""`python3 -m tests.cluster.local up|down|status|binaries|image NAME|load TAG|path BIN`."""

import argparse
import os
import sys
from pathlib import Path

from . import binaries, cluster, context, health, images, recipes
from .failure import Failure
from .layout import Layout


def main() -> int:
    words = _arguments()
    try:
        return _run(words.command, words.name)
    except KeyboardInterrupt:
        print("stopped; what was not finished, the next `up` starts afresh", file=sys.stderr)
        return 130
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster.local", description="The real local cluster.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "up": "start the cluster, or find it healthy",
        "down": "remove it and every trace of it",
        "status": "is it healthy? (the exit code says it too)",
        "binaries": "build all binaries",
    }.items():
        commands.add_parser(name, help=text).set_defaults(name="")
    commands.add_parser("image", help="build an image, print its archive").add_argument(
        "name", choices=sorted(recipes.RECIPES)
    )
    commands.add_parser("load", help="import an image into the cluster").add_argument(
        "name", metavar="TAG", help="of an image that was built here, or the name of one that `image` can build"
    )
    commands.add_parser("path", help="print where a binary lies").add_argument("name", metavar="BIN")
    return parser.parse_args()


def _run(command: str, name: str) -> int:
    chosen = context.chosen()
    if chosen and command in ("up", "down", "status"):
        print(f"{context.VARIABLE}={chosen}: your own cluster is used, the local one is left alone")
    elif command == "up":
        _show_use(cluster.up())
    elif command == "down":
        cluster.down()
    elif command == "status":
        return _status()
    elif command == "binaries":
        binaries.ensure()
    elif command == "image":
        print(recipes.image(name).archive)
    elif command == "load":
        _load(name)
    else:
        print(binaries.path(name))
    return 0


def _show_use(layout: Layout) -> None:
    kubeconfig = os.path.relpath(layout.kubeconfig, Path.cwd())
    print(f"export KUBECONFIG={kubeconfig}")
    print(f"export PATH={binaries.path('kubectl').parent}:{binaries.path('helm').parent}:$PATH")


def _load(name: str) -> None:
    if context.elsewhere(name):
        print(f"{context.variable(name)}={context.elsewhere(name)}: the nodes of {context.chosen()} pull it from there")
    else:
        images.load(recipes.image(name) if name in recipes.RECIPES else images.latest(name))


def _status() -> int:
    layout = Layout()
    complaint = health.ailment(layout)
    print(f"{layout.name} at {layout.server}: {complaint or 'healthy'}")
    return 1 if complaint else 0


if __name__ == "__main__":
    sys.exit(main())
