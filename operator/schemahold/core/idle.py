"""The states in which nothing is to be started: waiting, rolling out, applied, adopted, by hand."""

from __future__ import annotations

from collections.abc import Sequence

from schemahold.api import models, names
from schemahold.core import observed, versions
from schemahold.core.conditions import State, busy, ready, stalled
from schemahold.core.situation import Situation


def migrated(here: Situation, history: Sequence[models.Applied]) -> str:
    """Whether the target is applied, as far as anyone knows."""
    for entry in history:
        if entry.version == here.target and entry.database == (here.database or entry.database):
            return "True" if entry.outcome == "Applied" else "Unknown"
    return "False"


def suspended(wanted: Sequence[observed.Deployment], migrated: str) -> State:
    held = (
        f" {len(wanted)} Deployments wait."
        if len(wanted) > 1
        else f" Deployment '{wanted[0].name}' waits."
        if wanted
        else ""
    )
    return busy("Suspended", f"`spec.suspend` is true: nothing starts and nothing is released.{held}", migrated)


def waiting_for_version(others: Sequence[observed.Deployment], target: str, spec: models.Spec, migrated: str) -> State:
    """Rule 2, and rule 5's hint for followers whose version is their image."""
    one = others[0]
    text = f"Deployment '{one.name}' wants version '{one.version}', and this SchemaMigration is for '{target}'."
    if spec.version is not None:
        text += f" Set `spec.version` to '{one.version}', or give the Deployment's template version '{target}'."
    if versions.declared(one.template):
        if spec.version is None:
            text += f" Give its template the source's version: the annotation {names.VERSION_ANNOTATION}: '{target}'."
    else:
        text += (
            f" Its version is its image; give Deployments with different images one version with the template annotation "
            f"{names.VERSION_ANNOTATION}."
        )
    return busy("WaitingForVersion", text, migrated)


def state(
    deployments: Sequence[observed.Deployment],
    here: Situation,
    spec: models.Spec,
    history: Sequence[models.Applied],
    released: Sequence[observed.Deployment],
    name: str,
) -> State:
    """Nothing is wanted that is not released in this look.  ``name``: the SchemaMigration's, as the label has it."""
    carriers = [one for one in deployments if one.version == here.target] if here.target else list(deployments)
    if not deployments:
        return _without_label(spec, migrated(here, history), name)
    if not carriers:
        return busy("WaitingForDeployment", f"No Deployment carries version '{here.target}' yet.", migrated(here, history))
    version = carriers[0].version
    applied = any(entry.version == version and entry.outcome == "Applied" for entry in history)
    by_hand = [one for one in carriers if one.by_hand]
    if by_hand and not applied:
        return stalled(
            "ReleasedByHand",
            f"Deployment '{by_hand[0].name}' runs version '{version}', released by break-glass, and its migration has not "
            f"succeeded. To run it now set the annotation {names.RETRY_AT}: <any new value>.",
        )
    known = "Unknown" if not applied and any(one.adopted == version for one in carriers) else "True"
    return _rollout(carriers, version, known, released)


def _without_label(spec: models.Spec, migrated: str, name: str) -> State:
    text = (
        f"No Deployment in this namespace has the label {names.MIGRATION}: {name} (on the Deployment itself, not in its pod "
        "template), so "
    )
    if spec.version is None:
        return ready("NoVersionWanted", f"{text}no version is wanted.", "Unknown")
    return busy("WaitingForDeployment", f"{text}none carries version '{spec.version}' yet.", migrated)


def _rollout(
    carriers: Sequence[observed.Deployment], version: str, migrated: str, released: Sequence[observed.Deployment]
) -> State:
    for one in carriers:
        if one.paused and one not in released:
            text = (
                f"Deployment '{one.name}' may roll out version '{version}', but `spec.paused: true` was set by its user: "
                f"remove it from the manifest."
            )
            return busy("RollingOut", text, migrated)
        if one.stuck:
            text = f"Deployment '{one.name}' did not roll out version '{version}' within `spec.progressDeadlineSeconds`."
            return stalled("RolloutStuck", text, migrated)
    rolling = next((one for one in carriers if one in released or not one.rolled_out), None)
    if rolling is not None:
        return busy("RollingOut", f"Deployment '{rolling.name}' rolls out version '{version}'.", migrated)
    if migrated == "Unknown":
        return ready(
            "Adopted", f"Version '{version}' ran before this SchemaMigration did; it was never applied by us.", migrated
        )
    return ready("Applied", f"Version '{version}' is applied and rolled out.", migrated)
