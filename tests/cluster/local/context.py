"""The way out: SCHEMAHOLD_CONTEXT=<kube context> runs the tests and the demo on a cluster of the user's."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from . import binaries
from .commands import environment, run
from .failure import Failure
from .progress import say, step

VARIABLE = "SCHEMAHOLD_CONTEXT"
# Which variable says where the nodes find an image, and what it looks like: the demo adds its applications' tags itself.
_VARIABLES = {
    "schemahold": ("IMAGE", "REGISTRY/schemahold:dev"),
    "shop": ("SHOP_IMAGE", "REGISTRY/shop"),
    "customers": ("CUSTOMERS_IMAGE", "REGISTRY/customers"),
    "postgres": ("POSTGRES_IMAGE", "REGISTRY/postgres:17"),
}
_KIND = "kind-"


def chosen() -> str:
    """Empty: the local cluster."""
    return os.environ.get(VARIABLE, "")


def check() -> None:
    """Before anything is built for it."""
    try:
        kubectl("config", "get-contexts", chosen(), "--output", "name")
    except Failure:
        files = os.environ.get("KUBECONFIG") or "~/.kube/config"
        known = kubectl("config", "get-contexts", "--output", "name").split()
        raise Failure(f"CONTEXT={chosen()}: {files} has no such context, but {', '.join(known) or 'none at all'}") from None


def kubectl(*words: str) -> str:
    """The user's own kubectl, which may need its version and its plugins; KUBECONFIG may name several files."""
    command = [shutil.which("kubectl") or str(binaries.path("kubectl")), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        # What came before the last line are client-go's notes on its own tries.
        said = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise Failure(f"kubectl {' '.join(words[:4])}: {said}")
    return done.stdout


def merged() -> str:
    """A kubeconfig with the chosen context alone, for those who read one file and its current context."""
    return kubectl("config", "view", "--context", chosen(), "--minify", "--flatten", "--raw")


def variable(name: str) -> str:
    """Of an image's tag or recipe, shop:v1 or shop-v1; empty if none names it."""
    return _entry(name)[0]


def elsewhere(name: str) -> str:
    """Where the user has put this image; empty if it is not known to be anywhere but here."""
    return os.environ.get(variable(name), "") if chosen() and variable(name) else ""


def _entry(name: str) -> tuple[str, str]:
    return _VARIABLES.get(re.split("[:-]", name, maxsplit=1)[0], ("", ""))


def load(tag: str, archive: Path, *, named: bool = True) -> None:
    """kind takes an archive; how any other cluster gets it only its owner knows.  `named`: its variable is heeded."""
    context = chosen()
    if not context.startswith(_KIND):
        variable, like = _entry(tag) if named else ("", "")
        how = f"name it with {variable}={like}" if variable else "keep its name"
        say(f"unless the nodes of {context} have or can pull {tag}: push {archive} to a registry and {how}")
        return
    if not shutil.which("kind"):
        raise Failure(f"the context {context} looks like kind's, but there is no `kind` command to load {tag} with")
    with step(f"kind load image-archive, {tag}"):
        name = context.removeprefix(_KIND)
        run(["kind", "load", "image-archive", archive, "--name", name], env=environment())
