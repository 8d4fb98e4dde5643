"""Progress for people: short lines on stderr, with the seconds since the start."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()
HEARTBEAT = 20.0


def say(line: str) -> None:
    """Standard output stays free for answers that scripts read, such as the path of a binary."""
    print(f"[{time.monotonic() - _STARTED:6.1f}s] {line}", file=sys.stderr, flush=True)


@contextmanager
def step(line: str) -> Iterator[None]:
    """Says when something slow begins and ends, and that it is alive in between: CI kills silent jobs."""
    began = time.monotonic()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            say(f"{line}: still at it after {time.monotonic() - began:.0f} s")

    say(f"{line} ...")
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    say(f"{line}: done in {time.monotonic() - began:.1f} s")
