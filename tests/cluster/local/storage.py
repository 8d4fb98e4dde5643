"""Which kinds of layered storage a folder can hold."""

import tempfile
from pathlib import Path

from .commands import run
from .failure import Failure


def overlay_works(folder: Path) -> bool:
    """Not on every filesystem: an overlay does not lie on another one, as in a container. Only trying tells."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        parts = {part: place / part for part in ("lower", "upper", "work", "merged")}
        for part in parts.values():
            part.mkdir()
        options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        try:
            run(["mount", "-t", "overlay", "overlay", "-o", options, parts["merged"]])
        except Failure:
            return False
        run(["umount", parts["merged"]])
        return True
