"""What outlives a checkout: binaries, images, the toolchain. Safe for several checkouts at once."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    own = os.environ.get("SCHEMAHOLD_CACHE")
    if own:
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "schemahold"


def digest(parts: Iterable[str | Path]) -> str:
    """A name for content; a Path stands for what is in the file."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        total.update(len(content).to_bytes(8, "big"))
        total.update(content)
    return total.hexdigest()[:16]


@contextmanager
def lock(name: str) -> Iterator[None]:
    """One process at a time, also across checkouts; the kernel drops it when the holder dies."""
    path = folder() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A fresh folder beside `target` that becomes `target` only once everything in it is there."""
    temporary = target.with_name(f".{target.name}.building")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
