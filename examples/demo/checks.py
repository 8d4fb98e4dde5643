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
    held = looks.unfinished() or [look for look in looks.since if look.deployment.held] or looks.since[:1]
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
    return _status_names(looks, "orders_reference_key", "message")


def status_says_floor(looks: Looks) -> Check:
    """The oldest version that may run now."""
    return _status_names(looks, f"the oldest version to go to is '{looks.old}'", looks.old)


def _status_names(looks: Looks, words: str, what: str) -> Check:
    status = looks.last.status
    how = "stalled" if status.stalled else status.reason or "nothing"
    seen = f"{how}, {what if words in status.message else 'no word of it'}"
    return looks.check("status says why", f"stalled, {what}", seen)


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


# The contract


def contract_waits(looks: Looks) -> Check:
    """For a pod of the old version, which it names."""
    found = [look.status.contract for look in looks.since if look.status.contract.reason == "WaitingForPods"]
    named = any(f"(version '{looks.old}'" in one.message for one in found)
    seen = f"for a pod of {looks.old}" if named else looks.last.status.contract.reason or "nothing said"
    return looks.check("contract waits", f"for a pod of {looks.old}", seen)


def column_is_there(looks: Looks) -> Check:
    return _column(looks, "there")


def column_is_gone(looks: Looks) -> Check:
    return _column(looks, "gone")


def _column(looks: Looks, wanted: str) -> Check:
    seen = {True: "there", False: "gone", None: "no table"}[looks.last.has_legacy_name]
    return looks.check("column legacy_name", wanted, seen)


def dropped_after_last_pod(looks: Looks) -> Check:
    """A look reads pods first, so a look without the column is compared with the pods of the next one.

    The last has no next one, and may be the first without the column: it is compared with its own, which are older still.
    """
    pairs = [*itertools.pairwise(looks.since), (looks.last, looks.last)]
    most = max((two.pods_of(looks.old).total for one, two in pairs if one.has_legacy_name is False), default=None)
    seen = "not dropped" if most is None else f"{most} pods of {looks.old}"
    return looks.check("left after the drop", f"0 pods of {looks.old}", seen)


def contracted(looks: Looks) -> Check:
    contract, row = looks.last.status.contract, looks.last.row_of(looks.version, "contract")
    seen = f"{'done' if contract.done else contract.reason or 'nothing said'}, {row.state if row else 'no row'}"
    return looks.check(f"contract of {looks.version}", "done, succeeded", seen)


def no_second_run(looks: Looks) -> Check:
    """A version that was applied before is asked about, and not run again."""
    rows = sum(1 for row in looks.last.rows if (row.version, row.phase) == (looks.version, "expand"))
    return looks.check(f"runs of {looks.version}, ever", "1", str(rows))


# The whole demo; act 0


def requests(last: Snapshot) -> Check:
    failed = f"{last.traffic.failed} of {last.traffic.answered + last.traffic.failed}"
    return Check(0, f"{last.app}: requests failed", "0", failed, last.traffic.failed == 0 < last.traffic.answered)


def starts(counted: Mapping[str, int], versions: Sequence[str]) -> Check:
    """``counted``: how often each version's migration began, as the shop's own tool wrote it down."""
    wanted = " ".join(f"{version}:1" for version in versions)
    seen = " ".join(f"{version}:{n}" for version, n in sorted(counted.items())) or "none"
    return Check(0, "shop: migrations started", wanted, seen, seen == wanted)
