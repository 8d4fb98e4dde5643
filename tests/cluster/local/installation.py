"""What is installed of schemahold on a cluster of the user's, and whether it may be touched.

Somebody may work with it: what was not installed from here, with our values alone, is used as it is or not at all.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from . import context
from .failure import Failure
from .layout import CHECKOUT
from .progress import say

CHART = CHECKOUT / "charts/schemahold"
# With a digest of the image's content: a rebuilt image under the same tag then starts a new pod. Nobody else sets it.
MARK = "podAnnotations.content"
_OPERATORS = "app.kubernetes.io/name=schemahold,app.kubernetes.io/component=operator"
_CRD = "schemamigrations.schemahold.dev"
_NEEDED = {"run", "sql", "contract"}  # of spec, what the demo's manifests have

Json = dict[str, Any]


@dataclass(frozen=True)
class Installation:
    """As its operator's Deployment tells it."""

    namespace: str
    release: str
    version: str
    image: str
    ready: bool
    fields: frozenset[str]  # that its SchemaMigration has in spec

    def __str__(self) -> str:
        return f"schemahold {self.version} (release {self.release}, namespace {self.namespace}, image {self.image})"

    def trouble(self) -> str:
        """Why this checkout's demo cannot use it; empty when it can."""
        if not self.ready:
            return f"its operator is not ready (kubectl --context {context.chosen()} -n {self.namespace} get pods)"
        if _order(self.version) < _order(chart_version()):
            return f"it is older than this checkout's {chart_version()}"
        if missing := sorted(_NEEDED - self.fields):
            return f"its SchemaMigration is older than this checkout's: spec has no {' and no '.join(missing)}"
        return ""

    def remedy(self) -> str:
        where = f"--kube-context {context.chosen()} -n {self.namespace}"
        image = "--set image.repository=... --set image.tag=..."
        return f"helm {where} upgrade {self.release} charts/schemahold --reset-then-reuse-values {image}"


def look() -> Installation | None:
    """Whoever installed it, and with whatever tool."""
    operators = _get("deployments", "--all-namespaces", "--selector", _OPERATORS)["items"]
    return read(operators[0], _get("customresourcedefinition", _CRD, "--ignore-not-found")) if operators else None


def _get(*words: str) -> Json:
    said = context.kubectl("--context", context.chosen(), "get", *words, "--output", "json")
    return dict(json.loads(said or "{}"))


def read(operator: Json, crd: Json) -> Installation:
    metadata, status = operator["metadata"], operator.get("status", {})
    # The counts may be those of the pods before.
    current = status.get("observedGeneration") == metadata.get("generation")
    return Installation(
        namespace=metadata["namespace"],
        release=metadata["labels"].get("app.kubernetes.io/instance", ""),
        version=metadata["labels"].get("app.kubernetes.io/version", ""),
        image=operator["spec"]["template"]["spec"]["containers"][0]["image"],
        ready=current and bool(status.get("updatedReplicas")) and bool(status.get("readyReplicas")),
        fields=_fields(crd),
    )


def _fields(crd: Json) -> frozenset[str]:
    versions = crd.get("spec", {}).get("versions", [])
    schemas = [one.get("schema", {}).get("openAPIV3Schema", {}) for one in versions if one.get("served")]
    return frozenset(name for one in schemas for name in one["properties"]["spec"]["properties"])


def may_install(found: Installation | None, *, released: bool, ours: bool, again: bool, exact: bool) -> bool:
    """Whether the chart is to be installed: not over what somebody else did, nor over what will do as it is.

    ``released``: there is a Helm release.  ``again``: ours is brought up to date, though it would do.  ``exact``: the
    chart's own values are not what is wanted, so that of somebody else can never do.
    """
    if not found:
        if released and not ours:
            raise Failure("a release schemahold without an operator is in namespace schemahold: mend or uninstall it first")
        return True
    trouble = found.trouble()
    if _order(found.version) > _order(chart_version()) and (exact or again or trouble):
        raise Failure(f"{found} is newer than this checkout's {chart_version()}: nothing is downgraded from here")
    if ours and (again or trouble):
        say(f"{found} was installed from here: upgrading it{', for ' if trouble else ''}{trouble}")
        return True
    if exact:
        raise Failure(f"{found} is somebody else's, or changed: the stories would upgrade, stop and uninstall it")
    if trouble:
        remedy = found.remedy() if released else "with the tool that installed it"
        raise Failure(f"{found} stays as it is, but {trouble}. To mend it: {remedy}")
    say(f"using {found} as it is, with the values that it has")
    return False


def is_ours(given: Json, *ours: dict[str, str]) -> bool:
    """Whether a release's own values are an image, our mark and one of these sets of values, and nothing else."""
    flat = {name: value for name, value in _flat(given) if not name.startswith("image.")}
    return flat.pop(MARK, None) is not None and flat in ours


def image_values(name: str) -> dict[str, str]:
    """Of IMAGE, as the chart wants it. A colon before the last slash is that of a registry's port."""
    rest, _, digest = name.partition("@")
    folder, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    if not last or not (tag or digest):
        raise Failure(f"IMAGE={name} has no tag: name one, as in IMAGE={folder}{slash}{last or 'schemahold'}:dev")
    values = {"image.repository": f"{folder}{slash}{last}", "image.tag": tag, "image.digest": digest}
    return {key: value for key, value in values.items() if value}


def _flat(values: Json, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return found


def chart_version() -> str:
    found = re.search(r"^appVersion: *\"?([^\"\s]+)", (CHART / "Chart.yaml").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _order(version: str) -> list[int]:
    """0.10.2-rc.1 as [0, 10, 2]: what comes after the numbers is nobody's reason to refuse."""
    return [int(number) for number in re.findall(r"\d+", re.split("[-+]", version)[0])]
