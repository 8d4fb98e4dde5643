"""kopf, reduced to what it is best at: watching.  Its handlers put a key on the queue and return nothing.

``on.event`` handlers keep no state on the objects: kopf's change handlers would write an annotation onto every watched
Deployment.
"""

from __future__ import annotations

import time
from typing import Any

import kopf

from schemahold.api import names
from schemahold.controller.metrics import Metrics
from schemahold.controller.queue import Key, Queue


class Watch:
    """The kopf operator for our four kinds.  ``known``: every SchemaMigration seen, for the resync."""

    def __init__(self, queue: Queue, metrics: Metrics) -> None:
        self._queue = queue
        self._metrics = metrics
        self.known: set[Key] = set()

    async def run(self, stop: Any, ready: Any) -> None:
        """Watches until the flag ``stop`` is set; sets ``ready`` once it has started."""
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            clusterwide=True,
            standalone=True,
            identity=_IDENTITY,
            stop_flag=stop,
            ready_flag=ready,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)(self._migration)
        for group, version, plural in _LABELLED:
            kopf.on.event(group, version, plural, registry=registry)(self._labelled)
        return registry

    async def _migration(self, event: Any, namespace: str | None, name: str | None, **_: Any) -> None:
        if not namespace or not name:
            return
        key = Key(namespace, name)
        self._metrics.last_event.set(time.time())
        if event.get("type") == "DELETED":
            self.known.discard(key)
        else:
            self.known.add(key)
        await self._queue.add(key)

    async def _labelled(self, namespace: str | None, labels: Any, **_: Any) -> None:
        name = labels.get(names.MIGRATION)
        if namespace and name:
            self._metrics.last_event.set(time.time())
            await self._queue.add(Key(namespace, name))


# Given, because kopf would ask the operating system for a user's name, and an arbitrary uid has none.
_IDENTITY: Any = "schemahold"
_LABELLED = (("apps", "v1", "deployments"), ("batch", "v1", "jobs"), ("", "v1", "pods"))


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # the kinds are known; the chart installs the CRD before us
    settings.watching.chunk_size = 500
    settings.watching.label_selectors["apps/v1/deployments"] = names.MIGRATION
    settings.watching.label_selectors["batch/v1/jobs"] = names.ATTEMPT
    settings.watching.label_selectors["v1/pods"] = names.ATTEMPT
    return settings
