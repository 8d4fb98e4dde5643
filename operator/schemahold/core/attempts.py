"""The attempt that status names: how far it is, how it ended, and whether another may follow.

Time runs like this for one attempt::

    status.attempt written ── Job created ── pod ── lock, gate ── migrate ── verdict ── Job finished
                 │ crash here: the number is skipped        │ useless or too late: pod deleted
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Literal

from schemahold.api import durations, models, names
from schemahold.api import pod as protocol
from schemahold.core import decision, ledger, observed, verdicts
from schemahold.core.observed import Observed
from schemahold.core.verdicts import Stage

R = protocol.Reason

APPLIED, ALREADY_APPLIED = "Applied", R.ALREADY_APPLIED.value
MIGRATION_FAILED, ALREADY_FAILED = "MigrationFailed", R.ALREADY_FAILED.value
CONTRACT_FAILED = "ContractFailed"
OUTCOME_UNKNOWN, LEDGER_LOST = R.OUTCOME_UNKNOWN.value, R.LEDGER_LOST.value
INPUTS_CHANGED = "InputsChanged"  # recorded as succeeded with other inputs than the resource's
START_TIMEOUT = R.START_TIMEOUT.value
REPLACED = "Replaced"  # made useless before it started
INCOMPATIBLE = R.INCOMPATIBLE.value  # a contract has removed what this version needs
NOTHING_TO_RUN = R.NOTHING_TO_RUN.value  # a contract without files: nothing ran, and nothing is missing
NO_VERDICT = "NoVerdict"  # gone, and nobody said how it ended: the next attempt's gate will

OURS_MAX = 60.0  # seconds, the longest pause while another run of ours is in the way

SUCCESSES = frozenset({APPLIED, ALREADY_APPLIED})
FAILURES = frozenset({MIGRATION_FAILED, CONTRACT_FAILED, ALREADY_FAILED})
# Nothing ran, and nothing will until somebody changes something.
REFUSALS = frozenset(
    one.value
    for one in (R.INCOMPATIBLE, R.NOT_APPLIED, R.NOTHING_TO_RUN, R.SOURCE_INVALID, R.CHECKSUM_MISMATCH, R.STATEMENTS_REFUSED)
)
# Ends that someone gave a healthy attempt (an eviction, a deletion, a newer version): nothing failed.
PASSING = frozenset({REPLACED, NO_VERDICT, R.WITHDRAWN.value})
# Verdicts of the ledger about the run. What is neither ended before migrate began, and counts.
_RULINGS = SUCCESSES | FAILURES | REFUSALS | {OUTCOME_UNKNOWN, LEDGER_LOST, INPUTS_CHANGED}


def counts(reason: str) -> bool:
    """Whether an attempt that ended so uses up one of ``spec.retries``."""
    return reason not in _RULINGS | PASSING


def settles(reason: str) -> bool:
    """Whether an attempt that ended so has heard the ledger's word on the run; a lock timeout never saw a row."""
    # Files that cannot be used are found before the ledger is asked, some of them.
    return reason in SUCCESSES | FAILURES | (REFUSALS - {R.SOURCE_INVALID.value}) | {INPUTS_CHANGED, LEDGER_LOST}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """``attempt``: as status should have it now.  ``ended``: in this look.  ``foreign``: an unfinished Job that a deleted

    SchemaMigration of the same name left behind.  ``report``: what lock or gate said.
    """

    attempt: models.Attempt | None
    stage: Stage | None = None
    job: observed.Job | None = None
    pod: observed.Pod | None = None
    ended: bool = False
    foreign: observed.Job | None = None
    problem: str = ""
    report: protocol.Report | None = None
    missing_pod: bool = False
    late: bool = False  # the report came after the end was recorded

    @property
    def phase(self) -> str:
        return self.attempt.phase if self.attempt else "expand"

    @property
    def contracts(self) -> bool:
        """Whether a contract may be running: what it removes, no other version may count on."""
        return self.running and self.phase == "contract"

    @property
    def running(self) -> bool:
        """Whether something may still be running, so that nothing else may start."""
        return self.foreign is not None or (self.attempt is not None and not self.attempt.finished_at)


def progress(look: Observed, pod_timeout: float, now: datetime.datetime) -> Progress:
    """Where the current attempt stands, with its end written into it if this look found one."""
    attempt = look.migration.status.attempt
    if attempt is None or attempt.finished_at:
        orphan = _unfinished(look, attempt)
        if orphan and orphan.owner_uid != look.migration.uid:
            return Progress(attempt=attempt, foreign=orphan)
        if orphan is None:
            late = _came_late(look, attempt)
            return _late(look, attempt) if late is None else _current(look, late, pod_timeout, now)
        attempt = _adopt(orphan)  # status was lost: an unfinished Job of ours still gives its verdict
    return _current(look, attempt, pod_timeout, now)


def _came_late(look: Observed, attempt: models.Attempt | None) -> models.Attempt | None:
    """An attempt that was given up because it had no Job, and has one now.

    Interleaving: another operator looked between the number and the Job, or the answer to the create came late.
    """
    if attempt is None or attempt.reason != NO_VERDICT:
        return None
    job = _job_of(look, attempt)
    if job is None or job.finished or _verdict(job, _pod_of(look, attempt, job)).stage is Stage.GONE:
        return None
    return attempt.model_copy(update={"finished_at": None, "reason": "", "message": ""})


def _unfinished(look: Observed, attempt: models.Attempt | None) -> observed.Job | None:
    known = attempt.job if attempt else ""
    return next((job for job in look.jobs if not job.finished and job.name != known), None)


def _adopt(job: observed.Job) -> models.Attempt:
    return models.Attempt(
        number=job.attempt,
        job=job.name,
        version=job.version,
        inputs=job.inputs,
        database=job.database,
        phase=job.phase,
        started_at=observed.format_time(job.created),
    )


def _late(look: Observed, attempt: models.Attempt | None) -> Progress:
    """After the verdict: lock's report, which names the row, comes a second later than migrate's exit."""
    if attempt is None or attempt.row is not None or attempt.reason not in SUCCESSES:
        return Progress(attempt=attempt)
    pod = _pod_of(look, attempt, _job_of(look, attempt))
    report = protocol.Report.from_json(pod.lock.message) if pod else None
    if report is None or report.row is None:
        return Progress(attempt=attempt)
    return Progress(attempt=attempt.model_copy(update={"row": report.row}), report=report, late=True)


def _job_of(look: Observed, attempt: models.Attempt) -> observed.Job | None:
    """By uid as well: status may come from a backup, and then another's Job of that name gives no verdict on ours."""
    return next((one for one in look.jobs if one.name == attempt.job and one.owner_uid == look.migration.uid), None)


def _pod_of(look: Observed, attempt: models.Attempt, job: observed.Job | None) -> observed.Pod | None:
    """The attempt's pod, and not one that an earlier Job of that name left behind when status had been lost."""
    wanted = (attempt.job, look.migration.uid, attempt.version, attempt.inputs)
    mine = [
        pod
        for pod in look.pods
        if (pod.job, pod.owner_uid, pod.version, pod.inputs) == wanted and (job is None or pod.job_uid == job.uid)
    ]
    return max(mine, key=lambda pod: pod.created, default=None)


def _current(look: Observed, attempt: models.Attempt, pod_timeout: float, now: datetime.datetime) -> Progress:
    job = _job_of(look, attempt)
    pod = _pod_of(look, attempt, job)
    verdict = _verdict(job, pod)
    if verdict.stage in (Stage.ENDED, Stage.GONE):
        return Progress(
            attempt=_end(attempt, verdict, now),
            stage=verdict.stage,
            job=job,
            pod=pod,
            ended=True,
            report=verdict.report,
        )
    late = job is not None and not job.had_pod and (now - job.created).total_seconds() >= pod_timeout
    missing = late and pod is None
    return Progress(attempt=attempt, stage=verdict.stage, job=job, pod=pod, problem=verdict.problem, missing_pod=missing)


def _verdict(job: observed.Job | None, pod: observed.Pod | None) -> verdicts.Verdict:
    if pod is not None:
        # A pod object can stay behind a node that is gone; while it stands there, its container may be running.
        return verdicts.of_pod(pod)
    if job is not None and not job.finished:
        return verdicts.Verdict(stage=Stage.WAITING)
    return verdicts.Verdict(stage=Stage.GONE)


def _end(attempt: models.Attempt, verdict: verdicts.Verdict, now: datetime.datetime) -> models.Attempt:
    reason, message = _reason(attempt, verdict)
    report = verdict.report
    ours = report is not None and report.holder_is_ours
    return attempt.model_copy(
        update={
            "finished_at": observed.format_time(now),
            "reason": reason,
            "message": message[:1024],
            "exit_code": verdict.exit_code,
            "row": report.row if report else None,
            # Waiting for one of ours that is alive is no failure of this one.
            "tries": attempt.tries + (1 if counts(reason) and not ours else 0),
            "passed": attempt.passed + 1 if ours or reason in PASSING - {REPLACED} else 0,
            "before": "",
        }
    )


def _reason(attempt: models.Attempt, verdict: verdicts.Verdict) -> tuple[str, str]:
    """What status calls the end.  A reason already in the attempt is why its pod was deleted."""
    match verdict.reason:
        case None | R.ALREADY_STARTED:
            return (attempt.reason, attempt.message) if attempt.reason else (NO_VERDICT, _NO_VERDICT_TEXT)
        case R.SUCCEEDED:
            return APPLIED, ""
        case R.ALREADY_APPLIED:
            return _already_applied(attempt, verdict)
        case R.FAILED:
            return MIGRATION_FAILED if attempt.phase == "expand" else CONTRACT_FAILED, verdict.message
        case R.UNKNOWN if verdict.report and verdict.report.row is not None and verdict.report.exit_code is None:
            # No word from migrate: its row still says running. The next gate waits for beats, and says what is known.
            return NO_VERDICT, _NO_VERDICT_TEXT
        case R.UNKNOWN | R.OUTCOME_UNKNOWN:
            return OUTCOME_UNKNOWN, verdict.message
        case reason if reason.value in REFUSALS | {ALREADY_FAILED, LEDGER_LOST}:
            return reason.value, verdict.message
        case other:
            return (attempt.reason, attempt.message) if attempt.reason else (other.value, verdict.message)


_NO_VERDICT_TEXT = "The attempt is gone and left no verdict; the next attempt asks the ledger."


def _already_applied(attempt: models.Attempt, verdict: verdicts.Verdict) -> tuple[str, str]:
    recorded = verdict.report.row_inputs if verdict.report else ""
    if recorded and recorded != attempt.inputs and not attempt.accepts:
        return INPUTS_CHANGED, verdict.message
    return ALREADY_APPLIED, verdict.message


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """Another attempt may be created."""

    tries: int = 0
    accepts: bool = False
    any_ledger: bool = False
    answer: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wait:
    """Not now: it goes on by itself after so many seconds."""

    seconds: float
    reason: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stop:
    """Not without a person."""

    reason: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plea:
    """What an attempt would be asked for now, to be compared with what the last one was asked."""

    phase: Literal["expand", "contract"] = "expand"
    target: str
    inputs: str
    database: str
    token: str
    answer: str
    retries: int
    backoff_initial: float
    backoff_max: float


def following(
    last: models.Attempt | None, outcome: models.Outcome | None, plea: Plea, now: datetime.datetime
) -> Start | Wait | Stop:
    """Whether an attempt may follow ``last``, which has ended.  The gate still has the last word."""
    if last is None:
        return Start()
    if last.phase != plea.phase and last.reason != OUTCOME_UNKNOWN:
        return Start()  # what came of the other phase says nothing; the gate has the last word anyway
    if last.reason == OUTCOME_UNKNOWN and last.database == plea.database:
        return _answered(last, outcome, plea)
    verdict = _following(last, plea, now)
    open_answer = last.answer and last.answer == plea.answer and last.database == plea.database
    if isinstance(verdict, Start) and open_answer and outcome is not None:
        # The attempt that carried the answer never got to the ledger (a lock timeout, a lost pod): the next one carries it.
        return dataclasses.replace(verdict, answer=plea.answer)
    return verdict


def _following(last: models.Attempt, plea: Plea, now: datetime.datetime) -> Start | Wait | Stop:
    new_token = bool(plea.token) and plea.token != last.token
    if last.reason == LEDGER_LOST and last.database == plea.database:
        return Start(any_ledger=True) if new_token else Stop(reason=LEDGER_LOST, message=_with_retry(last.message))
    if last.version != plea.target:
        return Start()
    if new_token:
        return Start(accepts=True)
    if last.inputs != plea.inputs or last.database != plea.database:
        return _other_inputs(last, plea)
    return _again(last, plea, now)


def _answered(last: models.Attempt, outcome: models.Outcome | None, plea: Plea) -> Start | Stop:
    row = last.row if last.row is not None or outcome is None else outcome.row
    given = ledger.parse_answer(plea.answer)
    if given is not None and plea.answer != last.answer and row in (None, given.row):
        return Start(answer=plea.answer)
    message, shown = last.message, f"'{plea.answer[:80]}'"
    if names.ANSWER not in message:
        message = _joined(message, f"Look at the database, then set the annotation {names.ANSWER} to {_answers(row)}.")
    if plea.answer and given is None:
        message = f"The annotation {names.ANSWER} is {shown}; write {_answers(row)}. {message}"
    elif given is not None and row not in (None, given.row):
        message = f"The answer {shown} is for row {given.row}; write {_answers(row)}. {message}"
    elif plea.answer:
        message = f"The answer {shown} did not settle it. {message}"
    return Stop(reason=OUTCOME_UNKNOWN, message=message)


def _answers(row: int | None) -> str:
    if row is None:  # status was lost, and no gate has named the row since: the ledger does
        return '"<row id> retry <reason>" or "<row id> applied <reason>"'
    return f'"{row} retry <reason>" or "{row} applied <reason>"'


def _other_inputs(last: models.Attempt, plea: Plea) -> Start | Stop:
    if last.reason in SUCCESSES and last.database == plea.database and not last.released:
        return Stop(reason=INPUTS_CHANGED, message=_inputs_changed(last))
    return Start()


def _inputs_changed(last: models.Attempt) -> str:
    return (
        f"Version '{last.version}' was applied with other inputs than `spec.run` (or `spec.sql`) and the source have now "
        f"(attempt {last.number}). Set a new `spec.version`, or accept what was applied with the annotation "
        f"{names.RETRY_AT}: <any new value>."
    )


def _again(last: models.Attempt, plea: Plea, now: datetime.datetime) -> Start | Wait | Stop:
    if last.reason in SUCCESSES or last.reason == REPLACED:
        return Start()
    if last.reason == INPUTS_CHANGED:
        return Stop(reason=last.reason, message=_inputs_changed(last))
    if last.reason in FAILURES | REFUSALS:
        return Stop(reason=last.reason, message=_failed(last))
    if counts(last.reason) and last.tries > plea.retries:
        times = "once" if last.tries == 1 else f"{last.tries} times"
        text = f"Tried {times} (`spec.retries`: {plea.retries})."
        return Stop(reason=last.reason, message=_with_retry(last.message, text))
    return _backoff(last, plea, now)


def _failed(last: models.Attempt) -> str:
    """A failed run's message: what to do comes first, so that the end of the log can be cut to what is left."""
    if last.reason == INCOMPATIBLE:
        return last.message  # no retry can help
    if last.reason not in (MIGRATION_FAILED, CONTRACT_FAILED):
        return _with_retry(last.message)
    code = "" if last.exit_code is None else f" with exit code {last.exit_code}"
    head = (
        f"The {what(last.phase)} version '{last.version[:100]}' failed{code} (`kubectl logs job/{last.job}`). Set a new "
        f"`spec.version` or mend what runs; or run it again with the annotation {names.RETRY_AT}: <any new value>. "
    )
    room = models.TEXT_LENGTH - len(head) - 1
    return head + (last.message if len(last.message) <= room else "…" + last.message[-room:])


def what(phase: str) -> str:
    """What an attempt of ``phase`` is, in words that a version follows."""
    return "migration to" if phase == "expand" else "contract of"


def _with_retry(message: str, more: str = "") -> str:
    """``message`` and the way out, within what a condition may hold."""
    if names.RETRY_AT not in message:
        more = f"{more} To try again set the annotation {names.RETRY_AT}: <any new value>.".lstrip()
    return _joined(message, more)


def _joined(message: str, more: str) -> str:
    """``message`` and ``more``, as a condition may hold them.  What others say (libpq, the kubelet) may lack a full stop."""
    if not more:
        return message[: models.TEXT_LENGTH].strip()
    head = message[: models.TEXT_LENGTH - len(more) - 2].rstrip()
    stop = "" if not head or head[-1] in ".!?…" else "."
    return f"{head}{stop} {more}".strip()


def _backoff(last: models.Attempt, plea: Plea, now: datetime.datetime) -> Start | Wait:
    # What somebody else ends again and again (an eviction, a full node) must not come back every few seconds for ever.
    times = max(last.tries, last.passed)
    # A run of ours that holds the lock ends some time: people wait for that.
    longest = min(plea.backoff_max, OURS_MAX) if last.passed and last.reason not in PASSING else plea.backoff_max
    delay = min(longest, plea.backoff_initial * 2 ** min(30, max(0, times - 1)))
    ended = observed.parse_time(last.finished_at) if last.finished_at else now
    # No longer than the delay: a clock that was set back must not make it wait for hours.
    left = min(delay, delay - (now - ended).total_seconds())
    if left <= 0:
        # What a person accepted stands until the ledger has heard it.
        return Start(tries=last.tries, accepts=last.accepts, any_ledger=last.any_ledger)
    more = f"The next attempt follows within {delay:g} s."
    return Wait(seconds=left, reason=last.reason, message=_joined(last.message, more))


def useless(found: Progress, plea: Plea, wanted: bool) -> str:
    """Why an attempt that has not started should not start any more, "" if it should."""
    attempt = found.attempt
    if attempt is None or found.stage not in (Stage.WAITING, Stage.LOCKING):
        return ""
    if not wanted:
        return f"Nothing wants version '{attempt.version}' any more."
    if attempt.version != plea.target:
        return f"Version '{plea.target}' replaced '{attempt.version}' before its migration had started."
    if attempt.inputs != plea.inputs or attempt.database != plea.database:
        return "The inputs changed before the migration had started."
    return ""


def overdue(found: Progress, spec: models.Spec, now: datetime.datetime) -> float | None:
    """Seconds until an attempt that has not started is given up; None when that does not apply."""
    if found.pod is None or found.stage not in (Stage.WAITING, Stage.LOCKING) or found.pod.deleting:
        return None
    age = (now - found.pod.created).total_seconds()
    return durations.seconds((spec.work_of(found.phase) or spec.work).start_timeout) - age


def finished(found: Progress) -> decision.Finished:
    """What the end of an attempt tells the metrics."""
    attempt, pod = found.attempt, found.pod
    assert attempt is not None
    duration = None
    if pod and pod.migrate.started_at and pod.migrate.finished_at:
        ran = observed.parse_time(pod.migrate.finished_at) - observed.parse_time(pod.migrate.started_at)
        duration = ran.total_seconds()
    wait = found.report.lock_wait if found.report else None
    return decision.Finished(outcome=attempt.reason, duration=duration, lock_wait=wait)
