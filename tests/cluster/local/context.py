"""The way out: SCHEMAHOLD_CONTEXT=<kube context> runs the tests and the demo on a cluster of the user's."""

import os
import shutil

from .commands import environment, run
from .failure import Failure
from .progress import say, step

VARIABLE = "SCHEMAHOLD_CONTEXT"
_KIND = "kind-"


def chosen() -> str:
    """Empty: the local cluster."""
    return os.environ.get(VARIABLE, "")


def load(context: str, tag: str) -> None:
    """kind takes images from the local Docker engine; how any other cluster gets them only its owner knows."""
    if not context.startswith(_KIND):
        say(f"{context} is your own cluster: push {tag} to a registry it can pull from, and name it with IMAGE=")
        return
    if not shutil.which("kind"):
        raise Failure(f"the context {context} looks like kind's, but there is no `kind` command to load {tag} with")
    with step(f"kind load docker-image {tag}"):
        name = context.removeprefix(_KIND)
        run(["kind", "load", "docker-image", tag, "--name", name], env=environment())
