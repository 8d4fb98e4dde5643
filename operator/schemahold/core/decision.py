"""What ``decide`` wants done: writes in their order, then events, then when to look again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from schemahold.api import models


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetFinalizer:
    """Adds or removes our finalizer on the SchemaMigration."""

    present: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteStatus:
    """Replaces status; a conflict (someone wrote since we looked) means: look again."""

    status: models.Status


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateJob:
    """Creates the attempt's Job: the compare-and-swap that makes a number one attempt."""

    job: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnJob:
    """Gives a finished Job its owner reference, so that it goes with the SchemaMigration."""

    name: str
    uid: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeleteJob:
    """Deletes a Job: an old finished one, or one that never got a pod."""

    name: str
    uid: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeletePod:
    """Deletes a pod whose migrate has not started."""

    name: str
    uid: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """Approves a version and, if the pause is ours, un-pauses: one patch, tested against ``held``."""

    deployment: str
    version: str
    held: bool
    resource_version: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarkFailed:
    """Tells health checks on the Deployment that the migration to its version failed; "" takes that back."""

    deployment: str
    version: str


Write = SetFinalizer | WriteStatus | CreateJob | OwnJob | DeleteJob | DeletePod | Release | MarkFailed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """For the SchemaMigration, or for a Deployment when ``deployment`` names one."""

    type: str  # Normal | Warning
    reason: str
    message: str
    deployment: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """``requeue``: seconds until time alone changes the decision, None if it cannot.

    ``finished``: attempts that ended in this decision, for metrics.
    """

    writes: tuple[Write, ...] = ()
    events: tuple[Event, ...] = ()
    requeue: float | None = None
    finished: tuple[Finished, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """An attempt that ended, for metrics: outcome as in its reason; times in seconds, None when unknown."""

    outcome: str
    duration: float | None = None
    lock_wait: float | None = None
