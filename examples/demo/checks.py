"""Each act's checks: what was expected, what was seen.

A check is a pure function of the looks taken since the apply, so it can be asked at any moment; while an act runs, a check
that is not met yet is open.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

from .snapshot import Snapshot

REPLICAS = 2


@dataclasses.dataclass(frozen=True)
class Check:
    act: int
    what: str
    expected: str
    seen: str
    ok: bool


@dataclasses.dataclass
class Looks:
    """What was seen in one act. ``before``: the last look before its apply; ``since``: every look after it."""

    act: int
    version: str
    before: Snapshot
    since: list[Snapshot] = dataclasses.field(default_factory=list)

    @property
    def old(self) -> str:
        """The version that may run without this act."""
        return self.before.deployment.approved

    @property
    def last(self) -> Snapshot:
        return self.since[-1]

    def unfinished(self) -> list[Snapshot]:
        """Those in which the ledger knew of no success."""
        return [look for look in self.since if not look.succeeded(self.version)]

    def check(self, what: str, expected: str, seen: str, ok: bool | None = None) -> Check:
        return Check(self.act, what, expected, seen, seen == expected if ok is None else ok)


Question = Callable[[Looks], Check]


def held_at_once(looks: Looks) -> Check:
    here = looks.since[0].deployment
    seen = f"held for {here.held}" if here.held and here.paused else "not held"
    return looks.check("held by the apply", f"held for {looks.version}", seen)


def lock_held(looks: Looks) -> Check:
    """Between two looks at one running row the lock had to be held, so the first of them had to see it."""
    pairs = itertools.pairwise(looks.since)
    sure = [one for one, two in pairs if _running_pod(one) and _running_pod(one) == _running_pod(two)]
    held = sum(1 for one in sure if one.lock and one.lock.pod == _running_pod(one))
    seen = f"{held} of {len(sure)} looks" if sure else "nothing ran yet"
    return looks.check("lock held meanwhile", "by the Job's pod", seen, 0 < held == len(sure))


def _running_pod(look: Snapshot) -> str:
    return look.rows[-1].pod if look.rows and look.rows[-1].state == "running" else ""


def none_before_success(looks: Looks) -> Check:
    """Pods are read before the ledger, so a pod that is seen without a success started without one."""
    before = looks.unfinished()
    most = max((look.pods_of(looks.version).total for look in before), default=0)
    return looks.check(f"{looks.version} pods before success", "0", f"{most} in {len(before)} looks", most == 0)


def never_started(looks: Looks) -> Check:
    most = max(look.pods_of(looks.version).total for look in looks.since)
    return looks.check(f"{looks.version} pods, ever", "0", f"{most} in {len(looks.since)} looks", most == 0)


def old_serves(looks: Looks) -> Check:
    """While held: the old pods are all there, no request failed, and the new version never answered.

    Pods of the version before may still answer while they drain.
    """
    held = looks.unfinished() or looks.since[:1]
    fewest = min(look.pods_of(looks.old).live for look in held)
    first, last = looks.before.traffic, held[-1].traffic
    answers = {name for name, n in last.versions.items() if n > first.versions.get(name, 0)}
    failed = last.failed - first.failed
    count = last.answered - first.answered
    seen = f"{fewest} pods, {failed}/{count} failed"
    ok = fewest == REPLICAS and not failed and count > 0 and looks.old in answers and looks.version not in answers
    return looks.check(f"{looks.old} serves meanwhile", f"{REPLICAS} pods, 0 failed", seen, ok)


def ledger_succeeded(looks: Looks) -> Check:
    return _ledger(looks, "succeeded", 0)


def ledger_failed(looks: Looks) -> Check:
    return _ledger(looks, "failed", 1)


def _ledger(looks: Looks, state: str, code: int) -> Check:
    row = looks.last.row_of(looks.version)
    ended = "" if row is None or row.exit_code is None else f", exit {row.exit_code}"
    seen = f"{row.state}{ended}" if row else "no row"
    return looks.check(f"ledger row of {looks.version}", f"{state}, exit {code}", seen)


def one_job(looks: Looks) -> Check:
    return looks.check("Jobs for it", "1", str(looks.last.attempts - looks.before.attempts))


def no_job(looks: Looks) -> Check:
    return looks.check("Jobs for it", "0", str(looks.last.attempts - looks.before.attempts))


def no_row(looks: Looks) -> Check:
    return looks.check("new ledger rows", "0", str(len(looks.last.rows) - len(looks.before.rows)))


def status_says_why(looks: Looks) -> Check:
    """The database's own words reach the status."""
    status = looks.last.status
    why = "orders_reference_key" in status.message
    seen = f"{'stalled' if status.stalled else status.reason or 'nothing'}, {'message' if why else 'no message'}"
    return looks.check("status says why", "stalled, message", seen)


def still_held(looks: Looks) -> Check:
    held = looks.last.deployment.held
    return looks.check("still held at the end", looks.version, held or "released")


def rolled_out(looks: Looks) -> Check:
    ready = looks.last.pods_of(looks.version).ready
    settled = looks.last.rolled_out(looks.version)
    seen = f"{ready} ready, {looks.last.status.reason or 'no status'}"
    return looks.check(f"{looks.version} rolled out", f"{REPLICAS} ready, Applied", seen, settled and ready == REPLICAS)


def released_at_once(looks: Looks) -> Check:
    """Counted from before the apply, so kubectl's own time is in it."""
    free = next((one for one in looks.since if one.deployment.version == looks.version and not one.deployment.paused), None)
    took = free.seconds - looks.before.seconds if free else None
    seen = "still held" if took is None else f"{took:.1f} s"
    return looks.check("released", "by itself", seen, took is not None)  # no limit: a busy machine is no failure


def of_all(last: Snapshot, starts: Mapping[str, int], versions: Sequence[str]) -> list[Check]:
    """About the whole demo; act 0."""
    traffic = last.traffic
    failed = f"{traffic.failed} of {traffic.answered + traffic.failed}"
    wanted = " ".join(f"{version}:1" for version in versions)
    seen = " ".join(f"{version}:{n}" for version, n in sorted(starts.items())) or "none"
    return [
        Check(0, "requests failed", "0", failed, traffic.failed == 0 < traffic.answered),
        Check(0, "migrations started", wanted, seen, seen == wanted),
    ]
