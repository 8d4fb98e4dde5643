"""What the protocol hears (events) and what it says (actions): plain values, no I/O."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping

from schemahold.api import pod
from schemahold.core import ledger
from schemahold.core.sql.model import AppliedFile, Finding, Name

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
    """The state of our row after a beat or a record; None: there is no such row.  ``note``: why it is not what was asked."""

    state: ledger.RowState | None
    note: str = ""


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
class Prove:
    """Answered with :class:`Done`, or :class:`LockBusy` while the run's session is there."""

    verdict: ledger.Prove


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
    exit_code: int | None
    note: str


@dataclasses.dataclass(frozen=True)
class Withdraw:
    row: int


Request = (
    Connect | Disconnect | TryLock | Unlock | Ping | Look | Adopt | TurnUnknown | Prove | Settle | WriteRunning | Beat
    | Record | Withdraw
)  # fmt: skip
Action = WriteFile | TakeAsk | WriteReport | Log | Exit | Request
# Events that answer a request.
ANSWERS = (
    Connected, ConnectFailed, Lost, Refused, LockTaken, LockBusy, Looked, Done, BackendsAlive, Started, StateSeen,
)  # fmt: skip


# --- sql mode: more requests, and their answers -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Sleep:
    """``random``: for a random time up to ``seconds``.  Answered with Done."""

    seconds: float
    random: bool = False


@dataclasses.dataclass(frozen=True)
class ReadFiles:
    """Answered with :class:`FilesRead` or :class:`SourceFailed`."""


@dataclasses.dataclass(frozen=True)
class LookFiles:
    """Make the tables for files if need be, and read them; answered with :class:`FilesSeen`."""


@dataclasses.dataclass(frozen=True)
class Judge:
    """Look at every statement of ``pending``; answered with :class:`Judged` or :class:`SourceFailed`."""

    pending: tuple[Name, ...]


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Note that ``files`` count as applied; answered with Done or ``model.Fenced``."""

    row: int
    files: tuple[Name, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFile:
    """Run one file, or what is left of it; answered with a ``model.Outcome`` or :class:`SourceFailed`.

    ``lock``, ``patience``, ``statement``: seconds, as in ``database.execution.Limits``.
    """

    row: int
    file: Name
    lock: float
    patience: float
    statement: float


@dataclasses.dataclass(frozen=True)
class TakeBack:
    """Write that the run of ``row`` is over without a verdict: anything may start.  Answered with Done."""

    row: int
    note: str


@dataclasses.dataclass(frozen=True)
class FilesRead:
    """Name → checksum, of everything that is mounted."""

    checksums: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class SourceFailed:
    """The files cannot be used as they are."""

    reason: pod.Reason
    message: str


@dataclasses.dataclass(frozen=True)
class FilesSeen:
    """``begun``: names of files of which some statements ran, but not all."""

    applied: tuple[AppliedFile, ...]
    begun: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Proven:
    """Answers :class:`Prove` in sql mode: the row is superseded.  ``in_vain``: so many runs of ours in a row, this one
    included, were lost without having applied a file or ended a statement."""

    in_vain: int = 0


@dataclasses.dataclass(frozen=True)
class Judged:
    findings: tuple[Finding, ...]


SqlRequest = Sleep | ReadFiles | LookFiles | Judge | Baseline | RunFile | TakeBack
