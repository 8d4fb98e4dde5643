"""Admission: what becomes of one write to a Deployment.

Invariant: **an opted-in Deployment is paused, or approved == version.** It is kept by the API server, so it is a
pure function of one write: (operation, old, new, user) and nothing else. `mutated` makes it so, `net_denies` judges
the result by rules written apart from it, `admit` is both with what the user is told.

The chart's policies (templates/policies.yaml) are the same function in CEL and carry the same texts; the laws are in
tests/unit/test_hold_laws.py, the comparison with a real API server in tests/cluster/test_hold_differential.py.
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from schemahold.api import names
from schemahold.core import versions

Json = Mapping[str, Any]

# What a SchemaMigration may be called; the CRD demands the same of metadata.name.
MIGRATION_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,44}[a-z0-9])?")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Operation(StrEnum):
    """As admission names it. Server-side apply of something new is a CREATE."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"


@dataclass(frozen=True, slots=True)
class State:
    """All that admission reads of a Deployment and may change in it. Empty is absent."""

    migration: str | None = None  # value of the label; None: not opted in ("" is opted in, to no migration)
    version: str = ""
    paused: bool = False
    approved: str = ""
    held: str = ""
    adopted: str = ""
    break_glass: str = ""
    break_glass_by: str = ""
    failed: str = ""


# The annotations that no manifest sets. `break_glass` is a person's and is left alone on the main resource.
OWNED = {
    "approved": names.APPROVED,
    "held": names.HELD,
    "adopted": names.ADOPTED,
    "break_glass_by": names.BREAK_GLASS_BY,
    "failed": names.FAILED,
}
ANNOTATIONS = {**OWNED, "break_glass": names.BREAK_GLASS}

# The old object of a CREATE: without a version and without an approval there is nothing to carry over.
NOTHING = State()


@dataclass(frozen=True, slots=True)
class Write:
    """One request to create or update a Deployment, as the API server hands it to admission.

    `user_may_approve` is the RBAC verb `approve` on the SchemaMigration that the old label names. `deployment` is the
    object's name, for the texts only.
    """

    operation: Operation
    old: State | None
    new: State
    username: str = ""
    user_is_operator: bool = False
    user_may_approve: bool = False
    deployment: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`state` is what is stored, unless `denied` says why the write is refused."""

    state: State
    denied: str | None = None
    warnings: tuple[str, ...] = ()


def admit(write: Write) -> Outcome:
    """What the API server makes of a write."""
    state = mutated(write)
    denied = net_denies(write, state)
    return Outcome(state, denied, () if denied or write.user_is_operator else warnings(write, state))


def mutated(write: Write) -> State:
    """The mutating policy. Idempotent, as the API server reinvokes it after other mutators."""
    old, new = write.old or NOTHING, write.new
    if new.migration is None:
        return new if old.migration is None else _opted_out(old, new)
    approved = _approved(write, old)
    waits = approved == "" or approved != new.version
    ours = _is_ours(old) or _is_ours(new)
    carried = old if _same_migration(old, new) else NOTHING
    return replace(
        new,
        paused=waits or (new.paused and not ours),
        approved=approved,
        held=new.version if waits and (ours or not new.paused) else "",
        adopted=old.version if _is_adoption(old, new) else carried.adopted,
        break_glass_by=_broken_by(write) if _breaks_glass(write, old) else carried.break_glass_by,
        failed=new.failed if _is_operators_update(write) else carried.failed,
    )


def _approved(write: Write, old: State) -> str:
    new = write.new
    # Only a change is an approval: any other write of the operator (`failed`, say) must find `_base` like everyone's.
    if _is_operators_update(write) and new.approved not in ("", old.approved):
        return new.approved
    return new.version if _breaks_glass(write, old) else _base(old, new)


def _base(old: State, new: State) -> str:
    """The version that needs nobody's approval: what runs, else what was approved for the same migration.

    An approval belongs to its migration: a held Deployment that is pointed to another one starts from nothing.
    """
    if not old.paused:
        return old.version
    return old.approved if _same_migration(old, new) else ""


def _is_ours(state: State) -> bool:
    """Whether the pause is admission's.

    The new object is asked as well as the old one. That serves a reinvocation (which sees its own first result as
    `new`) and a Deployment re-created from an export made while it was held, whose pause was never anyone's wish:
    taken for its user's own it would outlive every migration. To forge it gains nothing: who may write `held` may
    as well un-pause.
    """
    return state.paused and state.held != ""


def _is_adoption(old: State, new: State) -> bool:
    """Whether `old` runs a version that this migration never approved: it ran before we were asked."""
    return not old.paused and old.version != "" and not (_same_migration(old, new) and old.approved == old.version)


def _breaks_glass(write: Write, old: State) -> bool:
    """A break-glass that counts.

    It must be added or changed, on what is held already, and leave the version: so a reason that stays behind in a
    manifest, in an export or in an old ReplicaSet's annotations never lets a later version through.
    """
    new = write.new
    return (
        _same_migration(old, new)
        and old.paused
        and old.held != ""
        and new.break_glass not in ("", old.break_glass)
        and new.version == old.version
        and write.user_may_approve
    )


def _broken_by(write: Write) -> str:
    return f"{write.username} {write.new.version}"


def _is_operators_update(write: Write) -> bool:
    return write.user_is_operator and write.operation == Operation.UPDATE


def _same_migration(old: State, new: State) -> bool:
    return old.migration is not None and old.migration == new.migration


def _opted_out(old: State, new: State) -> State:
    """The label is gone, and with it all that is ours. Our pause stays if it still holds something back.

    It stays even where the manifest has no `paused` (a replace): without the label nothing would hold the version,
    so only an explicit resume may start it.
    """
    paused = _leaves_held(old, new) or (new.paused and not _is_ours(old))
    return replace(new, paused=paused, approved="", held="", adopted="", break_glass_by="", failed="")


def _leaves_held(old: State, new: State) -> bool:
    """Whether the label goes while a version is held. With a rollback in the same write nothing is, any more."""
    return old.migration is not None and _is_ours(old) and new.migration is None and new.version != old.approved


def restored_on_status(old: State, new: State) -> State:
    """The mutating policy on deployments/status, whoever writes: it could change annotations, and ours stay.

    `new` is the object as stored; the API server itself keeps labels and spec out of a status write.
    """
    if old.migration is None:
        return new
    return replace(new, **{field: getattr(old, field) for field in ANNOTATIONS})


# The net --------------------------------------------------------------------------------------------------------------


def net_denies(write: Write, final: State) -> str | None:
    """Why the validating policy refuses `final`, or None. The text names the field, the value and the fix.

    After `mutated` it refuses two things: the label removed while held, without the verb; the operator approving
    anything but the object's version. The rest is for the day when the mutating policy is not in force.
    """
    old = write.old or NOTHING
    if final.migration is None:
        return None if write.user_may_approve or not _leaves_held(old, final) else _label_text(old)
    broken = _breaks_glass(replace(write, new=final), old)
    return (
        _denied_pause(final)
        or _denied_approval(write, old, final, broken)
        or _denied_held(final)
        or _denied_records(write, old, final, broken)
    )


def _denied_pause(final: State) -> str | None:
    if final.paused or (final.approved != "" and final.approved == final.version):
        return None
    return (
        f"spec.paused must be true: version '{final.version}' is not approved; leave spec.paused to schemahold and wait"
        f" for SchemaMigration '{final.migration}'"
    )


def _denied_approval(write: Write, old: State, final: State, broken: bool) -> str | None:
    operators = _is_operators_update(write)
    if final.approved in ("", _base(old, final)) or ((operators or broken) and final.approved == final.version):
        return None
    if operators:
        return (
            f"metadata.annotations['{names.APPROVED}'] must be the version '{final.version}', not '{final.approved}':"
            " read the Deployment again"
        )
    return _owned_text(names.APPROVED, final.approved)


def _denied_held(final: State) -> str | None:
    if final.held == "" or (final.paused and final.held == final.version):
        return None
    return _owned_text(names.HELD, final.held)


def _denied_records(write: Write, old: State, final: State, broken: bool) -> str | None:
    carried = old if _same_migration(old, final) else NOTHING
    if final.adopted not in ("", carried.adopted) and (old.paused or final.adopted != old.version):
        return _owned_text(names.ADOPTED, final.adopted)
    by = _broken_by(replace(write, new=final)) if broken else carried.break_glass_by
    if final.break_glass_by not in ("", by):
        return _owned_text(names.BREAK_GLASS_BY, final.break_glass_by)
    if final.failed not in ("", carried.failed) and not _is_operators_update(write):
        return _owned_text(names.FAILED, final.failed)
    return None


def _owned_text(annotation: str, value: str) -> str:
    return f"metadata.annotations['{annotation}'] must not be '{value}': schemahold alone writes it; leave it out"


def _label_text(old: State) -> str:
    back = f"roll back to version '{old.approved}' first, or " if old.approved else ""
    return (
        f"metadata.labels['{names.MIGRATION}'] must stay '{old.migration}' while version '{old.version}' is held: {back}"
        f"ask someone with the verb '{names.APPROVE_VERB}' on SchemaMigration '{old.migration}' to remove it"
    )


# What the user is told ------------------------------------------------------------------------------------------------


def warnings(write: Write, final: State) -> tuple[str, ...]:
    """What a write does to the rollout that its author may not expect. Needs no template: see `advice`."""
    old = write.old or NOTHING
    if final.migration is None:
        return _opting_out_texts(old, final, write.deployment)
    waits = final.approved != final.version
    told = []
    if final.held:
        told.append(
            f"version '{final.version}' is held until SchemaMigration '{final.migration}' has migrated to it"
            f" (kubectl get schemamigration {final.migration})"
        )
    if waits and not final.held:
        told.append(
            f"spec.paused was not set by schemahold: SchemaMigration '{final.migration}' will approve version"
            f" '{final.version}', but only you resume it: kubectl rollout resume deployment/{write.deployment}"
        )
    if waits and final.break_glass not in ("", old.break_glass):
        told.append(
            f"metadata.annotations['{names.BREAK_GLASS}'] had no effect: it counts when it is added or changed on a"
            " held Deployment, with the version left alone, by someone with the verb"
            f" '{names.APPROVE_VERB}' on SchemaMigration '{final.migration}'"
        )
    # A write cannot tell a reason given once more from one that nobody touched: whoever leaves it there is told as well.
    if final.held and final.held == old.held and final.break_glass and final.break_glass == old.break_glass:
        told.append(
            f"metadata.annotations['{names.BREAK_GLASS}'] is as before and lets nothing out: break-glass counts only when"
            f" its reason is new: give another one, with the verb '{names.APPROVE_VERB}' on SchemaMigration"
            f" '{final.migration}'"
        )
    return tuple(told)


def _opting_out_texts(old: State, final: State, deployment: str) -> tuple[str, ...]:
    if old.migration is None or final.version == _base(old, old):
        return ()
    if _leaves_held(old, final):
        told = f"spec.paused stays; to start it without: kubectl rollout resume deployment/{deployment}"
    else:
        told = "nothing holds it any more"
    return (
        f"metadata.labels['{names.MIGRATION}'] is gone before SchemaMigration '{old.migration}' has migrated to version"
        f" '{final.version}': {told}",
    )


def advice(old: Json | None, final: Json) -> tuple[str, ...]:
    """What in an opted-in Deployment will not work as its author expects. Both as the API serves them, as admitted."""
    migration = state_of(final).migration
    if migration is None:
        return ()
    template = _template(final)
    told = [
        *_label_advice(migration),
        *_version_advice(_template(old or {}), template),
        *_owner_advice(final),
    ]
    if _manifest_sets_paused(final):
        told.append("spec.paused is in the manifest: it fights the hold and pauses again after the release; leave it out")
    return tuple(told)


def _label_advice(migration: str) -> list[str]:
    if MIGRATION_NAME.fullmatch(migration):
        return []
    return [
        f"metadata.labels['{names.MIGRATION}'] must name a SchemaMigration, a DNS label of at most 46 characters, not"
        f" '{migration}': no version will be approved"
    ]


def _version_advice(old: Json, template: Json) -> list[str]:
    told = []
    before, after = versions.image(old), versions.image(template)
    declared = versions.declared(template)
    if declared and declared == versions.declared(old) and before != after:
        told.append(
            f"the image changed from '{before}' to '{after}' under the version '{declared}': it starts without a"
            f" migration; change spec.template.metadata.annotations['{names.VERSION_ANNOTATION}'] with the image"
        )
    if versions.is_mutable(template):
        told.append(
            f"the image '{after}' is the version and its tag does not change with the build; use another tag, or set"
            f" spec.template.metadata.annotations['{names.VERSION_ANNOTATION}']"
        )
    if versions.is_ambiguous(template):
        told.append(
            f"the version is the image of the first of several containers,"
            f" '{versions.container(template).get('name') or ''}'; name yours in"
            f" spec.template.metadata.annotations['{names.DEFAULT_CONTAINER}']"
        )
    return told


def _owner_advice(deployment: Json) -> list[str]:
    owners = (deployment.get("metadata") or {}).get("ownerReferences") or []
    controllers = [owner for owner in owners if owner.get("controller")]
    return [
        f"{controllers[0]['kind']} '{controllers[0]['name']}' owns this Deployment and may fight the hold; label a"
        " Deployment that you write yourself"
        for _ in controllers[:1]
    ]


def _manifest_sets_paused(deployment: Json) -> bool:
    """Whether `spec.paused` is in what was applied, with either value.

    The object does not show `paused: false`; client-side apply's annotation and server-side apply's ownership do.
    """
    metadata = deployment.get("metadata") or {}
    applied = (metadata.get("annotations") or {}).get(LAST_APPLIED) or ""
    owned = [
        entry.get("fieldsV1") or {} for entry in metadata.get("managedFields") or [] if entry.get("operation") == "Apply"
    ]
    return any(f'"paused":{value}' in applied for value in ("true", "false")) or any(
        "f:paused" in fields.get("f:spec", {}) for fields in owned
    )


# Deployments as the API serves them -----------------------------------------------------------------------------------


def state_of(deployment: Json) -> State:
    """What admission reads of a Deployment (apps/v1, JSON). Whatever is missing is absent."""
    metadata = deployment.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    return State(
        migration=(metadata.get("labels") or {}).get(names.MIGRATION),
        version=versions.version(_template(deployment)),
        paused=bool((deployment.get("spec") or {}).get("paused")),
        **{field: str(annotations.get(key) or "") for field, key in ANNOTATIONS.items()},
    )


def apply_state(deployment: Json, state: State) -> dict[str, Any]:
    """A copy of a Deployment with `state`'s annotations and `paused`; its label and template stay as they are."""
    copied: dict[str, Any] = copy.deepcopy(dict(deployment))
    metadata = copied.setdefault("metadata", {})
    kept = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in ANNOTATIONS.values()}
    ours = {key: getattr(state, field) for field, key in ANNOTATIONS.items() if getattr(state, field)}
    metadata["annotations"] = {**kept, **ours}
    spec = copied.setdefault("spec", {})
    spec.pop("paused", None)
    if state.paused:
        spec["paused"] = True
    return copied


def _template(deployment: Json) -> Json:
    template: Json = (deployment.get("spec") or {}).get("template") or {}
    return template
