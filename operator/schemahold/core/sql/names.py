"""Migration files: how their names are read, their order, and which of them are pending."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence, Set

from schemahold.core.sql.model import AppliedFile, Name, Phase, SourceError, refusal

# --- one name ---------------------------------------------------------------------------------------------------------

_VERSION = r"[0-9]+(?:[._][0-9]+)*"  # Flyway reads an underscore in a version as a dot
_NUMBERED = re.compile(r"([0-9]+)_[^/]+\.sql")
_FLYWAY = re.compile(rf"V({_VERSION})__[^/]+\.sql")
_LONGEST = 255  # of a file's name, to any file system
_FORMS = "0001_what.sql, 20261122093000_what.sql or V1.2__what.sql, or the same with .contract.sql at its end"

_NOT_RUN = (
    (re.compile(r"R__"), "repeatable migrations are not run: write each change of it as a numbered file"),
    (re.compile(r"U[0-9]"), "undo migrations are not run: leave it out, and go back with a numbered file"),
    (re.compile(r"B[0-9]"), "baseline migrations are not run: leave it out, and set `sql.baseline` where its schema exists"),
    (re.compile(r".*\.down\.sql$"), "down migrations are not run: leave it out, and go back with a numbered file"),
)


def read(name: str) -> Name:
    """``0001_x.sql``, ``20261122093000_x.sql``, ``V1.2__x.sql``, and each as ``*.contract.sql``; SourceError for others."""
    for form, what in _NOT_RUN:
        if form.match(name):
            raise refusal(what, file=name)
    found = _NUMBERED.fullmatch(name) or _FLYWAY.fullmatch(name)
    if found is None or len(name) > _LONGEST:
        raise refusal(f"this is not how a migration file is named: call it {_FORMS} for after the rollout", file=name)
    phase = Phase.CONTRACT if name.lower().endswith(".contract.sql") else Phase.EXPAND
    return Name(key=_key(found[1]), phase=phase, name=name)


def _key(version: str) -> tuple[int, ...]:
    """``1.2``, ``1_2`` and ``0001`` as numbers, without the zeros at the end."""
    numbers = [int(number) for number in re.split("[._]", version)]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


# --- all of them ------------------------------------------------------------------------------------------------------


def arrange(names: Iterable[str]) -> tuple[Name, ...]:
    """The ``.sql`` files among ``names``, in order; SourceError when two of one phase have one number.

    Files with another ending are somebody else's.  ``.SQL`` is no other ending: it is refused like any name that cannot be
    read, for a migration that is passed over without a word is worse.
    """
    arranged = tuple(sorted(read(name) for name in names if _is_sql(name)))
    seen: dict[tuple[Phase, tuple[int, ...]], Name] = {}
    for name in arranged:
        other = seen.setdefault((name.phase, name.key), name)
        if other is not name:
            text = (
                f"has the number of {other.name} ({_number(name)}), and nobody can say which comes first: rename one of them"
            )
            raise refusal(text, file=name.name)
    return arranged


def checksum(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def pin(checksums: Mapping[str, str]) -> str:
    """SHA-256 in hex over the names and checksums of the ``.sql`` files among ``checksums`` (name → checksum)."""
    lines = (f"{checksum}  {name}\0" for name, checksum in sorted(checksums.items()) if _is_sql(name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _is_sql(name: str) -> bool:
    return name.lower().endswith(".sql")


def _number(name: Name) -> str:
    return ".".join(map(str, name.key))


# --- what there is to do ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run of one phase has to do.  All three are in order.

    ``pending``: files of this phase to run.  ``baselined``: files of both phases that count as applied from now on, without
    having run.  ``later``: files of the other phase that are not applied yet.
    """

    pending: tuple[Name, ...] = ()
    baselined: tuple[Name, ...] = ()
    later: tuple[Name, ...] = ()


def plan(
    files: Mapping[Name, str],
    applied: Sequence[AppliedFile],
    *,
    phase: Phase,
    baseline: str = "",
    out_of_order: bool = False,
) -> Plan:
    """What is to be done in ``phase``, from the files that there are (name → checksum) and the rows of those applied.

    ``baseline`` ("0003", "1.2"): when nothing at all is applied, files up to that number count as applied.  SourceError when
    an applied file is gone, renamed or changed (``changed=True``), when a new file of this phase sorts before an applied one
    (unless ``out_of_order``), and when ``baseline`` is not a number or above every file.
    """
    known = {row.name for row in applied}
    for row in applied:
        _check_applied(row, files, known)
    baselined = _baselined(files, baseline)
    if applied:
        baselined = ()
    done = known.union(baselined)
    new = [name for name in sorted(files) if name not in done]
    pending = tuple(name for name in new if name.phase is phase)
    if not out_of_order:
        _check_order(pending, [row.name for row in applied if row.name.phase is phase])
    return Plan(pending=pending, baselined=baselined, later=tuple(name for name in new if name.phase is not phase))


def _check_applied(row: AppliedFile, files: Mapping[Name, str], known: Set[Name]) -> None:
    """SourceError when an applied file is not there as it was applied."""
    found = files.get(row.name)
    if found is None:
        raise _gone(row, {name: checksum for name, checksum in files.items() if name not in known})
    if row.checksum and found != row.checksum:
        text = (
            f"has changed since it was applied: then SHA-256 {row.checksum[:12]}, now {found[:12]}; "
            "restore it as it was, and write the change as a new file"
        )
        raise refusal(text, file=row.name.name, changed=True)


def _gone(row: AppliedFile, new: Mapping[Name, str]) -> SourceError:
    """Says of an applied file that is not there whether it is there by another name."""
    for name, checksum in sorted(new.items()):
        same_number = (name.phase, name.key) == (row.name.phase, row.name.key)
        if same_number or (row.checksum and checksum == row.checksum):
            text = f"has been applied, and is now called {name.name}: give it its old name back"
            return refusal(text, file=row.name.name)
    text = "has been applied, and is no longer there: put it back (all applied files stay)"
    return refusal(text, file=row.name.name)


def _check_order(pending: Sequence[Name], applied: Sequence[Name]) -> None:
    """SourceError when a new file would have had to run before one that has been applied."""
    last = max(applied, default=None)
    if last is not None and pending and pending[0].key < last.key:
        text = (
            f"is new, and sorts before {last.name}, which has been applied: give it a higher number, "
            "or set `sql.outOfOrder: allow`"
        )
        raise refusal(text, file=pending[0].name)


def _baselined(files: Mapping[Name, str], baseline: str) -> tuple[Name, ...]:
    """The files up to ``baseline``; SourceError when that cannot be meant."""
    if not baseline:
        return ()
    number = baseline.removeprefix("V")
    if not re.fullmatch(_VERSION, number) or len(number) > _LONGEST:
        raise refusal(f"`sql.baseline` is '{baseline}': set it to the number of a file, for example '0003' or '1.2'")
    key = _key(number)
    if all(name.key < key for name in files):
        last = f"the last one is {max(files).name}" if files else "there is none"
        raise refusal(f"`sql.baseline` is '{baseline}', above every file ({last}): set it to the number of a file")
    return tuple(name for name in sorted(files) if name.key <= key)
