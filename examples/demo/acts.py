"""The acts: what is applied, what is said about it, when it is over and what is checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from . import checks
from .checks import Check, Looks, Question
from .snapshot import CUSTOMERS, SHOP

SOAK = "1s"
SEEN_FAILING = 3.0  # seconds after a failure in which no pod may start either


@dataclasses.dataclass(frozen=True)
class Act:
    """``version`` of ``app`` is what it applies; ``soak``: its `contract.after`, if not the manifest's.

    ``lasts``: long enough to read the text meanwhile.
    """

    number: int
    app: str
    version: str
    title: str
    text: str
    questions: tuple[Question, ...]
    done: Callable[[Looks], bool]
    soak: str = ""
    lasts: bool = False

    def checks(self, looks: Looks) -> list[Check]:
        return [question(looks) for question in self.questions] if looks.since else []


def stalled_for(looks: Looks) -> float:
    """Seconds for which the status has said that it does not go on by itself."""
    fine = [look for look in looks.since if not (look.status.current and look.status.stalled)]
    return looks.last.seconds - (fine[-1] if fine else looks.since[0]).seconds


def _rolled_out(looks: Looks) -> bool:
    return looks.last.rolled_out(looks.version)


def _failed(looks: Looks) -> bool:
    return stalled_for(looks) >= SEEN_FAILING


def _waits_for_pods(looks: Looks) -> bool:
    return _rolled_out(looks) and checks.contract_waits(looks).ok


def _contracted(looks: Looks) -> bool:
    return _rolled_out(looks) and looks.last.status.contract.done


def _forward(*between: Question) -> tuple[Question, ...]:
    """What is true of every version that goes forward."""
    after = (checks.none_before_success, checks.ledger_succeeded, checks.rolled_out)
    return (checks.held_at_once, *between, *after)


_BACK = (checks.released_at_once, checks.no_job, checks.no_row, checks.rolled_out)

ACTS = (
    Act(
        1,
        SHOP,
        "v1",
        "install v1",
        "One apply brings Deployment, Service and SchemaMigration. The API server holds the Deployment in that same "
        "write. Its first pods start when the first migration has succeeded.",
        _forward(checks.lock_held, checks.one_job),
        _rolled_out,
    ),
    Act(
        2,
        SHOP,
        "v2",
        "v2 adds a column",
        "v2's code needs a column that is not there yet, so its pods wait. A Job migrates under a lock in the database. "
        "v1's pods serve until the ledger says that it succeeded.",
        _forward(checks.old_serves, checks.lock_held),
        _rolled_out,
    ),
    Act(
        3,
        SHOP,
        "v3",
        "v3's migration fails",
        "v3 makes a column unique, and the orders in the table do not allow it. No pod of v3 ever starts. v2's pods go on "
        "serving, and the status says why.",
        (
            checks.held_at_once,
            checks.ledger_failed,
            checks.status_says_why,
            checks.never_started,
            checks.old_serves,
            checks.still_held,
        ),
        _failed,
    ),
    Act(
        4,
        SHOP,
        "v4",
        "v4 is the fix",
        "v4 brings the same column, done right. It is applied like any version: nothing has to be cleaned up or retried "
        "by hand.",
        _forward(checks.old_serves, checks.one_job),
        _rolled_out,
    ),
    Act(
        5,
        SHOP,
        "v2",
        "back to v2",
        "v2's migration is in the ledger, and the schema of v4 serves v2's code too. So v2 is released at once, without "
        "a Job.",
        _BACK,
        _rolled_out,
    ),
    Act(
        6,
        CUSTOMERS,
        "v1",
        "customers, v1",
        "Another service, whose schema is SQL files in its image: schemahold runs them itself. v1 shows customers and "
        "what an older system called them, in the column legacy_name.",
        _forward(checks.one_job),
        _rolled_out,
        lasts=True,
    ),
    Act(
        7,
        CUSTOMERS,
        "v2",
        "v2 no longer needs a column",
        "v2 brings a file that drops legacy_name, after the rollout: a contract. It must wait until the last pod of v1 is "
        "gone, for one that is terminating still serves.",
        _forward(checks.contract_waits, checks.column_is_there),
        _waits_for_pods,
        lasts=True,
    ),
    Act(
        8,
        CUSTOMERS,
        "v1",
        "back before the contract",
        "Nothing is missing yet that v1 needs. So v1 is released at once, without a Job.",
        (*_BACK, checks.column_is_there),
        _rolled_out,
    ),
    Act(
        9,
        CUSTOMERS,
        "v2",
        "v2 again, and its contract",
        "v2 has been applied, says the ledger. When the last pod of v1 is gone and contract.after is over, a second Job "
        "drops the column.",
        (
            checks.held_at_once,
            checks.no_second_run,
            checks.dropped_after_last_pod,
            checks.contracted,
            checks.column_is_gone,
            checks.rolled_out,
        ),
        _contracted,
        soak=SOAK,
        lasts=True,
    ),
    Act(
        10,
        CUSTOMERS,
        "v1",
        "back after the contract",
        "Now every question of v1 would fail. So v1 stays held, and the status names the oldest version to go to. v2's "
        "pods serve.",
        (
            checks.held_at_once,
            checks.status_says_floor,
            checks.never_started,
            checks.old_serves,
            checks.no_row,
            checks.still_held,
        ),
        _failed,
        soak=SOAK,
        lasts=True,
    ),
    Act(
        11,
        CUSTOMERS,
        "v2",
        "forward again",
        "v2's pods have been running all the time, so applying v2 ends the hold.",
        (*_BACK, checks.contracted),
        _rolled_out,
        soak=SOAK,
    ),
)
