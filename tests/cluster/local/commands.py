"""Running other programs to their end."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .failure import Failure

# The cluster's own programs see nothing of the invoking shell: no proxy, no locale, no Go flags.
CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
TAIL = 25


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    check: bool = True,
) -> str:
    """Its output; a failure carries the end of what it said."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=dict(env) if env is not None else dict(CLEAN),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-TAIL:])
        raise Failure(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{said}")
    return done.stdout


def environment(**more: str) -> dict[str, str]:
    """The invoking shell's environment (proxies, certificates, indexes) for what talks to the internet."""
    return {**os.environ, **more}
