"""Whether another attempt may follow: every reason an attempt can end with, against everything that can be asked next."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from schemahold.api import models, names
from schemahold.api import pod as protocol
from schemahold.api.pod import Reason
from schemahold.core import attempts, observed
from schemahold.core.attempts import Plea, Progress, Start, Stop, Wait, following
from schemahold.core.verdicts import Stage
from tests.unit import make
from tests.unit.make import NOW, ago, attempt, in_

PLEA = Plea(
    target="v2",
    inputs=make.INPUTS,
    database=make.DATABASE,
    token="t1",
    answer="",
    retries=3,
    backoff_initial=10,
    backoff_max=300,
)
OUTCOME = models.Outcome(row=7, version="v2")

# How an attempt can end, by what may follow when nothing has changed since.
SUCCESSES = ("Applied", "AlreadyApplied")
GOES_ON = ("Applied", "AlreadyApplied", "Replaced")
WAITS_FOR_A_CHANGE = ("MigrationFailed", "ContractFailed", "AlreadyFailed", "InputsChanged", *sorted(attempts.REFUSALS))
BEFORE_THE_START = (
    "LockTimeout", "DatabaseUnreachable", "DatabaseUrlInvalid", "DatabaseStandby", "DatabaseTooOld", "PoolerRefused",
    "LedgerForbidden", "StartTimeout", "RunnerError", "JobRefused", "SourceChanged",
)  # fmt: skip
NOBODYS_FAULT = ("NoVerdict", "Withdrawn")  # followed by another after a pause, as often as it takes
EVERY_REASON = (*GOES_ON, *WAITS_FOR_A_CHANGE, *BEFORE_THE_START, *NOBODYS_FAULT, "OutcomeUnknown", "LedgerLost")


def last(reason: str, **more: Any) -> models.Attempt:
    tries = 1 if reason in BEFORE_THE_START else 0
    return attempt(reason, **{"token": "t1", "tries": tries, "row": 7, **more})


def plea(**more: Any) -> Plea:
    return dataclasses.replace(PLEA, **more)


def follows(one: models.Attempt | None, asked: Plea = PLEA, *, after: float = 0, outcome: Any = None) -> Start | Wait | Stop:
    return following(one, outcome, asked, in_(after))


def test_every_reason_has_a_row_here() -> None:
    ends = {one.value for one in Reason} - {"AlreadyStarted", "Succeeded", "Failed", "Unknown"}
    ours = {"Applied", "MigrationFailed", "ContractFailed", "InputsChanged", "Replaced", "NoVerdict", "JobRefused"}
    assert set(EVERY_REASON) == ends | ours


def test_the_first_attempt() -> None:
    assert follows(None) == Start()


@pytest.mark.parametrize("reason", EVERY_REASON)
def test_nothing_has_changed(reason: str) -> None:
    now, later = follows(last(reason)), follows(last(reason), after=3600)
    if reason in GOES_ON:
        assert now == later == Start()
    elif reason in BEFORE_THE_START:
        assert isinstance(now, Wait) and now.reason == reason and f"{reason} it was." in now.message
        assert later == Start(tries=1)
    elif reason in NOBODYS_FAULT:
        assert isinstance(now, Wait)
        assert later == Start()
    else:
        assert isinstance(now, Stop) and now == later and now.reason == reason


# How a cause may end, and how it must before another sentence.
ENDS = {
    "host 'db' is not known": "host 'db' is not known. ",
    "host 'db' is not known.\n": "host 'db' is not known. ",
    "is it up?": "is it up? ",
    "cut here…": "cut here… ",
    "": "",
    "x" * models.TEXT_LENGTH: "x. ",
}
SUFFIXES = {
    "another follows": ({"reason": "DatabaseUnreachable"}, "The next attempt follows within 10 s."),
    "retries are used up": (
        {"reason": "DatabaseUnreachable", "tries": 4},
        "Tried 4 times (`spec.retries`: 3). To try again",
    ),
    "a refusal": ({"reason": "SourceInvalid"}, "To try again set the annotation"),
    "another ledger": ({"reason": "LedgerLost"}, "To try again set the annotation"),
    "nobody knows": ({"reason": "OutcomeUnknown"}, "Look at the database"),
}


@pytest.mark.parametrize(("ended", "suffix"), SUFFIXES.values(), ids=SUFFIXES.keys())
@pytest.mark.parametrize(("cause", "ends"), ENDS.items())
def test_what_to_do_is_a_sentence_of_its_own(cause: str, ends: str, ended: dict[str, Any], suffix: str) -> None:
    more = {**ended}
    verdict = follows(last(more.pop("reason"), message=cause, **more))
    assert isinstance(verdict, Wait | Stop)
    before, found, _ = verdict.message.partition(suffix)
    assert found and len(verdict.message) <= models.TEXT_LENGTH
    assert before.endswith(ends) and (before == "") == (ends == "")


@pytest.mark.parametrize("reason", EVERY_REASON)
def test_a_new_token(reason: str) -> None:
    verdict = follows(last(reason, tries=9), plea(token="t2"))
    if reason == "OutcomeUnknown":
        assert isinstance(verdict, Stop), "a token is no answer"
    elif reason == "LedgerLost":
        assert verdict == Start(any_ledger=True)
    else:
        assert verdict == Start(accepts=True), "and the tries count anew"


@pytest.mark.parametrize("reason", EVERY_REASON)
def test_a_token_taken_away_is_no_new_one(reason: str) -> None:
    assert type(follows(last(reason), plea(token=""))) is type(follows(last(reason)))


@pytest.mark.parametrize("reason", EVERY_REASON)
def test_another_version(reason: str) -> None:
    verdict = follows(last(reason, tries=9), plea(target="v3"))
    if reason in ("OutcomeUnknown", "LedgerLost"):
        assert isinstance(verdict, Stop) and verdict.reason == reason
    else:
        assert verdict == Start()


@pytest.mark.parametrize("reason", EVERY_REASON)
@pytest.mark.parametrize("released", [False, True])
def test_other_inputs(reason: str, released: bool) -> None:
    verdict = follows(last(reason, tries=9, released=released), plea(inputs="other"))
    if reason in ("OutcomeUnknown", "LedgerLost"):
        assert isinstance(verdict, Stop) and verdict.reason == reason
    elif reason in SUCCESSES and not released:
        assert isinstance(verdict, Stop) and verdict.reason == "InputsChanged"
        for word in ("'v2'", "`spec.run`", "`spec.version`", names.RETRY_AT):
            assert word in verdict.message
    else:
        assert verdict == Start()


@pytest.mark.parametrize("reason", EVERY_REASON)
def test_another_database(reason: str) -> None:
    """Another ledger: nothing that was said about the last one counts."""
    verdict = follows(last(reason, tries=9), plea(database="other", inputs="other", answer="7 retry x"), outcome=OUTCOME)
    assert verdict == Start()


# Answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "asked_before", "outcome"),
    [
        ("7 retry the table was empty", "", None),
        ("7 applied I looked", "", OUTCOME),
        ("  7 retry blanks", "", None),
        ("7 retry a second answer", "7 retry the first one", None),
    ],
)
def test_an_answer_starts_the_attempt_that_carries_it(text: str, asked_before: str, outcome: Any) -> None:
    one = last("OutcomeUnknown", answer=asked_before)
    assert follows(one, plea(answer=text), outcome=outcome) == Start(answer=text)


def test_an_answer_counts_for_the_outcome_when_the_attempt_has_no_row() -> None:
    one = last("OutcomeUnknown", row=None)
    assert follows(one, plea(answer="7 retry x"), outcome=OUTCOME) == Start(answer="7 retry x")
    # Status was lost, and nobody has named the row since: the gate knows whether it is the right one.
    assert follows(one, plea(answer="7 retry x")) == Start(answer="7 retry x")


@pytest.mark.parametrize(
    ("text", "asked_before", "says"),
    [
        ("", "", ()),
        ("6 retry x", "", ("'6 retry x'", "row 6", '"7 retry <reason>"')),
        ("retry", "", ("'retry'", names.ANSWER, '"7 retry <reason>"')),
        ("7 maybe", "", ("'7 maybe'", '"7 applied <reason>"')),
        ("None retry", "", ("'None retry'",)),
        ("7 retry x", "7 retry x", ("'7 retry x'", "did not settle it")),
    ],
)
def test_what_is_no_answer(text: str, asked_before: str, says: tuple[str, ...]) -> None:
    verdict = follows(last("OutcomeUnknown", answer=asked_before), plea(answer=text), outcome=OUTCOME)
    assert isinstance(verdict, Stop) and verdict.reason == "OutcomeUnknown"
    for word in (*says, "OutcomeUnknown it was.", names.ANSWER, "7 retry <reason>"):
        assert word in verdict.message


@pytest.mark.parametrize("reason", ["LockTimeout", "NoVerdict", "Replaced", "Withdrawn"])
def test_an_answer_that_never_got_to_the_ledger_is_carried_again(reason: str) -> None:
    answered = plea(answer="7 retry x")
    one = last(reason, answer="7 retry x")
    verdict = follows(one, answered, after=60, outcome=OUTCOME)
    assert isinstance(verdict, Start) and verdict.answer == "7 retry x"
    verdict = follows(one, answered, after=60, outcome=None)
    assert isinstance(verdict, Start) and verdict.answer == "", "settled in between"
    verdict = follows(one, dataclasses.replace(answered, database="other"), after=60, outcome=OUTCOME)
    assert isinstance(verdict, Start) and verdict.answer == "", "row 7 of another database is another row"


def test_a_long_answer_and_a_long_token_are_compared_by_what_status_holds() -> None:
    """Else the attempt could not be written, or would look like one that was not asked."""
    text = "7 retry " + "because " * 500
    shop = make.migration(
        settle="0s", annotations={**make.answer(text), **make.token("t" * 5000)}, status=make.status(last("OutcomeUnknown"))
    )
    found = make.look(shop, make.deployment())
    assert make.starts(found) is not None
    asked = make.status_of(make.decided(found), found).attempt
    assert asked is not None and (len(asked.answer), len(asked.token)) == (1024, 1024)
    seen = observed.Migration.of(shop)
    assert (seen.answer, seen.token) == (asked.answer, asked.token)


# Retries --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tries, delay", [(0, 10), (1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (99, 300), (10**6, 300)]
)
def test_the_pause_doubles_up_to_five_minutes(tries: int, delay: int) -> None:
    one = last("LockTimeout", tries=tries, finished_at=ago(0))
    asked = plea(retries=10**7)
    waits = follows(one, asked)
    assert isinstance(waits, Wait) and waits.seconds == delay and f"within {delay} s" in waits.message
    assert isinstance(follows(one, asked, after=delay - 1), Wait)
    assert follows(one, asked, after=delay) == Start(tries=tries)
    assert follows(one, asked, after=-3600) == waits, "a clock set back does not make it wait for an hour"


@pytest.mark.parametrize("reason", BEFORE_THE_START)
def test_retries_run_out(reason: str) -> None:
    assert isinstance(follows(last(reason, tries=3), after=600), Start)
    verdict = follows(last(reason, tries=4), after=600)
    assert isinstance(verdict, Stop) and verdict.reason == reason
    for word in (f"{reason} it was.", "Tried 4 times", "`spec.retries`: 3", names.RETRY_AT):
        assert word in verdict.message


def test_more_retries_go_on() -> None:
    assert isinstance(follows(last("LockTimeout", tries=4), plea(retries=4), after=600), Start)


@pytest.mark.parametrize("reason", [*NOBODYS_FAULT, "Replaced", "Applied"])
def test_what_is_no_failure_uses_up_no_try(reason: str) -> None:
    assert not attempts.counts(reason)
    assert isinstance(follows(last(reason, tries=99), after=600), Start)


def test_what_a_person_accepted_stands_until_the_ledger_has_heard_it() -> None:
    one = last("LockTimeout", accepts=True, any_ledger=True)
    assert follows(one, after=600) == Start(tries=1, accepts=True, any_ledger=True)
    assert follows(one, plea(inputs="other"), after=600) == Start()


def test_a_failures_message_has_the_way_out_and_the_end_of_the_log() -> None:
    log = "".join(f"line {number}\n" for number in range(150))[-1024:]
    one = last("MigrationFailed", exit_code=3, message=log)
    verdict = follows(one)
    assert isinstance(verdict, Stop) and len(verdict.message) <= 1024
    for word in ("'v2'", "exit code 3", "kubectl logs job/shop-1", "`spec.version`", names.RETRY_AT, "line 149"):
        assert word in verdict.message


@pytest.mark.parametrize("reason", [one for one in EVERY_REASON if one not in GOES_ON])
def test_every_stop_names_the_way_out_however_long_its_cause(reason: str) -> None:
    verdict = follows(last(reason, tries=9, message="x" * 1024))
    if isinstance(verdict, Stop):
        way_out = reason == "Incompatible"  # the gate's own message names it
        assert way_out or names.RETRY_AT in verdict.message[:1024] or names.ANSWER in verdict.message
    else:
        assert reason in NOBODYS_FAULT and "next attempt" in verdict.message[:1024]  # type: ignore[union-attr]


# How an attempt ends --------------------------------------------------------------------------------------------------


def end(pod: make.Json | None, *, status: models.Attempt | None = None, job: Any = "there", age: float = 20) -> Progress:
    jobs = [make.job(age=age, finished=job == "finished")] if job else []
    found = make.look(
        make.migration(status=make.status(status or attempt())), make.deployment(), jobs=jobs, pods=[pod] if pod else []
    )
    return attempts.progress(found, 60, NOW)


ENDS = [
    (make.pod_succeeded(), "Applied"),
    (make.pod_succeeded(row=4), "Applied"),
    (make.pod_failed(), "MigrationFailed"),
    (make.pod_ended(3, make.report(Reason.UNKNOWN, row=7, exit_code=3)), "OutcomeUnknown"),
    (make.pod_ended(137, make.report(Reason.UNKNOWN, row=7)), "NoVerdict"),
    (make.pod_ended(79, make.report(Reason.WITHDRAWN)), "Withdrawn"),
    (make.pod_ended(79, phase="Failed"), "NoVerdict"),
    *[(make.pod_refused(reason), reason.value) for reason in Reason if reason.value in EVERY_REASON],
    (make.pod_refused(Reason.ALREADY_STARTED), "NoVerdict"),
    (make.pod_refused(Reason.ALREADY_APPLIED, row_inputs=make.INPUTS), "AlreadyApplied"),
    (make.pod_refused(Reason.ALREADY_APPLIED, row_inputs="older"), "InputsChanged"),
]


@pytest.mark.parametrize(("pod", "reason"), ENDS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_reason_of_an_end(pod: make.Json, reason: str) -> None:
    found = end(pod)
    assert found.ended and not found.running and found.attempt is not None
    assert found.attempt.reason == reason
    assert found.attempt.finished_at == observed.format_time(NOW)
    assert found.attempt.tries == (1 if reason in BEFORE_THE_START else 0)
    assert attempts.finished(found).outcome == reason


@pytest.mark.parametrize("job", [None, "finished"])
def test_gone_without_a_word(job: str | None) -> None:
    found = end(None, job=job)
    assert found.ended and found.attempt is not None and found.attempt.reason == "NoVerdict"
    assert "next attempt asks the ledger" in found.attempt.message


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (None, "StartTimeout"),
        (make.pod_refused(Reason.WITHDRAWN), "StartTimeout"),
        (make.pod_refused(Reason.ALREADY_STARTED), "StartTimeout"),
        (make.pod_succeeded(), "Applied"),
        (make.pod_failed(), "MigrationFailed"),
        (make.pod_refused(Reason.ALREADY_FAILED), "AlreadyFailed"),
        (make.pod_refused(Reason.OUTCOME_UNKNOWN, row=7), "OutcomeUnknown"),
    ],
    ids=[
        "gone",
        "withdrawn",
        "started before",
        "the start won: succeeded",
        "the start won: failed",
        "failed before",
        "unknown",
    ],
)
def test_why_its_pod_was_deleted_is_the_reason_unless_the_ledger_knows_better(pod: make.Json | None, reason: str) -> None:
    given_up = attempt().model_copy(update={"reason": "StartTimeout", "message": "The image cannot be pulled."})
    found = end(pod, status=given_up, job="there" if pod else None)
    assert found.attempt is not None and found.attempt.reason == reason


def test_a_verdict_is_read_once() -> None:
    """The end is in status: whatever the pod says now, it is not a second verdict."""
    found = end(make.pod_failed(), status=attempt("Applied", row=1))
    assert not found.ended and found.attempt is not None and found.attempt.reason == "Applied"


def test_a_pod_behind_a_dead_node_may_still_run() -> None:
    found = end(make.pod_running(deleting=True), job=None)
    assert found.running and not found.ended


@pytest.mark.parametrize("tries, ours, wanted", [(0, False, 1), (2, False, 3), (2, True, 2)])
def test_tries(tries: int, ours: bool, wanted: int) -> None:
    pod = make.pod_refused(Reason.LOCK_TIMEOUT, holder_is_ours=ours)
    found = end(pod, status=attempt(tries=tries))
    assert found.attempt is not None and found.attempt.tries == wanted


def test_locks_report_may_come_late() -> None:
    """migrate has ended with 0, which is the verdict; the row follows a second later."""
    done = attempt("Applied")
    assert not end(make.pod_succeeded(), status=done).late
    found = end(make.pod_succeeded(row=4), status=done)
    assert found.late and found.attempt is not None and found.attempt.row == 4
    assert not end(make.pod_succeeded(row=4), status=attempt("Applied", row=4)).late


@pytest.mark.parametrize("reason", [one for one in EVERY_REASON if one not in ("OutcomeUnknown", "ContractFailed")])
def test_an_open_outcome_stays_until_the_ledger_has_spoken(reason: str) -> None:
    """An answered attempt may end without having seen the row; then the next one must still know what was answered."""
    pods = {
        "Applied": make.pod_succeeded(),
        "MigrationFailed": make.pod_failed(),
        "InputsChanged": make.pod_refused(Reason.ALREADY_APPLIED, row_inputs="older"),
        "NoVerdict": make.pod(phase="Failed"),
    }
    given_up = {"reason": reason, "message": "Given up."} if reason in ("Replaced", "JobRefused") else {}
    last_one = attempt(answer="7 retry x").model_copy(update=given_up)
    raw = make.migration(status=make.status(last_one, outcome=OUTCOME.model_dump()), annotations=make.answer("7 retry x"))
    pod = None if given_up else pods.get(reason) or make.pod_refused(Reason(reason))
    found = make.look(raw, make.deployment(), jobs=[] if given_up else [make.job()], pods=[pod] if pod else [])
    after = make.status_of(make.decided(found), found)
    assert after.attempt is not None and after.attempt.reason == reason
    settled = reason in (*SUCCESSES, *WAITS_FOR_A_CHANGE, "LedgerLost") and reason != "SourceInvalid"
    assert after.outcome == (None if settled else OUTCOME)


def test_metrics_of_an_end() -> None:
    told = attempts.finished(end(make.pod_ended(0, make.report(Reason.SUCCEEDED, row=1, lock_wait=2.5))))
    assert (told.outcome, told.duration, told.lock_wait) == ("Applied", 8.0, 2.5)
    told = attempts.finished(end(make.pod_refused(Reason.LOCK_TIMEOUT, lock_wait=30.0)))
    assert (told.outcome, told.duration, told.lock_wait) == ("LockTimeout", None, 30.0)


# Useless, overdue -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize(
    ("asked", "wanted", "says"),
    [
        (PLEA, True, ""),
        (PLEA, False, "Nothing wants version 'v2'"),
        (plea(target="v3"), True, "'v3' replaced 'v2'"),
        (plea(inputs="other"), True, "inputs changed"),
        (plea(database="other"), True, "inputs changed"),
        (plea(token="t2", answer="7 retry x"), True, ""),
    ],
)
def test_useless_before_it_started_only(stage: Stage, asked: Plea, wanted: bool, says: str) -> None:
    why = attempts.useless(Progress(attempt=attempt(), stage=stage), asked, wanted)
    if stage in (Stage.WAITING, Stage.LOCKING):
        assert says in why and bool(why) == bool(says)
    else:
        assert why == ""


@pytest.mark.parametrize(
    ("pod", "left"),
    [
        (make.pod_locking(age=100), 200),
        (make.pod(age=300), 0),
        (make.pod_locking(age=301), -1),
        (make.pod_locking(age=400, deleting=True), None),
        (make.pod_running(age=400), None),
        (None, None),
    ],
)
def test_overdue(pod: make.Json | None, left: float | None) -> None:
    spec = observed.Migration.of(make.migration()).spec
    assert spec is not None
    assert attempts.overdue(end(pod), spec, NOW) == left


def test_an_overdue_pod_is_deleted_with_its_reason() -> None:
    broken = make.pod(age=300, gate=make.waiting("ImagePullBackOff", "no such image: shop:1"))
    found = make.look(
        make.migration(status=make.status(attempt()), finalizer=True), make.deployment(), jobs=[make.job()], pods=[broken]
    )
    made = make.decided(found)
    assert [type(one).__name__ for one in made.writes] == ["WriteStatus", "DeletePod"]
    after = make.status_of(made, found).attempt
    assert after is not None and (after.reason, after.finished_at) == ("StartTimeout", None)
    for word in ("`spec.run.startTimeout` (5m)", "ErrImagePull", "no such image"):
        assert word in after.message


def test_everything_that_ends_an_attempt_is_in_a_report() -> None:
    """What the tables above take for granted: reports survive the way through a termination message."""
    for reason in Reason:
        assert protocol.Report.from_json(make.report(reason, row=3)) == protocol.Report(
            reason=reason, message=f"{reason.value} says the pod.", row=3
        )
