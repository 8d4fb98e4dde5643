"""Probes and metrics over HTTP: ``/healthz`` (the loop turns), ``/readyz`` (the hold acts), ``/metrics``."""

from __future__ import annotations

import asyncio
import logging
import time

import aiohttp.web
import prometheus_client as prometheus

from schemahold.cluster import api, probe
from schemahold.controller.metrics import Metrics

log = logging.getLogger(__name__)


class Health:
    """``interval``: seconds between two dry-runs.  Ready means: admission holds, and the watch has begun."""

    def __init__(self, client: api.Api, namespace: str, metrics: Metrics, interval: float) -> None:
        self._client, self._namespace, self._metrics, self._interval = client, namespace, metrics, interval
        self._holds = False
        self.watching = False
        self.stopping = False
        self._turned = time.monotonic()

    @property
    def ready(self) -> bool:
        return self._holds and self.watching and not self.stopping

    async def probe_for_ever(self) -> None:
        """Asks admission again and again; quickly until it holds, because a policy takes a second to act."""
        while True:
            await self._probe()
            await asyncio.sleep(self._interval if self._holds else min(1.0, self._interval))

    async def turn_for_ever(self) -> None:
        """A sign that the event loop turns: without it, liveness fails and the kubelet restarts us."""
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(1.0)

    async def _probe(self) -> None:
        try:
            holds = await probe.is_hold_active(self._client, self._namespace)
        except (api.ApiError, api.Unavailable) as error:
            # Not knowing is not the same as not holding: only an answer changes what the last answer said.
            log.warning("the dry-run that shows the hold failed: %s", error)
            return
        if holds != self._holds:
            log.log(logging.INFO if holds else logging.ERROR, "the hold %s", "acts" if holds else "does NOT act")
        self._holds = holds
        self._metrics.hold_active.set(1 if holds else 0)

    async def serve(self, health_port: int, metrics_port: int) -> aiohttp.web.AppRunner:
        """Starts both listeners; the runner is cleaned up by the caller."""
        app = aiohttp.web.Application()
        app.add_routes(
            [
                aiohttp.web.get("/healthz", self._healthz),
                aiohttp.web.get("/readyz", self._readyz),
                aiohttp.web.get("/metrics", self._serve_metrics),
            ]
        )
        runner = aiohttp.web.AppRunner(app, access_log=None)
        await runner.setup()
        for port in {health_port, metrics_port}:
            await aiohttp.web.TCPSite(runner, port=port).start()
        return runner

    async def _healthz(self, _: aiohttp.web.Request) -> aiohttp.web.Response:
        return _answer(time.monotonic() - self._turned < 30, "the event loop turns")

    async def _readyz(self, _: aiohttp.web.Request) -> aiohttp.web.Response:
        return _answer(self.ready, f"the hold acts: {self._holds}; watching: {self.watching}")

    async def _serve_metrics(self, _: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(
            body=prometheus.generate_latest(self._metrics.registry), headers={"Content-Type": prometheus.CONTENT_TYPE_LATEST}
        )


def _answer(good: bool, text: str) -> aiohttp.web.Response:
    return aiohttp.web.Response(status=200 if good else 503, text=text + "\n")
