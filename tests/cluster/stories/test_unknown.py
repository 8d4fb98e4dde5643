"""An outcome that nobody can know: everything stops until a person who may answer has answered."""

from __future__ import annotations

from tests.cluster.hold_support import APPROVER, EDITOR
from tests.cluster.stories import runs
from tests.cluster.stories.stage import Stage, migration, shop


def test_says_what_is_known_and_refuses_every_version(here: Stage) -> None:
    row = runs.lose(here)
    assert here.condition("Ready")["status"] == "False"
    assert here.condition("Stalled")["status"] == "True"
    assert here.condition("Stalled")["reason"] == "OutcomeUnknown"
    outcome = here.status()["outcome"]
    assert (outcome["row"], outcome["version"], outcome["backends"]) == (row["id"], "v1", 0)
    assert outcome["lastBeat"][:19] == row["beat_at"][:19]
    assert "exitCode" not in outcome
    for word in (
        f"row {row['id']}",
        f"{row['id']} retry <reason>",
        f"{row['id']} applied <reason>",
        "schemahold.dev/answer",
    ):
        assert word in here.message()
    assert here.annotation("failed") == "v1"

    # Another version does not get around it, nor another command, nor a retry token, nor a lost status.
    here.apply(shop("v2"), migration("v2", runs.waiting(code=1)))
    here.annotate("schemamigration/shop", retry_at="now")
    here.await_reason("OutcomeUnknown")
    runs.nothing_starts(here, "v2")
    runs.replace_status(here, None)
    here.await_reason("OutcomeUnknown")
    assert here.status()["outcome"]["row"] == row["id"]
    assert here.status()["outcome"]["version"] == "v1", "the row's version, not the wanted one"
    runs.nothing_starts(here, "v2")
    assert runs.states(here) == ["unknown"]


def test_answered_retry(here: Stage) -> None:
    here.grant()
    row = runs.lose(here)
    answer = f"{row['id']} retry the table was empty, I looked"

    code, words = here.annotate("schemamigration/shop", EDITOR, answer=answer)
    assert code != 0, "answered without the verb approve"
    for word in (
        "metadata.annotations['schemahold.dev/answer']",
        answer,
        "'approve' on SchemaMigration 'shop'",
        "leave it out",
    ):
        assert word in words
    assert here.reason() == "OutcomeUnknown"

    code, words = here.annotate("schemamigration/shop", APPROVER, answer=answer)
    assert code == 0, words
    runs.begun(here, 2)
    runs.let_go(here)
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "start", "end"]
    first, second = here.ledger()
    assert (first["id"], first["state"], second["state"]) == (row["id"], "superseded", "succeeded")
    assert (first["answer"], first["answered_by"]) == ("retry", APPROVER.name)
    assert first["answered_reason"] == "the table was empty, I looked"
    assert first["answered_at"]
    assert (second["answer"], second["answered_by"]) == ("", "")
    assert _annotations(here)["schemahold.dev/answered-by"] == APPROVER.name
    assert "outcome" not in here.status()


def test_answered_applied(here: Stage) -> None:
    here.grant()
    row = runs.lose(here)
    code, words = here.annotate("schemamigration/shop", APPROVER, answer=f"{row['id']} applied all columns are there")
    assert code == 0, words
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start"], "it ran, although it was applied"
    [settled] = here.ledger()
    assert (settled["id"], settled["state"]) == (row["id"], "succeeded")
    assert (settled["answer"], settled["answered_by"]) == ("applied", APPROVER.name)
    assert settled["answered_reason"] == "all columns are there"
    assert _annotations(here)["schemahold.dev/answered-by"] == APPROVER.name
    assert "outcome" not in here.status()


def test_answers_that_answer_nothing(here: Stage) -> None:
    """What cannot be one is refused by the API server; what is for another row is explained in status."""
    row = runs.lose(here)
    for answer in (
        "yes",
        f"{row['id']}",
        f"{row['id']} retry",
        f"{row['id']} retry ",
        f"{row['id']} maybe so",
        "retry because",
        "abc retry because",
    ):
        code, words = here.annotate("schemamigration/shop", answer=answer)
        assert code != 0, f"'{answer}' was taken for an answer"
        for word in ("metadata.annotations['schemahold.dev/answer']", f"'{answer}'", "'<row id> retry <reason>'"):
            assert word in words
    jobs = len(here.jobs())
    wrong = f"{row['id'] + 1000} retry I mistook the row"
    code, words = here.annotate("schemamigration/shop", answer=wrong)
    assert code == 0, words
    here.until("status explains the wrong row", lambda: wrong in here.message())
    assert here.reason() == "OutcomeUnknown"
    assert f"row {row['id']}" in here.message()
    runs.nothing_starts(here)
    assert runs.states(here) == ["unknown"]
    assert len(here.jobs()) == jobs, "an attempt was made for an answer to another row"


def test_an_answer_is_for_one_run(here: Stage) -> None:
    """The run that was answered for ends unknown as well: the old answer is not used again."""
    first = runs.lose(here)
    answer = f"{first['id']} retry once more"
    here.annotate("schemamigration/shop", answer=answer)
    runs.kill(here, runs.begun(here, 2))
    here.until("the second row is unknown", lambda: runs.states(here) == ["superseded", "unknown"])
    second = here.ledger()[1]
    here.until("status asks about it", lambda: (here.status().get("outcome") or {}).get("row") == second["id"])
    here.await_reason("OutcomeUnknown")
    runs.nothing_starts(here)
    assert _annotations(here)["schemahold.dev/answer"] == answer
    here.annotate("schemamigration/shop", answer=f"{second['id']} applied it is there now")
    here.await_reason("Applied")
    here.await_rollout("v1")
    assert runs.said(here) == ["start", "start"]


def _annotations(here: Stage) -> dict[str, str]:
    found = here.get("schemamigration", "shop") or {}
    return dict(found["metadata"].get("annotations") or {})
