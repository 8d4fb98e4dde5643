"""What the protocol hears (events) and what it says (actions): plain values, no I/O."""

from __future__ import annotations

import dataclasses
import datetime

from schemahold.api import pod
from schemahold.core import ledger

# Files in the shared directory (docs/architecture.md).
HELD, STOPPED, PROGRESS = "held", "stopped", "progress"
ASK, ASKED, GO, REFUSED = "ask", "asked", "go", "refused"
EXIT, RECORDED = "exit", "recorded"
NOT_STARTED = "withdrawn"  # what the exit file says when the script had its go and a SIGTERM, and started nothing


# --- events -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclasses.dataclass(frozen=True)
class Terminated:
    """SIGTERM."""


@dataclasses.dataclass(frozen=True)
class AskSeen:
    """The script asks for its start."""


@dataclasses.dataclass(frozen=True)
class AskTaken:
    """``ask`` was renamed to ``asked``: the script can no longer withdraw."""


@dataclasses.dataclass(frozen=True)
class AskGone:
    """``ask`` was no longer there: the script has withdrawn."""


@dataclasses.dataclass(frozen=True)
class ExitSeen:
    """What the exit file says: an exit code, or that nothing was started."""

    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Connected:
    """A session on a primary with a ledger.  ``pooler``: why we think one is in between; ``options_refused``: why the
    server does not take the session options."""

    server: ledger.Server
    ledger: str
    pooler: str = ""
    options_refused: str = ""


@dataclasses.dataclass(frozen=True)
class ConnectFailed:
    reason: pod.Reason
    message: str
    retry: bool


@dataclasses.dataclass(frozen=True)
class Lost:
    """The session is gone; what was requested last may have happened."""

    message: str


@dataclasses.dataclass(frozen=True)
class Refused:
    """The server's answer to a request is no."""

    reason: pod.Reason
    message: str


@dataclasses.dataclass(frozen=True)
class LockTaken:
    pass


@dataclasses.dataclass(frozen=True)
class LockBusy:
    """``ours``: a lock session of schemahold, with a live running row under the key."""

    holder: str
    ours: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looked:
    rows: tuple[ledger.Row, ...]
    now: datetime.datetime
    server_started: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Done:
    """A request without a result of interest was performed."""


@dataclasses.dataclass(frozen=True)
class BackendsAlive:
    """The answer was not written yet: so many sessions of the old run are ending."""

    count: int


@dataclasses.dataclass(frozen=True)
class Started:
    """The running row is committed; ``row`` None: the rows have changed since we looked."""

    row: int | None


@dataclasses.dataclass(frozen=True)
class StateSeen:
    """The state of our row after a beat or a record; None: there is no such row."""

    state: ledger.RowState | None


Event = (
    Tick | Terminated | AskSeen | AskTaken | AskGone | ExitSeen | Connected | ConnectFailed | Lost | Refused | LockTaken
    | LockBusy | Looked | Done | BackendsAlive | Started | StateSeen
)  # fmt: skip


# --- actions: files, messages, the end --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class WriteFile:
    name: str
    text: str


@dataclasses.dataclass(frozen=True)
class TakeAsk:
    """Rename ``ask`` to ``asked``; answered with :class:`AskTaken` or :class:`AskGone`."""


@dataclasses.dataclass(frozen=True)
class WriteReport:
    """Make this the container's termination message."""

    report: pod.Report


@dataclasses.dataclass(frozen=True)
class Log:
    line: str


@dataclasses.dataclass(frozen=True)
class Exit:
    """End the process with 0."""


# --- actions: requests to the database, one at a time, each answered with one event -----------------------------------


@dataclasses.dataclass(frozen=True)
class Connect:
    """``expected``: uuid of the ledger seen before.  ``options``: try the session options as well."""

    expected: str
    options: bool


@dataclasses.dataclass(frozen=True)
class Disconnect:
    pass


@dataclasses.dataclass(frozen=True)
class TryLock:
    pass


@dataclasses.dataclass(frozen=True)
class Unlock:
    pass


@dataclasses.dataclass(frozen=True)
class Ping:
    pass


@dataclasses.dataclass(frozen=True)
class Look:
    pass


@dataclasses.dataclass(frozen=True)
class Adopt:
    version: str


@dataclasses.dataclass(frozen=True)
class TurnUnknown:
    verdict: ledger.TurnUnknown


@dataclasses.dataclass(frozen=True)
class Settle:
    verdict: ledger.Settle


@dataclasses.dataclass(frozen=True)
class WriteRunning:
    """``server``: on which the run began; ``note``: not empty when the row is written again after it was lost."""

    server: ledger.Server
    supersede: int | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Beat:
    row: int


@dataclasses.dataclass(frozen=True)
class Record:
    row: int
    state: ledger.RowState
    exit_code: int
    note: str


@dataclasses.dataclass(frozen=True)
class Withdraw:
    row: int


Request = (
    Connect | Disconnect | TryLock | Unlock | Ping | Look | Adopt | TurnUnknown | Settle | WriteRunning | Beat | Record
    | Withdraw
)  # fmt: skip
Action = WriteFile | TakeAsk | WriteReport | Log | Exit | Request
# Events that answer a request.
ANSWERS = (
    Connected, ConnectFailed, Lost, Refused, LockTaken, LockBusy, Looked, Done, BackendsAlive, Started, StateSeen,
)  # fmt: skip
