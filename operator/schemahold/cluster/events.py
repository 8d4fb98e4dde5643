"""Kubernetes Events, aggregated: the same words about the same object raise a count instead of making a new Event.

The aggregation is what client-go's recorder does, reduced to exact repetition (kubernetes/client-go, tools/record).
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import hashlib
from typing import Any

from schemahold.cluster import api, paths
from schemahold.core import observed

REMEMBERED = 1024  # Events whose repetition is counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """What an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


class Recorder:
    """Writes Events; an Event that cannot be written is dropped, since it must never hold up a decision."""

    def __init__(self, client: api.Api, component: str = "schemahold") -> None:
        self._client = client
        self._component = component
        self._counts: collections.OrderedDict[str, int] = collections.OrderedDict()

    async def record(self, subject: Subject, kind: str, reason: str, message: str, now: datetime.datetime) -> bool:
        """Records one Event; False if the API server did not take it."""
        key = hashlib.sha256("\0".join([subject.uid, kind, reason, message]).encode()).hexdigest()[:16]
        count = self._counts.pop(key, 0) + 1
        self._counts[key] = count
        while len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        try:
            if count > 1 and await self._repeat(subject.namespace, f"{subject.name[:200]}.{key}", count, now):
                return True
            await self._client.create(paths.events(subject.namespace), self._event(subject, kind, reason, message, key, now))
        except api.Conflict:
            return await self._bump(subject.namespace, f"{subject.name[:200]}.{key}", now)
        except (api.ApiError, api.Unavailable):
            return False
        return True

    async def _repeat(self, namespace: str, name: str, count: int, now: datetime.datetime) -> bool:
        body = {"count": count, "lastTimestamp": observed.format_time(now)}
        try:
            await self._client.patch(paths.events(namespace, name), body)
        except api.NotFound:
            return False
        return True

    async def _bump(self, namespace: str, name: str, now: datetime.datetime) -> bool:
        """The Event exists from before a restart of ours: its time moves on, its count is not known here."""
        try:
            return await self._repeat(namespace, name, 2, now)
        except (api.ApiError, api.Unavailable):
            return False

    def _event(
        self, subject: Subject, kind: str, reason: str, message: str, key: str, now: datetime.datetime
    ) -> dict[str, Any]:
        moment = observed.format_time(now)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": subject.namespace, "name": f"{subject.name[:200]}.{key}"},
            "involvedObject": {
                "apiVersion": subject.api_version,
                "kind": subject.kind,
                "namespace": subject.namespace,
                "name": subject.name,
                "uid": subject.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
