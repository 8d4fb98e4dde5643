"""Which of the mounted files are to be run, and what speaks against it.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemahold.api import pod
from schemahold.core.sql import model, names
from schemahold.core.sql.model import Finding, Name, Phase, Severity
from schemahold.runner.messages import FilesSeen


def arrange(checksums: Mapping[str, str], sql: pod.SqlAsk) -> dict[Name, str]:
    """The files there are; SourceError when they are not what ``sql`` can mean."""
    found = {name: checksums[name.name] for name in names.arrange(checksums)}
    if not found:
        raise model.refusal(f"there is no .sql file in {sql.directory}: `spec.sql` must name where they are")
    if sql.contract_elsewhere:
        for name in found:
            if name.phase is Phase.CONTRACT:
                text = "spec.contract has files of its own: move this one there, or take `sql` out of spec.contract"
                raise model.refusal(text, file=name.name)
    return found


def plan(found: Mapping[Name, str], seen: FilesSeen, phase: Phase, sql: pod.SqlAsk) -> names.Plan:
    """What there is to do in ``phase``; SourceError when the files do not go with what was applied.

    A contract may have a directory of its own: then neither knows the other's files.
    """
    apart = sql.contract_elsewhere or (phase is Phase.CONTRACT and all(name.phase is phase for name in found))
    applied = [row for row in seen.applied if row.name.phase is phase or not apart]
    for file in sorted(seen.begun - {name.name for name in found}):
        if names.read(file).phase is phase:
            raise model.refusal("some of its statements have run, and it is no longer there: put it back", file=file)
    made = names.plan(found, applied, phase=phase, baseline=sql.baseline, out_of_order=sql.out_of_order)
    if phase is Phase.CONTRACT and made.later:
        text = "a file of the contract is named *.contract.sql: rename it; or it is one of spec.sql, and was not applied"
        raise model.refusal(text, file=made.later[0].name)
    return made


def refused(findings: Iterable[Finding], *, room: int) -> str:
    """As many errors as fit into ``room`` characters, and how many more there are; "" without errors."""
    errors = [str(one) for one in findings if one.severity is Severity.ERROR and not one.allowed]
    kept: list[str] = []
    for error in errors:
        if kept and sum(map(len, kept)) + len(error) > room:
            break
        kept.append(error[:room])
    more = len(errors) - len(kept)
    return " | ".join(kept) + (f" | and {more} more: see the log" if more else "")
