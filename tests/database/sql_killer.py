"""``python -m tests.database.sql_killer``: a pod of sql mode that dies by SIGKILL at one point of its talk with the server.

``KILL_AT=<number>:<when>``: counted from the row `running` on, at its number-th word to the server, ``before`` it is sent or
when it is ``sent`` and no answer was heard.  ``KILL_COUNT=<path>``: never, but write there how many there were, with their
beginnings.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

from schemahold.database import ledger, pipeline, session
from schemahold.runner import __main__ as runner


class Killer:
    def __init__(self) -> None:
        number, _, self._when = os.environ.get("KILL_AT", "0:").partition(":")
        self._at = int(number)
        self._counting = False
        self.words: list[str] = []

    def begin(self) -> None:
        self._counting = True

    def word(self, text: str) -> None:
        """Something is about to be sent."""
        if self._counting:
            self.words.append(" ".join(text.split())[:100])
            self._die("before")

    def sent(self) -> None:
        if self._counting:
            self._die("sent")

    def _die(self, when: str) -> None:
        if len(self.words) == self._at and when == self._when:
            os.kill(os.getpid(), signal.SIGKILL)


def hook(killer: Killer) -> None:
    execute = session._Connection.execute
    wait = session._Connection.wait
    start = ledger.start
    run = pipeline.Pipeline._run
    send = pipeline.Pipeline._send
    exchange = pipeline.Pipeline._exchange

    def new_execute(self: Any, query: Any, *args: Any, **more: Any) -> Any:
        killer.word(str(query))
        return execute(self, query, *args, **more)

    def new_wait(self: Any, gen: Any, *args: Any, **more: Any) -> Any:
        return wait(self, _after_first(gen, killer.sent), *args, **more)

    def new_start(*args: Any, **more: Any) -> Any:
        killer.begin()
        return start(*args, **more)

    def new_run(self: Any, text: str) -> str:
        killer.word(text)
        return run(self, text)

    def new_send(self: Any, feed: Any) -> None:
        killer.word("batch")
        send(self, feed)

    def new_exchange(self: Any, **more: Any) -> None:
        self._pgconn.flush()
        killer.sent()
        exchange(self, **more)

    session._Connection.execute = new_execute  # type: ignore[method-assign]
    session._Connection.wait = new_wait  # type: ignore[method-assign,assignment]
    ledger.start = new_start
    pipeline.Pipeline._run = new_run  # type: ignore[method-assign]
    pipeline.Pipeline._send = new_send  # type: ignore[method-assign]
    pipeline.Pipeline._exchange = new_exchange  # type: ignore[method-assign]


def _after_first(gen: Any, act: Callable[[], None]) -> Any:
    """``gen``, with ``act`` when it waits for the first time: by then the query is on its way."""
    try:
        want = next(gen)
        act()
        while True:
            want = gen.send((yield want))
    except StopIteration as end:
        return end.value


def main() -> int:
    killer = Killer()
    hook(killer)
    code = runner.main(["sql"])
    if path := os.environ.get("KILL_COUNT"):
        pathlib.Path(path).write_text("\n".join(killer.words))
    return code


if __name__ == "__main__":
    sys.exit(main())
