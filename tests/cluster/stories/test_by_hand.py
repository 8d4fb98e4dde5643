"""Past the hold: who may, who may not, and what is written down about it."""

from __future__ import annotations

from tests.cluster.hold_support import APPROVER, EDITOR
from tests.cluster.stories.stage import LABEL, Stage, deployment, migration

FAILS = ("/no-shell", "fail", "3")
WORKS = ("/no-shell", "exit", "0")
WITHOUT_LABEL = {"metadata": {"labels": {LABEL: None}}}
RESUME = "kubectl rollout resume deployment/shop-api"


def test_break_glass_counts_only_with_the_verb_and_a_retry_makes_it_applied(here: Stage) -> None:
    here.grant()
    here.apply(deployment("v1"), migration("v1", FAILS), user=EDITOR)
    here.await_reason("MigrationFailed")

    code, said = here.annotate("deployment/shop-api", user=EDITOR, break_glass="I am in a hurry")
    assert code == 0, said
    assert "had no effect" in said
    assert "'approve' on SchemaMigration 'shop'" in said
    here.steadily("still held", lambda: here.is_held() and here.pod_versions() == set())
    assert here.annotation("break-glass-by") == ""
    assert here.annotation("approved") == ""

    code, said = here.annotate("deployment/shop-api", user=APPROVER, break_glass="migrated by hand, INC-7")
    assert code == 0, said
    here.await_rollout("v1")
    here.await_reason("ReleasedByHand")
    assert here.condition("Stalled")["reason"] == "ReleasedByHand"
    assert here.condition("Released")["status"] == "True"
    assert "schemahold.dev/retry-at" in here.message()
    assert here.annotation("break-glass-by") == f"{APPROVER.name} v1"
    assert here.annotation("break-glass") == "migrated by hand, INC-7"
    for which in ("shop-api", "shop"):
        [event] = here.until(f"an Event about {which}", lambda which=which: here.events("ReleasedByHand", which))
        assert event["type"] == "Warning"

    # Nothing starts by itself, not even a mended command.
    here.apply(migration("v1", WORKS), user=EDITOR)
    here.await_reason("ReleasedByHand")
    here.steadily("nothing starts by itself", lambda: len(here.jobs()) == 1)
    assert [row["state"] for row in here.ledger()] == ["failed"]

    code, said = here.annotate("schemamigration/shop", user=EDITOR, retry_at="now")
    assert code == 0, said
    here.until("it is applied", lambda: here.reason() == "Applied")
    assert here.condition("Ready")["status"] == "True"
    assert [(row["version"], row["state"]) for row in here.ledger()] == [("v1", "superseded"), ("v1", "succeeded")]


def test_the_label_of_a_held_deployment_goes_only_with_the_verb(here: Stage) -> None:
    here.grant()
    here.apply(deployment("v1"), migration("v1", FAILS), user=EDITOR)
    here.await_reason("MigrationFailed")

    code, said = here.change("deployment/shop-api", WITHOUT_LABEL, user=EDITOR)
    assert code != 0
    for words in (f"metadata.labels['{LABEL}']", "'v1' is held", "ask someone with the verb 'approve'", "'shop'"):
        assert words in said
    assert here.is_held()

    code, said = here.change("deployment/shop-api", WITHOUT_LABEL, user=APPROVER)
    assert code == 0, said
    assert RESUME in said
    found = here.get("deployment", "shop-api")
    assert found
    assert found["spec"]["paused"] is True
    assert LABEL not in found["metadata"].get("labels", {})
    here.steadily("the pause stays", lambda: here.pod_versions() == set())

    here.run(*RESUME.split()[1:], user=EDITOR)
    here.run("rollout", "status", "deployment/shop-api", "--timeout=55s")
    assert here.pod_versions() == {"v1"}


def test_the_refusal_names_the_rollback_where_there_is_one(here: Stage) -> None:
    here.grant()
    here.apply(deployment("v1"), migration("v1", WORKS), user=EDITOR)
    here.await_rollout("v1")
    here.apply(deployment("v2"), migration("v2", FAILS), user=EDITOR)
    here.await_reason("MigrationFailed")

    code, said = here.change("deployment/shop-api", WITHOUT_LABEL, user=EDITOR)
    assert code != 0
    assert "roll back to version 'v1' first" in said
    # As it says: after the rollback the label may go.
    here.apply(deployment("v1"), user=EDITOR)
    here.await_rollout("v1")
    code, said = here.change("deployment/shop-api", WITHOUT_LABEL, user=EDITOR)
    assert code == 0, said


def test_opting_out_while_nothing_is_held_is_everyones_right(here: Stage) -> None:
    here.grant()
    here.apply(deployment("v1"), migration("v1", WORKS), user=EDITOR)
    here.await_rollout("v1")
    here.await_reason("Applied")

    code, said = here.change("deployment/shop-api", WITHOUT_LABEL, user=EDITOR)
    assert code == 0, said
    assert "Warning" not in said
    here.await_reason("WaitingForDeployment")

    here.apply(deployment("v2", migration=None), user=EDITOR)
    here.run("rollout", "status", "deployment/shop-api", "--timeout=55s")
    here.until("only the new version is left", lambda: here.pod_versions() == {"v2"})
    assert [row["version"] for row in here.ledger()] == ["v1"]
