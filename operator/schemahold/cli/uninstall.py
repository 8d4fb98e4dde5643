"""What ``helm uninstall`` runs first, as a pre-delete hook: ``python -m schemahold.cli.uninstall``.

Afterwards nothing of ours keeps anyone from a Deployment.  The order matters:

1. The operator is stopped: a live one would put its finalizer back on, and would release Deployments whose hold is going.
2. The admission policies go, bindings first: from then on a held Deployment can be resumed by whoever may patch it.
3. Our finalizer goes: without an operator nobody would take it off, and a deleted SchemaMigration would stay for ever.
4. What is held stays paused, since starting new pods on an old schema is the one thing we promised not to do.  Each such
   Deployment is listed with the command that resumes it, here and in an Event on the Deployment.

Every step may be repeated, and takes what is gone already for done.  Only a policy that could not be removed is a failure:
with it, ``helm uninstall`` stops and can be run again.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from schemahold.api import names

ADMISSION = ("admissionregistration.k8s.io", "v1")
# Bindings first: a policy without a binding does nothing, a binding without its policy is an error in every audit.
POLICIES = (
    "mutatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingadmissionpolicies",
)
# terminationGracePeriodSeconds of the chart (30) and what the garbage collector needs.
STOP_TIMEOUT = 75.0
# A grant made a moment ago may not have reached every API server, and one of them may be restarting.
RETRY_TIMEOUT = 20.0
RETRIED = (0, 403, 429, 500, 502, 503, 504)
CONFLICT_ROUNDS = 5
REASON = "Uninstalled"


class Refused(Exception):
    """The API server said no, or nothing (status 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api(Protocol):
    """The verbs we need; objects are plain dicts. Failures are :class:`Refused`."""

    def list(self, group: str, version: str, plural: str, selector: str) -> Sequence[Mapping[str, Any]]: ...

    def get(self, group: str, version: str, plural: str, namespace: str, name: str) -> Mapping[str, Any]: ...

    def merge(self, group: str, version: str, plural: str, namespace: str, name: str, patch: Mapping[str, Any]) -> None: ...

    def delete(self, group: str, version: str, plural: str, namespace: str, name: str) -> None: ...

    def create(self, group: str, version: str, plural: str, namespace: str, body: Mapping[str, Any]) -> None: ...


def resume_command(namespace: str, name: str) -> str:
    """What a person types to let a held Deployment go on."""
    return f"kubectl -n {namespace} rollout resume deployment/{name}"


def held(deployments: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """(namespace, name, version) of every Deployment whose pause is ours, in order."""
    found = []
    for deployment in deployments:
        metadata = deployment.get("metadata", {})
        version = (metadata.get("annotations") or {}).get(names.HELD, "")
        if version and deployment.get("spec", {}).get("paused"):
            found.append((metadata.get("namespace", ""), metadata.get("name", ""), version))
    return sorted(found)


def listing(found: Sequence[tuple[str, str, str]]) -> str:
    """What the person who uninstalls reads about the Deployments that stay paused."""
    if not found:
        return "No Deployment is held."
    one = len(found) == 1
    lines = [
        f"{len(found)} Deployment{' stays' if one else 's stay'} paused: the new version waits for a migration that has not "
        "succeeded. The old pods keep serving.",
        f"Migrate by hand, then resume {'it' if one else 'each'}:",
    ]
    lines += [f"  {resume_command(namespace, name)}   # version {version}" for namespace, name, version in found]
    return "\n".join(lines)


def event(deployment: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    """The same, on the Deployment, for those who did not see Helm's output."""
    metadata = deployment["metadata"]
    note = (
        "schemahold was uninstalled while this Deployment was held for version "
        f"'{metadata['annotations'][names.HELD][:256]}'. It stays paused. Migrate by hand, then: "
        f"{resume_command(metadata['namespace'], metadata['name'])}"
    )
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        # The uid makes a repeated uninstall meet its own Event.
        "metadata": {"namespace": metadata["namespace"], "name": f"uninstalled.{metadata['uid']}"},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning",
        "reason": REASON,
        "action": "Uninstall",
        "note": note[:1024],
        "reportingController": "schemahold.dev/uninstall",
        "reportingInstance": os.environ.get("HOSTNAME", "uninstall")[:128],
        "regarding": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }


def say(text: str) -> None:
    """To the log that Helm shows."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def stop_operator(api: Api, namespace: str, name: str, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Delete the operator's Deployment and wait until its pods are gone.

    Deleted rather than scaled down: Helm deletes it next anyway, the foreground deletion says when the last pod is gone, and
    the right to it ends at one object.
    """
    try:
        api.delete("apps", "v1", "deployments", namespace, name)
        # Deleted in the foreground: the Deployment is there until its last pod is gone.
        deadline = clock() + STOP_TIMEOUT
        while clock() < deadline:
            api.get("apps", "v1", "deployments", namespace, name)
            sleep(0.5)
    except Refused as refused:
        if refused.status == 404:
            say("The operator is stopped.")
        else:
            say(f"The operator could not be stopped ({refused}). Going on: Helm deletes it next.")
        return
    say(f"The operator's pods did not end within {STOP_TIMEOUT:.0f} s. Going on: Helm deletes them next.")


def remove_policies(api: Api, selector: str) -> list[str]:
    """Remove what holds; the returned lines say what could not be removed."""
    failures = []
    removed = 0
    for plural in POLICIES:
        try:
            found = api.list(*ADMISSION, plural, selector)
        except Refused as refused:
            if refused.status != 404:
                failures.append(f"{plural} could not be listed: {refused}")
            continue
        for policy in found:
            name = policy["metadata"]["name"]
            try:
                api.delete(*ADMISSION, plural, "", name)
            except Refused as refused:
                if refused.status != 404:
                    failures.append(f"{plural}/{name} could not be deleted: {refused}")
                continue
            removed += 1
    if not failures:
        say(f"Admission no longer holds anything: {removed} policies and bindings removed.")
    return failures


def remove_finalizers(api: Api) -> None:
    """Take our finalizer off every SchemaMigration; other finalizers stay."""
    kind = (names.GROUP, names.VERSION, names.PLURAL)
    left: list[str] = []
    for _ in range(CONFLICT_ROUNDS):
        try:
            resources = api.list(*kind, "")
        except Refused as refused:
            if refused.status != 404:
                say(f"SchemaMigrations could not be listed ({refused}): one being deleted may wait for our finalizer.")
            return
        left = []
        for resource in resources:
            metadata = resource["metadata"]
            finalizers = list(metadata.get("finalizers") or [])
            if names.RUNNING_FINALIZER not in finalizers:
                continue
            others = [finalizer for finalizer in finalizers if finalizer != names.RUNNING_FINALIZER]
            # With the resourceVersion: somebody else's finalizer, added since we looked, must not be lost.
            patch = {"metadata": {"finalizers": others, "resourceVersion": metadata["resourceVersion"]}}
            where = f"{metadata['namespace']}/{metadata['name']}"
            try:
                api.merge(*kind, metadata["namespace"], metadata["name"], patch)
            except Refused as refused:
                if refused.status != 404:
                    left.append(f"{where}: {refused}")
                continue
            say(f"Finalizer removed from SchemaMigration {where}. What runs for it runs on; the ledger records how it ends.")
        if not left:
            return
    for line in left:
        say(f"The finalizer {names.RUNNING_FINALIZER} could not be removed from SchemaMigration {line}. Remove it by hand.")


def list_held(api: Api, now: datetime.datetime) -> None:
    """Say which Deployments stay paused, and how each goes on."""
    try:
        deployments = api.list("apps", "v1", "deployments", names.MIGRATION)
    except Refused as refused:
        say(
            f"Held Deployments could not be listed ({refused}). They have {names.HELD} among their annotations: "
            f"kubectl get deployments -A -l {names.MIGRATION}"
        )
        return
    found = held(deployments)
    for deployment in deployments:
        if held([deployment]):
            # An Event is a courtesy; the log has the list.
            try:
                api.create("events.k8s.io", "v1", "events", deployment["metadata"]["namespace"], event(deployment, now))
            except Refused as refused:
                if refused.status != 409:
                    say(f"No Event could be made on {deployment['metadata']['name']} ({refused}).")
    say(listing(found))


def uninstall(
    api: Api,
    environ: Mapping[str, str],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """All steps in order; the exit code."""
    stop_operator(api, environ["SCHEMAHOLD_NAMESPACE"], environ["SCHEMAHOLD_DEPLOYMENT"], clock, sleep)
    failures = remove_policies(api, environ["SCHEMAHOLD_SELECTOR"])
    remove_finalizers(api)
    list_held(api, datetime.datetime.now(datetime.UTC))
    for failure in failures:
        say(failure)
    if failures:
        say("Deployments may still be held. Run `helm uninstall` again, or delete these by hand.")
    return 1 if failures else 0


class Cluster:
    """:class:`Api` on a real API server.

    The custom-objects paths serve every API group, and give dicts, not models: a field that this client does not know yet
    must not stop an uninstall.
    """

    def __init__(self) -> None:
        # Imported here: the pure parts above are used without a cluster.
        from kubernetes import client, config

        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            config.load_kube_config()  # type: ignore[no-untyped-call]
        self._objects: Any = client.CustomObjectsApi()
        self._failure: type[Exception] = client.ApiException

    def list(self, group: str, version: str, plural: str, selector: str) -> Sequence[Mapping[str, Any]]:
        found: Mapping[str, Any] = self._call("list_cluster_custom_object", group, version, plural, label_selector=selector)
        items: Sequence[Mapping[str, Any]] = found["items"]
        return items

    def get(self, group: str, version: str, plural: str, namespace: str, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._call("get_namespaced_custom_object", group, version, namespace, plural, name)
        return found

    def merge(self, group: str, version: str, plural: str, namespace: str, name: str, patch: Mapping[str, Any]) -> None:
        self._call(
            "patch_namespaced_custom_object",
            group,
            version,
            namespace,
            plural,
            name,
            dict(patch),
            _content_type="application/merge-patch+json",
        )

    def delete(self, group: str, version: str, plural: str, namespace: str, name: str) -> None:
        scope = "namespaced" if namespace else "cluster"
        path = [group, version, *([namespace] if namespace else []), plural, name]
        self._call(f"delete_{scope}_custom_object", *path, propagation_policy="Foreground")

    def create(self, group: str, version: str, plural: str, namespace: str, body: Mapping[str, Any]) -> None:
        self._call("create_namespaced_custom_object", group, version, namespace, plural, dict(body))

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        deadline = time.monotonic() + RETRY_TIMEOUT
        while True:
            try:
                return getattr(self._objects, method)(*arguments, _request_timeout=10, **options)
            except self._failure as failure:
                status, message = int(getattr(failure, "status", 0) or 0), str(getattr(failure, "reason", "") or failure)
            except OSError as failure:
                status, message = 0, str(failure)
            except Exception as failure:
                if not type(failure).__module__.startswith("urllib3"):
                    raise
                status, message = 0, str(failure)
            if status not in RETRIED or time.monotonic() > deadline:
                raise Refused(status, f"{status} {message}" if status else message)
            time.sleep(1)


def main() -> int:
    """The hook."""
    return uninstall(Cluster(), os.environ)


if __name__ == "__main__":
    sys.exit(main())
