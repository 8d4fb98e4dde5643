"""What an attempt's pod says about its run.

The verdict is ``migrate``'s exit code together with ``lock``'s report, or ``gate``'s report when the run was not allowed to
start.  Never the Job's conditions and never the pod's phase: both say "failed" for a run that was evicted in the middle, and
for one that was refused because it had succeeded before.
"""

from __future__ import annotations

import dataclasses
import enum

from schemahold.api import pod as protocol
from schemahold.core import observed, redact

R = protocol.Reason


class Stage(enum.Enum):
    """How far an attempt is."""

    WAITING = "waiting"  #: no container of ours has begun
    LOCKING = "locking"  #: lock and gate are at work
    RUNNING = "running"  #: migrate has started
    ENDED = "ended"  #: there is a verdict
    GONE = "gone"  #: it is over, and nobody said how


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """``reason``, ``message`` and ``report`` count only at ``Stage.ENDED``; ``problem`` before the start."""

    stage: Stage
    reason: protocol.Reason | None = None
    message: str = ""
    exit_code: int | None = None
    report: protocol.Report | None = None
    problem: str = ""


def of_pod(pod: observed.Pod) -> Verdict:
    """The verdict in one pod."""
    if pod.sql:
        return _of_sql(pod)
    if pod.migrate.finished:
        return _of_migrate(pod)
    if pod.migrate.running and not pod.terminal:
        return Verdict(stage=Stage.RUNNING)
    if pod.gate.finished and pod.gate.exit_code != 0:
        return _of_gate(pod)
    if pod.terminal:
        return Verdict(stage=Stage.GONE)
    return Verdict(stage=Stage.LOCKING if pod.gate.started else Stage.WAITING, problem=_problem(pod))


def _problem(pod: observed.Pod) -> str:
    """Why nothing has started yet, "" for no known reason."""
    return redact.redact(pod.problem or (f"the pod cannot be scheduled: {pod.unscheduled}" if pod.unscheduled else ""))


def _of_sql(pod: observed.Pod) -> Verdict:
    """Of sql mode's one container: it exits 0 only after `succeeded` was committed, and says everything else itself."""
    if pod.migrate.finished:
        report = protocol.Report.from_json(pod.migrate.message)
        if report is not None:
            return _of_report(report)
        if pod.migrate.exit_code == 0:
            return Verdict(stage=Stage.ENDED, reason=R.SUCCEEDED, exit_code=0)
        # Killed by the kernel, most often: it counts as a try, else it would be killed for ever.
        text = f"the container ended with exit code {pod.migrate.exit_code} and left no report"
        return Verdict(stage=Stage.ENDED, reason=R.RUNNER_ERROR, message=text)
    if pod.migrate.running and not pod.terminal:
        return Verdict(stage=Stage.RUNNING)
    if pod.files.finished and pod.files.exit_code != 0:
        text = _tail(redact.redact(pod.files.message)) or f"`files` exited with {pod.files.exit_code}"
        return Verdict(stage=Stage.ENDED, reason=R.SOURCE_INVALID, message=redact.redact(text))
    return Verdict(stage=Stage.GONE) if pod.terminal else Verdict(stage=Stage.WAITING, problem=_problem(pod))


def _of_migrate(pod: observed.Pod) -> Verdict:
    report = protocol.Report.from_json(pod.lock.message)
    if pod.migrate.exit_code == 0:
        # migrate exits 0 only after `succeeded` was committed; waiting for lock's report would cost a second.
        return Verdict(stage=Stage.ENDED, reason=R.SUCCEEDED, exit_code=0, report=report)
    if report is None:
        # lock outlives migrate: until the pod is over, its report may still come.
        return Verdict(stage=Stage.GONE if pod.terminal else Stage.RUNNING)
    if report.reason is R.SUCCEEDED:
        return Verdict(stage=Stage.ENDED, reason=R.SUCCEEDED, exit_code=0, report=report)
    message = (
        report.message if report.reason is not R.FAILED else _tail(redact.redact(pod.migrate.message)) or report.message
    )
    return Verdict(
        stage=Stage.ENDED,
        reason=report.reason,
        message=redact.redact(message),
        exit_code=_users_code(report, pod.migrate.exit_code),
        report=report,
    )


def _users_code(report: protocol.Report, code: int | None) -> int | None:
    """The command's exit code; the script's own 79 is nobody's, and says no more than the report."""
    if report.exit_code is not None or code == protocol.EXIT_NOT_RECORDED:
        return report.exit_code
    return code


def _of_gate(pod: observed.Pod) -> Verdict:
    report = protocol.Report.from_json(pod.gate.message)
    if report is None:
        text = _tail(redact.redact(pod.gate.message)) or f"`gate` exited with {pod.gate.exit_code} and left no report"
        return Verdict(stage=Stage.ENDED, reason=R.RUNNER_ERROR, message=redact.redact(text))
    return _of_report(report)


def _of_report(report: protocol.Report) -> Verdict:
    return Verdict(
        stage=Stage.ENDED,
        reason=report.reason,
        message=redact.redact(report.message),
        exit_code=report.exit_code,
        report=report,
    )


def _tail(text: str, limit: int = 900) -> str:
    """The end of a log, because the cause of a failure is usually its last lines; whole lines where there are several."""
    text = text.strip()
    if len(text) <= limit:
        return text
    end = text[-limit:]
    _, _, whole = end.partition("\n")
    return "…" + (whole or end)
