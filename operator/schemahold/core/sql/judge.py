"""All files before the first statement runs: what is an error, what is a warning, and what an override lifted.

A judgement depends on the text, on the phase, and on its surroundings: the server's version and how large tables are.  An
override has to be right on a laptop, which knows neither, and in the pod, which knows both: it counts as used when the
statement would have the finding on some server, with tables of some size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from schemahold.core.sql import parse, rules
from schemahold.core.sql.model import Class, Finding, Name, Phase, Severity, Statement, Surroundings
from schemahold.core.sql.parse import Tree
from schemahold.core.sql.rules import Effect, Reading, Scene

UNUSED = "unused-allow"


def tables(statements: Iterable[Statement]) -> frozenset[str]:
    """The tables whose size a judgement of ``statements`` may ask for, by the names written in them.

    Rather too many: what an earlier statement excuses, or a newer server, is asked for all the same.
    """
    found: set[str] = set()
    together = Scene()
    for statement in statements:
        if not parse.plain_insert(statement.text):
            tree = parse.parse(statement)
            for scene in (Scene(), together):
                found.update(effect.table for effect in rules.read(tree, scene).effects)
    return frozenset(found - {""})


def judge(
    files: Sequence[tuple[Name, Iterable[Statement]]], *, phase: Phase, surroundings: Surroundings
) -> tuple[Finding, ...]:
    """The findings of the files of ``phase``, in order; () when nothing is to be said.  SourceError: one cannot be parsed.

    Files of the other phase have run already: they make things known, and are not judged.  Statements are read one at a
    time, and not kept.
    """
    stage = _Stage(phase, surroundings)
    findings: list[Finding] = []
    for name, statements in files:
        found = stage.file(name, statements)
        if name.phase is phase:
            findings += found
    return tuple(findings)


class _Stage:
    """Where statements are judged, twice: as parts of one transaction, and each alone.  Which of the two counts is known at
    the end of the file, when none or one of them could not run in a transaction."""

    def __init__(self, phase: Phase, surroundings: Surroundings) -> None:
        self._phase = phase
        self._surroundings = surroundings
        self._together = Scene(server_version=surroundings.server_version, large_table=surroundings.large_table)
        self._alone = dataclasses.replace(self._together, alone=True, transaction=rules.Transaction(), known=rules.Known())

    def file(self, name: Name, statements: Iterable[Statement]) -> list[Finding]:
        together: list[Finding] = []
        alone: list[Finding] = []
        transactional = True
        for statement in statements:
            if parse.plain_insert(statement.text) and not self._together.hears_of(statement.text):
                together += self._unused(name, statement, Reading(), frozenset())
                alone += self._unused(name, statement, Reading(), frozenset())
                continue
            tree = parse.parse(statement, file=name.name)
            transactional = transactional and not cannot_share(tree)
            readings = [rules.read(tree, scene) for scene in (self._together, self._alone)]
            possible = self._possible(tree, readings) if statement.allows else frozenset()
            for findings, reading in zip((together, alone), readings, strict=True):
                findings += self._found(name, statement, reading)
                findings += self._unused(name, statement, reading, possible)
        self._together.end()
        return together if transactional else alone

    def _found(self, name: Name, statement: Statement, reading: Reading) -> Iterator[Finding]:
        for effect in reading.effects:
            if not self._counts(effect):
                continue
            allowed = next((allow.reason for allow in statement.allows if allow.rule == effect.rule), "")
            yield Finding(
                file=name.name,
                line=statement.line,
                statement=statement.number,
                rule=effect.rule,
                severity=Severity.WARNING if allowed or effect.warning else Severity.ERROR,
                cls=effect.cls,
                lock=effect.lock,
                breaks=effect.breaks + self._size(effect.table),
                fix=effect.fix,
                table=effect.table,
                allowed=allowed,
            )

    def _counts(self, effect: Effect) -> bool:
        if effect.cls is Class.CONTRACT and self._phase is Phase.CONTRACT:
            return False
        return not effect.table or self._large(effect.table)

    def _large(self, table: str) -> bool:
        rows = self._surroundings.rows
        if rows is None:
            return True
        if table not in rows:
            # Made by a file that is still to run, it is not in the catalog yet, and nobody has a row in it.
            return table not in self._together.known.tables
        return not 0 <= rows[table] < self._surroundings.large_table

    def _size(self, table: str) -> str:
        if not table or self._surroundings.rows is None:
            return ""
        rows = self._surroundings.rows.get(table, -1)
        return f" It has about {rows:,} rows." if rows >= 0 else " How many rows it has is not known."

    def _possible(self, tree: Tree, readings: Sequence[Reading]) -> frozenset[str]:
        """The rules of all findings that the statement could have on some server."""
        effects = [effect for reading in (*readings, rules.read(tree, Scene())) for effect in reading.effects]
        fine = Class.CONTRACT if self._phase is Phase.CONTRACT else None
        return frozenset(effect.rule for effect in effects if effect.cls is not fine)

    def _unused(self, name: Name, statement: Statement, reading: Reading, possible: frozenset[str]) -> Iterator[Finding]:
        for allow in statement.allows:
            if allow.rule not in possible:
                yield Finding(
                    file=name.name,
                    line=allow.line,
                    statement=statement.number,
                    rule=UNUSED,
                    severity=Severity.ERROR,
                    cls=reading.cls,
                    lock="",
                    breaks=self._why_unused(allow.rule),
                    fix=f"name what is there: {', '.join(sorted(possible))}." if possible else "remove the override.",
                )

    def _why_unused(self, rule: str) -> str:
        if rule not in rules.RULES:
            return f"there is no rule '{rule}'."
        if rules.RULES[rule].cls is Class.CONTRACT and self._phase is Phase.CONTRACT:
            return f"'{rule}' needs no override in a contract file, where old code is gone."
        return f"the statement has no finding '{rule}', and an override that lifts nothing hides the next one."


def cannot_share(tree: Tree) -> bool:
    """Whether Postgres refuses the statement in a transaction, so that each of its file's statements runs alone."""
    node = tree.node
    if tree.kind in ("index_stmt", "drop_stmt"):
        return bool(node.concurrent)
    if tree.kind == "reindex_stmt":
        return not node.HasField("relation") or rules.concurrently(node.params)
    if tree.kind == "alter_table_stmt":
        return any(rules.detaches_concurrently(parse.inner(each).node) for each in node.cmds)
    return (tree.kind == "vacuum_stmt" and bool(node.is_vacuumcmd)) or (
        tree.kind == "cluster_stmt" and not node.HasField("relation")
    )
