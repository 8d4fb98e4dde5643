"""The contract: is there one, is it due, and what is remembered of it.

It removes what only older versions need, so it waits until none of them can be running: the version is the one applied
last, every labelled Deployment has rolled it out, no pod of another version is left under their selectors (one that is
terminating still runs), and only that version has run for ``contract.after``.  The gate asks the ledger once more
(:func:`schemahold.core.ledger.judge`): only the version applied last may be contracted.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from schemahold.api import durations, models, names
from schemahold.core import attempts, observed
from schemahold.core.attempts import Progress
from schemahold.core.situation import Situation

POLL = 5.0  # seconds; nobody tells us when an application's pod is gone
SOAK_POLL = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """``status``: to be remembered, None without a contract.  ``due``: it may run.  ``reason``, ``message``: for the

    condition ``Contracted``.  ``requeue``: when time alone may change it.  ``skipped``: the version whose contract has been
    passed over.
    """

    status: models.ContractStatus | None = None
    due: bool = False
    reason: str = ""
    message: str = ""
    requeue: float | None = None
    skipped: str = ""

    @property
    def condition(self) -> tuple[str, str, str] | None:
        """Status, reason, message of the condition; None when there is no contract to speak of."""
        if self.status is None or not self.reason:
            return None
        return ("True" if self.status.state == "Done" else "False", self.reason, self.message)


def asks(look: observed.Observed, spec: models.Spec) -> bool:
    """Whether the answer depends on the application's pods."""
    before = look.migration.status.contract
    if spec.work_of("contract") is None or not look.deployments:
        return False
    version = look.deployments[0].version
    if before is not None and before.version == version and (before.state == "Done" or _has_no_files(spec, before.files)):
        return False
    return all(_has_rolled_out(one, version) for one in look.deployments)


def stand(
    look: observed.Observed,
    spec: models.Spec,
    here: Situation,
    found: Progress,
    history: Sequence[models.Applied],
    now: datetime.datetime,
) -> Standing:
    """Where the contract of the version applied last stands in this look."""
    before = look.migration.status.contract
    remembered = _remembered(before or _forgotten(here), spec, found, history)
    if remembered is None:
        return Standing()
    skipped = _passed_over(before, remembered, look) if before and not _has_no_files(spec, before.files) else ""
    if _has_no_files(spec, remembered.files) and remembered.state != "Done":
        return Standing(status=remembered, skipped=skipped)
    if remembered.state == "Done":
        text = f"The contract of version '{remembered.version}' is done."
        return Standing(status=remembered, reason="Contracted", message=text, skipped=skipped)
    standing = _waiting(remembered, look, spec, here, now)
    return dataclasses.replace(standing, skipped=skipped)


def _has_no_files(spec: models.Spec, files: int | None) -> bool:
    return isinstance(spec.work_of("contract"), models.Sql) and files == 0


def _remembered(
    before: models.ContractStatus | None, spec: models.Spec, found: Progress, history: Sequence[models.Applied]
) -> models.ContractStatus | None:
    """The contract of the version applied last; what ran before us has none."""
    if spec.work_of("contract") is None:
        return None
    last = history[-1] if history else None
    if last is not None and last.outcome != "Applied":
        return None
    attempt, report = found.attempt, found.report
    version = last.version if last else (before.version if before else "")
    if not version:
        return None
    current = before if before is not None and before.version == version else models.ContractStatus(version=version)
    if attempt is None or attempt.version != version:
        return current
    if attempt.phase == "expand" and report is not None and report.contract_files is not None:
        return current.model_copy(update={"files": report.contract_files})
    if attempt.phase == "contract" and attempt.reason in attempts.SUCCESSES | {attempts.NOTHING_TO_RUN}:
        return current.model_copy(update={"state": "Done", "since": None})
    return current


def _forgotten(here: Situation) -> models.ContractStatus | None:
    """The contract of what runs, when status was lost: whether there is one, and was one, its gate will say."""
    source = here.source
    if source is None or not here.target or source.approved != here.target:
        return None
    if source.adopted == here.target or source.by_hand:  # never applied by us
        return None
    return models.ContractStatus(version=here.target)


def _passed_over(before: models.ContractStatus, current: models.ContractStatus, look: observed.Observed) -> str:
    """The version whose contract was still waiting when another one arrived; told once, as it becomes Skipped."""
    if before.state != "Waiting":
        return ""
    arrived = before.version != current.version or any(one.version != before.version for one in look.deployments)
    return before.version if arrived else ""


def _waiting(
    current: models.ContractStatus, look: observed.Observed, spec: models.Spec, here: Situation, now: datetime.datetime
) -> Standing:
    version = current.version
    other = next((one for one in look.deployments if one.version != version), None)
    if other is not None:
        text = (
            f"Version '{other.version}' of Deployment '{other.name}' arrived before the contract of '{version}'; its files "
            "stay pending for the next contract, and a command must do what it would have done."
        )
        return _not_due(current, "Skipped", text, state="Skipped")
    rolling = next((one for one in look.deployments if not _has_rolled_out(one, version)), None)
    if rolling is not None or not look.deployments or here.target != version:
        who = f"Deployment '{rolling.name}' has not rolled out" if rolling else "No Deployment has rolled out"
        # The soak goes on: pods that come and go (a scale-up, a full node) are of this version.
        return Standing(status=current, reason="WaitingForRollout", message=f"{who} version '{version}' yet.")
    old = [pod for pod in look.app_pods or () if pod.version != version]
    if old or look.app_pods is None:
        return _not_due(current, "WaitingForPods", _old_pods(old, version), requeue=POLL)
    return _soaking(current, look, spec, now)


def _soaking(current: models.ContractStatus, look: observed.Observed, spec: models.Spec, now: datetime.datetime) -> Standing:
    version = current.version
    since = current.since or observed.format_time(now)
    current = current.model_copy(update={"state": "Waiting", "since": since})
    stood = max(0.0, (now - observed.parse_time(since)).total_seconds())
    left = durations.seconds(spec.contract_after) - stood
    if left > 0:
        text = f"Only version '{version}' runs since {since}; its contract follows after {spec.contract_after}."
        return Standing(status=current, reason="Soaking", message=text, requeue=min(left, SOAK_POLL))
    if spec.contract_is_manual and look.migration.annotations.get(names.APPROVE_CONTRACT) != version:
        text = f"The contract waits for the SchemaMigration's annotation {names.APPROVE_CONTRACT}: '{version}'."
        return Standing(status=current, reason="WaitingForApproval", message=text)
    return Standing(status=current, due=True, reason="Due", message=f"The contract of version '{version}' is due.")


def _not_due(
    current: models.ContractStatus, reason: str, message: str, *, state: str = "Waiting", requeue: float | None = None
) -> Standing:
    """The soak begins anew."""
    status = current.model_copy(update={"since": None, "state": state})
    return Standing(status=status, reason=reason, message=message, requeue=requeue)


def _old_pods(old: Sequence[observed.AppPod], version: str) -> str:
    if not old:
        return "The application's pods are not known yet."
    shown = ", ".join(f"'{pod.name}' (version '{pod.version}'{', terminating' if pod.deleting else ''})" for pod in old[:3])
    more = f" and {len(old) - 3} more" if len(old) > 3 else ""
    return f"Pods of other versions than '{version}' are still there: {shown}{more}."


def _has_rolled_out(one: observed.Deployment, version: str) -> bool:
    return one.version == version and not one.wants and not one.paused and one.rolled_out
