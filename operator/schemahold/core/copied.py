"""What a Job's pod takes from the source's template, field by field, and what not and why.

Every field of a pod and of a container is either copied from the source, written by us, or left out for a reason that stands
here (:data:`POD_LEFT`, :data:`CONTAINER_LEFT`).  A test compares the three with the API's own list of fields, so that a new
field of Kubernetes must be decided, not forgotten.

Two things a copy cannot carry.  Ordinary init containers of the source are not run: they would run beside the old pods and
before the lock, and many wait for the very migration.  A volume that one of them fills is therefore empty here; a migration
that needs it does that step in ``run.command``.  And a volume that one node alone may mount (ReadWriteOnce) binds the Job to
the node where the old pods use it, or to waiting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from schemahold.api import names

Json = Mapping[str, Any]
Made = dict[str, Any]

# Copied as they are.
POD_COPIED = (
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostNetwork",  # some networks let only the node reach the database; the price is the node's DNS and its ports
    "hostUsers",  # as strict as the application, and files keep their owners
    "imagePullSecrets",
    "nodeSelector",
    "os",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "serviceAccountName",
    "tolerations",
)
# Ours, or copied in part: of `affinity` the node's, of `initContainers` the native sidecars, of `volumes` the used ones.
POD_BUILT = ("affinity", "containers", "initContainers", "restartPolicy", "terminationGracePeriodSeconds", "volumes")
POD_LEFT = {
    "activeDeadlineSeconds": "would kill a migration halfway",
    "ephemeralContainers": "not part of a template",
    "evictionResponders": "answer for the application's pods",
    "hostIPC": "no migration needs it",
    "hostPID": "no migration needs it",
    "hostname": "belongs to the application's pods",
    "hostnameOverride": "belongs to the application's pods",
    "nodeName": "goes around the scheduler, and that node may be gone or full",
    "overhead": "written by admission, from the runtime class",
    "preemptionPolicy": "written by admission, from the priority class",
    "priority": "written by admission, from the priority class",
    "readinessGates": "the Job's pod serves nobody",
    "resourceClaims": "devices are the application's; a second claim may wait for ever",
    "resources": "a bound for the application's containers alone, which ours would have to share",
    "schedulingGates": "nobody would remove them",
    "schedulingGroup": "groups the application's pods",
    "serviceAccount": "old name of serviceAccountName",
    "setHostnameAsFQDN": "belongs to the application's pods",
    "shareProcessNamespace": "the script must be its container's first process",
    "subdomain": "belongs to the application's pods",
    "topologySpreadConstraints": "spread the application's pods, by labels that ours do not have",
}

CONTAINER_COPIED = ("env", "envFrom", "image", "imagePullPolicy", "securityContext", "volumeDevices", "workingDir")
CONTAINER_BUILT = ("command", "name", "resources", "terminationMessagePolicy", "volumeMounts")
CONTAINER_LEFT = {
    "args": "the application's, for its own command",
    "lifecycle": "written for the application's process",
    "livenessProbe": "would kill a migration that serves nothing",
    "ports": "the migration listens nowhere, and a host port would keep it from its node",
    "readinessProbe": "the Job's pod serves nobody",
    "resizePolicy": "the pod does not live long enough",
    "restartPolicy": "a migration is never started again in its pod",
    "restartPolicyRules": "a migration is never started again in its pod",
    "startupProbe": "would kill a migration that serves nothing",
    "stdin": "nobody is there to type",
    "stdinOnce": "nobody is there to type",
    "terminationMessagePath": "the default path, of which status shows the end",
    "tty": "nobody is there to type",
}

_KEEP_ALIVE = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
# A switch of the cloud's identity webhook that happens to be a label: without it there is no token to log in with.
_IDENTITY_LABELS = ("azure.workload.identity/use",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """A service mesh: its domain, the key that switches its sidecar, the value for off, and where that is read."""

    domain: str
    switch: str
    off: str
    label: bool = False
    annotation: bool = False


# An injected sidecar that is no native one keeps a finished pod running, and cuts the network before it is up.
MESHES = (
    Mesh(domain="istio.io", switch="sidecar.istio.io/inject", off="false", label=True, annotation=True),
    Mesh(domain="linkerd.io", switch="linkerd.io/inject", off="disabled", annotation=True),
    Mesh(domain="kuma.io", switch="kuma.io/sidecar-injection", off="disabled", label=True, annotation=True),
    Mesh(domain="consul.hashicorp.com", switch="consul.hashicorp.com/connect-inject", off="false", annotation=True),
)


def pod_metadata(template: Json, labels: Json, annotations: Json) -> Made:
    """Metadata of the Job's pod: the given ``labels`` and ``annotations``, and the few that must come from the ``template``.

    None of the application's labels, so that no Service, NetworkPolicy or budget takes the pod for one of its own.
    """
    theirs: Json = template.get("metadata") or {}
    mesh_labels, mesh_annotations = _meshes(theirs.get("labels") or {}, theirs.get("annotations") or {})
    identity = {key: value for key, value in (theirs.get("labels") or {}).items() if key in _IDENTITY_LABELS}
    return {
        "labels": {**identity, **mesh_labels, **labels},
        "annotations": {**mesh_annotations, **_KEEP_ALIVE, names.DEFAULT_CONTAINER: names.MIGRATE, **annotations},
    }


def _meshes(labels: Json, annotations: Json) -> tuple[Made, Made]:
    """Labels and annotations that keep meshes out; those of a mesh that the user's template switches are copied instead."""
    out: tuple[Made, Made] = ({}, {})
    for mesh in MESHES:
        theirs = mesh.switch in labels or mesh.switch in annotations
        for made, given, read_here in ((out[0], labels, mesh.label), (out[1], annotations, mesh.annotation)):
            if theirs:
                made |= {key: value for key, value in given.items() if _in_domain(key, mesh.domain)}
            elif read_here:
                made[mesh.switch] = mesh.off
    return out


def _in_domain(key: str, domain: str) -> bool:
    return f".{key.partition('/')[0]}".endswith(f".{domain}")
