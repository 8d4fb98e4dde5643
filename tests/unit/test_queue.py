"""The queue: no key is lost, none is in two hands, and closing it lets workers finish."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from schemahold.controller.queue import Key, Queue

A, B = Key("ns", "a"), Key("ns", "b")


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 10))


async def is_empty(queue: Queue) -> bool:
    """Whether nothing comes out, now that everything that is due has run."""
    for _ in range(3):
        await asyncio.sleep(0)
    return len(queue) == 0


def test_a_key_is_in_it_once_and_in_order() -> None:
    async def story() -> None:
        queue = Queue()
        for key in (A, B, A, A):
            await queue.add(key)
        assert (len(queue), await queue.take(), await queue.take()) == (2, A, B)
        assert await is_empty(queue)

    run(story())


def test_a_key_added_while_it_is_worked_on_comes_once_more() -> None:
    async def story() -> None:
        queue = Queue()
        await queue.add(A)
        assert await queue.take() == A
        await queue.add(A)
        await queue.add(A)
        assert await is_empty(queue), "not into a second worker's hands"
        await queue.done(A)
        assert await queue.take() == A
        await queue.done(A)
        assert await is_empty(queue)

    run(story())


def test_a_waiting_worker_is_woken() -> None:
    async def story() -> None:
        queue = Queue()
        workers = [asyncio.create_task(queue.take()) for _ in range(3)]
        await asyncio.sleep(0)
        await queue.add(A)
        await queue.add(B)
        done, waiting = await asyncio.wait(workers, timeout=0.1)
        assert {task.result() for task in done} == {A, B} and len(waiting) == 1
        await queue.add(A)
        await queue.done(A)
        assert await next(iter(waiting)) == A

    run(story())


# Timers ---------------------------------------------------------------------------------------------------------------


def test_later() -> None:
    async def story() -> None:
        queue = Queue()
        queue.add_after(A, 0.02)
        assert await is_empty(queue)
        assert await queue.take() == A

    run(story())


@pytest.mark.parametrize("seconds", [0, -5])
def test_a_time_that_has_passed_is_now(seconds: float) -> None:
    async def story() -> None:
        queue = Queue()
        queue.add_after(A, seconds)
        assert await queue.take() == A

    run(story())


def test_of_several_times_the_last_stands() -> None:
    async def story() -> None:
        queue = Queue()
        queue.add_after(A, 0.01)
        queue.add_after(A, 60)
        await asyncio.sleep(0.05)
        assert len(queue) == 0
        queue.add_after(A, 0.01)
        assert await queue.take() == A
        queue.add_after(B, 0.01)
        queue.forget_timer(B)
        await asyncio.sleep(0.05)
        assert len(queue) == 0

    run(story())


def test_a_timer_that_fires_while_the_key_is_worked_on_is_not_lost() -> None:
    async def story() -> None:
        queue = Queue()
        await queue.add(A)
        await queue.take()
        queue.add_after(A, 0)
        await asyncio.sleep(0.02)
        await queue.done(A)
        assert await queue.take() == A

    run(story())


def test_pauses_double_up_to_a_limit_and_are_forgotten_by_a_success() -> None:
    async def story() -> list[float]:
        queue = Queue(retry_initial=0.2, retry_max=1.0)
        pauses = [queue.retry(A) for _ in range(4)] + [queue.retry(B)]
        queue.succeed(A)
        queue.succeed(B)
        return [*pauses, queue.retry(A)]

    assert run(story()) == [0.2, 0.4, 0.8, 1.0, 0.2, 0.2]


def test_failures_for_ever_do_not_overflow() -> None:
    async def story() -> float:
        queue = Queue()
        queue._failures[A] = 5000
        return queue.retry(A)

    assert run(story()) == 60


# Closing --------------------------------------------------------------------------------------------------------------


def test_closing_wakes_every_worker_and_hands_out_nothing_more() -> None:
    async def story() -> None:
        queue = Queue()
        workers = [asyncio.create_task(queue.take()) for _ in range(3)]
        await asyncio.sleep(0)
        await queue.close()
        assert await asyncio.gather(*workers) == [None, None, None]
        await queue.add(A)
        queue.add_after(B, 0)
        await asyncio.sleep(0.02)
        assert await queue.take() is None and len(queue) == 0

    run(story())


def test_a_worker_may_finish_what_it_has() -> None:
    async def story() -> None:
        queue = Queue()
        await queue.add(A)
        assert await queue.take() == A
        await queue.add(A)
        queue.add_after(B, 0.01)
        await queue.close()
        await queue.done(A)
        await asyncio.sleep(0.03)
        assert await queue.take() is None

    run(story())


# All together ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_after_every_event_there_is_a_look(seed: int) -> None:
    """Whatever the interleaving: a key's last look begins after its last event, and no two workers have it at once."""
    dice = random.Random(seed)

    async def story() -> None:
        queue, keys = Queue(), [Key("ns", str(number)) for number in range(4)]
        clock = iter(range(10**6))
        events, looks = dict.fromkeys(keys, -1), dict.fromkeys(keys, -1)
        working: set[Key] = set()

        async def work() -> None:
            while (key := await queue.take()) is not None:
                assert key not in working
                working.add(key)
                looks[key] = next(clock)
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
                working.discard(key)
                await queue.done(key)

        async def happen() -> None:
            for _ in range(40):
                key = dice.choice(keys)
                events[key] = next(clock)
                if dice.random() < 0.7:
                    await queue.add(key)
                else:
                    queue.add_after(key, 0)
                for _ in range(dice.randrange(3)):
                    await asyncio.sleep(0)

        workers = [asyncio.create_task(work()) for _ in range(3)]
        await asyncio.gather(happen(), happen())
        while len(queue) or working or queue._timers or queue._tasks:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await queue.close()
        await asyncio.gather(*workers)
        assert all(looks[key] > events[key] for key in keys), (events, looks)

    run(story())
