"""The one queue: keys, each in it at most once and worked on by at most one worker.

The rules are those of client-go's workqueue: a key that is added while a worker has it is handed out again when that worker
is done, so no event between a look and its writes is lost (kubernetes/client-go, util/workqueue).
"""

from __future__ import annotations

import asyncio
import collections
from typing import NamedTuple


class Key(NamedTuple):
    """A SchemaMigration."""

    namespace: str
    name: str


class Queue:
    """Times are seconds.  Not thread-safe: it belongs to one event loop."""

    def __init__(self, retry_initial: float = 0.2, retry_max: float = 60.0) -> None:
        self._ready: collections.OrderedDict[Key, None] = collections.OrderedDict()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._tasks: set[asyncio.Future[None]] = set()
        self._wake = asyncio.Condition()
        self._closed = False
        self._initial, self._max = retry_initial, retry_max

    def __len__(self) -> int:
        return len(self._ready)

    async def add(self, key: Key) -> None:
        """The key is handed out once more, whatever is going on."""
        async with self._wake:
            if self._closed:
                return
            if key in self._working:
                self._again.add(key)
                return
            self._ready[key] = None
            self._wake.notify()

    def add_after(self, key: Key, seconds: float) -> None:
        """Adds the key later; of several times for one key the last stands, because it came from the newest look."""
        self.forget_timer(key)
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(max(0.0, seconds), self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        task = asyncio.ensure_future(self.add(key))
        # A task that nobody holds may be collected before it ran.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def retry(self, key: Key) -> float:
        """Adds the key after a pause that doubles with each failure in a row; the pause."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # A float cannot hold the 1,024th power of two, and a resource may fail for days.
        pause = min(self._max, self._initial * 2.0 ** min(failures, 64))
        self.add_after(key, pause)
        return pause

    def succeed(self, key: Key) -> None:
        self._failures.pop(key, None)

    async def take(self) -> Key | None:
        """The next key, or None once the queue is closed."""
        async with self._wake:
            await self._wake.wait_for(lambda: self._closed or self._ready)
            if self._closed:
                return None
            key, _ = self._ready.popitem(last=False)
            self._working.add(key)
            return key

    async def done(self, key: Key) -> None:
        """A worker is done with the key; events that came meanwhile hand it out again."""
        async with self._wake:
            self._working.discard(key)
            if key in self._again and not self._closed:
                self._again.discard(key)
                self._ready[key] = None
                self._wake.notify()

    async def close(self) -> None:
        """Nothing more is handed out; what workers have, they finish."""
        async with self._wake:
            self._closed = True
            for timer in self._timers.values():
                timer.cancel()
            self._wake.notify_all()
