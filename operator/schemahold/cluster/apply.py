"""The only writer: carries out a decision, in its order.

A conflict ends the decision: someone wrote since the look, so what was decided may no longer be right.  The caller looks
again.  What was written before the conflict stays; every write is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemahold.api import models, names
from schemahold.cluster import api, paths
from schemahold.core import decision, job, observed


class Applier:
    """Writes for one SchemaMigration.  ``notes``: what a third party changed in the Job that was created."""

    def __init__(self, client: api.Api, migration: observed.Migration) -> None:
        self._client = client
        self._migration = migration
        self._resource_version = migration.resource_version
        self.notes: list[str] = []

    async def write(self, write: decision.Write) -> None:
        match write:
            case decision.SetFinalizer():
                await self._set_finalizer(write)
            case decision.WriteStatus():
                await self._write_status(write.status)
            case decision.CreateJob():
                await self._create_job(write.job)
            case decision.OwnJob():
                await self._own_job(write)
            case decision.DeleteJob():
                await self._client.delete(paths.jobs(self._migration.namespace, write.name), write.uid)
            case decision.DeletePod():
                await self._client.delete(paths.pods(self._migration.namespace, write.name), write.uid)
            case decision.Release():
                await self._release(write)
            case decision.MarkFailed():
                await self._mark_failed(write)

    async def _set_finalizer(self, write: decision.SetFinalizer) -> None:
        """With the resourceVersion of the look: the list of finalizers is replaced as a whole."""
        kept = [one for one in self._migration.finalizers if one != names.RUNNING_FINALIZER]
        if write.present:
            kept.append(names.RUNNING_FINALIZER)
        body = {"metadata": {"resourceVersion": self._resource_version, "finalizers": kept}}
        answer = await self._client.patch(paths.migrations(self._migration.namespace, self._migration.name), body)
        self._resource_version = answer["metadata"]["resourceVersion"]

    async def _write_status(self, status: models.Status) -> None:
        """A PUT with the resourceVersion of the look: of two controllers that decided on the same look, one wins."""
        body = dict(self._migration.raw)
        body["metadata"] = {**body["metadata"], "resourceVersion": self._resource_version}
        body["status"] = models.dump_status(status)
        answer = await self._client.replace(
            paths.migrations(self._migration.namespace, self._migration.name, "status"), body
        )
        self._resource_version = answer["metadata"]["resourceVersion"]

    async def _create_job(self, sent: Mapping[str, Any]) -> None:
        """Creating the name is the compare-and-swap.

        409: this Job was created by an earlier decision whose answer was lost, or by another controller.  Ours with these
        inputs is the attempt that status names; any other is a Conflict, and the next look takes the next number.
        """
        created: Mapping[str, Any]
        try:
            created = await self._client.create(paths.jobs(self._migration.namespace), sent)
        except api.Conflict as conflict:
            created = await self._existing(sent, conflict)
        self.notes += job.compare(sent, created)

    async def _existing(self, sent: Mapping[str, Any], conflict: api.Conflict) -> Mapping[str, Any]:
        try:
            existing = await self._client.get(paths.jobs(self._migration.namespace, sent["metadata"]["name"]))
        except api.NotFound:
            raise conflict from None  # of another kind: a quota was counted anew at the same moment
        if not _is_same_attempt(existing, sent):
            raise conflict
        return existing

    async def _own_job(self, write: decision.OwnJob) -> None:
        owner = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": self._migration.name,
            "uid": self._migration.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }
        body = {"metadata": {"uid": write.uid, "ownerReferences": [owner]}}
        await self._tolerant(paths.jobs(self._migration.namespace, write.name), body, api.MERGE_PATCH)

    async def _release(self, write: decision.Release) -> None:
        """``held`` follows the template, so testing it is the compare-and-swap: a new version in between fails the test.

        Without our pause there is no ``held`` to test; the resourceVersion of the look stands in.  There may be no
        annotations either, and a JSON patch cannot add one to none.
        """
        path = paths.deployments(self._migration.namespace, write.deployment)
        if not write.held:
            approved = {"resourceVersion": write.resource_version, "annotations": {names.APPROVED: write.version}}
            await self._client.patch(path, {"metadata": approved})
            return
        patch = [
            {"op": "test", "path": _annotation(names.HELD), "value": write.version},
            {"op": "add", "path": _annotation(names.APPROVED), "value": write.version},
            {"op": "remove", "path": _annotation(names.HELD)},
            {"op": "remove", "path": "/spec/paused"},
        ]
        await self._client.patch(path, patch, api.JSON_PATCH)

    async def _mark_failed(self, write: decision.MarkFailed) -> None:
        patch: list[dict[str, str]] = [
            {"op": "test", "path": _annotation(names.HELD), "value": write.version},
            {"op": "add", "path": _annotation(names.FAILED), "value": write.version},
        ]
        if not write.version:
            patch = [{"op": "remove", "path": _annotation(names.FAILED)}]
        await self._tolerant(paths.deployments(self._migration.namespace, write.deployment), patch, api.JSON_PATCH)

    async def _tolerant(self, path: str, body: Any, kind: str) -> None:
        """For marks that may come too late: the object is gone or has moved on, and then nothing is to be marked."""
        try:
            await self._client.patch(path, body, kind)
        except api.ApiError:  # a mark is a courtesy: nothing else may wait for it
            return


def _annotation(key: str) -> str:
    return "/metadata/annotations/" + key.replace("~", "~0").replace("/", "~1")


def _is_same_attempt(existing: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    labels, wanted = existing["metadata"].get("labels") or {}, sent["metadata"]["labels"]
    return all(labels.get(key) == wanted[key] for key in (names.OWNER_UID, names.INPUTS, names.ATTEMPT))
