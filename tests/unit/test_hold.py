"""The hold, as stories: what is there, what is written by whom, what is stored."""

from dataclasses import replace
from typing import Any

import pytest

from schemahold.core import hold
from schemahold.core.hold import Operation, State, Write

RUNS_1 = State(migration="shop", version="1", approved="1")
HOLDS_2 = State(migration="shop", version="2", approved="1", paused=True, held="2")
RUNS_2 = State(migration="shop", version="2", approved="2")
OWN_PAUSE = State(migration="shop", version="1", approved="1", paused=True)
OWN_PAUSE_2 = replace(OWN_PAUSE, version="2")
NO_LABEL = State(version="1")
BARE_1 = State(migration="shop", version="1")
BARE_2 = State(migration="shop", version="2")
FIRST_HOLD = State(migration="shop", version="1", paused=True, held="1")

EDITOR = {"username": "eve"}
APPROVER = {"username": "ann", "user_may_approve": True}
OPERATOR = {"username": "system:serviceaccount:ops:schemahold", "user_is_operator": True}


def written(old: State | None, new: State, user: dict[str, Any] = EDITOR) -> hold.Outcome:
    operation = Operation.CREATE if old is None else Operation.UPDATE
    return hold.admit(Write(operation, old, new, deployment="shop-api", **user))


STORIES = {
    # What a manifest brings.
    "the first apply is held": (None, BARE_1, FIRST_HOLD),
    "a new version is held": (RUNS_1, BARE_2, HOLDS_2),
    "the same version again changes nothing": (RUNS_1, BARE_1, RUNS_1),
    "server-side apply keeps our annotations": (RUNS_1, replace(RUNS_1, version="2"), HOLDS_2),
    "another new version while held": (HOLDS_2, replace(HOLDS_2, version="3"), replace(HOLDS_2, version="3", held="3")),
    "apply again while held": (HOLDS_2, HOLDS_2, HOLDS_2),
    "replace with a bare manifest while held": (HOLDS_2, BARE_2, HOLDS_2),
    "replace with a bare manifest of what runs": (HOLDS_2, BARE_1, RUNS_1),
    "a rollback by apply while held": (HOLDS_2, replace(HOLDS_2, version="1"), RUNS_1),
    "a rollback with paused: true in the manifest": (HOLDS_2, replace(BARE_1, paused=True), RUNS_1),
    "a restart leaves the version, so it goes on": (RUNS_1, replace(RUNS_1), RUNS_1),
    "undo brings back the annotations of an old ReplicaSet": (
        replace(RUNS_2, adopted="1"),
        State(migration="shop", version="1", approved="1", adopted="0"),
        State(migration="shop", version="1", approved="2", paused=True, held="1", adopted="1"),
    ),
    "a digest mutator after us holds the digest": (
        None,
        replace(FIRST_HOLD, version="d"),
        replace(FIRST_HOLD, version="d", held="d"),
    ),
    "a digest mutator after us finds nothing new": (RUNS_1, replace(RUNS_1, paused=True, held="tag"), RUNS_1),
    # Pauses.
    "resume while held": (HOLDS_2, replace(HOLDS_2, paused=False), HOLDS_2),
    "the mark removed while held": (HOLDS_2, replace(HOLDS_2, held=""), HOLDS_2),
    "mark and pause removed while held": (HOLDS_2, replace(HOLDS_2, held="", paused=False), HOLDS_2),
    "one's own pause": (RUNS_1, OWN_PAUSE, OWN_PAUSE),
    "a new version under one's own pause": (OWN_PAUSE, OWN_PAUSE_2, OWN_PAUSE_2),
    "a new version that comes with one's own pause": (RUNS_1, OWN_PAUSE_2, OWN_PAUSE_2),
    "resuming one's own pause": (OWN_PAUSE, RUNS_1, RUNS_1),
    "resuming one's own pause before the approval": (OWN_PAUSE_2, replace(OWN_PAUSE_2, paused=False), HOLDS_2),
    "created paused by its user": (None, replace(BARE_1, paused=True), replace(BARE_1, paused=True)),
    # Exports.
    "re-created from an export of what ran": (None, replace(RUNS_2, adopted="1"), replace(BARE_2, paused=True, held="2")),
    "re-created from an export made while held": (None, HOLDS_2, replace(BARE_2, paused=True, held="2")),
    "re-created with everything stale": (
        None,
        replace(HOLDS_2, version="3", adopted="1", failed="2", break_glass="x", break_glass_by="ann 2"),
        State(migration="shop", version="3", paused=True, held="3", break_glass="x"),
    ),
    "an export made while held, applied after the release": (RUNS_2, HOLDS_2, RUNS_2),
    # Forgeries.
    "approved by hand": (HOLDS_2, replace(HOLDS_2, approved="2"), HOLDS_2),
    "approved and resumed by hand": (HOLDS_2, replace(HOLDS_2, approved="2", paused=False, held=""), HOLDS_2),
    "approved by hand with the version": (RUNS_1, replace(RUNS_1, version="2", approved="2"), HOLDS_2),
    "the approval removed by hand": (RUNS_1, BARE_1, RUNS_1),
    "adopted by hand": (RUNS_1, replace(RUNS_1, adopted="7"), RUNS_1),
    "failed by hand": (HOLDS_2, replace(HOLDS_2, failed="2"), HOLDS_2),
    "failed removed by hand": (replace(HOLDS_2, failed="2"), HOLDS_2, replace(HOLDS_2, failed="2")),
    "held by hand on what runs": (RUNS_1, replace(RUNS_1, held="1"), RUNS_1),
    # Opting in and out.
    "the label on what runs adopts it": (NO_LABEL, BARE_1, replace(RUNS_1, adopted="1")),
    "the label with a new version": (NO_LABEL, BARE_2, replace(HOLDS_2, adopted="1")),
    "the label with forged marks": (
        NO_LABEL,
        replace(BARE_2, approved="2", adopted="2", failed="1"),
        replace(HOLDS_2, adopted="1"),
    ),
    "the label on one's own pause": (
        replace(NO_LABEL, paused=True),
        replace(BARE_1, paused=True),
        replace(BARE_1, paused=True),
    ),
    "the label off what runs": (replace(RUNS_1, adopted="1"), replace(RUNS_1, migration=None, adopted="1"), NO_LABEL),
    "the label off together with a rollback": (HOLDS_2, State(version="1", paused=True, held="2"), NO_LABEL),
    "the label off one's own pause": (OWN_PAUSE, replace(OWN_PAUSE, migration=None), replace(NO_LABEL, paused=True)),
    "what ran in a gap of the policies is adopted": (BARE_1, BARE_1, replace(RUNS_1, adopted="1")),
    # Another migration.
    "another label on what runs adopts it": (
        RUNS_1,
        replace(RUNS_1, migration="m"),
        replace(RUNS_1, migration="m", adopted="1"),
    ),
    "another label while held": (
        replace(HOLDS_2, adopted="1", failed="2"),
        replace(HOLDS_2, migration="m", adopted="1", failed="2"),
        State(migration="m", version="2", paused=True, held="2"),
    ),
    "another label while held does not let a rollback through": (
        HOLDS_2,
        replace(HOLDS_2, migration="m", version="1"),
        State(migration="m", version="1", paused=True, held="1"),
    ),
    "an empty label is a label": (
        None,
        State(migration="", version="1"),
        State(migration="", version="1", paused=True, held="1"),
    ),
    "no label is none of ours": (NO_LABEL, State(version="2", approved="x"), State(version="2", approved="x")),
}


@pytest.mark.parametrize(("old", "new", "stored"), STORIES.values(), ids=STORIES.keys())
@pytest.mark.parametrize("user", [EDITOR, APPROVER], ids=["editor", "approver"])
def test_story(old: State | None, new: State, stored: State, user: dict[str, Any]) -> None:
    outcome = written(old, new, user)
    assert (outcome.state, outcome.denied) == (stored, None)


RELEASE_2 = replace(RUNS_2, held="")
OPERATOR_STORIES = {
    "the release": (HOLDS_2, RELEASE_2, RUNS_2),
    "the approval alone releases as well": (HOLDS_2, replace(HOLDS_2, approved="2"), RUNS_2),
    "under one's own pause it approves only": (
        OWN_PAUSE_2,
        replace(OWN_PAUSE_2, approved="2"),
        replace(OWN_PAUSE_2, approved="2"),
    ),
    "it reports a failure": (HOLDS_2, replace(HOLDS_2, failed="2"), replace(HOLDS_2, failed="2")),
    "it takes the failure back": (replace(HOLDS_2, failed="1"), HOLDS_2, HOLDS_2),
    "it reports on what is not yet adopted": (BARE_1, replace(BARE_1, failed="0"), replace(RUNS_1, adopted="1", failed="0")),
    "it cannot revoke": (RUNS_1, BARE_1, RUNS_1),
    "its resume without an approval is none": (HOLDS_2, replace(HOLDS_2, paused=False, held=""), HOLDS_2),
    "its probe comes back paused": (None, BARE_1, FIRST_HOLD),
    "its create with an approval is held like any": (None, replace(RUNS_1, failed="1"), FIRST_HOLD),
}


@pytest.mark.parametrize(("old", "new", "stored"), OPERATOR_STORIES.values(), ids=OPERATOR_STORIES.keys())
def test_operator(old: State | None, new: State, stored: State) -> None:
    outcome = written(old, new, OPERATOR)
    assert (outcome.state, outcome.denied, outcome.warnings) == (stored, None, ())


def test_the_operator_approves_what_it_did_not_read() -> None:
    """The template changed between its read and its write; the patch's own `test held` would have told it."""
    denied = written(replace(HOLDS_2, version="3", held="3"), State(migration="shop", version="3", approved="2"), OPERATOR)
    assert denied.denied == (
        "metadata.annotations['schemahold.dev/approved'] must be the version '3', not '2': read the Deployment again"
    )


# Break-glass ----------------------------------------------------------------------------------------------------------


def test_break_glass_lets_the_held_version_go() -> None:
    outcome = written(HOLDS_2, replace(HOLDS_2, break_glass="fire"), APPROVER)
    assert outcome.state == replace(RUNS_2, break_glass="fire", break_glass_by="ann 2")
    assert outcome.warnings == ()


GLASS = replace(HOLDS_2, break_glass="fire")
UNBROKEN = {
    "without the verb": (HOLDS_2, GLASS, EDITOR),
    "the reason was there": (GLASS, replace(GLASS, paused=False), APPROVER),
    "the reason is taken away": (GLASS, HOLDS_2, APPROVER),
    "the version changes with it": (HOLDS_2, replace(GLASS, version="3"), APPROVER),
    "the label changes with it": (HOLDS_2, replace(GLASS, migration="m"), APPROVER),
    "nothing is held, a new version comes": (RUNS_1, replace(RUNS_1, version="2", break_glass="fire"), APPROVER),
    "the pause is one's own": (OWN_PAUSE_2, replace(OWN_PAUSE_2, break_glass="fire"), APPROVER),
    "on create": (None, replace(BARE_2, break_glass="fire"), APPROVER),
}


@pytest.mark.parametrize(("old", "new", "user"), UNBROKEN.values(), ids=UNBROKEN.keys())
def test_break_glass_does_not_count(old: State | None, new: State, user: dict[str, Any]) -> None:
    outcome = written(old, new, user)
    assert outcome.state.paused
    assert outcome.state.approved in ("", "1")
    assert outcome.state.break_glass_by == ""
    anew = new.break_glass not in ("", old.break_glass if old else "")
    assert any("had no effect" in text for text in outcome.warnings) is anew


REPEATED = {
    "given once more": (GLASS, GLASS, APPROVER, True),
    "given once more, without the verb": (GLASS, GLASS, EDITOR, True),
    "left there by another write": (GLASS, replace(GLASS, paused=False, held=""), APPROVER, True),
    "given again for a later version": (replace(GLASS, version="3", held="3"), replace(GLASS, version="3"), APPROVER, True),
    "brought along by a later version": (GLASS, replace(GLASS, version="3"), APPROVER, False),
    "another reason": (GLASS, replace(GLASS, break_glass="flood"), APPROVER, False),
    "taken away": (GLASS, HOLDS_2, APPROVER, False),
    "a rollback": (GLASS, replace(GLASS, version="1"), APPROVER, False),
    "nothing is held": (replace(RUNS_2, break_glass="fire"), replace(RUNS_2, break_glass="fire"), APPROVER, False),
    "no reason": (HOLDS_2, HOLDS_2, APPROVER, False),
}


@pytest.mark.parametrize(("old", "new", "user", "told"), REPEATED.values(), ids=REPEATED.keys())
def test_told_that_only_a_new_reason_breaks_the_glass(old: State, new: State, user: dict[str, Any], told: bool) -> None:
    text = (
        "metadata.annotations['schemahold.dev/break-glass'] is as before and lets nothing out: break-glass counts only when"
        " its reason is new: give another one, with the verb 'approve' on SchemaMigration 'shop'"
    )
    assert (text in written(old, new, user).warnings) is told


def test_who_broke_the_glass_stays_on_record() -> None:
    broken = written(HOLDS_2, GLASS, APPROVER).state
    forged = replace(broken, break_glass_by="someone else 2")
    assert written(broken, forged).state == broken
    later = written(broken, replace(broken, version="3")).state
    assert (later.paused, later.approved, later.break_glass_by) == (True, "2", "ann 2")


# The net --------------------------------------------------------------------------------------------------------------


def test_the_label_off_while_held() -> None:
    outcome = written(HOLDS_2, replace(HOLDS_2, migration=None))
    assert outcome.denied == (
        "metadata.labels['schemahold.dev/migration'] must stay 'shop' while version '2' is held: roll back to version"
        " '1' first, or ask someone with the verb 'approve' on SchemaMigration 'shop' to remove it"
    )
    assert outcome.warnings == (), "what is refused has no consequences to tell of"
    first = written(FIRST_HOLD, replace(FIRST_HOLD, migration=None)).denied
    assert first is not None and "roll back" not in first, "there is nothing to roll back to"


@pytest.mark.parametrize("paused", [True, False], ids=["kept by apply", "dropped by replace"])
def test_the_label_off_while_held_with_the_verb(paused: bool) -> None:
    outcome = written(HOLDS_2, State(version="2", paused=paused), APPROVER)
    assert (outcome.denied, outcome.state) == (None, State(version="2", paused=True))
    assert outcome.warnings == (
        "metadata.labels['schemahold.dev/migration'] is gone before SchemaMigration 'shop' has migrated to version '2':"
        " spec.paused stays; to start it without: kubectl rollout resume deployment/shop-api",
    )


NET = {
    "unpaused": (RUNS_1, replace(RUNS_1, version="2"), EDITOR, "spec.paused must be true: version '2' is not approved"),
    "unpaused, nothing approved": (None, BARE_1, EDITOR, "spec.paused must be true"),
    "approved": (HOLDS_2, RUNS_2, EDITOR, "['schemahold.dev/approved'] must not be '2'"),
    "approved with the verb, no reason": (HOLDS_2, RUNS_2, APPROVER, "['schemahold.dev/approved'] must not be '2'"),
    "approved on create, by the operator": (None, RUNS_1, OPERATOR, "['schemahold.dev/approved'] must not be '1'"),
    "held is not the version": (RUNS_1, replace(HOLDS_2, held="1"), EDITOR, "['schemahold.dev/held'] must not be '1'"),
    "held without a pause": (RUNS_1, replace(RUNS_1, held="1"), EDITOR, "['schemahold.dev/held'] must not be '1'"),
    "adopted": (HOLDS_2, replace(HOLDS_2, adopted="1"), EDITOR, "['schemahold.dev/adopted'] must not be '1'"),
    "adopted, not what ran": (NO_LABEL, replace(RUNS_1, adopted="0"), EDITOR, "['schemahold.dev/adopted'] must not"),
    "failed": (HOLDS_2, replace(HOLDS_2, failed="2"), EDITOR, "['schemahold.dev/failed'] must not be '2'"),
    "break-glass-by": (HOLDS_2, replace(HOLDS_2, break_glass_by="x 2"), APPROVER, "['schemahold.dev/break-glass-by']"),
}


@pytest.mark.parametrize(("old", "final", "user", "text"), NET.values(), ids=NET.keys())
def test_the_net_without_the_mutator(old: State | None, final: State, user: dict[str, Any], text: str) -> None:
    write = Write(Operation.CREATE if old is None else Operation.UPDATE, old, final, **user)
    denied = hold.net_denies(write, final)
    assert denied is not None and text in denied
    assert hold.net_denies(write, hold.mutated(write)) is None


# What the user is told ------------------------------------------------------------------------------------------------


def test_told_that_it_is_held() -> None:
    assert written(RUNS_1, BARE_2).warnings == (
        "version '2' is held until SchemaMigration 'shop' has migrated to it (kubectl get schemamigration shop)",
    )
    assert written(RUNS_1, BARE_1).warnings == ()


def test_told_of_one_s_own_pause() -> None:
    assert written(OWN_PAUSE, OWN_PAUSE_2).warnings == (
        "spec.paused was not set by schemahold: SchemaMigration 'shop' will approve version '2', but only you resume it:"
        " kubectl rollout resume deployment/shop-api",
    )
    assert written(RUNS_1, OWN_PAUSE).warnings == (), "what is approved is nobody's business"


def test_told_that_a_version_starts_without_its_migration() -> None:
    assert written(RUNS_1, State(version="2")).warnings == (
        "metadata.labels['schemahold.dev/migration'] is gone before SchemaMigration 'shop' has migrated to version '2':"
        " nothing holds it any more",
    )
    assert written(RUNS_1, State(version="1")).warnings == ()
    assert written(HOLDS_2, State(version="1", paused=True)).warnings == ()


def deployment(**changes: Any) -> dict[str, Any]:
    """A Deployment that nobody has anything to say about."""
    metadata = {"name": "shop-api", "labels": {"schemahold.dev/migration": "shop"}, **changes.get("metadata", {})}
    containers = changes.get("containers", [{"name": "app", "image": "shop:1"}])
    template = {"metadata": {"annotations": changes.get("template", {})}, "spec": {"containers": containers}}
    return {"metadata": metadata, "spec": {"template": template}}


DECLARED = {"schemahold.dev/version": "1"}
TWO = [{"name": "proxy", "image": "envoy:1"}, {"name": "app", "image": "shop:1"}]
LABELLED = {"schemahold.dev/migration": "Shop_1"}
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SSA = {"operation": "Apply", "manager": "flux", "fieldsV1": {"f:spec": {"f:paused": {}}}}
ADVICE = {
    "nothing": (deployment(), deployment(), None),
    "a label that names nothing": (None, deployment(metadata={"labels": LABELLED}), "not 'Shop_1'"),
    "a label of 47 characters": (
        None,
        deployment(metadata={"labels": {"schemahold.dev/migration": "a" * 47}}),
        "at most 46",
    ),
    "an empty label": (None, deployment(metadata={"labels": {"schemahold.dev/migration": ""}}), "not ''"),
    "a new image under the same version": (
        deployment(template=DECLARED),
        deployment(template=DECLARED, containers=[{"name": "app", "image": "shop:2"}]),
        "the image changed from 'shop:1' to 'shop:2' under the version '1'",
    ),
    "a mutable tag": (
        None,
        deployment(containers=[{"name": "app", "image": "shop:latest"}]),
        "'shop:latest' is the version",
    ),
    "a mutable tag, version declared": (
        None,
        deployment(template=DECLARED, containers=[{"name": "app", "image": "shop"}]),
        None,
    ),
    "several containers": (None, deployment(containers=TWO), "the first of several containers, 'proxy'"),
    "owned": (
        None,
        deployment(
            metadata={
                "labels": {"schemahold.dev/migration": "shop"},
                "ownerReferences": [{"kind": "Knative", "name": "x", "controller": True}],
            }
        ),
        "Knative 'x' owns this Deployment",
    ),
    "owned, not controlled": (
        None,
        deployment(metadata={"ownerReferences": [{"kind": "App", "name": "x"}]}),
        None,
    ),
    "paused: false, client-side apply": (
        None,
        deployment(metadata={"annotations": {APPLIED: '{"spec":{"paused":false}}'}}),
        "spec.paused is in the manifest",
    ),
    "paused: true, server-side apply": (
        None,
        deployment(metadata={"managedFields": [SSA]}),
        "spec.paused is in the manifest",
    ),
    "paused by kubectl rollout pause": (
        None,
        deployment(metadata={"managedFields": [{**SSA, "operation": "Update"}]}),
        None,
    ),
    "a label called paused": (None, deployment(metadata={"annotations": {APPLIED: '{"labels":{"paused":"true"}}'}}), None),
    "not opted in": (None, deployment(metadata={"labels": {}}, containers=TWO), None),
}


@pytest.mark.parametrize(("old", "final", "text"), ADVICE.values(), ids=ADVICE.keys())
def test_advice(old: dict[str, Any] | None, final: dict[str, Any], text: str | None) -> None:
    told = hold.advice(old, final)
    assert len(told) == (text is not None), told
    assert text is None or text in told[0]


# Deployments as the API serves them -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [{}, {"metadata": None, "spec": None}, {"metadata": {"annotations": None, "labels": None}}]
)
def test_whatever_is_missing_is_absent(given: dict[str, Any]) -> None:
    assert hold.state_of(given) == State()


def test_empty_is_absent() -> None:
    annotations = dict.fromkeys(hold.ANNOTATIONS.values(), "")
    assert hold.state_of({"metadata": {"annotations": annotations}}) == State()


@pytest.mark.parametrize("state", [RUNS_1, HOLDS_2, OWN_PAUSE_2, BARE_1, replace(HOLDS_2, failed="2", break_glass_by="x 1")])
def test_a_state_goes_into_a_deployment_and_comes_out(state: State) -> None:
    given = deployment(
        template={"schemahold.dev/version": state.version},
        metadata={
            "labels": {"schemahold.dev/migration": "shop"},
            "annotations": {"mine": "x", "schemahold.dev/adopted": "stale"},
        },
    )
    applied = hold.apply_state(given, state)
    assert hold.state_of(applied) == state
    assert applied["metadata"]["annotations"]["mine"] == "x"
    assert given["metadata"]["annotations"]["schemahold.dev/adopted"] == "stale", "the argument is left alone"
