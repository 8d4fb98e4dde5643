"""``python -m schemahold.controller``: the operator."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from schemahold.cluster import api, events, probe
from schemahold.controller import logs, settings
from schemahold.controller.health import Health
from schemahold.controller.metrics import Metrics
from schemahold.controller.queue import Queue
from schemahold.controller.reconciler import Reconciler
from schemahold.controller.watch import Watch
from schemahold.core import scene

log = logging.getLogger("schemahold")


async def run(given: settings.Settings) -> None:
    """Runs until SIGTERM or SIGINT: then no new key is taken, what is being written is finished, and watching ends."""
    client = await api.connect()
    metrics, queue = Metrics(), Queue()
    health = Health(client, given.namespace, metrics, given.probe_interval)
    server = await health.serve(given.health_port, given.metrics_port)
    volumes = given.image_volumes == "always" or (
        given.image_volumes == "auto" and await probe.has_image_volumes(client, given.namespace)
    )
    reconciler = Reconciler(client, events.Recorder(client), policy(given, image_volumes=volumes), metrics)
    watch = Watch(queue, metrics)
    # Workers start before kopf: on its way out it cancels every task that is younger than itself (kopf, running.py).
    workers = [asyncio.create_task(reconciler.work(queue)) for _ in range(given.workers)]
    others = [
        asyncio.create_task(health.probe_for_ever()),
        asyncio.create_task(health.turn_for_ever()),
        asyncio.create_task(_resync(watch, queue, given.resync)),
    ]
    try:
        await _watch_until_stopped(watch, health, queue, workers)
    finally:
        for task in others:
            task.cancel()
        await server.cleanup()
        await client.close()


async def _watch_until_stopped(watch: Watch, health: Health, queue: Queue, workers: list[asyncio.Task[None]]) -> None:
    stop, ready, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
    watching = asyncio.create_task(watch.run(stop, ready))
    await asyncio.wait([watching, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    # kopf has set its own signal handlers by now; ours come after, so that the queue is drained first.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    health.watching = not watching.done()
    log.info("watching")
    await asyncio.wait([watching, asyncio.create_task(asked.wait())], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    health.stopping = True
    await queue.close()
    await asyncio.wait(workers, timeout=20)
    stop.set()
    await watching


async def _resync(watch: Watch, queue: Queue, interval: float) -> None:
    """Every resource is looked at again now and then, in case an event was lost."""
    while True:
        await asyncio.sleep(interval)
        for key in list(watch.known):
            await queue.add(key)


def policy(given: settings.Settings, *, image_volumes: bool = False) -> scene.Policy:
    """What decisions need to know of the settings."""
    return scene.Policy(
        image=given.image,
        image_pull_policy=given.image_pull_policy,
        backoff_initial=given.backoff_initial,
        backoff_max=given.backoff_max,
        pod_timeout=given.pod_timeout,
        beat=given.beat,
        stale_after=given.stale_after,
        image_volumes=image_volumes,
    )


def main() -> int:
    try:
        given = settings.from_environment()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure(given.log_format)
    asyncio.run(run(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
