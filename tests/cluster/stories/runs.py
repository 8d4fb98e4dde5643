"""Runs of migrate that a story holds in its hand: begun, still going, and ended when the story says so.

What migrate itself wrote into `journal` is the proof of what ran; the ledger's rows say what was recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

from tests.cluster.stories.stage import Json, Stage, journal, migration, shop

# Writes `start`, goes on until the story writes `go`, writes `end`. Keeps one database session open, as migrations do.
_WAITING = """
import signal, socket, sys, time
from shop import database, journal

def stop(number, frame):
    sys.exit(143)

def say(session, event):
    text = "INSERT INTO journal (who, event) VALUES (%s, %s) RETURNING id"
    return session.execute(text, [socket.gethostname(), event]).fetchone()[0]

for _ in range(20):  # a Service may not be reachable in a pod's first moments
    try:
        session = database.connect()
        break
    except Exception:
        time.sleep(0.5)
journal._ensure(session, "journal")
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "stubborn" else stop)
try:
    mine = say(session, "start")
    while not session.execute("SELECT 1 FROM journal WHERE event = 'go' AND id > %s", [mine]).fetchone():
        time.sleep(0.2)
except SystemExit:
    say(database.connect(), "terminated")  # the signal may have come in the middle of a query of the first
    raise
say(session, "end")
sys.exit(int(sys.argv[2]))
"""


def waiting(*, stubborn: bool = False, code: int = 0) -> tuple[str, ...]:
    """A migrate command that goes on until :func:`let_go`, then exits with ``code``.

    On SIGTERM it writes `terminated` and exits with 143; a stubborn one ignores it, so that only SIGKILL ends it.
    """
    return ("python", "-c", _WAITING, "stubborn" if stubborn else "listens", str(code))


def let_go(here: Stage) -> None:
    """Every run that has started by now may end."""
    here.sql("insert into journal (who, event) values ('story', 'go')")


def said(here: Stage) -> list[str]:
    """What the runs of migrate wrote, in order."""
    return [row["event"] for row in here.rows("select * from journal where who <> 'story' order by id")]


def states(here: Stage) -> list[str]:
    """Of all rows in the ledger, in order."""
    return [row["state"] for row in here.ledger()]


def begin(here: Stage, version: str = "v1", *, stubborn: bool = False) -> Json:
    """Applies both with a command that waits; the Job's pod, in which migrate has written its start."""
    before = len(here.starts())
    here.apply(shop(version), migration(version, waiting(stubborn=stubborn)))
    return begun(here, before + 1)


def begun(here: Stage, starts: int, *, name: str = "shop") -> Json:
    """The pod of the newest run, once so many have started."""
    here.until(f"migrate has started {starts} times", lambda: len(here.starts()) >= starts, name=name)
    found = [pod for pod in here.attempt_pods(name) if pod["metadata"]["name"] == here.starts()[-1]["who"]]
    assert len(found) == 1, here.describe(name)
    return found[0]


def applied(here: Stage, version: str = "v1") -> None:
    """A version whose migration succeeded at once, rolled out."""
    here.apply(shop(version), migration(version, journal()))
    here.await_reason("Applied")
    here.await_rollout(version)


def kill(here: Stage, pod: Json) -> None:
    """The pod is gone at once, and a stubborn migrate dies without a word."""
    here.run("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")


def sigkill(pod: Json, word: str) -> None:
    """The pod's process that has this word in its command dies without a word.  Only where its node is this machine."""
    os.kill(_process_of(pod, word.encode()), signal.SIGKILL)


def _process_of(pod: Json, word: bytes) -> int:
    """By the control group, which has the pod's uid in its path."""
    uid = str(pod["metadata"]["uid"])
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            group, words = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes().split(b"\0")
            if (uid in group or uid.replace("-", "_") in group) and word in words:
                return int(folder.name)
    raise AssertionError(f"no process of pod {pod['metadata']['name']} found under /proc")


def lose(here: Stage, version: str = "v1") -> Json:
    """A run whose outcome nobody can know; its row."""
    kill(here, begin(here, version, stubborn=True))
    here.await_reason("OutcomeUnknown")
    return here.ledger()[-1]


def nothing_starts(here: Stage, version: str = "v1") -> None:
    """No further migrate, and no pod of the version."""
    before = len(here.starts())

    def quiet() -> bool:
        return len(here.starts()) == before and version not in here.pod_versions() and here.is_held()

    here.steadily(f"nothing of '{version}' starts", quiet)


def replace_status(here: Stage, status: Json | None) -> None:
    """As a restore, a careless tool or a person would: the whole status at once."""
    patch = [{"op": "add", "path": "/status", "value": status or {}}]
    here.run("patch", "schemamigration", "shop", "--subresource=status", "--type=json", "-p", json.dumps(patch))
