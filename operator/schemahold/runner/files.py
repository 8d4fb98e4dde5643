"""Files in the shared directory: they appear by rename, so nobody sees one half written."""

from __future__ import annotations

import contextlib
import os
import pathlib


def write(path: pathlib.Path, text: str) -> None:
    """``text`` at ``path``, readable for every uid, since the three containers may have three."""
    write_bytes(path, text.encode(), mode=0o644)


def write_bytes(path: pathlib.Path, data: bytes, *, mode: int) -> None:
    half = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask
        file.write(data)
    half.rename(path)


def read(path: pathlib.Path) -> str | None:
    """The text at ``path``, None when there is none."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None


def termination_message(path: pathlib.Path, text: str) -> None:
    """Make ``text`` the container's termination message.

    The kubelet mounts this very file, so it is written in place; without one (a plain process) that is no failure.
    """
    with contextlib.suppress(OSError):
        path.write_text(text)
