"""The words that the rooms of ``core.sql`` share, the runner and the lint: names, statements, findings."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


class SourceError(Exception):
    """The files cannot be used as they are: the text names the file, the line if there is one, and the fix.

    ``changed``: an applied file is no longer what was applied, which has a reason of its own (ChecksumMismatch).
    """

    def __init__(self, message: str, *, file: str = "", line: int = 0, changed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.changed = changed


class Phase(enum.StrEnum):
    """Before the rollout, or after the last old pod is gone."""

    EXPAND = "expand"
    CONTRACT = "contract"


@dataclasses.dataclass(frozen=True, order=True)
class Name:
    """A migration file's name, read.  They compare in the order in which they are applied.

    ``key``: the numbers before the description, ``(1,)`` for ``0001_x.sql``, ``(1, 2)`` for ``V1.2__x.sql``.  Trailing zeros
    are dropped, as ``V1.0`` and ``V1`` are one version.
    """

    key: tuple[int, ...]
    phase: Phase
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class AppliedFile:
    """A row of ``schemahold.files``.  ``checksum``: SHA-256 of its bytes in hex; "" for one that ``baseline`` adopted."""

    name: Name
    checksum: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allow:
    """``-- schemahold:allow <rule>: <reason>`` on the line above a statement.  ``line``: where it stands."""

    rule: str
    reason: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a file.

    ``number``: from 1.  ``line``: of its first word, from 1.  ``text``: without the semicolon at its end, and without what
    stands before its first word.  ``allows``: from the comments above it.
    """

    number: int
    line: int
    text: str
    allows: tuple[Allow, ...] = ()


class Class(enum.StrEnum):
    """What a statement does to code that is running while it happens."""

    EXPAND = "expand"  #: old code goes on
    CONTRACT = "contract"  #: old code breaks: only after the last old pod
    UNSAFE = "unsafe"  #: as written it blocks or breaks whatever runs: write it the safe way


class Severity(enum.StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong with one statement, or what advice there is.

    ``rule``: the name that ``schemahold:allow`` takes.  ``lock``: strongest lock, in Postgres's words ("" for none).
    ``breaks``: what happens to whom.  ``fix``: the safe form.  ``table``: when only the table's size makes it dangerous, its
    name as the catalog knows it; above ``largeTable`` rows it counts, and in lint always.  ``allowed``: the reason of the
    override that lifted it, "" for none.  ``source``: ``schemahold``, or ``squawk`` for advice.
    """

    file: str
    line: int
    statement: int
    rule: str
    severity: Severity
    cls: Class
    lock: str
    breaks: str
    fix: str
    table: str = ""
    allowed: str = ""
    source: str = "schemahold"

    def __str__(self) -> str:
        what = f"{self.cls} ({self.lock} lock)" if self.lock else str(self.cls)
        return f"{self.file}:{self.line}: {self.rule}: {what}: {self.breaks} Instead: {self.fix}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a judgement depends on besides the text.

    ``server_version``: as ``server_version_num`` (150004); 0 when it is not known (lint without ``--pg-version``): then the
    strictest reading counts.  ``rows``: tables that may be touched → estimated rows, by the name written in the statement,
    lower case unless quoted, with its schema if it was written; None when there is no catalog to ask (lint).
    ``large_table``: from so many rows on, size counts.
    """

    server_version: int = 0
    rows: Mapping[str, int] | None = None
    large_table: int = 100_000


# --- how the execution of one file ended ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Applied:
    """It and its row are committed.  ``statements``: how many ran now."""

    seconds: float
    statements: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocked:
    """A lock timeout or a deadlock: nothing but that statement was in vain, and another try may go through.

    ``statement``: its number.  ``done``: how many before it are done for good, which in a transactional file is none.
    ``blockers``: who stood in the way, "" if nobody saw.
    """

    message: str
    statement: int
    done: int = 0
    blockers: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failed:
    """Postgres refused a statement: as it is written it will do so again."""

    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disagrees:
    """What the catalog shows is neither what was there before an interrupted statement nor what it was to make."""

    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interrupted:
    """The pod was told to stop: what was not committed is rolled back.  ``statement``: the one that was cancelled."""

    statement: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fenced:
    """The run's row no longer says running: another pod has the lock, and nothing more may be committed."""


Outcome = Applied | Blocked | Failed | Disagrees | Interrupted | Fenced


def refusal(text: str, *, file: str = "", line: int = 0, changed: bool = False) -> SourceError:
    """A SourceError that says where, as far as that is known: ``file:line: text``."""
    if line:
        text = f"{file}:{line}: {text}" if file else f"line {line}: {text}"
    elif file:
        text = f"{file}: {text}"
    return SourceError(text, file=file, line=line, changed=changed)
