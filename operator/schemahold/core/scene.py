"""What one look was made of, before a rule is asked: the situation, the attempt, what is remembered, what is released."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Literal

from schemahold.api import models
from schemahold.api import pod as protocol
from schemahold.api.models import TEXT_LENGTH
from schemahold.core import attempts, contract, observed, releases, situation
from schemahold.core.attempts import Progress
from schemahold.core.observed import Observed
from schemahold.core.situation import Situation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """The operator's settings that decisions depend on.  Times are seconds."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    backoff_initial: float = 10.0
    backoff_max: float = 300.0
    pod_timeout: float = 60.0
    beat: float = 5.0
    stale_after: float = 60.0
    image_volumes: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything a rule may ask: the look, and what was made of it so far."""

    look: Observed
    spec: models.Spec
    policy: Policy
    now: datetime.datetime
    here: Situation
    found: Progress
    history: tuple[models.Applied, ...]
    outcome: models.Outcome | None
    floor: models.Floor | None
    standing: contract.Standing
    released: tuple[observed.Deployment, ...]

    @property
    def status(self) -> models.Status:
        return self.look.migration.status

    @property
    def source_name(self) -> str:
        return self.here.source.name if self.here.source else ""

    @property
    def waiting(self) -> tuple[observed.Deployment, ...]:
        """Deployments that want a version and are not released by this look."""
        return tuple(one for one in self.here.wanted if one not in self.released)

    @property
    def plea(self) -> attempts.Plea:
        return self.plea_of("expand")

    def plea_of(self, phase: Literal["expand", "contract"]) -> attempts.Plea:
        migration = self.look.migration
        return attempts.Plea(
            phase=phase,
            target=self.here.target,
            inputs=self.here.inputs if phase == "expand" else self.here.contract_inputs,
            database=self.here.database,
            token=migration.token,
            answer=migration.answer,
            retries=self.spec.retries,
            backoff_initial=self.policy.backoff_initial,
            backoff_max=self.policy.backoff_max,
        )


def build(look: Observed, spec: models.Spec, policy: Policy, now: datetime.datetime) -> Scene:
    here = situation.read(look, spec)
    found = attempts.progress(look, policy.pod_timeout, now)
    history = _history(look, here, found)
    scene = Scene(
        look=look,
        spec=spec,
        policy=policy,
        now=now,
        here=here,
        found=found,
        history=history,
        outcome=_outcome(look.migration.status, found),
        floor=_floor(look.migration.status, found),
        standing=contract.stand(look, spec, here, found, history, now),
        released=(),
    )
    return dataclasses.replace(scene, released=tuple(one for one in _releases(scene) if one.name not in look.refused))


# What is remembered


def _history(look: Observed, here: Situation, found: Progress) -> tuple[models.Applied, ...]:
    """Versions applied or adopted; another ledger's are forgotten, since nothing is known of them there."""
    status, attempt = look.migration.status, found.attempt
    history = [] if _is_other_ledger(status, found) else list(status.history)
    known = {entry.version for entry in history}
    for one in look.deployments:
        # Only while it is what runs: it ran on the database of then, and a later reference says nothing about that one.
        if one.adopted and one.adopted == one.approved and one.adopted not in known and here.database:
            entry = models.Applied(version=one.adopted[:TEXT_LENGTH], outcome="Adopted", database=here.database)
            history = releases.remember(history, entry)
    if attempt and attempt.phase == "expand" and attempt.reason in attempts.SUCCESSES:
        done = models.Applied(
            version=attempt.version, outcome="Applied", row=attempt.row, database=attempt.database, at=attempt.finished_at
        )
        history = releases.remember(history, done)
    return tuple(history)


def _is_other_ledger(status: models.Status, found: Progress) -> bool:
    now = _ledger(status, found)
    return status.ledger is not None and now is not None and now.uuid != status.ledger.uuid


def _outcome(status: models.Status, found: Progress) -> models.Outcome | None:
    """What is known of a run whose outcome nobody knows; kept until an attempt ends otherwise."""
    attempt, report = found.attempt, found.report
    if not found.ended or attempt is None:
        return status.outcome
    if attempts.settles(attempt.reason):
        return None
    if attempt.reason != attempts.OUTCOME_UNKNOWN:
        return status.outcome
    if report is None or report.row is None:
        return status.outcome
    return models.Outcome(
        row=report.row,
        phase=attempt.phase,
        version=report.row_version or attempt.version,
        exit_code=report.exit_code,
        last_beat=report.last_beat,
        backends=report.backends,
    )


def _floor(status: models.Status, found: Progress) -> models.Floor | None:
    """The floor that the ledger told of last; it only spares a question: the gate refuses what is below."""
    attempt, report = found.attempt, found.report
    before = None if _is_other_ledger(status, found) else status.floor
    if attempt is None:
        return before
    if report is not None and report.floor:
        return models.Floor(version=report.floor, database=attempt.database)
    if attempt.phase == "contract" and attempt.reason in attempts.SUCCESSES:
        return models.Floor(version=attempt.version, database=attempt.database)
    return before


def pin(scene: Scene) -> models.Pin | None:
    """What the files of a directory were; known once a pod has judged them."""
    attempt, report = scene.found.attempt, scene.found.report
    if attempt is None or report is None or not report.files_pin or attempt.phase in scene.look.files:
        return scene.status.pin
    return models.Pin(inputs=attempt.inputs, hash=report.files_pin)


def mark_released(scene: Scene) -> models.Attempt | None:
    """A success is used up once nothing of its version is held: the next forward move asks the ledger again."""
    attempt = scene.found.attempt
    if attempt is None or attempt.reason not in attempts.SUCCESSES or attempt.released:
        return attempt
    if attempt.phase == "contract":
        return attempt
    if any(one.version == attempt.version for one in scene.waiting):
        return attempt
    return attempt.model_copy(update={"released": True})


def ledger(scene: Scene) -> models.Ledger | None:
    """The ledger that answered last."""
    return _ledger(scene.status, scene.found)


def _ledger(status: models.Status, found: Progress) -> models.Ledger | None:
    report = found.report
    if report is None or not report.ledger or report.reason is protocol.Reason.LEDGER_LOST:
        return status.ledger
    return models.Ledger(uuid=report.ledger)


def _releases(scene: Scene) -> list[observed.Deployment]:
    if scene.spec.suspend or scene.look.migration.deleting or scene.found.contracts:
        return []
    return releases.released_by(
        scene.here.wanted, scene.found.attempt, scene.status.released, scene.history, scene.here, scene.floor
    )
